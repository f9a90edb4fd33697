"""Comments to measure with: from a file, or made, with lengths as on Wikipedia's talk pages; no two are equal.

A log-normal with a median of 52 words and sigma 1, of which a model that reads 256 tokens reads about 75 on average.
"""

import random
from pathlib import Path

import pandas as pd

LONGEST_WORDS = 1000
VOCABULARY = (
    "page edit the source talk you article because never history of wrong and please read it again I think that this "
    "section should be removed since nobody gave a reason for what was said about the author there is no need to "
    "shout idiot thanks for your help who wrote such nonsense stop now or we will ask an administrator"
)


def comments(rows: Path | None, count: int, seed: int = 0) -> list[str]:
    """Return ``count`` distinct comments: of the column comment_text of ``rows`` (parquet or CSV), or made.

    Raises:
        ValueError: the file has fewer.
    """
    if rows is None:
        return _made(count, random.Random(seed))
    table = pd.read_parquet(rows) if rows.suffix == ".parquet" else pd.read_csv(rows)
    texts = table["comment_text"].dropna().drop_duplicates()
    texts = texts[texts.str.strip() != ""]
    if len(texts) < count:
        raise ValueError(f"{rows} has {len(texts)} distinct comments; {count} are needed")
    return list(texts.sample(count, random_state=seed))


def _made(count: int, generator: random.Random) -> list[str]:
    words, made = VOCABULARY.split(), []
    for number in range(count):
        length = min(LONGEST_WORDS, max(2, round(generator.lognormvariate(3.95, 1.0))))
        made.append(f"{number} " + " ".join(generator.choices(words, k=length)))
    return made
