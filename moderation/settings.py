"""Settings of every process, read once from the environment (prefix ``MODERATION_``) and passed down.

A variable with the prefix that no process knows stops the start, with the nearest known name:
pydantic-settings alone would accept a misspelt one in silence. Every secret can lie in a file instead, which
``<variable>_FILE`` names: an environment is shown by `docker inspect` and inherited by every child.
"""

import difflib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from moderation.errors import ConfigurationError
from moderation.settings_errors import explain

PREFIX = "MODERATION_"
S = TypeVar("S", bound="Settings")
_ORIGIN = r"https?://[A-Za-z0-9.\[\]:-]+"
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

    @property
    def embedded_database(self) -> Path | None:
        """The SQLite file in the state folder; None: a URL names another database."""
        named = self.database_url is not None and self.database_url.get_secret_value()  # compose writes unset as empty
        return None if named else self.state_dir.resolve() / "moderation.db"

    def resolved_database_url(self) -> str:
        """Return the URL to connect to, with its password."""
        if self.database_url is not None and self.embedded_database is None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.embedded_database}"


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


class PrivacySettings(Settings):
    """What is stored of a comment and of who wrote it."""

    store_text: Annotated[
        Literal["text", "hash", "none"], Field(description="What is stored of a comment: it, its keyed hash, nothing.")
    ] = "text"
    text_hash_key: Annotated[
        SecretStr | None,
        Field(
            min_length=16,
            validate_default=True,
            description="Key of the hashes; with one, authors are stored as hashes as well.",
        ),
    ] = None

    @field_validator("text_hash_key", mode="before")
    @classmethod
    def _read_empty_as_unset(cls, key: object) -> object:
        return key or None  # compose writes unset as empty

    @field_validator("text_hash_key")
    @classmethod
    def _require_for_hashes(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key is None and info.data.get("store_text") == "hash":
            raise ValueError("is not set; MODERATION_STORE_TEXT=hash needs it, at least 16 characters")
        return key


class ApiSettings(DatabaseSettings, RegistrySettings, PrivacySettings):
    """The API server."""

    api_host: Annotated[str, Field(description="Address to listen on; beyond loopback callers need keys.")] = (
        "127.0.0.1"
    )
    api_port: Annotated[Port, Field(description="Port of the API.")] = 8000
    auth: Annotated[
        bool | None, Field(description="Whether callers need API keys; unset: on, but off on loopback.")
    ] = None
    allowed_hosts: Annotated[
        str | None, Field(description="Names that callers may use for this server, with commas; unset: any.")
    ] = None
    cors_origins: Annotated[
        str | None,
        Field(
            description="Origins whose pages may call the API, with commas, such as https://example.com.",
            pattern=rf"^{_ORIGIN}(, *{_ORIGIN})*$|^$",
        ),
    ] = None
    in_container: Annotated[
        bool,
        Field(
            description="The address is a container's, and who publishes its port says who reaches it: keys can be off."
        ),
    ] = False
    private_host: Annotated[str, Field(description="Address of the private port.")] = "127.0.0.1"
    private_port: Annotated[
        Port | None, Field(description="Port that alone answers /metrics and /admin; unset: the API's port does.")
    ] = None
    keys_max_age_s: Annotated[
        float, Field(gt=0, description="How long the last known keys are used while the database is away.")
    ] = 86_400.0
    replicas: Annotated[
        int, Field(ge=1, description="How many servers share a key's quota while the database is away.")
    ] = 1
    policy_path: Annotated[Path, Field(description="From which scores comments are reviewed and removed.")] = (
        Path(__file__).resolve().parents[1] / "configs" / "policy.yaml"
    )
    shadow_alias: Annotated[
        str | None, Field(description="Alias of a candidate that is scored in the background; unset: none.")
    ] = None
    shadow_share: Annotated[
        float, Field(ge=0, le=1, description="Share of the predictions that the candidate scores too.")
    ] = 0.1
    alias_poll_s: Annotated[float, Field(gt=0, description="Seconds between two looks at the alias.")] = 30.0
    threads: Annotated[int, Field(ge=0, description="Comments scored side by side; 0: one per core.")] = 0
    backend: Annotated[
        Literal["auto", "int8", "fp32", "torch"],
        Field(description="What computes the model; auto: torch on a GPU, else what the bundle states."),
    ] = "auto"
    max_text_bytes: Annotated[int, Field(ge=1, description="Largest comment, in bytes of UTF-8.")] = 65_536
    max_batch_texts: Annotated[int, Field(ge=1, description="Most comments in one batch request.")] = 1_000
    max_body_bytes: Annotated[int, Field(ge=1, description="Largest request body, in bytes.")] = 8_388_608
    max_waiting_texts: Annotated[
        int, Field(ge=1, description="Comments admitted and not yet answered; beyond it callers get 503.")
    ] = 4_096
    max_wait_s: Annotated[
        float, Field(gt=0, description="Longest expected wait for earlier comments; beyond it callers get 503.")
    ] = 5.0
    deadline_s: Annotated[float, Field(gt=0, description="When a request that is not answered gets 504.")] = 30.0
    cache_texts: Annotated[
        int, Field(ge=0, description="Results kept so that duplicates need no inference; 0: none.")
    ] = 20_000
    public_url: Annotated[
        str | None,
        Field(
            description="Base URL under which Google's libraries call this server; unset: as they call it.",
            pattern=r"^https?://\S+$",
        ),
    ] = None
    perspective_scale: Annotated[
        Literal["perspective", "probability"],
        Field(description="What Perspective's routes answer: scores on its scale, or plain probabilities."),
    ] = "perspective"
    perspective_strict: Annotated[
        bool, Field(description="Refuse attributes and texts that cannot be scored or read, as Perspective did.")
    ] = False
    pinned_versions: Annotated[
        int, Field(ge=0, description="Versions kept loaded beside the current one for callers who name them; 0: none.")
    ] = 2
    suggestions_per_minute: Annotated[
        int, Field(ge=1, description="Scores that one caller may suggest in a minute.")
    ] = 600
    max_outbox_rows: Annotated[
        int, Field(ge=1, description="Rows kept for a database that is away; beyond it predictions are refused.")
    ] = 1_000_000
    outbox_sync: Annotated[
        Literal["normal", "full"],
        Field(description="What an answer that left survives: the end of the process; with full, power loss as well."),
    ] = "normal"

    @property
    def is_new(self) -> bool:
        """Whether database and registry are to lie in this state folder, and nothing does yet.

        A folder with anything in it may belong to a server whose settings are only forgotten this time; what a start
        that failed leaves, a lock and a database without tables, is nothing.
        """
        own = self.embedded_database is not None and self.registry == "local" and self.registry_dir is None
        try:
            found = {path.name for path in self.state_dir.iterdir()}
        except OSError as error:
            return own and isinstance(error, FileNotFoundError)
        database = {"moderation.db", "moderation.db-wal", "moderation.db-shm"}
        left = database | {"up.lock"} if _has_no_tables(self.state_dir / "moderation.db") else {"up.lock"}
        return own and found <= left


class GateSettings(ApiSettings):
    """The gate and promotions: what is in force, whatever a command tries out."""

    gate_rules_path: Annotated[Path, Field(description="What a candidate must show to be promoted.")] = (
        Path(__file__).resolve().parents[1] / "configs" / "gate.yaml"
    )
    gate_data_path: Annotated[
        Path | None, Field(description="Frozen data of the gate; unset: `gate/test.parquet` in the state folder.")
    ] = None

    def resolved_gate_data_path(self) -> Path:
        """Return the file with the frozen data."""
        return self.gate_data_path or self.state_dir / "gate" / "test.parquet"


class ModeratorSettings(Settings):
    """The moderator app."""

    api_url: Annotated[str, Field(description="Base URL of the API.")] = "http://127.0.0.1:8000"
    api_key: Annotated[
        SecretStr | None, Field(description="API key with the scopes predict and feedback; unset: none is sent.")
    ] = None
    ui_port: Annotated[Port, Field(description="Port of the moderator app.")] = 8501


class ReviewSettings(DatabaseSettings):
    """Whatever draws, shows or exports what people review."""

    review_policy_path: Annotated[Path, Field(description="How many predictions of which kind people review.")] = (
        Path(__file__).resolve().parents[1] / "configs" / "review.yaml"
    )


class WorkerSettings(ReviewSettings, RegistrySettings):
    """The worker: the review sample, and jobs that need a model."""

    worker_host: Annotated[str, Field(description="Address of the worker's port.")] = "127.0.0.1"
    worker_port: Annotated[Port | None, Field(description="Port on which a worker answers /metrics; unset: none.")] = (
        None
    )


class MonitorSettings(ReviewSettings):
    """The monitor app."""

    read_database_url: Annotated[
        SecretStr | None, Field(description="URL of a hot standby, from which the monitor app reads its figures.")
    ] = None
    monitor_port: Annotated[Port, Field(description="Port of the monitor app.")] = 8502
    monitor_url: Annotated[
        str | None, Field(description="Where people reach the monitor app, such as https://monitor.example.org.")
    ] = None
    oidc_metadata_url: Annotated[
        str | None, Field(description="Identity provider for the monitor app: its /.well-known/openid-configuration.")
    ] = None
    oidc_client_id: Annotated[str | None, Field(description="Name of the monitor app there.")] = None
    oidc_client_secret: Annotated[SecretStr | None, Field(description="Its secret there.")] = None
    oidc_trust_email: Annotated[
        bool, Field(description="Believe e-mail addresses that the provider does not call verified.")
    ] = False

    @property
    def signs_in_by_provider(self) -> bool:
        """Whether an identity provider is configured, if only in part."""
        return any((self.oidc_metadata_url, self.oidc_client_id, self.oidc_client_secret))


PROCESS_SETTINGS: tuple[type[Settings], ...] = (
    ApiSettings,
    GateSettings,
    ModeratorSettings,
    MonitorSettings,
    WorkerSettings,
)
# Read by the tests alone, and therefore known but part of no process.
TEST_VARIABLES = (f"{PREFIX}TEST_DATABASE_URL",)


def known_variables() -> dict[str, str]:
    """Return every ``MODERATION_`` variable that a process reads, with its description."""
    known = {
        _variable(name): field.description or ""
        for settings in PROCESS_SETTINGS
        for name, field in settings.model_fields.items()
    }
    files = {f"{name}_FILE": f"File that holds {name}." for kind in PROCESS_SETTINGS for name in secret_variables(kind)}
    return known | files


def secret_variables(settings: type[Settings]) -> list[str]:
    """Return the variables of ``settings`` that hold secrets, each of which a file can hold instead."""
    return [
        _variable(name)
        for name, field in settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    ]


def load(settings: type[S]) -> S:
    """Read ``settings`` from the environment, and secrets from the files that it names.

    Raises:
        ConfigurationError: an unknown ``MODERATION_`` variable (the nearest known one is named),
            a value that does not fit, or a secret's file that cannot be used; the value of a secret is never repeated.
    """
    known = (*known_variables(), *TEST_VARIABLES)
    for variable in os.environ:
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            nearest = difflib.get_close_matches(variable.upper(), known, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(sorted(known))}"
            raise ConfigurationError(f"unknown environment variable {variable}{hint}")
    found = {name: secret_from_file(name) for name in secret_variables(settings)}
    secrets = {name.removeprefix(PREFIX).lower(): secret for name, secret in found.items() if secret is not None}
    try:
        return settings.model_validate(secrets)
    except ValidationError as error:
        secret = secret_variables(settings)
        places = [(_variable(str(each["loc"][0])), each) for each in error.errors()]
        raise ConfigurationError(
            "; ".join(f"{name} {explain(each, name in secret)}" for name, each in places)
        ) from None


def secret_from_file(variable: str) -> str | None:
    """Return what the file that ``<variable>_FILE`` names holds, without white space around it; None: it names none.

    Raises:
        ConfigurationError: the variable itself is set too, or the file is missing, empty or cannot be read.
    """
    environment = {name.upper(): value for name, value in os.environ.items()}
    path = environment.get(f"{variable}_FILE")
    if not path:  # compose writes unset as empty
        return None
    if environment.get(variable):
        raise ConfigurationError(f"{variable} and {variable}_FILE are both set; keep one of them")
    return read_secret(Path(path), f"{variable}_FILE")


def read_secret(path: Path, named_by: str) -> str:
    """Return what the file holds, without white space around it; ``named_by`` is said in errors.

    Raises:
        ConfigurationError: it is missing, empty or cannot be read.
    """
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{named_by}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{named_by}: {path} is no text; expected the secret in UTF-8") from None
    if not secret:
        raise ConfigurationError(f"{named_by}: {path} is empty; expected the secret")
    return secret


def _has_no_tables(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM sqlite_master").fetchone() is None
    except sqlite3.Error:  # not there, or no database
        return False


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"
