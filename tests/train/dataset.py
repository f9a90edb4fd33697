"""A small dataset and a tiny encoder of our own, for tests that train for real."""

import random
from pathlib import Path

import pandas as pd
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

from moderation.labels import LABELS

SUBJECTS = ("the article", "your edit", "this page", "the editor", "my note", "the source")
PLAIN = ("is clear", "needs a date", "was moved today", "reads well", "has two parts", "helps a lot")
MARKS: dict[str, tuple[str, ...]] = {
    "toxic": ("awful", "rubbish"),
    "severe_toxic": ("vilest",),
    "obscene": ("damn", "crap"),
    "threat": ("hurt",),
    "insult": ("idiot", "fool"),
    "identity_hate": ("vermin",),
}


def make_rows(count: int = 480, seed: int = 0) -> pd.DataFrame:
    """Return rows whose labels follow from marked words; every label has positives, two thirds have none."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        present = {generator.choice(LABELS)} if number % 3 == 0 else set()
        words = [generator.choice(MARKS[label]) for label in present]
        text = " ".join([generator.choice(SUBJECTS), generator.choice(PLAIN), *words, f"ref {number}"])
        rows.append({"id": f"{number:08d}", "comment_text": text} | {label: int(label in present) for label in LABELS})
    return pd.DataFrame(rows)


def make_encoder(directory: Path) -> Path:
    """Write a two-layer BERT with random weights and its tokenizer; return its directory."""
    set_seed(0)
    words = {word for phrase in SUBJECTS + PLAIN for word in phrase.split()}
    words |= {word for marked in MARKS.values() for word in marked}
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(directory)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(directory)
    return directory
