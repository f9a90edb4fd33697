"""What leaves the database for training: predictions with the labels that people said are right.

Callers choose what they judge, so feedback is no sample of traffic: rows to learn from, not to measure on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, select

from moderation.db.models import Feedback, Prediction

CHUNK_ROWS = 1_000


@dataclass(frozen=True)
class Judged:
    """A prediction that was judged; ``labels`` are the right ones as far as said, ``text`` None if it was not kept."""

    prediction_id: str
    judged_at: datetime
    version: str
    labels: dict[str, bool]
    text: str | None


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
