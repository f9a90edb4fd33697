"""Golden items: texts whose labels are known, which come by unmarked and measure the reviewers."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from moderation.db.review_models import ReviewItem
from moderation.errors import InvalidInputError, NotFoundError
from moderation.labels import LABELS
from moderation.review import audit

_KEPT = ("prediction_id", "predicted_at", "version", "route", "decision", "scores", "predicted", "labels")


def add_golden(engine: Engine, texts: Iterable[tuple[str, Mapping[str, bool]]], now: datetime, by: str) -> int:
    """Add texts of our own with the labels that they have, yes or no for each; return how many.

    Raises:
        InvalidInputError: an empty text, or labels that are missing or unknown; the row is named, from 1.
    """
    rows = []
    for number, (text, labels) in enumerate(texts, start=1):
        if not text.strip():
            raise InvalidInputError(f"row {number} has no text")
        if set(labels) != set(LABELS):
            raise InvalidInputError(f"row {number} has labels {', '.join(sorted(labels))}; expected all six")
        rows.append(_golden(now) | {"text": text, "labels": dict(labels)})
    if rows:
        with engine.begin() as connection:
            connection.execute(insert(ReviewItem), rows)
            audit.write(connection, now, by, "add golden items", str(len(rows)))
    return len(rows)


def make_golden(engine: Engine, prediction_id: str, now: datetime, by: str) -> None:
    """Make a golden item of a reviewed prediction, with its consensus; erasing its text takes it away again.

    Raises:
        NotFoundError: no such item, or it is not done.
        InvalidInputError: it is golden already.
    """
    columns = (ReviewItem.__table__.c[name] for name in _KEPT)
    query = select(*columns).where(ReviewItem.prediction_id == prediction_id, ReviewItem.state == "done")
    try:
        with engine.begin() as connection:
            found = connection.execute(query.limit(1)).mappings().one_or_none()
            if found is None:
                raise NotFoundError(f"prediction {prediction_id} has no review with a consensus")
            connection.execute(insert(ReviewItem).values({**found, **_golden(now)}))
            audit.write(connection, now, by, "make golden", prediction_id)
    except IntegrityError:
        raise InvalidInputError(f"prediction {prediction_id} is a golden item already") from None


def _golden(now: datetime) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "kind": "golden", "state": "open", "drawn_at": now, "place": 0, "wanted": 0}
