"""The weights of a bundle as the start of a training: of one that was shipped, or of an earlier stage."""

from pathlib import Path

import torch
from tokenizers import Tokenizer

from moderation.bundle import TOKENIZER, read_bundle
from moderation.errors import BundleError, ConfigurationError
from moderation.labels import LABELS
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.weights import read_weights


def start_version(path: Path | None) -> str | None:
    """Return the version of the bundle in ``path``, if one is named.

    Raises:
        ConfigurationError: no bundle there.
    """
    try:
        return read_bundle(path, LABELS).version if path is not None else None
    except BundleError as error:
        raise ConfigurationError(f"model.start: {error}") from error


def begin_with(model: CommentClassifier, path: Path, tokenizer: Path) -> None:
    """Give ``model`` the weights of the bundle in ``path``, in place; of an int8 file, as floats.

    Raises:
        ConfigurationError: no bundle, one of another architecture, or of another vocabulary than ``tokenizer``.
    """
    try:
        if _vocabulary(path / TOKENIZER) != _vocabulary(tokenizer):
            raise ConfigurationError(f"model.start: {path} has another vocabulary than the encoder")
        weights = read_weights(read_bundle(path, LABELS).path)
        model.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    except (BundleError, RuntimeError) as error:  # torch's of a missing name, or another shape
        raise ConfigurationError(f"model.start: {path} does not fit ({str(error).splitlines()[0]})") from error


def _vocabulary(path: Path) -> dict[str, int]:
    return Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
