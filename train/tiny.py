"""A two-layer BERT with random weights and a vocabulary of the training texts, for runs without a network.

It learns words, not language: good for tests and for trying a config, useless in production.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

from moderation.text import normalize

TINY = "tiny:"
UNKNOWN = "[UNK]"
SPECIAL = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]")
VOCABULARY = 2000
WIDTH = 64


def make_encoder(directory: Path, texts: Sequence[str], max_tokens: int, seed: int) -> Path:
    """Write an encoder for ``texts`` that ``from_pretrained`` can read, if it is not there; return its directory."""
    if directory.exists():
        return directory
    staging = directory.with_name(f".{directory.name}")
    shutil.rmtree(staging, ignore_errors=True)
    tokenizer = _tokenizer(texts)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(staging)  # type: ignore[no-untyped-call]
    set_seed(seed)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=max_tokens,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(staging)
    return staging.rename(directory)  # whole or not at all


def _tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Build WordPiece of the characters and the most frequent words; the library's own trainer is not repeatable."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(normalize(text)))
    )
    characters = sorted(set("".join(words)))
    frequent = sorted(words, key=lambda word: (-words[word], word))[:VOCABULARY]
    pieces = dict.fromkeys([*SPECIAL, *characters, *(f"##{character}" for character in characters), *frequent])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    return tokenizer
