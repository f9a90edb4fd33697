"""Headers that say by what an answer of another service's shape was made: its body has no place for that."""

from collections.abc import Sequence

from serve.model import Model

VERSION = "X-Moderation-Version"
DIGEST = "X-Moderation-Bundle-Digest"
CALIBRATION = "X-Moderation-Calibration"
UNSUPPORTED = "X-Moderation-Unsupported-Attributes"
TRUNCATED = "X-Moderation-Truncated"
BUNDLE_HEADERS = (VERSION, DIGEST, CALIBRATION, UNSUPPORTED, TRUNCATED)


def bundle_headers(models: Sequence[Model], on_scale: bool = False) -> dict[str, str]:
    """Return which versions answered, each by what calibration; ``on_scale``: on Perspective's scale where it can be.

    The digest is the SHA-256 of the manifest, which states those of all other files.
    """
    return {
        VERSION: ", ".join(model.served.version for model in models),
        DIGEST: ", ".join(f"sha256:{model.served.version}" for model in models),
        CALIBRATION: ", ".join(calibration_id(model, on_scale) for model in models),
    }


def calibration_id(model: Model, on_scale: bool) -> str:
    """Return what names the way from logits to the scores that are answered."""
    if on_scale and model.perspective is not None:
        return f"probability-{model.calibration}+perspective-{model.perspective.id}"
    return f"probability-{model.calibration}"
