"""Sentences of our own with slots, as training rows: what the data do not teach, such as that a group is no insult.

A folder holds YAML files with a list of suites each, and perhaps ``words.yaml`` with lists that all of them share. Of
a suite's combinations as many are drawn from each template, and of each slot every word as often, or one group would
stand in abuse by chance more than another. The rows are the same on every machine.
"""

import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.config_types import Label

WORDS = "words.yaml"
TRIES = 20
_SLOT = re.compile(r"{(\w+)}")
Words = Annotated[list[str], Field(min_length=1)]


class TemplateSuite(BaseModel):
    """Templates that share their labels; a label that is not named is 0, an unknown one costs nothing in training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    labels: dict[Label, Annotated[float, Field(ge=0, le=1)]] = {}
    unknown: tuple[Label, ...] = ()
    count: Annotated[
        int,
        Field(ge=1, description="How many texts are drawn: as many from each template, rounded up, or all it has."),
    ]
    templates: Words
    slots: dict[str, Words] = {}

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if both := set(self.labels) & set(self.unknown):
            raise ValueError(f"{self.name}: {min(both)} is both stated and unknown")
        for number, template in enumerate(self.templates):
            if {"{", "}"} & set(_SLOT.sub("", template)):
                raise ValueError(f"{self.name}: template {number} has a brace that is no slot's; expected {{name}}")
        return self


def read_templates(folder: Path) -> pd.DataFrame:
    """Return the texts of every suite: columns comment_text and the six labels, NaN where unknown.

    Raises:
        InvalidInputError: no such folder, a file that is no list of suites, a slot without words, two suites that
            give one text other labels.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise InvalidInputError(f"{folder} has no YAML file of templates")
    words = _read(folder / WORDS, dict[str, Words]) if (folder / WORDS).exists() else {}
    suites = [(path, suite) for path in paths if path.name != WORDS for suite in _read(path, list[TemplateSuite])]
    rows = [
        {"comment_text": text, "suite": suite.name, **_labels(suite)}
        for path, suite in suites
        for text in draw(suite, words, path)
    ]
    return _once(pd.DataFrame(rows), folder)


def _once(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return ``rows`` without texts that are equal but for case, which must have the same labels."""
    folded = rows["comment_text"].str.casefold()
    first = rows.groupby(folded)[["suite", *LABELS]].transform(lambda values: values.iloc[0])
    same = (rows[list(LABELS)] == first[list(LABELS)]) | (rows[list(LABELS)].isna() & first[list(LABELS)].isna())
    if not same.all(axis=None):
        other = ~same.all(axis=1)
        pair = " and ".join(sorted({first.loc[other, "suite"].iloc[0], rows.loc[other, "suite"].iloc[0]}))
        raise InvalidInputError(
            f"{folder}: {other.sum()} texts stand there again with other labels, the first in {pair}; expected the same"
        )
    return rows[~folded.duplicated()].drop(columns="suite").reset_index(drop=True)


def draw(suite: TemplateSuite, words: Mapping[str, list[str]], path: Path) -> list[str]:
    """Return the texts of ``suite``, as many from each template; ``words`` fill slots it has no list for.

    Raises:
        InvalidInputError: a slot that has no words.
    """
    slots = {**words, **suite.slots}
    share = math.ceil(suite.count / len(suite.templates))
    texts: list[str] = []
    for template in suite.templates:
        named = list(dict.fromkeys(_SLOT.findall(template)))
        if missing := [slot for slot in named if slot not in slots]:
            raise InvalidInputError(f"{path}: {suite.name}: slot {missing[0]} has no words")
        count = min(share, math.prod(len(set(slots[slot])) for slot in named))
        texts += _filled(template, {slot: slots[slot] for slot in named}, count)
    return texts


def _filled(template: str, slots: Mapping[str, list[str]], count: int) -> list[str]:
    """Return ``count`` texts or a few less; a word of a slot comes again after every other has, in an order by hash."""
    streams = [_shuffled(slot, words, template) for slot, words in slots.items()]
    texts: dict[str, None] = {}
    for _ in range(TRIES * count):  # the streams come to every combination, though two may read alike
        if len(texts) == count:
            break
        drawn = {slot: next(stream) for slot, stream in zip(slots, streams, strict=True)}
        text = _SLOT.sub(lambda slot: drawn[slot[1]], template)  # noqa: B023 - called at once
        texts[text[:1].upper() + text[1:] if template[:1] == "{" else text] = None
    return list(texts)


def _shuffled(slot: str, words: list[str], template: str) -> Iterator[str]:
    for round_ in itertools.count():
        yield from sorted(words, key=lambda word: _hash(f"{template}\x1f{slot}\x1f{round_}\x1f{word}"))


def _labels(suite: TemplateSuite) -> dict[str, float]:
    return {label: np.nan if label in suite.unknown else suite.labels.get(label, 0.0) for label in LABELS}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path, kind: Any) -> Any:  # noqa: ANN401 - what `kind` says
    try:
        return TypeAdapter(kind).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not YAML in UTF-8 ({type(error).__name__})") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
