"""The queue: what a reviewer is shown, what becomes of it, and what nobody can do."""

import random
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from moderation.db.erasure import erase
from moderation.db.models import Prediction
from moderation.db.review_models import Review, Reviewer, ReviewItem
from moderation.errors import ForbiddenError, InvalidInputError, NotFoundError, UnauthorizedError
from moderation.labels import LABELS
from moderation.review.access import SESSION_LIFE, Session
from moderation.review.golden import add_golden, make_golden
from moderation.review.policy import ReviewPolicy
from moderation.review.queue import Outcome, Revealed, Task, next_item, reveal, save_draft, submit
from tests.moderation.db.records import VERSION
from tests.moderation.review.records import ALWAYS, CLOSED, HOUR, MINUTE, NO, TOXIC, drawn, signed_in, states


def taken(engine: Engine, session: Session, rules: ReviewPolicy, **fields: Any) -> Task:
    task = next_item(engine, session, rules, fields.pop("now", CLOSED), **fields)
    assert task is not None
    return task


def test_an_item_is_one_reviewers_until_he_has_said_what_it_is(engine: Engine) -> None:
    rules = drawn(engine, 2)
    ann, bob, eve = (signed_in(engine, name) for name in ("ann", "bob", "eve"))
    first, second = taken(engine, ann, rules), taken(engine, bob, rules)
    assert first.text != second.text
    assert {first.text, second.text} == {"text 0", "text 1"}
    assert taken(engine, ann, rules).review_id == first.review_id  # goes on with the one at hand
    assert next_item(engine, eve, rules, CLOSED) is None
    submit(engine, ann, first.review_id, "labels", CLOSED, TOXIC)
    assert sorted(states(engine).values()) == ["done", "open"]
    assert next_item(engine, ann, rules, CLOSED) is None


def test_the_task_says_nothing_of_scores_and_they_are_shown_after_the_verdict(engine: Engine) -> None:
    rules = drawn(engine, 1)
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob")
    task = taken(engine, ann, rules)
    assert set(vars(task)) == {"review_id", "text", "leased_until", "draft", "adjudicates", "verdicts"}
    with pytest.raises(NotFoundError, match="after the verdict"):
        reveal(engine, ann, task.review_id, CLOSED)
    submit(engine, ann, task.review_id, "labels", CLOSED, NO)
    assert reveal(engine, ann, task.review_id, CLOSED) == Revealed(dict.fromkeys(LABELS, 0.25), [], "allow", VERSION)
    with pytest.raises(NotFoundError):
        reveal(engine, bob, task.review_id, CLOSED)


def test_a_double_review_goes_to_two_reviewers_blind_and_is_done_when_they_agree(engine: Engine) -> None:
    rules = drawn(engine, 1, double_share=1.0)
    ann, bob, eve = (signed_in(engine, name) for name in ("ann", "bob", "eve"))
    first = taken(engine, ann, rules)
    submit(engine, ann, first.review_id, "labels", CLOSED, TOXIC)
    assert set(states(engine).values()) == {"open"}
    assert next_item(engine, ann, rules, CLOSED) is None  # never the same one twice
    second = taken(engine, bob, rules)
    assert (second.text, second.verdicts, second.draft) == (first.text, (), {})
    assert next_item(engine, eve, rules, CLOSED) is None
    submit(engine, bob, second.review_id, "labels", CLOSED, TOXIC)
    assert set(states(engine).values()) == {"done"}
    with engine.connect() as connection:
        assert connection.scalar(select(ReviewItem.labels)) == TOXIC


def conflicting(engine: Engine) -> tuple[ReviewPolicy, Session, Session]:
    rules = drawn(engine, 1, double_share=1.0)
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob", "admin")
    for session, labels in ((ann, TOXIC), (bob, NO)):
        submit(engine, session, taken(engine, session, rules).review_id, "labels", CLOSED, labels)
    assert set(states(engine).values()) == {"conflict"}
    return rules, ann, bob


@pytest.mark.parametrize("name", ["eve", "bob"])
def test_a_conflict_is_decided_by_a_third_reviewer_or_an_admin(engine: Engine, name: str) -> None:
    rules, ann, _ = conflicting(engine)
    assert next_item(engine, ann, rules, CLOSED, adjudicate=True) is None
    judge = signed_in(engine, name)
    assert next_item(engine, judge, rules, CLOSED) is None
    task = taken(engine, judge, rules, adjudicate=True)
    assert task.adjudicates
    assert [each.labels for each in task.verdicts] in ([TOXIC, NO], [NO, TOXIC])
    submit(engine, judge, task.review_id, "labels", CLOSED, NO)
    assert set(states(engine).values()) == {"done"}
    with engine.connect() as connection:
        assert connection.scalar(select(ReviewItem.labels)) == NO


def test_what_an_adjudicator_cannot_tell_stays_unresolved(engine: Engine) -> None:
    rules, _, bob = conflicting(engine)
    submit(engine, bob, taken(engine, bob, rules, adjudicate=True).review_id, "needs_context", CLOSED)
    assert set(states(engine).values()) == {"unresolved"}
    assert next_item(engine, bob, rules, CLOSED, adjudicate=True) is None


def test_what_one_skips_another_gets_and_he_does_not(engine: Engine) -> None:
    rules = drawn(engine, 1)
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob")
    skipped = taken(engine, ann, rules).review_id
    submit(engine, ann, skipped, "skip", CLOSED)
    with pytest.raises(NotFoundError, match="after the verdict"):
        reveal(engine, ann, skipped, CLOSED)
    assert next_item(engine, ann, rules, CLOSED) is None
    submit(engine, bob, taken(engine, bob, rules).review_id, "labels", CLOSED, NO)
    assert set(states(engine).values()) == {"done"}


def test_an_admin_who_may_adjudicate_hears_of_the_model_when_all_is_settled(engine: Engine) -> None:
    rules = drawn(engine, 1)
    root = signed_in(engine, "root", "admin")
    first = taken(engine, root, rules).review_id
    submit(engine, root, first, "unsure", CLOSED)
    assert reveal(engine, root, first, CLOSED) == Revealed(None, None, None, None, settled=False)
    submit(engine, root, taken(engine, root, rules, adjudicate=True).review_id, "labels", CLOSED, NO)
    assert reveal(engine, root, first, CLOSED).decision == "allow"


@pytest.mark.parametrize("outcome", ["unsure", "needs_context"])
def test_what_one_cannot_tell_is_adjudicated(engine: Engine, outcome: Outcome) -> None:
    rules = drawn(engine, 1)
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob")
    submit(engine, ann, taken(engine, ann, rules).review_id, outcome, CLOSED)
    assert next_item(engine, bob, rules, CLOSED) is None
    assert [each.outcome for each in taken(engine, bob, rules, adjudicate=True).verdicts] == [outcome]


def test_a_closed_browser_loses_nothing(engine: Engine) -> None:
    rules = drawn(engine, 2)
    ann = signed_in(engine, "ann")
    task = taken(engine, ann, rules)
    save_draft(engine, ann, task.review_id, {"toxic": True, "threat": False}, rules, CLOSED)
    again = taken(engine, signed_in(engine, "ann"), rules, now=CLOSED + 10 * HOUR)
    assert (again.review_id, again.draft) == (task.review_id, {"toxic": True, "threat": False})


def test_a_lease_that_ran_out_is_taken_over_and_a_draft_renews_it(engine: Engine) -> None:
    rules = drawn(engine, 1)
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob")
    mine = taken(engine, ann, rules)
    later = CLOSED + rules.lease - MINUTE
    assert next_item(engine, bob, rules, later) is None
    save_draft(engine, ann, mine.review_id, {"toxic": True}, rules, later)
    assert next_item(engine, bob, rules, later + rules.lease - MINUTE) is None
    over = later + rules.lease + MINUTE
    his = taken(engine, bob, rules, now=over)
    assert (his.text, his.draft) == (mine.text, {})
    assert next_item(engine, ann, rules, over) is None
    submit(engine, bob, his.review_id, "labels", over, NO)
    submit(engine, ann, mine.review_id, "labels", over, TOXIC)  # her tab was still open: kept, but settled already
    with engine.connect() as connection:
        assert connection.scalar(select(ReviewItem.labels)) == NO
        assert connection.scalars(select(Review.labels).where(Review.reviewer == "ann")).one() == TOXIC


def test_what_was_taken_over_is_not_passed_on_when_it_is_skipped_late(engine: Engine) -> None:
    rules = drawn(engine, 1)
    ann, bob, eve = (signed_in(engine, name) for name in ("ann", "bob", "eve"))
    task, over = taken(engine, ann, rules), CLOSED + rules.lease + MINUTE
    taken(engine, bob, rules, now=over)
    submit(engine, ann, task.review_id, "skip", over)
    assert next_item(engine, eve, rules, over) is None  # it is bob's


def test_an_expired_item_is_shown_to_nobody(engine: Engine) -> None:
    rules = drawn(engine, 1)
    over = CLOSED + rules.expiry
    ann = signed_in(engine, "ann", now=over)
    task = taken(engine, ann, rules, now=over - MINUTE)
    assert next_item(engine, ann, rules, over) is None
    submit(engine, ann, task.review_id, "labels", over, NO)
    assert set(states(engine).values()) == {"open"}  # non-response


def test_an_erased_text_leaves_the_queue(engine: Engine) -> None:
    rules = drawn(engine, 2)
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob")
    task = taken(engine, ann, rules)
    erase(engine, ids=list(states(engine)))
    assert next_item(engine, ann, rules, CLOSED) is None
    assert next_item(engine, bob, rules, CLOSED) is None
    save_draft(engine, ann, task.review_id, {}, rules, CLOSED)
    with engine.connect() as connection:
        assert connection.scalars(select(Prediction.text)).all() == [None, None]


def test_golden_items_come_by_unmarked_and_each_once(engine: Engine) -> None:
    rules = drawn(engine, 3, golden_share=0.5)
    assert add_golden(engine, [("known", TOXIC)], CLOSED, "cli:me") == 1
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob")
    for session in (ann, bob):
        golden = taken(engine, session, rules, chance=ALWAYS)
        assert golden.text == "known"
        assert taken(engine, session, rules).review_id == golden.review_id
        submit(engine, session, golden.review_id, "labels", CLOSED, NO)
        assert reveal(engine, session, golden.review_id, CLOSED) == Revealed(None, None, None, None)
        assert taken(engine, session, rules, chance=ALWAYS).text != "known"
    assert set(states(engine).values()) == {"open"}


def test_a_golden_item_does_not_come_when_nothing_else_would(engine: Engine) -> None:
    rules = drawn(engine, 1, golden_share=0.5)
    ann = signed_in(engine, "ann")
    submit(engine, ann, taken(engine, ann, rules, chance=ALWAYS).review_id, "skip", CLOSED)
    add_golden(engine, [("known", TOXIC)], CLOSED, "cli:me")
    assert next_item(engine, ann, rules, CLOSED, chance=ALWAYS) is None


def test_a_settled_item_is_made_golden_and_its_reviewers_do_not_meet_it(engine: Engine) -> None:
    rules = drawn(engine, 2, golden_share=0.5)
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob")
    task = taken(engine, ann, rules)
    submit(engine, ann, task.review_id, "labels", CLOSED, TOXIC)
    settled, other = sorted(states(engine), key=lambda each: states(engine)[each] != "done")
    with pytest.raises(NotFoundError, match="no review with a consensus"):
        make_golden(engine, other, CLOSED, "cli:me")
    make_golden(engine, settled, CLOSED, "cli:me")
    with pytest.raises(InvalidInputError, match="golden item already"):
        make_golden(engine, settled, CLOSED, "cli:me")
    assert taken(engine, ann, rules, chance=ALWAYS).text != task.text
    submit(engine, ann, taken(engine, ann, rules).review_id, "skip", CLOSED)
    assert taken(engine, bob, rules, chance=ALWAYS).text == task.text
    erase(engine, ids=[settled])
    assert next_item(engine, signed_in(engine, "eve"), rules, CLOSED, chance=ALWAYS) is not None
    with engine.connect() as connection:
        assert len(connection.scalars(select(ReviewItem.id).where(ReviewItem.kind == "golden")).all()) == 1


@pytest.mark.parametrize(
    ("outcome", "labels", "message"),
    [
        ("maybe", None, "outcome is 'maybe'; expected one of labels, unsure"),
        ("labels", None, "comes with labels"),
        ("skip", NO, "comes with labels"),
        ("labels", {"toxic": True}, "labels lack severe_toxic, obscene"),
        ("labels", NO | {"rude": True}, "labels are rude; known are"),
        ("labels", NO | {"toxic": 1}, "neither true nor false"),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused(engine: Engine, outcome: Any, labels: Any, message: str) -> None:
    rules = drawn(engine, 1)
    ann = signed_in(engine, "ann")
    task = taken(engine, ann, rules)
    with pytest.raises(InvalidInputError, match=message):
        submit(engine, ann, task.review_id, outcome, CLOSED, labels)
    assert taken(engine, ann, rules).review_id == task.review_id


def test_a_verdict_is_given_once_and_only_by_who_holds_the_item(engine: Engine) -> None:
    rules = drawn(engine, 1)
    ann, bob = signed_in(engine, "ann"), signed_in(engine, "bob")
    task = taken(engine, ann, rules)
    with pytest.raises(NotFoundError, match="reviewer bob has no review"):
        submit(engine, bob, task.review_id, "labels", CLOSED, NO)
    submit(engine, ann, task.review_id, "labels", CLOSED, NO)
    with pytest.raises(InvalidInputError, match="was submitted at"):
        submit(engine, ann, task.review_id, "labels", CLOSED, TOXIC)


def test_who_is_disabled_in_mid_session_is_refused_at_the_next_call(engine: Engine) -> None:
    rules = drawn(engine, 2)
    ann = signed_in(engine, "ann")
    task = taken(engine, ann, rules)
    with engine.begin() as connection:
        connection.execute(update(Reviewer).where(Reviewer.name == "ann").values(disabled_at=CLOSED))
    for call in (
        lambda: next_item(engine, ann, rules, CLOSED),
        lambda: save_draft(engine, ann, task.review_id, {}, rules, CLOSED),
        lambda: submit(engine, ann, task.review_id, "skip", CLOSED),
        lambda: reveal(engine, ann, task.review_id, CLOSED),
    ):
        with pytest.raises(ForbiddenError, match="ann is disabled or has expired"):
            call()


def test_viewers_and_old_sessions_take_nothing(engine: Engine) -> None:
    rules = drawn(engine, 1)
    with pytest.raises(ForbiddenError, match="role viewer; this needs reviewer"):
        next_item(engine, signed_in(engine, "eve", "viewer"), rules, CLOSED)
    ann = signed_in(engine, "ann")
    with pytest.raises(UnauthorizedError, match="sign in again"):
        next_item(engine, ann, rules, CLOSED + SESSION_LIFE)
    forged = Session("guess", "ann", "admin", ann.expires_at)
    with pytest.raises(UnauthorizedError):
        next_item(engine, forged, rules, CLOSED)


def test_items_come_in_random_order_of_one_window_after_the_other(engine: Engine) -> None:
    rules = drawn(engine, 30)
    ann = signed_in(engine, "ann")
    seen = []
    while (task := next_item(engine, ann, rules, CLOSED, chance=random.Random(1))) is not None:
        seen.append(int(task.text.split()[1]))
        submit(engine, ann, task.review_id, "labels", CLOSED, NO)
    assert sorted(seen) == list(range(30))
    assert seen != sorted(seen)
