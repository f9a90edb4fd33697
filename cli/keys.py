"""`moderation keys`: who may ask the API for what."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation import clock
from moderation.errors import InvalidInputError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from moderation.db.keys import Key

app = typer.Typer(
    help="Make, list and revoke API keys.",
    epilog="Keys are in the database, MODERATION_DATABASE_URL or a SQLite file in the state folder; servers follow it.",
    rich_markup_mode=None,
)
_DONE = {
    "made": "",
    "replaced": "; the one before opens nothing any more",
    "kept": " already, and stays as it was (`moderation keys list`)",
}
Name = Annotated[str, typer.Argument(help="Whom the key is for; the log keeps this name with each prediction.")]


@app.command()
def create(
    name: Name,
    scope: Annotated[list[str], typer.Option(help="predict, feedback or admin; can be repeated.")],
    quota_per_minute: Annotated[int | None, typer.Option(help="Comments per minute; no bound if not given.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="Days from now, or a date such as 2027-01-31 (UTC).", metavar="DAYS|DATE")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a key made elsewhere, mod_<12 hex digits>_<64>; it is not printed.")
    ] = None,
) -> None:
    """Make a key and print it, the only time that it can be seen.

    Running servers know it at once. With --token-file it can be repeated: a key that is there stays as it is. Another
    one takes the place of the one before, which opens nothing any more.
    """
    from cli.reviewers import operator
    from moderation.db import keys
    from moderation.review import audit
    from moderation.settings import read_secret

    until = moment(expires)
    given = None if token_file is None else read_secret(token_file, "--token-file")
    with open_database() as engine, engine.begin() as connection:
        # Scopes are checked there, which says what is wrong.
        if given is None:
            token = keys.create(connection, name, scope, quota_per_minute, until)  # type: ignore[arg-type]
        else:
            done = keys.register(connection, name, scope, given, quota_per_minute, until)  # type: ignore[arg-type]
            if done == "replaced":
                audit.write(connection, keys.database_time(connection), operator(), "replace key", name)
    if given is not None:
        typer.echo(f"the key of {name} is in the database{_DONE[done]}")
        return
    typer.echo("Keep this key now: it is stored as a hash and cannot be shown again.", err=True)
    typer.echo(token)


@app.command("list")
def list_keys() -> None:
    """Print every key, oldest first.

    When one was used last is known to the minute.
    """
    from moderation.db import keys

    with open_database() as engine:
        found = keys.read(engine)
    if not found.keys:
        typer.echo("No keys; `moderation keys create NAME --scope predict` makes one.", err=True)
        return
    header = ("NAME", "STATE", "SCOPES", "PER MINUTE", "CREATED", "EXPIRES", "LAST USED")
    print_table(header, [_row(key, found.read_at) for key in found.keys])


@app.command()
def revoke(name: Name) -> None:
    """Revoke a key for good; servers refuse it within seconds.

    A server that cannot reach the database refuses it once it can.
    """
    from moderation.db import keys

    with open_database() as engine, engine.begin() as connection:
        keys.revoke(connection, name)
    typer.echo(f"{name} is revoked")


@contextmanager
def open_database() -> "Iterator[Engine]":
    """Yield the database that the settings name, at this release's revision."""
    from moderation.db.database import connect, require_current
    from moderation.settings import DatabaseSettings, load

    engine = connect(load(DatabaseSettings).resolved_database_url())
    try:
        require_current(engine)
        yield engine
    finally:
        engine.dispose()


def moment(expires: str | None) -> datetime | None:
    """Return the instant that ``--expires`` means.

    Raises:
        InvalidInputError: neither days nor a date.
    """
    if expires is None:
        return None
    if re.fullmatch("[0-9]{1,5}", expires):
        return clock.now() + timedelta(days=int(expires))
    try:
        found = datetime.fromisoformat(expires)
    except ValueError:
        raise InvalidInputError(f"--expires is {expires!r}; expected days or a date such as 2027-01-31") from None
    return found if found.utcoffset() is not None else found.replace(tzinfo=UTC)


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(key: "Key", now: datetime) -> tuple[str, ...]:
    state = "valid" if key.holds(now) else "revoked" if key.revoked_at else "expired"
    quota = "-" if key.quota_per_minute is None else str(key.quota_per_minute)
    times = (key.created_at, key.expires_at, key.last_used_at)
    shown = ("-" if time is None else f"{time:%Y-%m-%d %H:%M}" for time in times)
    return (key.name, state, ",".join(key.scopes), quota, *shown)
