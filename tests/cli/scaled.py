"""The tiny bundle with a scale of its own, whose knots are written by hand."""

from pathlib import Path

from moderation.bundle import read_bundle, write_manifest
from moderation.perspective_scale import AttributeScale, PerspectiveScale
from tests.bundles import build_tiny_bundle

CURVE = AttributeScale(probabilities=[0.0, 0.1, 0.5, 1.0], scores=[0.0, 0.4, 0.8, 1.0])


def build_scaled_bundle(directory: Path) -> Path:
    bundle = build_tiny_bundle(directory, name="scaled")
    scale = PerspectiveScale(
        method="by hand",
        sources={},
        rows=1,
        git_commit="0" * 40,
        attributes={"toxic": CURVE, "insult": CURVE},
    )
    write_manifest(bundle, read_bundle(bundle).manifest.model_copy(update={"perspective": scale}))
    return bundle
