"""Scores of the predictions that could be drawn, counted per stratum: what the estimate knows of those nobody reviewed.

Counted for every label, and for the exact match, whose score is the probability that all classes are right by the
calibrated scores (`moderation.statistics.live_quality.chance_of_match`). Bins are finer than the estimators', so that
a class can be counted as if another threshold had been in force: every multiple of 0.05 is an edge.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import reduce
from operator import mul
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Select, case, func, literal, select, true, union_all

from moderation.labels import LABELS
from moderation.statistics.sample import SCORE_EDGES

EXACT_MATCH = "exact_match"
EDGES: tuple[float, ...] = tuple(sorted({*SCORE_EDGES, *(k / 20 for k in range(1, 20))}))
"""Edges of the bins. Stored counts refer to them by number: other edges need another column."""
ScoreBins = Mapping[str, list[tuple[int, int, int, float]]]
"""Per label: bin, 1 for the predicted class or 0, number of predictions, sum of their scores; empty bins left out."""


def count(connection: Connection, frame: Select[*tuple[Any, ...]]) -> dict[tuple[str, str, str], ScoreBins]:
    """Return the counts of `moderation.review.strata.frame`, by stratum, version and route."""
    rows = frame.cte("frame")
    right = [
        case((rows.c[f"predicted_{label}"], rows.c[f"score_{label}"]), else_=1 - rows.c[f"score_{label}"])
        for label in LABELS
    ]
    scored = select(rows, reduce(mul, right).label(f"score_{EXACT_MATCH}")).where(rows.c.eligible).cte("scored")
    parts = [_counted(scored, label, scored.c[f"predicted_{label}"]) for label in LABELS]
    found: dict[tuple[str, str, str], dict[str, list[tuple[int, int, int, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for stratum, version, route, label, *cell, total in connection.execute(
        union_all(*parts, _counted(scored, EXACT_MATCH, true()))
    ):
        bin_, predicted, number = cell
        found[stratum, version, route][label].append((bin_, predicted, number, float(f"{total:.7g}")))
    return dict(found)


def _counted(rows: CTE, label: str, predicted: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    score = rows.c[f"score_{label}"]
    cells = (
        select(
            *(rows.c.stratum, rows.c.version, rows.c.route, literal(label).label("label"), score.label("score")),
            _bin(score, 0, len(EDGES) - 1).label("bin"),
            case((predicted, 1), else_=0).label("predicted"),
        )
        .where(score.is_not(None))
        .subquery()
    )
    key = [cells.c[name] for name in ("stratum", "version", "route", "label", "bin", "predicted")]
    return select(*key, func.count(), func.sum(cells.c.score)).group_by(*key)


def _bin(score: ColumnElement[Any], first: int, end: int) -> ColumnElement[int]:
    """Return the bin of a score among bins ``first`` to ``end`` - 1, by halving: six comparisons for 47 bins."""
    if end - first == 1:
        return literal(first)
    middle = (first + end) // 2
    return case((score < EDGES[middle], _bin(score, first, middle)), else_=_bin(score, middle, end))
