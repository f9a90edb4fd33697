"""From texts to token ids, the same in training, evaluation and serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from moderation.text import normalize


@dataclass(frozen=True)
class Tokens:
    """Token ids per text, with what was cut: ``truncated`` has shape (N,)."""

    ids: list[npt.NDArray[np.int64]]
    truncated: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TextTokens:
    """One text as a model reads it."""

    ids: npt.NDArray[np.int64]
    truncated: bool

    @property
    def cost_tokens(self) -> int:
        """Tokens that the model computes."""
        return len(self.ids)


class TextTokenizer:
    """Normalises and tokenises; thread-safe, since nothing changes after construction."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Read ``tokenizer.json``; at most ``max_tokens`` tokens of a text are kept, special tokens included."""
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Return the tokens of each text, in order."""
        encodings = self._tokenizer.encode_batch_fast([normalize(text) for text in texts])
        return Tokens(
            [np.array(encoding.ids, dtype=np.int64) for encoding in encodings],
            np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_),
        )
