"""`moderation migrate`, `maintain`, `retention`, `erase`: the care of the database."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderation import clock
from moderation.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


def migrate() -> None:
    """Bring the database to this release's schema.

    Does nothing if it is there already, or at a newer one on which this release works. The database is
    MODERATION_DATABASE_URL, or a SQLite file in the state folder.
    """
    from moderation.db import database
    from moderation.settings import DatabaseSettings, load

    url = load(DatabaseSettings).resolved_database_url()
    is_own = database.migrate(database.connect(url), _progress)
    schema = "this release's schema" if is_own else "a newer release's schema, on which this one works"
    typer.echo(f"{database.describe(url)} has {schema}")


def maintain() -> None:
    """Make partitions, forget old erasures, count refused rows.

    On PostgreSQL, `moderation migrate` makes the partitions of the next twelve months; run this at least once a year in
    between. A month without a partition loses nothing: its rows wait in the default one. SQLite needs none.
    Erasures are remembered for 90 days, for rows that arrive late; what arrives later still is stored without text and
    author if it was made before an erasure that was forgotten.
    Rows that the database refused lie in the state folder of the server that sent them; it tries them again when it is
    started.
    """
    from moderation.db import erasure, partitions
    from serve.outbox_care import count_refused

    outbox = _outbox()
    engine, now = _open(), clock.now()
    with engine.begin() as connection:
        made = partitions.make_ahead(connection, now) if partitions.exist(connection) else []
    typer.echo(f"made {len(made)} partitions{': ' if made else ''}{', '.join(made)}")
    typer.echo(f"forgot {erasure.prune(engine, now - erasure.KEPT)} erasures from before {now - erasure.KEPT:%Y-%m-%d}")
    typer.echo(f"{count_refused(outbox)} refused rows in {outbox}")


def retention(
    days: Annotated[
        int | None,
        typer.Option(min=1, help="Delete predictions, shadows, feedback and back-tests older than this."),
    ] = None,
    texts_days: Annotated[
        int | None, typer.Option(min=1, help="Delete texts, text hashes and authors older than this; scores stay.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Delete what is older than it may be kept. Roll-ups, and with them the charts of the monitor, stay.

    Covers the database, and rows that it refused, in the state folder of this machine.
    """
    from tqdm import tqdm

    from moderation.db import retention
    from serve.outbox_care import expire_refused

    if days is None and texts_days is None:
        raise typer.BadParameter("say --days, --texts-days or both")
    engine, now = _open(), clock.now()
    rows_before, texts_before = (None if each is None else now - timedelta(days=each) for each in (days, texts_days))
    found = retention.count(engine, rows_before, texts_before)
    if not dry_run:
        with tqdm(total=sum(found.rows.values()) + found.texts, unit="row", desc="deleting", disable=None) as bar:
            if rows_before is not None:
                retention.delete_rows(engine, rows_before, bar.update)
            if texts_before is not None:
                retention.delete_texts(engine, texts_before, bar.update)
    refused = expire_refused(_outbox(), rows_before, texts_before, dry_run)
    said = "would delete" if dry_run else "deleted"
    if rows_before is not None:
        rows = ", ".join(f"{count} {table.replace('_', ' ')}" for table, count in found.rows.items())
        typer.echo(f"{said} rows before {rows_before:%Y-%m-%d %H:%M} UTC: {rows}, {refused.rows} refused")
    if texts_before is not None:
        what = f"text, hash or author of {found.texts} predictions, {refused.texts} refused ones"
        typer.echo(f"{said} {what} before {texts_before:%Y-%m-%d %H:%M} UTC")


def erase(
    ids: Annotated[list[str] | None, typer.Option("--id", help="Id of a prediction; can be repeated.")] = None,
    authors: Annotated[
        list[str] | None, typer.Option("--author", help="The author_id that callers sent; can be repeated.")
    ] = None,
) -> None:
    """Erase what is stored of texts and their authors.

    That is text, hash and author of predictions, and feedback on them. Covers the database, the outbox in this state
    folder, and rows that still wait in other servers' outboxes, which are erased when they arrive. Scores stay.
    It can be repeated; the audit log has each call. Exit code 1: nothing was found, maybe as it is erased already.
    """
    from moderation.db import erasure
    from moderation.privacy import Privacy
    from moderation.settings import ApiSettings, load
    from serve.outbox_care import erase_waiting

    if not ids and not authors:
        raise typer.BadParameter("say --id or --author")
    settings = load(ApiSettings)
    privacy = Privacy(settings)
    # As given as well: rows from before there was a key.
    stored = sorted({name for each in authors or () for name in (each, privacy.author(each))})
    canonical = sorted({prediction_id(each) for each in ids or ()})
    engine = _open()
    _note_erasure(engine, canonical, len(set(authors or ())))
    erased = erasure.erase(engine, canonical, stored)
    waiting = erase_waiting(settings.state_dir / "outbox.db", canonical, stored)
    # They no longer say whose they were: without this, feedback on them that comes later would be kept.
    late = erasure.erase(engine, waiting)
    feedback = erased.feedback + late.feedback
    typer.echo(f"erased in the database: {erased.predictions + late.predictions} predictions, {feedback} feedback")
    typer.echo(f"erased in the outbox of {settings.state_dir}: {len(waiting)} rows")
    if not (erased.predictions or late.predictions or feedback or waiting):
        raise NotFoundError(
            "nothing was found under what was named: it is unknown, or erased already; what still waits in the outbox "
            "of another server will be erased when it arrives"
        )


def _note_erasure(engine: "Engine", ids: list[str], authors: int) -> None:
    """Write the audit log before anything is erased: one that fails is better noted than one that is not.

    Authors are counted and not named, for the log outlives the erasure.
    """
    from cli.reviewers import operator
    from moderation.review import audit

    now, who = clock.now(), operator()
    with engine.begin() as connection:
        for each in ids:
            audit.write(connection, now, who, "erase", each)
        if authors:
            audit.write(connection, now, who, "erase authors", str(authors))


def _open() -> "Engine":
    from moderation.db.database import connect, require_current
    from moderation.settings import DatabaseSettings, load

    engine = connect(load(DatabaseSettings).resolved_database_url())
    require_current(engine)
    return engine


def _outbox() -> "Path":
    from moderation.settings import DatabaseSettings, load

    return load(DatabaseSettings).state_dir / "outbox.db"


def _progress(items: Iterator[Any], total: int) -> Iterator[Any]:
    from tqdm import tqdm

    return iter(tqdm(items, total=total, unit="row", desc="counting predictions", disable=None if total else True))


def prediction_id(text: str) -> str:
    """Return an id as it is stored.

    Raises:
        InvalidInputError: it is no UUID.
    """
    import uuid

    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise InvalidInputError(f"{text!r} is no id of a prediction; expected a UUID, 36 characters") from None
