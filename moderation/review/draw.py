"""Draws the sample that people review: from closed time windows, each once, at random within frozen strata.

Every stratum is sampled without replacement, so within a window and stratum each prediction that could be drawn had
the same probability, which is stored with the item (Särndal, Swensson, Wretman: Model Assisted Survey Sampling, 1992,
section 3.7). What the estimate needs of the others, their number by predicted class, is stored with the window.
"""

import random
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Engine, Select, Table, and_, case, func, insert, not_, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from moderation.db.database import begin_reading, lift_time_limit
from moderation.db.models import SCORE_COLUMNS, Prediction
from moderation.db.review_models import Review, ReviewItem, ReviewPopulation, ReviewWindow
from moderation.db.rollups import Thresholds
from moderation.review import audit, score_bins, strata
from moderation.review.policy import ReviewPolicy
from moderation.statistics.design import allocate

SYSTEM = "system:draw"
"""Who draws, in the audit log; no reviewer can have this name."""
_IDS_PER_STATEMENT = 500
Row = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """A window and how many of its predictions were drawn per stratum; ``excluded`` could not be drawn."""

    started_at: datetime
    ended_at: datetime
    predictions: int
    excluded: int
    items: dict[str, int]


def draw(
    engine: Engine, policy: ReviewPolicy, now: datetime, new_seed: Callable[[], int] = lambda: secrets.randbits(63)
) -> list[Drawn]:
    """Draw from every closed window that was not drawn yet, oldest first; several processes may do so at once.

    Windows follow each other without gap or overlap, also when the policy's length changes. What is older than an
    item's life is not drawn any more.
    """
    drawn = []
    while (start := _next_start(engine, policy, now)) is not None:
        sample = _sample(engine, policy, (start, start + policy.window), now, random.Random(seed := new_seed()))  # noqa: S311
        with engine.begin() as connection:
            window = _window(sample, policy, now, seed)
            if not connection.execute(_insert_unless_there(connection, ReviewWindow), window).rowcount:
                continue  # another process was faster
            for model, rows in ((ReviewPopulation, sample.populations), (ReviewItem, sample.items),
                                (Review, sample.slots)):  # fmt: skip
                if rows:
                    connection.execute(insert(model), rows)
            audit.write(connection, now, SYSTEM, "draw", start.isoformat())
        drawn.append(sample.drawn)
    return drawn


@dataclass(frozen=True)
class _Sample:
    drawn: Drawn
    populations: list[Row]
    items: list[Row]
    slots: list[Row]


def _next_start(engine: Engine, policy: ReviewPolicy, now: datetime) -> datetime | None:
    """Return where the next window begins; None if it is not closed yet, or there is nothing to draw from."""
    horizon = now - policy.expiry
    with engine.connect() as connection:
        start = connection.scalar(select(func.max(ReviewWindow.ended_at)))
        if start is None or start < horizon:
            first = connection.scalar(select(func.min(Prediction.created_at)).where(Prediction.created_at >= horizon))
            if first is None:
                return None
            aligned = _floor(first, policy.window)
            start = aligned if start is None else max(start, aligned)
    return start if start + policy.window + policy.delay <= now else None


def _floor(at: datetime, length: timedelta) -> datetime:
    seconds = int(length.total_seconds())
    return datetime.fromtimestamp(int(at.timestamp()) // seconds * seconds, UTC)


def _sample(
    engine: Engine, policy: ReviewPolicy, window: tuple[datetime, datetime], now: datetime, rng: random.Random
) -> _Sample:
    """Read the window as it is now and choose; the database does the counting, and only the chosen leave it."""
    with engine.connect() as connection:
        begin_reading(connection)
        lift_time_limit(connection)
        thresholds = strata.window_thresholds(connection, *window)
        frame = strata.frame(policy, *window, now, thresholds)
        populations = _count(connection, frame)
        counts = Counter[str](dict.fromkeys(policy.shares, 0))
        for row in populations:
            counts[row["stratum"]] += row["predictions"]
        sizes = allocate(counts, policy.window_budget, policy.shares, policy.floor)
        places = {kind: rng.sample(range(1, counts[kind] + 1), sizes[kind]) for kind in sorted(counts)}
        stratum_of = _choose(connection, frame, places)
        chosen = _read(connection, sorted(stratum_of), window)
    items = _items(chosen, thresholds, stratum_of, {kind: sizes[kind] / counts[kind] for kind in sizes if counts[kind]})
    rng.shuffle(items)
    common = {"drawn_at": now, "expires_at": now + policy.expiry, "window_at": window[0],
              "policy_digest": policy.digest}  # fmt: skip
    for place, item in enumerate(items):
        item.update(common, place=place, wanted=2 if rng.random() < policy.double_share else 1)
    taken = Counter[str](item["stratum"] for item in items)
    excluded = sum(row["excluded"] for row in populations)
    drawn = Drawn(*window, counts.total(), excluded, {kind: taken[kind] for kind in policy.shares})
    return _Sample(drawn, [row | {"window_at": window[0]} for row in populations], items, slots(items))


def slots(items: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the reviews that ``items`` wait for, as many for each as it wants."""
    return [
        {"id": str(uuid.uuid4()), "item_id": item["id"], "adjudicates": False}
        for item in items
        for _ in range(item["wanted"])
    ]


def _count(connection: Connection, frame: Select[*tuple[Any, ...]]) -> list[Row]:
    rows = frame.subquery()
    key = (rows.c.stratum, rows.c.version, rows.c.route)
    counted = {"predictions": rows.c.eligible, "excluded": not_(rows.c.eligible)}
    counts = (func.count(case((condition, 1))).label(name) for name, condition in counted.items())
    scores = score_bins.count(connection, frame)
    return [
        dict(row) | {"score_bins": scores.get((row["stratum"], row["version"], row["route"]), {})}
        for row in connection.execute(select(*key, *counts).group_by(*key)).mappings()
    ]


def _choose(
    connection: Connection, frame: Select[*tuple[Any, ...]], places: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    """Return id and stratum of the predictions that stand at ``places`` (from 1) of their stratum, in order of time."""
    wanted = {kind: numbers for kind, numbers in places.items() if numbers}
    if not wanted:
        return {}
    rows = frame.subquery()
    place = func.row_number().over(partition_by=rows.c.stratum, order_by=(rows.c.created_at, rows.c.id))
    ranked = select(rows.c.id, rows.c.stratum, place.label("place")).where(rows.c.eligible).subquery()
    these = or_(*(and_(ranked.c.stratum == kind, ranked.c.place.in_(each)) for kind, each in wanted.items()))
    return {row.id: row.stratum for row in connection.execute(select(ranked.c.id, ranked.c.stratum).where(these))}


def _read(connection: Connection, ids: Sequence[str], window: tuple[datetime, datetime]) -> list[Row]:
    within = (Prediction.created_at >= window[0], Prediction.created_at < window[1])
    columns = (Prediction.id, Prediction.created_at, Prediction.version, Prediction.route, Prediction.decision,
               *SCORE_COLUMNS.values())  # fmt: skip
    found: list[Row] = []
    for first in range(0, len(ids), _IDS_PER_STATEMENT):
        some = ids[first : first + _IDS_PER_STATEMENT]
        found += map(dict, connection.execute(select(*columns).where(Prediction.id.in_(some), *within)).mappings())
    return sorted(found, key=lambda row: (row["created_at"], row["id"]))  # the same sample from the same seed


def item_of(row: Mapping[str, Any], thresholds: Thresholds) -> Row:
    """Return what an item keeps of a prediction, given its columns."""
    scores = {label: row[column.key] for label, column in SCORE_COLUMNS.items() if row[column.key] is not None}
    return {
        "id": str(uuid.uuid4()),
        "state": "open",
        "prediction_id": row["id"],
        "predicted_at": row["created_at"],
        "version": row["version"],
        "route": row["route"],
        "decision": row["decision"],
        "scores": scores,
        "predicted": strata.predicted_labels(scores, thresholds.get(row["version"], {})),
    }


def _items(
    chosen: Sequence[Row], thresholds: Thresholds, stratum_of: Mapping[str, str], probability: Mapping[str, float]
) -> list[Row]:
    return [
        {"kind": "sample", "stratum": (kind := stratum_of[row["id"]]), "probability": probability[kind]}
        | item_of(row, thresholds)
        for row in chosen
    ]


def _window(sample: _Sample, policy: ReviewPolicy, now: datetime, seed: int) -> Row:
    return {
        "started_at": sample.drawn.started_at,
        "ended_at": sample.drawn.ended_at,
        "drawn_at": now,
        "policy_digest": policy.digest,
        "seed": seed,
        "budget": policy.window_budget,
        "predictions": sample.drawn.predictions,
        "excluded": sample.drawn.excluded,
    }


def _insert_unless_there(connection: Connection, model: type[ReviewWindow]) -> Any:  # noqa: ANN401
    table = cast(Table, model.__table__)
    statement = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    return statement.on_conflict_do_nothing()
