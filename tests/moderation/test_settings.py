import os
import subprocess
import sys
from pathlib import Path

import pytest

from moderation.errors import ConfigurationError
from moderation.settings import (
    PREFIX,
    PROCESS_SETTINGS,
    ApiSettings,
    ModeratorSettings,
    MonitorSettings,
    load,
    secret_variables,
)

READ = "from moderation.settings import ApiSettings, load; print(load(ApiSettings))"


@pytest.mark.parametrize(
    ("variable", "hint"),
    [("MODERATION_API_PROT", "MODERATION_API_PORT"), ("moderation_statedir", "MODERATION_STATE_DIR")],
)
def test_a_misspelt_variable_stops_the_start_and_names_the_nearest(
    variable: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError, match=hint):
        load(ApiSettings)


def test_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_API_PORT", "x")
    monkeypatch.setenv("MODERATION_API_PORT", "8123")
    assert load(ApiSettings).api_port == 8123


def test_an_empty_database_url_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", "")
    assert load(MonitorSettings).resolved_database_url().startswith("sqlite:///")


def test_the_policy_is_found_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(ApiSettings).policy_path.is_file()


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_a_value_that_does_not_fit_names_its_variable(port: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ],
        env={**os.environ, "MODERATION_API_PORT": port},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ConfigurationError: MODERATION_API_PORT" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("API_PORT", "http", "is 'http'; expected a whole number"),
        ("API_PORT", "70000", "is '70000'; expected at most 65535"),
        ("SHADOW_SHARE", "2", "is '2'; expected at most 1"),
        ("AUTH", "maybe", "is 'maybe'; expected on or off"),
        ("BACKEND", "int4", "is 'int4'; expected 'auto', 'int8', 'fp32' or 'torch'"),
        ("TEXT_HASH_KEY", "hidden", "does not fit; expected at least 16 characters"),
        ("STORE_TEXT", "hash", None),
        ("WANDB_COLLECTION", "x", r"is 'x'; expected the form ^([\w.-]+/)?wandb-registry-[\w.-]+/[\w.-]+$"),
    ],
)
def test_what_is_expected_is_said_in_our_words(
    name: str, value: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ConfigurationError) as raised:
        load(ApiSettings)
    needed = "MODERATION_TEXT_HASH_KEY is not set; MODERATION_STORE_TEXT=hash needs it, at least 16 characters"
    assert str(raised.value) == (f"{PREFIX}{name} {said}" if said else needed)


def test_the_password_of_the_database_is_not_shown() -> None:
    settings = MonitorSettings.model_validate({"database_url": "postgresql+psycopg2://me:hidden@host/db"})
    assert "hidden" not in repr(settings)
    assert settings.resolved_database_url() == "postgresql+psycopg2://me:hidden@host/db"


def test_the_default_database_lies_in_the_state_folder() -> None:
    settings = MonitorSettings.model_validate({"state_dir": "/srv/state"})
    assert settings.resolved_database_url() == "sqlite:////srv/state/moderation.db"


def test_a_secret_can_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://me:hidden@host/db\n")
    monkeypatch.setenv("MODERATION_DATABASE_URL", "")  # compose writes unset as empty
    monkeypatch.setenv("MODERATION_DATABASE_URL_FILE", str(tmp_path / "url"))
    assert load(MonitorSettings).resolved_database_url() == "postgresql://me:hidden@host/db"


@pytest.mark.parametrize("variable", [name for kind in PROCESS_SETTINGS for name in secret_variables(kind)])
def test_every_secret_takes_a_file(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret of this test's")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    (kind, *_) = [kind for kind in PROCESS_SETTINGS if variable in secret_variables(kind)]
    secret = getattr(load(kind), variable.removeprefix(PREFIX).lower())
    assert secret.get_secret_value() == "a secret of this test's"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot read .*: No such file"), (b"", "is empty"), (b" \n", "is empty"), (b"hidden\xff", "is no text")],
)
def test_a_file_that_holds_no_secret_is_named(
    content: bytes | None, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("MODERATION_API_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match=f"MODERATION_API_KEY_FILE: .*{words}") as raised:
        load(ModeratorSettings)
    assert "hidden" not in str(raised.value)


def test_a_secret_and_its_file_are_not_both_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATION_API_KEY", "hidden")
    monkeypatch.setenv("MODERATION_API_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match="MODERATION_API_KEY and MODERATION_API_KEY_FILE are both set"):
        load(ModeratorSettings)


def test_what_is_no_secret_takes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_API_URL_FILE", "/x")
    with pytest.raises(ConfigurationError, match="unknown environment variable MODERATION_API_URL_FILE"):
        load(ModeratorSettings)
