"""Types of values that several parts of a config share."""

from typing import Annotated

from pydantic import AfterValidator

from moderation.labels import LABELS


def _known_label(name: str) -> str:
    if name not in LABELS:
        raise ValueError(f"{name} is no label; expected one of {', '.join(LABELS)}")
    return name


Label = Annotated[str, AfterValidator(_known_label)]
