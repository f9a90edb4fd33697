"""Settings of every process, read once from the environment (prefix ``MODERATION_``) and passed down.

A variable with the prefix that no process knows stops the start, with the nearest known name:
pydantic-settings alone would accept a misspelt one in silence.
"""

import difflib
import os
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from moderation.errors import ConfigurationError

PREFIX = "MODERATION_"
S = TypeVar("S", bound="Settings")
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """What every process reads."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    state_dir: Annotated[Path, Field(description="Folder of everything a process keeps: database, registry, logs.")] = (
        Path("var")
    )


class DatabaseSettings(Settings):
    """Which database; the default is an embedded SQLite file in the state folder."""

    database_url: Annotated[
        SecretStr | None, Field(description="SQLAlchemy URL, e.g. postgresql+psycopg2://user:password@host/name.")
    ] = None

    def resolved_database_url(self) -> str:
        """Return the URL to connect to, with its password."""
        if self.database_url is not None and self.database_url.get_secret_value():  # compose writes unset as empty
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.state_dir.resolve() / 'moderation.db'}"


class RegistrySettings(Settings):
    """Where bundles are published and found."""

    registry: Annotated[Literal["local", "wandb"], Field(description="Where bundles are: a folder, or W&B.")] = "local"
    registry_dir: Annotated[
        Path | None, Field(description="Folder of the local registry; unset: `registry` in the state folder.")
    ] = None
    alias: Annotated[str, Field(description="Alias of the bundle to serve.")] = "production"
    wandb_collection: Annotated[
        str, Field(description="Collection of W&B's registry.", pattern=r"^([\w.-]+/)?wandb-registry-[\w.-]+/[\w.-]+$")
    ] = "wandb-registry-model/toxicity"
    wandb_query_s: Annotated[float, Field(gt=0, description="How long W&B may take to answer a question.")] = 30.0
    wandb_transfer_s: Annotated[
        float, Field(gt=0, description="How long uploading or downloading a bundle may take.")
    ] = 600.0

    def resolved_registry_dir(self) -> Path:
        """Return the folder of the local registry."""
        return self.registry_dir or self.state_dir / "registry"


class ApiSettings(DatabaseSettings, RegistrySettings):
    """The API server."""

    api_host: Annotated[str, Field(description="Address to listen on; only loopback is allowed without keys.")] = (
        "127.0.0.1"
    )
    api_port: Annotated[Port, Field(description="Port of the API.")] = 8000
    policy_path: Annotated[Path, Field(description="From which scores comments are reviewed and removed.")] = (
        Path(__file__).resolve().parents[1] / "configs" / "policy.yaml"
    )
    alias_poll_s: Annotated[float, Field(gt=0, description="Seconds between two looks at the alias.")] = 30.0
    threads: Annotated[int, Field(ge=0, description="Comments scored side by side; 0: one per core.")] = 0
    backend: Annotated[
        Literal["auto", "int8", "fp32"],
        Field(description="What computes the model; auto: what the bundle states, unless its probes are off here."),
    ] = "auto"
    max_text_bytes: Annotated[int, Field(ge=1, description="Largest comment, in bytes of UTF-8.")] = 65_536
    max_batch_texts: Annotated[int, Field(ge=1, description="Most comments in one batch request.")] = 1_000
    max_body_bytes: Annotated[int, Field(ge=1, description="Largest request body, in bytes.")] = 8_388_608
    max_waiting_texts: Annotated[
        int, Field(ge=1, description="Comments admitted and not yet answered; beyond it callers get 503.")
    ] = 4_096
    max_outbox_rows: Annotated[
        int, Field(ge=1, description="Rows kept for a database that is away; beyond it predictions are refused.")
    ] = 1_000_000


class ModeratorSettings(Settings):
    """The moderator app."""

    api_url: Annotated[str, Field(description="Base URL of the API.")] = "http://127.0.0.1:8000"
    ui_port: Annotated[Port, Field(description="Port of the moderator app.")] = 8501


class MonitorSettings(DatabaseSettings):
    """The monitor app."""

    monitor_port: Annotated[Port, Field(description="Port of the monitor app.")] = 8502


PROCESS_SETTINGS: tuple[type[Settings], ...] = (ApiSettings, ModeratorSettings, MonitorSettings)
# Read by the tests alone, and therefore known but part of no process.
TEST_VARIABLES = (f"{PREFIX}TEST_DATABASE_URL",)


def known_variables() -> dict[str, str]:
    """Return every ``MODERATION_`` variable that a process reads, with its description."""
    return {
        f"{PREFIX}{name.upper()}": field.description or ""
        for settings in PROCESS_SETTINGS
        for name, field in settings.model_fields.items()
    }


def load(settings: type[S]) -> S:
    """Read ``settings`` from the environment.

    Raises:
        ConfigurationError: an unknown ``MODERATION_`` variable (the nearest known one is named),
            or a value that does not fit; the value of a secret is never repeated.
    """
    known = (*known_variables(), *TEST_VARIABLES)
    for variable in os.environ:
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            nearest = difflib.get_close_matches(variable.upper(), known, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(sorted(known))}"
            raise ConfigurationError(f"unknown environment variable {variable}{hint}")
    try:
        return settings()
    except ValidationError as error:
        wrong = "; ".join(f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(wrong) from None
