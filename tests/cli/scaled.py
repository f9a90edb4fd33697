"""The tiny bundle with a scale of its own, whose numbers are written by hand."""

from pathlib import Path

import numpy as np

from moderation.bundle import PERSPECTIVE_WORDS, read_bundle, write_manifest
from moderation.exports import file_digest
from moderation.hashed_ngrams import BUCKETS, HashedNgrams
from moderation.perspective_scale import AttributeIndex, AttributeScale, PerspectiveScale
from tests.bundles import build_tiny_bundle

CURVE = AttributeScale(probabilities=[0.0, 0.1, 0.5, 1.0], scores=[0.0, 0.4, 0.8, 1.0])
WEIGHTS = {"toxic": 0.5, "insult": 0.25}
INDEX = AttributeIndex(intercept=0.5, log_scores=WEIGHTS, log_complements=WEIGHTS, words=0.75, scale=CURVE)


def build_scaled_bundle(directory: Path) -> Path:
    bundle = build_tiny_bundle(directory, name="scaled")
    manifest = read_bundle(bundle).manifest
    weights = np.random.default_rng(0).normal(0, 1, (2, BUCKETS))
    table = np.stack([np.ones_like(weights), weights], axis=1).astype(np.float32)
    HashedNgrams(table).save(bundle)
    scale = PerspectiveScale(
        method="by hand",
        sources={},
        rows=1,
        git_commit="0" * 40,
        attributes={"toxic": CURVE, "insult": CURVE},
        indices={"toxic": INDEX, "insult": INDEX},
        words_sha256=file_digest(bundle / PERSPECTIVE_WORDS),
    )
    write_manifest(bundle, manifest.model_copy(update={"perspective": scale}))
    return bundle
