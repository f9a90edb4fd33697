"""Sign-in to the monitor through a real identity provider, in a process of its own, by the browser."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlalchemy import Engine, select

from moderation.db.database import connect, migrate
from moderation.db.review_models import AuditEntry
from moderation.review import accounts
from moderation.review.access import SESSION_LIFE
from tests.e2e.processes import free_port, running, running_app

pytestmark = pytest.mark.timeout(600)
CLIENT, SECRET = "monitor", "a secret of the client"
SIGNED_IN = "sign-in by identity"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path / 'moderation.db'}")
    migrate(engine)
    now = datetime.now(UTC)
    accounts.add(engine, ("ann", "admin"), now, "cli:me", email="ann@example.org")
    accounts.add(engine, ("vic", "viewer"), now, "cli:me", email="vic@example.org")
    yield engine
    engine.dispose()


@contextmanager
def monitor_with_provider(state_dir: Path) -> Iterator[str]:
    """Yield the URL of a monitor that sends people to a provider."""
    port, own = free_port(), free_port()
    url, own_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{own}"
    discovery = f"{url}/.well-known/openid-configuration"
    argv = [sys.executable, "-m", "tests.identity_provider", str(port), CLIENT, SECRET, f"{own_url}/oauth2callback"]
    settings = {
        "MODERATION_OIDC_METADATA_URL": discovery,
        "MODERATION_OIDC_CLIENT_ID": CLIENT,
        "MODERATION_OIDC_CLIENT_SECRET": SECRET,
        "MODERATION_MONITOR_URL": own_url,
    }
    with (
        running(argv, {}, state_dir / "provider.log", discovery),
        running_app("monitor", state_dir, port=own, settings=settings),
    ):
        yield own_url


def test_people_sign_in_by_their_provider_with_their_role_until_their_session_ends(
    context: BrowserContext, database: Engine, tmp_path: Path
) -> None:
    with monitor_with_provider(tmp_path) as url:
        tab = context.new_page()
        tab.goto(url)
        come_in(tab, "ann@example.org")
        expect(tab.get_by_text("Signed in as ann, admin")).to_be_visible()
        expect(tab.get_by_role("link", name="Data")).to_be_visible()
        tab.reload()
        expect(tab.get_by_text("Signed in as ann, admin")).to_be_visible()
        assert actions(database).count(("ann", SIGNED_IN)) == 1, "a reload goes on with the same session"

        kept = context.cookies()
        tab.get_by_role("button", name="Sign out").click()
        expect(tab.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
        context.clear_cookies()
        context.add_cookies(kept)  # as somebody who has copied them
        tab.goto(url)
        expect(tab.get_by_text("the session has ended")).to_be_visible()
        assert actions(database).count(("ann", SIGNED_IN)) == 1

        context.clear_cookies()
        tab.goto(url)
        come_in(tab, "vic@example.org")
        expect(tab.get_by_text("Signed in as vic, viewer")).to_be_visible()
        expect(tab.get_by_role("link", name="Overview")).to_be_visible()
        assert tab.get_by_role("link", name="Data").count() == 0


@pytest.mark.parametrize(
    ("email", "verified", "ago_s", "said"),
    [
        ("eve@example.org", "yes", 0, "this address is no reviewer's"),
        ("ann@example.org", "no", 0, "does not say that it has verified the e-mail address"),
        ("ann@example.org", "yes", int(SESSION_LIFE.total_seconds()) + 5, "the session has ended"),
    ],
    ids=["unknown", "unverified", "old"],
)
def test_whoever_the_provider_does_not_vouch_for_now_stays_outside(
    context: BrowserContext, database: Engine, tmp_path: Path, email: str, verified: str, ago_s: int, said: str
) -> None:
    with monitor_with_provider(tmp_path) as url:
        tab = context.new_page()
        tab.goto(url)
        come_in(tab, email, verified, ago_s)
        expect(tab.get_by_text(said)).to_be_visible()
        expect(tab.get_by_role("button", name="Sign in as somebody else")).to_be_visible()
        assert SIGNED_IN not in [action for _, action in actions(database)]


def come_in(tab: Page, email: str, verified: str = "yes", ago_s: int = 0) -> None:
    """Sign in at the provider, which is asked how long ago that was."""
    tab.get_by_role("button", name="Sign in", exact=True).click()
    tab.locator("[name=email]").fill(email)
    tab.locator("[name=verified]").fill(verified)
    tab.locator("[name=age_s]").fill(str(ago_s))
    tab.get_by_role("button", name="Go on").click()


def actions(engine: Engine) -> list[tuple[str, str]]:
    """Return who did what."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(AuditEntry.reviewer, AuditEntry.action))]
