"""Comments of our own with scores as Perspective would round them, and a bundle that reads their words."""

import random
from pathlib import Path

import numpy as np
import pandas as pd

from moderation.bundle import read_bundle
from moderation.labels import LABELS
from moderation.scoring.scorer import Scorer
from tests.bundles import WORDS

FILLER = ("page", "edit", "source", "draft", "note", "date", "map", "list", "talk", "title", "chapter", "river")


def scored_comments(bundle: Path, count: int = 600, seed: int = 0) -> pd.DataFrame:
    """Return different texts with a score of toxic and of insult: rising in the bundle's, elsewhere, and noisy."""
    generator = random.Random(seed)
    words = [*WORDS, *FILLER * 3]
    texts = [
        " ".join([*generator.choices(words, k=generator.randint(3, 9)), f"{seed}x{number}" * 4])
        for number in range(count)
    ]
    scores = Scorer.load(read_bundle(bundle)).score(texts).scores.astype(float)
    noise = np.random.default_rng(seed).normal(0, 0.02, (count, 2))
    columns = {
        name: np.clip(np.sqrt(scores[:, LABELS.index(name)]) * 0.9 + 0.04 + noise[:, place], 0, 0.99).round(2)
        for place, name in enumerate(("toxic", "insult"))
    }
    return pd.DataFrame({"text": texts, "TOXICITY": columns["toxic"], "INSULT": columns["insult"]})


def rows_without(*texts: str) -> pd.DataFrame:
    """Return a bundle's data: some texts of their own, and ``texts``."""
    return pd.DataFrame({"comment_text": ["An entirely different remark about gardening in the spring.", *texts]})
