"""Words that an encoder's vocabulary lacks: emoji, and abusive words as people disguise them.

To a WordPiece vocabulary most emoji are one unknown token, with the word they stand beside, and ``fck`` is ``fc``,
``##k``. Each gets a row of the word embeddings that begins as what it stands for, an emoji as its name in Unicode and a
disguise as the word. A row of int8 costs a bundle little more bytes than it has dimensions, and a comment no time.
"""

import csv
import json
from collections.abc import Container
from functools import cache
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import Sequence, Split
from torch import nn

from train.undisguise import EMOJI

FILE = Path(__file__).with_name("vocabulary.tsv")
"""A token and what it stands for in each line. Lines are only added, at the end: the others keep their numbers."""


def extend(tokenizer: Tokenizer, rows: int) -> Tokenizer:
    """Return ``tokenizer`` with the file's tokens behind its own, as far as it lacks them; no WordPiece: as it is.

    ``rows`` is how many word embeddings its encoder has; the new tokens get the next.
    """
    said = json.loads(tokenizer.to_str())
    if said["model"]["type"] != "WordPiece":
        return tokenizer
    vocabulary: dict[str, int] = said["model"]["vocab"]
    first = max(rows, 1 + max(tokenizer.get_vocab(with_added_tokens=True).values()))
    vocabulary.update((token, first + number) for number, token in enumerate(additions(vocabulary)))
    extended = Tokenizer.from_str(json.dumps(said))
    extended.pre_tokenizer = Sequence([Split(Regex(EMOJI), "isolated"), extended.pre_tokenizer])
    return extended


def additions(vocabulary: Container[str]) -> dict[str, str]:
    """Return the file's tokens that ``vocabulary`` lacks, in order, and what each stands for."""
    return {token: meaning for token, meaning in _meanings().items() if token not in vocabulary}


def give_meaning(embeddings: nn.Embedding, tokenizer: Tokenizer, first: int) -> None:
    """Set the rows of ``embeddings`` (V, H) from ``first`` on, in place: each to the mean of what its token stands for.

    What it stands for is read without these tokens. The mean has the mean length of its parts, as that of many
    directions is short.
    """
    said = json.loads(tokenizer.to_str())
    vocabulary: dict[str, int] = said["model"]["vocab"]
    new = {token: row for token, row in sorted(vocabulary.items(), key=lambda item: item[1]) if row >= first}
    if not new:
        return
    said["model"]["vocab"] = {token: row for token, row in vocabulary.items() if row < first}
    reader, meanings = Tokenizer.from_str(json.dumps(said | {"padding": None, "truncation": None})), _meanings()
    with torch.no_grad():
        for token, row in new.items():
            parts = embeddings.weight[reader.encode(meanings[token], add_special_tokens=False).ids]
            mean = parts.mean(0)
            embeddings.weight[row] = mean * parts.norm(dim=1).mean() / mean.norm()


@cache
def _meanings() -> dict[str, str]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return dict(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
