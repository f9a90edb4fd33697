"""Types of values that several parts of a config share."""

from typing import Annotated

from pydantic import AfterValidator

from moderation.labels import LABELS


def _known_label(name: str) -> str:
    if name not in LABELS:
        raise ValueError(f"{name} is no label; expected one of {', '.join(LABELS)}")
    return name


Label = Annotated[str, AfterValidator(_known_label)]


def _rising(part: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= part[0] < part[1] <= 1:
        raise ValueError(f"{list(part)} is no part; expected two shares such as [0, 0.75]")
    return part


HashRange = Annotated[tuple[float, float], AfterValidator(_rising)]
