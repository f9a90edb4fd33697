"""From texts to token ids, the same in training, evaluation and serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from moderation.errors import BundleError
from moderation.text import normalize

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """The first window of each text, with what was cut: ``truncated`` has shape (N,)."""

    ids: list[Ids]
    truncated: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TextTokens:
    """One text as a model reads it: its windows, how many of its tokens they hold, and whether some are left out.

    ``unknown_tokens`` of them stand for what the tokenizer does not know; None: it knows every byte.
    """

    windows: tuple[Ids, ...]
    tokens_read: int
    truncated: bool
    unknown_tokens: int | None = None

    @property
    def cost_tokens(self) -> int:
        """Tokens that the model computes, those in two windows twice."""
        return sum(len(window) for window in self.windows)


class TextTokenizer:
    """Normalises and tokenises; thread-safe, since nothing changes after construction."""

    def __init__(self, path: Path, max_tokens: int, overlap_tokens: int = 0, max_windows: int = 1) -> None:
        """Read ``tokenizer.json``; a window has at most ``max_tokens`` tokens, special tokens included.

        Neighbouring windows share ``overlap_tokens`` tokens; what is beyond ``max_windows`` windows is not read.

        Raises:
            BundleError: the file is no tokenizer.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise BundleError(f"{path} is no tokenizer ({type(error).__name__})") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, stride=overlap_tokens)
        # In every further window these are nothing new: its special tokens, and those shared with the one before.
        self._repeated = overlap_tokens + self._tokenizer.num_special_tokens_to_add(False)
        self._new_from = overlap_tokens + self._tokenizer.encode("a").special_tokens_mask.index(0)
        self._unknown = _unknown_id(self._tokenizer)
        self._max_windows = max_windows

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Return the first window of each text, in order: what training reads."""
        encodings = self._encode(texts)
        return Tokens(
            [_ids(encoding) for encoding in encodings],
            np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_),
        )

    def windows(self, texts: Sequence[str]) -> list[TextTokens]:
        """Return all windows of each text, in order."""
        return [self._text_tokens(encoding) for encoding in self._encode(texts)]

    def windows_of_normalized(self, normalized_texts: Sequence[str]) -> list[TextTokens]:
        """Return all windows of texts that `normalize` has returned, in order, without normalising them again."""
        return [self._text_tokens(encoding) for encoding in self._tokenizer.encode_batch_fast(normalized_texts)]

    def _text_tokens(self, encoding: Encoding) -> TextTokens:
        whole = [encoding, *encoding.overflowing]
        read = whole[: self._max_windows]
        tokens_read = len(read[0]) + sum(len(window) - self._repeated for window in read[1:])
        windows = tuple(_ids(window) for window in read)
        return TextTokens(windows, tokens_read, len(whole) > len(read), self._unknown_tokens(windows))

    def _unknown_tokens(self, windows: Sequence[Ids]) -> int | None:
        if self._unknown is None:
            return None
        new = [windows[0], *(window[self._new_from :] for window in windows[1:])]
        return sum(int(np.count_nonzero(ids == self._unknown)) for ids in new)

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast([normalize(text) for text in texts])


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    name = getattr(tokenizer.model, "unk_token", None)
    return None if name is None else tokenizer.token_to_id(name)


def _ids(encoding: Encoding) -> Ids:
    return np.array(encoding.ids, dtype=np.int64)
