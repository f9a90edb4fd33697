"""A figure beside its aim, and the parts of a report that figures stand in; all of it is plain JSON."""

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from train.metrics.resampling import Interval

Reached = Literal["yes", "by value", "no", ""]


class Figure(BaseModel):
    """A value with its 95 % interval, and the range that it is to reach; None: not defined, or no such bound.

    ``name`` stays the same from bundle to bundle and is one of its part's (docs/quality.md); ``what`` is for readers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    what: str
    value: float | None
    low: float | None = None
    high: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 3

    @classmethod
    def of(
        cls,
        name: str,
        what: str,
        found: Interval | float,
        at_least: float | None = None,
        at_most: float | None = None,
        digits: int = 3,
    ) -> Self:
        """Return the figure of what a bootstrap, or a count, found."""
        interval = found if isinstance(found, Interval) else Interval(found, math.nan, math.nan)
        return cls(name=name, what=what, **interval.plain(), at_least=at_least, at_most=at_most, digits=digits)

    @property
    def reached(self) -> Reached:
        """Whether the aim is reached: ``by value`` where the value does and an end of its interval does not."""
        if self.at_least is None and self.at_most is None:
            return ""
        if self.value is None or not self._within(self.value):
            return "no"
        ends = [end for end in (self.low, self.high) if end is not None]
        return "yes" if all(map(self._within, ends)) else "by value"

    def _within(self, number: float) -> bool:
        least = -math.inf if self.at_least is None else self.at_least
        most = math.inf if self.at_most is None else self.at_most
        return least <= number <= most


class Row(BaseModel):
    """One row of a table, its cells each a value with its interval as `Interval.plain` gives it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    cells: list[dict[str, float | None]]


class Table(BaseModel):
    """Details of a part. Lists, since a manifest is written with its keys in another order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    first: str
    columns: list[str]
    rows: list[Row]

    @classmethod
    def of(cls, title: str, first: str, rows: Mapping[str, Mapping[str, Interval]]) -> Self:
        """Return the table of intervals by row and column, of which every row has the same."""
        return cls(
            title=title,
            first=first,
            columns=list(next(iter(rows.values()))),
            rows=[Row(name=name, cells=[cell.plain() for cell in row.values()]) for name, row in rows.items()],
        )


class Part(BaseModel):
    """What one measurement found, and how: on what, how many, by which definition."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    how: str
    figures: list[Figure]
    tables: list[Table] = []


class Report(BaseModel):
    """Everything that was measured of one bundle, and what it takes to measure it again.

    ``weights`` is the SHA-256 of the weights, ``dataset`` the digest of the rows whose test split was scored (None: no
    part needed them), ``files`` the SHA-256 of each other file of texts or words. Intervals draw ``resamples`` samples,
    parts that draw fewer say so, from ``seed`` on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: str
    version: str
    weights: str
    backend: str
    git_commit: str
    git_dirty: bool
    dataset: str | None
    files: dict[str, str]
    resamples: int
    seed: int
    left_out: list[str]
    parts: list[Part]
