import os
import stat
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from apps.monitor.services.identity import identity_of, secrets_toml, write_secrets
from moderation.errors import ConfigurationError, ForbiddenError
from moderation.review import accounts
from moderation.review.access import session_for_identity
from moderation.settings import MonitorSettings

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECRET = 'pa"ss\\word'


def settings(state_dir: Path = Path("var"), **fields: object) -> MonitorSettings:
    given = {
        "oidc_metadata_url": "https://id.example.org/.well-known/openid-configuration",
        "oidc_client_id": "monitor",
        "oidc_client_secret": SecretStr(SECRET),
        "monitor_url": "https://monitor.example.org/",
    }
    return MonitorSettings(**{"state_dir": state_dir} | given | fields)


def test_the_file_says_what_streamlit_asks_for_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = write_secrets(settings(tmp_path))
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    auth = tomllib.loads(path.read_text(encoding="utf-8"))["auth"]
    cookie_secret = auth.pop("cookie_secret")
    assert auth == {
        "server_metadata_url": "https://id.example.org/.well-known/openid-configuration",
        "client_id": "monitor",
        "client_secret": SECRET,
        "redirect_uri": "https://monitor.example.org/oauth2callback",
    }
    path.chmod(0o644)
    write_secrets(settings(tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = tomllib.loads(path.read_text(encoding="utf-8"))["auth"]["cookie_secret"]
    assert len(again) > 40
    assert again != cookie_secret


def test_without_a_provider_there_is_no_file_nor_an_old_one(tmp_path: Path) -> None:
    path = write_secrets(settings(tmp_path))
    assert path is not None
    assert write_secrets(MonitorSettings(state_dir=tmp_path)) is None
    assert not path.exists()


def test_half_a_provider_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="also needs MODERATION_OIDC_CLIENT_ID, MODERATION_MONITOR_URL"):
        secrets_toml(settings(oidc_client_id=None, monitor_url=None), "cookie")


def test_the_process_stops_in_one_line_for_half_a_provider(tmp_path: Path) -> None:
    given = {"MODERATION_STATE_DIR": str(tmp_path), "MODERATION_OIDC_CLIENT_ID": "monitor"}
    command = [sys.executable, "-m", "apps.monitor"]
    done = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("sign-in through an identity provider also needs MODERATION_OIDC_METADATA_URL")
    assert "Traceback" not in done.stderr


CLAIMS = {"email": "Ann@Example.org", "email_verified": True, "iat": NOW.timestamp(), "sub": "7", "nonce": "n"}


def test_a_verified_address_is_its_reviewer(engine: Engine) -> None:
    accounts.add(engine, ("ann", "reviewer"), NOW, "cli:me", email="ann@example.org")
    assert session_for_identity(engine, identity_of(CLAIMS, trusted=False), NOW).reviewer == "ann"


def test_every_sign_in_at_the_provider_is_another_one() -> None:
    one = identity_of(CLAIMS, trusted=False)
    assert one.at == NOW
    assert identity_of(CLAIMS | {"name": "Ann"}, trusted=False) == one
    assert identity_of(CLAIMS | {"nonce": "m"}, trusted=False).proof != one.proof


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"email": ""}, "gave no e-mail address"),
        ({"email": None}, "gave no e-mail address"),
        ({"email_verified": None}, "MODERATION_OIDC_TRUST_EMAIL"),
        ({"email_verified": "false"}, "MODERATION_OIDC_TRUST_EMAIL"),
        ({"iat": None}, "claim iat"),
    ],
)
def test_an_identity_that_anybody_could_claim_is_refused(claims: dict[str, object], said: str) -> None:
    with pytest.raises(ForbiddenError, match=said):
        identity_of(CLAIMS | claims, trusted=False)


def test_a_provider_that_verifies_nothing_can_be_trusted() -> None:
    assert identity_of(CLAIMS | {"email_verified": None}, trusted=True).email == "Ann@Example.org"
