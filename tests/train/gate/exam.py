"""Frozen data, cases and rules of our own that the tiny bundles of `tests.bundles` can be judged by."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from moderation.labels import LABELS
from tests.bundles import BIAS, WORDS

PLAIN = ("the", "page", "was", "moved", "today", "and", "reads", "well", "women", "muslims", "see", "source", "table")
METRICS = {
    "int8": {"mean_score_difference": 0.001, "above_fp32": {"mean": {"average_precision": {"value": -0.001}}}},
    "test": {"figures": {"toxic": {"roc_auc": {"value": 0.9, "low": 0.8, "high": 0.95}}}},
}
# The words of a bundle that never learnt what "idiot" and "vermin" mean.
FORGETFUL = WORDS | {"idiot": (0,) * 6, "vermin": (0,) * 6}
CASES: list[dict[str, Any]] = [
    {
        "name": "insults",
        "capability": "insults",
        "kind": "minimum_functionality",
        "expect": "present",
        "templates": ["You {insult} {who}."],
        "slots": {"insult": ["idiot", "disgusting"], "who": ["editor", "reader", "author"]},
    },
    {
        "name": "plain",
        "capability": "plain talk",
        "kind": "minimum_functionality",
        "expect": "absent",
        "templates": ["The {thing} was moved."],
        "slots": {"thing": ["table", "page", "map"]},
    },
    {
        "name": "names",
        "capability": "names",
        "kind": "invariance",
        "expect": "same",
        "vary": "name",
        "templates": ["{name} reads the page."],
        "slots": {"name": ["Ann", "Bo", "Cy"]},
    },
    {
        "name": "added",
        "capability": "insult added",
        "kind": "direction",
        "expect": "higher",
        "pairs": [["I read the {thing}.", "I read the {thing}, idiot."]],
        "slots": {"thing": ["page", "map"]},
    },
]


def make_frozen(path: Path, count: int = 1500, seed: int = 0) -> Path:
    """Write texts whose labels are drawn with the probabilities that the tiny bundle gives them."""
    generator, chance = random.Random(seed), np.random.default_rng(seed)
    rows = []
    for number in range(count):
        marked = generator.sample(sorted(WORDS), generator.choice((0, 0, 1, 1, 2)))
        words = [*generator.sample(PLAIN, 5), *marked, str(number)]
        generator.shuffle(words)
        logits = BIAS + sum(np.array(WORDS[word], dtype=float) for word in marked)
        present = chance.random(len(LABELS)) < 1 / (1 + np.exp(-logits))
        labels = {f"true_{label}": int(is_there) for label, is_there in zip(LABELS, present, strict=True)}
        rows.append({"id": str(number), "comment_text": " ".join(words), **labels, "weight": 1.0})
    pd.DataFrame(rows).to_parquet(path)
    return path


def make_rules(folder: Path, **changes: Any) -> Path:
    """Write rules that a good tiny bundle passes, with the cases beside them; ``changes`` replace keys of sections."""
    (folder / "cases").mkdir(exist_ok=True)
    (folder / "cases" / "all.yaml").write_text(yaml.safe_dump(CASES))
    share = {"minimum_functionality": 0.9, "invariance": 0.9, "direction": 0.9, "margin": 0.02}
    rules: dict[str, Any] = {
        "data": {"min_positives": 20},
        "comparison": {
            "resamples": 200,
            "margins": {key: {"default": 0.05} for key in ("roc_auc", "average_precision", "brier_skill")},
        },
        "floors": {"roc_auc": 0.7, "brier_skill": 0.0},
        "calibration": {"slope": [0.6, 1.6]},
        "behaviour": {"cases": "cases", **share},
        "identity": {
            "label": "toxic",
            "min_rows": 20,
            "rate_gap": 0.1,
            "calibration_gap": 0.1,
            "margin": 0.02,
            "groups": {"women": ["women"], "muslim": ["muslim", "muslims"], "nobody": ["zzz"]},
        },
        "obfuscation": {"texts": 10, "label": "toxic", "strengths": [0.2, 1.0], "retained": 0.05, "margin": 0.05},
        "int8": {"mean_score_difference": 0.01, "average_precision_drop": 0.01},
        "latency": {"texts": 10, "median_ms": 1000, "ratio": 100},
    }
    for section, values in changes.items():
        rules[section] |= values
    path = folder / "gate.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path
