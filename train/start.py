"""The weights of a bundle as the start of a training: of one that was shipped, or of an earlier stage."""

from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import nn

from moderation.bundle import TOKENIZER, read_bundle
from moderation.errors import BundleError, ConfigurationError
from moderation.labels import LABELS
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.weights import read_weights
from train.vocabulary import give_meaning


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

    Words of ``tokenizer`` that the bundle lacks begin as what they stand for; those that it has beyond are left out.

    Raises:
        ConfigurationError: no bundle, one of another architecture, or of another vocabulary than ``tokenizer``.
    """
    try:
        own, theirs = (Tokenizer.from_file(str(file)) for file in (tokenizer, path / TOKENIZER))
        if not _is_one_the_others_beginning(own, theirs):
            raise ConfigurationError(f"model.start: {path} has another vocabulary than the encoder")
        weights = {name: torch.tensor(values) for name, values in read_weights(read_bundle(path, LABELS).path).items()}
        embeddings = cast(nn.Embedding, model.encoder.get_input_embeddings())
        name = next(name for name, values in model.named_parameters() if values is embeddings.weight)
        known = min(len(weights[name]), embeddings.num_embeddings)
        weights[name] = torch.cat([weights[name][:known], embeddings.weight.detach()[known:]])
        model.load_state_dict(weights)
        give_meaning(embeddings, own, known)
    except (BundleError, KeyError, RuntimeError) as error:  # a missing name, or torch's of one or of another shape
        raise ConfigurationError(f"model.start: {path} does not fit ({str(error).splitlines()[0]})") from error


def _is_one_the_others_beginning(*tokenizers: Tokenizer) -> bool:
    """Return whether the smaller vocabulary's tokens have the same numbers in the larger one."""
    smaller, larger = sorted((each.get_vocab(with_added_tokens=True).items() for each in tokenizers), key=len)
    return smaller <= larger
