"""Signing in, who may, for how long, and what is kept of it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, delete, select, text, update
from sqlalchemy.exc import DatabaseError

from moderation.db.database import connect, migrate
from moderation.db.review_models import AuditEntry, Reviewer, ReviewSession
from moderation.errors import (
    ForbiddenError,
    InvalidInputError,
    ModerationError,
    NotFoundError,
    OverQuotaError,
    UnauthorizedError,
)
from moderation.review import accounts
from moderation.review.access import (
    FAILURES_WITHIN,
    MAX_FAILURES,
    SESSION_LIFE,
    Identity,
    local_session,
    resume,
    session_for_identity,
    sign_in,
    sign_out,
)
from moderation.review.history import audit_entries, queue_counts
from tests.moderation.db.records import NOON
from tests.moderation.review.records import DAY, signed_in

PASSWORD = "correct horse battery"


@pytest.fixture
def ann(engine: Engine) -> Engine:
    """A database in which ann may review for a day, and has a password."""
    accounts.add(engine, ("ann", "reviewer"), NOON, "cli:me", password=PASSWORD, expires_at=NOON + DAY)
    return engine


@pytest.fixture
def bob(engine: Engine) -> Engine:
    """A database in which bob is an admin who signs in through a provider."""
    accounts.add(engine, ("bob", "admin"), NOON, "cli:me", email="Bob@Example.org")
    return engine


def identity(email: str = "bob@example.ORG", proof: str = "one", at: datetime = NOON) -> Identity:
    return Identity(email, proof, at)


def recorded(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(row.reviewer, row.action) for row in connection.execute(select(AuditEntry.__table__))]


def test_a_password_opens_a_session_that_ends(ann: Engine) -> None:
    session = sign_in(ann, "ann", PASSWORD, NOON)
    assert (session.reviewer, session.role, session.expires_at) == ("ann", "reviewer", NOON + SESSION_LIFE)
    assert resume(ann, session.token, NOON) == session
    with pytest.raises(UnauthorizedError, match="sign in again"):
        resume(ann, session.token, NOON + SESSION_LIFE)
    sign_out(ann, session, NOON)
    sign_out(ann, session, NOON)
    with pytest.raises(UnauthorizedError):
        resume(ann, session.token, NOON)
    assert [each for each in recorded(ann) if each == ("ann", "sign-out")] == [("ann", "sign-out")]


def test_neither_password_nor_token_is_kept_or_shown(ann: Engine) -> None:
    session = sign_in(ann, "ann", PASSWORD, NOON)
    with ann.connect() as connection:
        assert connection.scalars(select(Reviewer.password_hash)).one().startswith("$argon2id$")
        assert session.token not in connection.scalars(select(ReviewSession.token_hash)).one()
    assert session.token not in repr(session)


def test_who_is_wrong_about_what_is_not_said(ann: Engine) -> None:
    accounts.add(ann, ("bob", "viewer"), NOON, "cli:me", email="bob@example.org")
    accounts.add(ann, ("eve", "viewer"), NOON, "cli:me", password=PASSWORD)
    accounts.disable(ann, "eve", NOON, "cli:me")
    for name, password, now in (
        ("ann", "another password", NOON),
        ("nobody", PASSWORD, NOON),
        ("bob", "", NOON),
        ("eve", PASSWORD, NOON),
        ("ann", PASSWORD, NOON + DAY),
        ("ann", "x" * 10_000, NOON),
    ):
        with pytest.raises(UnauthorizedError, match="^name and password do not fit$"):
            sign_in(ann, name, password, now)


def test_guessing_is_stopped_and_a_right_password_forgets_it(ann: Engine) -> None:
    for k in range(MAX_FAILURES - 1):
        with pytest.raises(UnauthorizedError):
            sign_in(ann, "ann", "guess", NOON + timedelta(seconds=k))
    sign_in(ann, "ann", PASSWORD, NOON + timedelta(minutes=1))
    for k in range(MAX_FAILURES):
        with pytest.raises(UnauthorizedError):
            sign_in(ann, "ann", "guess", NOON + timedelta(minutes=2, seconds=k))
    with pytest.raises(OverQuotaError, match="too many wrong passwords"):
        sign_in(ann, "ann", PASSWORD, NOON + timedelta(minutes=3))
    assert sign_in(ann, "ann", PASSWORD, NOON + timedelta(minutes=4) + FAILURES_WITHIN)


def test_guesses_that_come_at_once_are_no_more_than_those_that_come_one_by_one(ann: Engine) -> None:
    def guess(number: int) -> type[ModerationError]:
        with pytest.raises((UnauthorizedError, OverQuotaError)) as refused:
            sign_in(ann, "ann", f"guess number {number}", NOON)
        return refused.type

    with ThreadPoolExecutor(3 * MAX_FAILURES) as pool:
        said = list(pool.map(guess, range(3 * MAX_FAILURES)))
    assert said.count(UnauthorizedError) == MAX_FAILURES


def test_what_people_type_as_a_name_by_mistake_is_not_kept(ann: Engine) -> None:
    with pytest.raises(UnauthorizedError):
        sign_in(ann, PASSWORD, "", NOON)
    with ann.connect() as connection:
        assert PASSWORD not in str(connection.execute(select(AuditEntry.__table__)).all())


def test_an_identity_is_a_reviewer_by_its_address(bob: Engine) -> None:
    session = session_for_identity(bob, identity(), NOON)
    assert (session.reviewer, session.role, session.expires_at) == ("bob", "admin", NOON + SESSION_LIFE)
    with pytest.raises(ForbiddenError, match="moderation reviewers add"):
        session_for_identity(bob, identity(email="eve@example.org"), NOON)
    accounts.disable(bob, "bob", NOON, "cli:me")
    with pytest.raises(ForbiddenError):
        session_for_identity(bob, identity(), NOON)


def test_one_sign_in_at_a_provider_is_one_session_until_it_ends(bob: Engine) -> None:
    later = NOON + timedelta(hours=1)
    first, again = (session_for_identity(bob, identity(), at) for at in (NOON, later))
    assert first == again
    assert recorded(bob).count(("bob", "sign-in by identity")) == 1
    assert session_for_identity(bob, identity(proof="another"), later).token != first.token
    with pytest.raises(UnauthorizedError, match="has ended"):
        session_for_identity(bob, identity(), NOON + SESSION_LIFE)


def test_what_a_provider_said_opens_nothing_after_sign_out_nor_when_it_is_old(bob: Engine) -> None:
    sign_out(bob, session_for_identity(bob, identity(), NOON), NOON)
    # Opening another one forgets sessions that are over; this one has to be remembered.
    session_for_identity(bob, identity(proof="another"), NOON + timedelta(hours=11))
    with pytest.raises(UnauthorizedError, match="has ended"):
        session_for_identity(bob, identity(), NOON + timedelta(hours=11))
    with pytest.raises(UnauthorizedError, match="has ended"):
        session_for_identity(bob, identity(proof="never seen", at=NOON - SESSION_LIFE), NOON)


def test_a_provider_whose_clock_is_ahead_gives_no_longer_session(bob: Engine) -> None:
    session = session_for_identity(bob, identity(at=NOON + DAY), NOON)
    assert session.expires_at == NOON + SESSION_LIFE


def test_the_local_reviewer_is_there_until_there_are_accounts(engine: Engine) -> None:
    first, again = local_session(engine, NOON), local_session(engine, NOON)
    assert (first.reviewer, first.role) == (again.reviewer, again.role) == ("local", "admin")
    actions = [(each.reviewer, each.action) for each in audit_entries(engine, first, NOON)]
    assert actions.count(("local", "sign-in without password")) == 2
    accounts.add(engine, ("ann", "reviewer"), NOON, "cli:me", password=PASSWORD)
    with pytest.raises(ForbiddenError, match="sign in"):
        local_session(engine, NOON)
    accounts.disable(engine, "ann", NOON, "cli:me")  # she does not become the local admin
    with pytest.raises(ForbiddenError, match="sign in"):
        local_session(engine, NOON)


def test_another_password_and_a_lesser_role_hold_at_the_next_call(ann: Engine) -> None:
    session = sign_in(ann, "ann", PASSWORD, NOON)
    with ann.begin() as connection:
        connection.execute(update(Reviewer).values(role="viewer"))
    assert resume(ann, session.token, NOON).role == "viewer"
    accounts.set_password(ann, "ann", "a new long password", NOON, "cli:me")
    with pytest.raises(UnauthorizedError):
        resume(ann, session.token, NOON)
    with pytest.raises(UnauthorizedError):
        sign_in(ann, "ann", PASSWORD, NOON)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"account": ("a b", "viewer")}, "name is 'a b'"),
        ({"account": ("local", "viewer")}, "name is 'local'"),
        ({"account": ("bob", "owner")}, "role is 'owner'; expected one of viewer, reviewer, admin"),
        ({"password": None}, "needs a password or an e-mail"),
        ({"password": "short"}, "password has 5 characters; expected 12"),
        ({"email": "bob"}, "e-mail address is 'bob'"),
        ({"expires_at": NOON}, "expected a time to come"),
        ({"account": ("ann", "viewer")}, "'ann' or its e-mail address is taken"),
    ],
)
def test_an_account_that_cannot_be_is_refused(ann: Engine, fields: dict[str, object], message: str) -> None:
    usual = {"account": ("bob", "viewer"), "now": NOON, "by": "cli:me", "password": PASSWORD}
    with pytest.raises(InvalidInputError, match=message):
        accounts.add(ann, **usual | fields)  # type: ignore[arg-type]
    assert [each.name for each in accounts.accounts(ann)] == ["ann"]


def test_nobody_unknown_is_changed(ann: Engine) -> None:
    with pytest.raises(NotFoundError, match="no reviewer is named 'bob'"):
        accounts.disable(ann, "bob", NOON, "cli:me")
    with pytest.raises(NotFoundError):
        accounts.set_password(ann, "bob", PASSWORD, NOON, "cli:me")


def test_the_audit_log_is_for_admins_and_read_in_pages(engine: Engine) -> None:
    admin = signed_in(engine, "root", "admin", NOON)
    for k in range(25):
        sign_out(engine, signed_in(engine, "ann", now=NOON + timedelta(seconds=k)), NOON + timedelta(seconds=k))
    seen, last = [], None
    while page := audit_entries(engine, admin, NOON, before=last, limit=20):
        seen += page
        last = page[-1]
    assert len({each.id for each in seen}) == len(seen) == 51
    assert seen == sorted(seen, key=lambda each: (each.at, each.id), reverse=True)
    with pytest.raises(ForbiddenError, match="needs admin"):
        audit_entries(engine, signed_in(engine, "ann", now=NOON), NOON)
    with pytest.raises(InvalidInputError):
        audit_entries(engine, admin, NOON, limit=100_000)
    assert queue_counts(engine, signed_in(engine, "vic", "viewer", NOON), NOON).waiting == 0


def test_on_sqlite_the_audit_log_cannot_be_changed(sqlite_url: str) -> None:
    engine = connect(sqlite_url)
    migrate(engine)
    signed_in(engine, "ann", now=NOON)
    for statement in (update(AuditEntry).values(reviewer="eve"), delete(AuditEntry), text("DELETE FROM audit_log")):
        with pytest.raises((DatabaseError, ModerationError), match="only added to"), engine.begin() as connection:
            connection.execute(statement)
    engine.dispose()
