"""The queue: leases items to reviewers, keeps their drafts, takes their verdicts, and closes items.

A review row is a place for one reviewer's work. It is made with its item and waits; whoever takes it is written into
it under a lock, so of two who ask at once each gets another one (PostgreSQL passes over locked rows, SQLite lets one
writer in at a time). A lease that has run out can be taken over: the new reviewer gets a row of his own, and what the
first one saved stays in his. Texts are read from the predictions, so what was erased is not shown any more.
"""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Engine, Row, Select, and_, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from moderation.db.database import begin_exclusive
from moderation.db.models import Prediction
from moderation.db.review_models import Review, ReviewItem
from moderation.errors import InvalidInputError, NotFoundError
from moderation.labels import LABELS
from moderation.review import audit
from moderation.review.access import Session, is_admin, require
from moderation.review.policy import ReviewPolicy

Outcome = Literal["labels", "unsure", "skip", "needs_context"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_TRIES = 5
_CHANCE = random.SystemRandom()
_TEXT = func.coalesce(ReviewItem.text, Prediction.text)


@dataclass(frozen=True)
class Verdict:
    """What somebody said of an item: all labels, or why not."""

    outcome: Outcome
    labels: dict[str, bool] | None


@dataclass(frozen=True)
class Task:
    """What a reviewer is shown: the text and what he saved himself; no scores, nor why it is asked.

    ``verdicts`` are those to decide between, nameless; only if he adjudicates.
    """

    review_id: str
    text: str
    leased_until: datetime
    draft: dict[str, bool]
    adjudicates: bool = False
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Revealed:
    """What the model had said of a reviewed prediction; all None for a text of our own.

    Or for one that is not ``settled``, of which whoever asks may have to have the last word.
    """

    scores: dict[str, float] | None
    predicted: list[str] | None
    decision: str | None
    version: str | None
    settled: bool = True


def next_item(
    engine: Engine,
    session: Session,
    policy: ReviewPolicy,
    now: datetime,
    adjudicate: bool = False,
    chance: random.Random = _CHANCE,
) -> Task | None:
    """Lease the next item, or go on with the one at hand; None if nothing waits for this reviewer.

    With ``adjudicate`` it is one that reviewers disagree on: for a reviewer who has not labelled it, or any admin.
    ``chance`` decides when a golden item takes the place of another, which stays for the next call.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    for _ in range(_TRIES):
        try:
            with engine.begin() as connection:
                begin_exclusive(connection)
                name = require(connection, session, "reviewer", now)
                return _lease(connection, name, policy, now, adjudicate, chance)
        except IntegrityError:
            continue  # the same reviewer took it in another tab
    return None


def save_draft(
    engine: Engine, session: Session, review_id: str, labels: Mapping[str, bool], policy: ReviewPolicy, now: datetime
) -> None:
    """Keep the labels chosen so far, and the item for another lease.

    Raises:
        InvalidInputError: unknown labels, or the verdict was given already.
        NotFoundError: no such review of this reviewer.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    _check_labels(labels)
    with engine.begin() as connection:
        begin_exclusive(connection)
        name = require(connection, session, "reviewer", now)
        found = _own(connection, review_id, name)
        values: dict[str, Any] = {"draft": dict(labels)}
        if found.leased_until is not None:  # None: another reviewer took over
            values["leased_until"] = now + policy.lease
        connection.execute(update(Review).where(Review.id == review_id).values(values))


def submit(
    engine: Engine,
    session: Session,
    review_id: str,
    outcome: Outcome,
    now: datetime,
    labels: Mapping[str, bool] | None = None,
) -> None:
    """Take the verdict: with the outcome ``labels``, yes or no for every label.

    An item is done when as many reviewers as it wants say the same; it goes to adjudication when they differ, or when
    one is unsure or needs context; what one skips, another gets. Adjudicators have the last word.

    Raises:
        InvalidInputError: an unknown outcome, labels that are missing or too many, or a verdict given already.
        NotFoundError: no such review of this reviewer.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    if outcome not in OUTCOMES:
        raise InvalidInputError(f"outcome is {outcome!r}; expected one of {', '.join(OUTCOMES)}")
    if (outcome == "labels") != (labels is not None):
        raise InvalidInputError("outcome 'labels', and no other, comes with labels")
    if labels is not None:
        _check_labels(labels)
        if missing := [label for label in LABELS if label not in labels]:
            raise InvalidInputError(f"labels lack {', '.join(missing)}; say yes or no for each")
    with engine.begin() as connection:
        begin_exclusive(connection)
        name = require(connection, session, "reviewer", now)
        item_id = _own(connection, review_id, name).item_id
        item = connection.execute(select(ReviewItem.__table__).where(ReviewItem.id == item_id).with_for_update()).one()
        review = _own(connection, review_id, name)  # again, behind the lock: two tabs
        given = {"outcome": outcome, "labels": None if labels is None else dict(labels), "submitted_at": now}
        connection.execute(update(Review).where(Review.id == review_id).values(**given, draft=None, leased_until=None))
        _advance(connection, item, review, outcome, now)
        audit.write(connection, now, name, f"review: {outcome}", review_id)


def reveal(engine: Engine, session: Session, review_id: str, now: datetime) -> Revealed:
    """Return what the model said, to who has given the verdict.

    A skip is none: the item goes to somebody else, who must not hear of it. Admins, who may adjudicate what they
    labelled themselves, see it once the item is settled.

    Raises:
        NotFoundError: no such review of this reviewer, or no verdict yet.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    with engine.connect() as connection:
        name = require(connection, session, "reviewer", now)
        settled = or_(ReviewItem.kind == "golden", ReviewItem.state.in_(("done", "unresolved")))
        query = (
            select(ReviewItem.scores, ReviewItem.predicted, ReviewItem.decision, ReviewItem.version, settled)
            .join(Review, Review.item_id == ReviewItem.id)
            .where(Review.id == review_id, Review.reviewer == name)
            .where(Review.submitted_at.is_not(None), Review.outcome != "skip")
        )
        found = connection.execute(query).one_or_none()
        if found is None:
            raise NotFoundError("scores are shown after the verdict")
        if not found[-1] and is_admin(connection, name):
            return Revealed(None, None, None, None, settled=False)
    return Revealed(*found[:-1])


def _lease(
    connection: Connection, name: str, policy: ReviewPolicy, now: datetime, adjudicate: bool, chance: random.Random
) -> Task | None:
    until = now + policy.lease
    at_hand = connection.execute(_at_hand(name, adjudicate, now)).first()
    if at_hand is not None:
        connection.execute(update(Review).where(Review.id == at_hand.id).values(leased_until=until))
        return _task(connection, at_hand, at_hand.id, until)
    blind = not (adjudicate and is_admin(connection, name))
    waiting = connection.execute(_waiting(name, adjudicate, blind, now)).first()
    if waiting is None:
        return None  # nor a golden item: it would be known by coming when nothing else does
    if not adjudicate and chance.random() < policy.golden_share:
        golden = connection.execute(_golden(name)).all()
        if golden:
            chosen = chance.choice(golden)
            return _task(connection, chosen, _take(connection, chosen.item_id, name, False, until), until)
    if waiting.reviewer is None:
        mine = {"reviewer": name, "leased_until": until}
        connection.execute(update(Review).where(Review.id == waiting.id).values(mine))
        return _task(connection, waiting, waiting.id, until)
    connection.execute(update(Review).where(Review.id == waiting.id).values(leased_until=None))
    return _task(connection, waiting, _take(connection, waiting.item_id, name, adjudicate, until), until)


def _take(connection: Connection, item_id: str, name: str, adjudicates: bool, until: datetime) -> str:
    review_id = str(uuid.uuid4())
    row = {"id": review_id, "item_id": item_id, "adjudicates": adjudicates, "reviewer": name, "leased_until": until}
    connection.execute(insert(Review).values(row))
    return review_id


def _texts() -> Select[*tuple[Any, ...]]:
    """Select reviews with their items' texts, as far as they are still there."""
    same = and_(Prediction.id == ReviewItem.prediction_id, Prediction.created_at == ReviewItem.predicted_at)
    return (
        select(Review.id, Review.item_id, Review.adjudicates, Review.reviewer, Review.draft, _TEXT.label("text"))
        .join(ReviewItem, ReviewItem.id == Review.item_id)
        .join(Prediction, same, isouter=True)
        .where(Review.submitted_at.is_(None), _TEXT.is_not(None))
    )


def _live(adjudicate: bool, now: datetime) -> Any:  # noqa: ANN401 - a condition
    unexpired = or_(ReviewItem.expires_at.is_(None), ReviewItem.expires_at > now)
    return and_(ReviewItem.state == ("conflict" if adjudicate else "open"), unexpired)


def _at_hand(name: str, adjudicate: bool, now: datetime) -> Select[*tuple[Any, ...]]:
    mine = (Review.reviewer == name, Review.adjudicates == adjudicate, Review.leased_until.is_not(None))
    return _texts().where(*mine, _live(adjudicate, now)).order_by(Review.id).limit(1)


def _waiting(name: str, adjudicate: bool, blind: bool, now: datetime) -> Select[*tuple[Any, ...]]:
    """Select the review to take, and lock it; what is ``blind`` is not for who has worked on the item before."""
    other = aliased(Review)
    mine = [other.item_id == Review.item_id, other.reviewer == name]
    if not blind:
        mine.append(other.adjudicates.is_(True))
    return (
        _texts()
        .where(Review.adjudicates == adjudicate, or_(Review.reviewer.is_(None), Review.leased_until < now))
        .where(_live(adjudicate, now), ReviewItem.kind != "golden", ~exists().where(*mine))
        .order_by(ReviewItem.probability.is_(None), ReviewItem.drawn_at, ReviewItem.place, Review.id)
        .limit(1)
        .with_for_update(of=Review, skip_locked=True)
    )


def _golden(name: str) -> Select[str, str]:
    """Select golden items that the reviewer has not seen, also not as another item of the same prediction."""
    seen, before = aliased(Review), aliased(ReviewItem)
    same = or_(before.id == ReviewItem.id, before.prediction_id == ReviewItem.prediction_id)
    known = exists().where(seen.item_id == before.id, seen.reviewer == name, same)
    of_prediction = and_(Prediction.id == ReviewItem.prediction_id, Prediction.created_at == ReviewItem.predicted_at)
    return (
        select(ReviewItem.id.label("item_id"), _TEXT.label("text"))
        .join(Prediction, of_prediction, isouter=True)
        .where(ReviewItem.kind == "golden", ReviewItem.state == "open", _TEXT.is_not(None), ~known)
        .order_by(ReviewItem.id)
        .limit(100)
    )


def _task(connection: Connection, row: Row[*tuple[Any, ...]], review_id: str, until: datetime) -> Task:
    draft = row.draft if getattr(row, "id", None) == review_id else None
    if not getattr(row, "adjudicates", False):
        return Task(review_id, row.text, until, draft or {})
    query = (
        select(Review.outcome, Review.labels)
        .where(Review.item_id == row.item_id, Review.submitted_at.is_not(None), ~Review.adjudicates)
        .where(Review.outcome != "skip")
        .order_by(Review.id)
    )
    verdicts = tuple(Verdict(*each) for each in connection.execute(query))  # type: ignore[arg-type] # as submitted
    return Task(review_id, row.text, until, draft or {}, adjudicates=True, verdicts=verdicts)


def _own(connection: Connection, review_id: str, name: str) -> Row[*tuple[Any, ...]]:
    query = select(Review.__table__).where(Review.id == review_id, Review.reviewer == name)
    found = connection.execute(query).one_or_none()
    if found is None:
        raise NotFoundError(f"reviewer {name} has no review {review_id}")
    if found.submitted_at is not None:
        raise InvalidInputError(f"review {review_id} was submitted at {found.submitted_at:%Y-%m-%d %H:%M} UTC already")
    return found


def _advance(
    connection: Connection, item: Row[*tuple[Any, ...]], review: Row[*tuple[Any, ...]], outcome: Outcome, now: datetime
) -> None:
    """Bring the item's state up to date after a verdict; what is closed or has expired stays as it is."""
    adjudicates, overtaken = review.adjudicates, review.leased_until is None
    expected = "conflict" if adjudicates else "open"
    if item.kind == "golden" or item.state != expected or (item.expires_at is not None and item.expires_at <= now):
        return
    given = (Review.item_id == item.id, Review.submitted_at.is_not(None), Review.adjudicates == adjudicates)
    rows = connection.execute(select(Review.outcome, Review.labels).where(*given)).all()
    said = [row.labels for row in rows if row.outcome == "labels"]
    state: dict[str, Any] = {}
    if outcome == "skip":
        if not overtaken:  # else another has it already
            _wait_for_another(connection, item.id, adjudicates)
    elif outcome != "labels":
        state = {"state": "unresolved", "closed_at": now} if adjudicates else {"state": "conflict"}
    elif any(labels != said[0] for labels in said):
        state = {"state": "conflict"}
    elif adjudicates or len(said) >= item.wanted:
        state = {"state": "done", "labels": said[0], "closed_at": now}
    if state:
        connection.execute(update(ReviewItem).where(ReviewItem.id == item.id).values(state))
    if state.get("state") == "conflict":
        _wait_for_another(connection, item.id, adjudicates=True)


def _wait_for_another(connection: Connection, item_id: str, adjudicates: bool) -> None:
    row = {"id": str(uuid.uuid4()), "item_id": item_id, "adjudicates": adjudicates}
    connection.execute(insert(Review).values(row))


def _check_labels(labels: Mapping[str, bool]) -> None:
    if unknown := sorted(set(labels) - set(LABELS)):
        raise InvalidInputError(f"labels are {', '.join(unknown)}; known are {', '.join(LABELS)}")
    if not all(isinstance(value, bool) for value in labels.values()):
        raise InvalidInputError("a label is neither true nor false")
