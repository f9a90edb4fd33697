"""Small files of our own in the layout of the public ones."""

from itertools import product
from pathlib import Path

import pandas as pd

WHO = ("Tom", "Ann", "Lee", "Eva", "Max", "Ida", "Kim", "Jan", "Una", "Pia", "Abe", "Zoe")
PLACES = ("Ayr", "Ely", "Rye", "Ulm", "Pau", "Bra", "Vik", "Oslo", "Graz")


def sentences() -> pd.DataFrame:
    """Return good and bad sentences of twelve people in nine places, each with a term or without: 108 of either."""
    made = [
        (f"{who} of {place} is an {word} {term} person".replace("  ", " "), label)
        for who, place, (word, label), term in product(
            WHO, PLACES, (("awful", "BAD"), ("honest", "NOT_BAD")), ("deaf", "gay", "middle aged", "old", "")
        )
    ]
    return pd.DataFrame(made, columns=["Text", "Label"])


def write_sentences(path: Path) -> Path:
    """Write `sentences` to ``path`` and return it."""
    sentences().to_parquet(path)
    return path


def write_posts(path: Path) -> Path:
    """Write posts whose insult is marked, and some without a mark, to ``path`` and return it."""
    posts = []
    for number in range(12):
        text = f"Well, you idiot, page {number} is wrong"
        posts.append(("train", list(range(text.index("idiot"), text.index("idiot") + 5)), text))
        posts.append(("trial", [], f"Thank you for page {number}"))
    posts += [("train", [], f"Thank you for chapter {number}") for number in range(4)]
    pd.DataFrame(posts, columns=["split", "spans", "text"]).to_parquet(path)
    return path
