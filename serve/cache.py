"""Results of texts scored before, so that a duplicate costs no inference; bounded, and it holds no text.

Keys are keyed hashes of the normalised text and the version that scored it, with a secret that dies with the
process: what is in memory cannot be matched against a list of guessed texts, and a new version starts anew.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

R = TypeVar("R")


class Cache(Generic[R]):
    """The results used last; may be used from several threads."""

    def __init__(self, max_texts: int) -> None:
        """Keep at most ``max_texts`` results."""
        self._max_texts = max_texts
        self._secret = os.urandom(32)
        self._lock = threading.Lock()
        self._results: OrderedDict[bytes, R] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def key(self, version: str, normalized_text: str) -> bytes:
        """Return what stands for the text under that version, 16 bytes."""
        hasher = hashlib.blake2b(version.encode(), digest_size=16, key=self._secret)
        hasher.update(normalized_text.encode(errors="surrogatepass"))
        return hasher.digest()

    def get(self, key: bytes) -> R | None:
        """Return the result kept under ``key``."""
        with self._lock:
            found = self._results.get(key)
            if found is not None:
                self._results.move_to_end(key)
            return found

    def put(self, key: bytes, result: R) -> None:
        """Keep ``result``, in place of the one that was not used for longest."""
        with self._lock:
            self._results[key] = result
            self._results.move_to_end(key)
            while len(self._results) > self._max_texts:
                self._results.popitem(last=False)
