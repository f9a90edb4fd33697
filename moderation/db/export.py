"""What leaves the database for training: predictions with the labels that people said are right.

Callers choose what they judge, so feedback is no sample of traffic: rows to learn from, not to measure on. Reviews are
drawn by design: each stands for as many predictions as the inverse of its inclusion probability.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine, and_, func, select

from moderation.db.models import Feedback, Prediction
from moderation.db.review_models import ReviewItem
from moderation.errors import InvalidInputError
from moderation.exports import Export, file_digest
from moderation.labels import LABELS

CHUNK_ROWS = 1_000
Kind = Literal["feedback", "reviews"]
_NOTHING: dict[Kind, str] = {"feedback": "feedback with corrected labels", "reviews": "review with settled labels"}


@dataclass(frozen=True)
class Judged:
    """A prediction that was judged; ``labels`` are the right ones as far as said, ``text`` None if it was not kept."""

    prediction_id: str
    judged_at: datetime
    version: str
    labels: dict[str, bool]
    text: str | None
    weight: float = 1.0


def corrections(engine: Engine, start: datetime, end: datetime) -> Iterator[Judged]:
    """Yield the predictions whose labels feedback of ``[start, end)`` states, oldest feedback first.

    The newest feedback on a prediction counts. Bounded in memory, not in number.
    """
    place = func.row_number().over(
        partition_by=Feedback.prediction_id, order_by=(Feedback.created_at.desc(), Feedback.id.desc())
    )
    stated = (
        select(Feedback.prediction_id, Feedback.created_at, Feedback.labels, place.label("place"))
        .where(Feedback.created_at >= start, Feedback.created_at < end, Feedback.labels.is_not(None))
        .subquery()
    )
    query = (
        select(stated.c.prediction_id, stated.c.created_at, Prediction.version, stated.c.labels, Prediction.text)
        .join(Prediction, Prediction.id == stated.c.prediction_id)
        .where(stated.c.place == 1)
        .order_by(stated.c.created_at, stated.c.prediction_id)
    )
    with engine.connect() as connection:
        for row in connection.execute(query, execution_options={"yield_per": CHUNK_ROWS}):
            yield Judged(*row)


def reviewed(engine: Engine, start: datetime, end: datetime) -> Iterator[Judged]:
    """Yield the items of the designed sample whose labels reviewers settled in ``[start, end)``, oldest first.

    ``weight`` is the inverse of the inclusion probability. Bounded in memory, not in number.
    """
    same = and_(Prediction.id == ReviewItem.prediction_id, Prediction.created_at == ReviewItem.predicted_at)
    query = (
        select(ReviewItem.prediction_id, ReviewItem.closed_at, ReviewItem.version, ReviewItem.labels, Prediction.text,
               1 / ReviewItem.probability)
        .join(Prediction, same, isouter=True)
        .where(ReviewItem.kind == "sample", ReviewItem.state == "done")
        .where(ReviewItem.closed_at >= start, ReviewItem.closed_at < end)
        .order_by(ReviewItem.closed_at, ReviewItem.id)
    )  # fmt: skip
    with engine.connect() as connection:
        for row in connection.execute(query, execution_options={"yield_per": CHUNK_ROWS}):
            yield Judged(*row)  # type: ignore[arg-type] # none of it is null in a settled item


class Tally:
    """Counts what passes through on its way to a file, for the file's manifest."""

    def __init__(self) -> None:
        self._times: tuple[datetime, datetime] | None = None
        self._versions: Counter[str] = Counter()
        self._without_text = 0

    def counted(self, judged: Iterable[Judged]) -> Iterator[Judged]:
        """Yield those whose text is known; they come in order of time."""
        for each in judged:
            if each.text is None:
                self._without_text += 1
                continue
            self._times = (self._times[0] if self._times else each.judged_at, each.judged_at)
            self._versions[each.version] += 1
            yield each

    def manifest(self, kind: Kind, file: Path, start: datetime, end: datetime) -> Export:
        """Return the manifest of ``file``, to which everything of ``[start, end)`` was written.

        Raises:
            InvalidInputError: that was nothing.
        """
        if self._times is None:
            raise InvalidInputError(
                f"no {_NOTHING[kind]} on a stored text from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} (without "
                f"its text: {self._without_text})"
            )
        return Export(
            kind=kind,
            sha256=file_digest(file),
            first_at=self._times[0],
            last_at=self._times[1],
            rows=self._versions.total(),
            without_text=self._without_text,
            versions=dict(sorted(self._versions.items())),
        )


def row_of(judged: Judged) -> dict[str, Any]:
    """Return the row of a file that layout ``reviews`` reads (docs/data.md): 1, 0 or None per label."""
    return {
        "prediction_id": judged.prediction_id,
        "comment_text": judged.text,
        **{label: None if judged.labels.get(label) is None else int(judged.labels[label]) for label in LABELS},
        "reviewed_at": judged.judged_at.isoformat(),
        "weight": judged.weight,
        "version": judged.version,
    }
