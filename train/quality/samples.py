"""Files of other people's texts, and samples of them that are the same for every bundle."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from moderation.errors import InvalidInputError


def read_parquet(path: Path, part: str) -> pd.DataFrame:
    """Return the table in ``path``, which ``part`` of the report needs.

    Raises:
        InvalidInputError: no such file, or no parquet.
    """
    if not path.is_file():
        raise InvalidInputError(f"no file {path}; give its folder with --data, or leave it out with --without {part}")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as parquet ({type(error).__name__})") from None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lowest_hashes(texts: Iterable[str], count: int) -> list[int]:
    """Return the places of up to ``count`` texts, those whose hash is lowest, in that order."""
    digests = [digest(text) for text in texts]
    return sorted(range(len(digests)), key=digests.__getitem__)[:count]


def digest(text: str) -> str:
    """Return the SHA-256 of a text, whatever stands in it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
