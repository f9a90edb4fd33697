"""What admins do with the data: export what people judged, and erase texts; both are in the audit log."""

import json
import tempfile
import uuid
import zipfile
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine

from moderation.db import erasure
from moderation.db.erasure import Erased
from moderation.db.export import Kind, Tally, corrections, reviewed, row_of
from moderation.errors import InvalidInputError, TooLargeError
from moderation.exports import manifest_path, write_manifest
from moderation.review import audit
from moderation.review.access import Session, require

MAX_ROWS = 100_000
"""The largest archive, some 50 MB of texts; `moderation export` has no such limit."""
MAX_IDS = 1_000
_READ = {"feedback": corrections, "reviews": reviewed}


def export_archive(
    engine: Engine, session: Session, kind: Kind, start: datetime, end: datetime, now: datetime
) -> bytes:
    """Return a zip file with what was judged in ``[start, end)`` as ``KIND.jsonl`` and its manifest, to train on.

    Raises:
        InvalidInputError: nothing was judged then.
        TooLargeError: more than `MAX_ROWS` rows.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for admins.
    """
    with engine.connect() as connection:
        require(connection, session, "admin", now)
    with tempfile.TemporaryDirectory() as folder:
        path, tally = Path(folder) / f"{kind}.jsonl", Tally()
        with path.open("w", encoding="utf-8") as file:
            for number, each in enumerate(islice(tally.counted(_READ[kind](engine, start, end)), MAX_ROWS + 1)):
                if number == MAX_ROWS:
                    raise TooLargeError(f"more than {MAX_ROWS:,} rows; choose fewer days, or use `moderation export`")
                file.write(json.dumps(row_of(each)) + "\n")
        export = tally.manifest(kind, path, start, end)
        write_manifest(path, export)
        archive = Path(folder) / "archive.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for each_file in (path, manifest_path(path)):
                packed.write(each_file, each_file.name)
        with engine.begin() as connection:
            audit.write(connection, now, require(connection, session, "admin", now), f"export {kind}", export.sha256)
        return archive.read_bytes()


def erase_predictions(engine: Engine, session: Session, ids: Sequence[str], now: datetime) -> Erased:
    """Erase texts, text hashes and authors of predictions, and the feedback on them; scores and labels stay.

    What still waits in the outbox of a server is erased when it arrives.

    Raises:
        InvalidInputError: no id, more than `MAX_IDS`, or one that is none; its place is named, from 1.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for admins.
    """
    if not 1 <= len(ids) <= MAX_IDS:
        raise InvalidInputError(f"{len(ids)} ids of predictions; expected 1 to {MAX_IDS:,}")
    canonical = [_canonical(each, place) for place, each in enumerate(ids, start=1)]
    with engine.begin() as connection:  # first: an erasure that fails is better noted than one that is not
        name = require(connection, session, "admin", now)
        for each in canonical:
            audit.write(connection, now, name, "erase", each)
    return erasure.erase(engine, canonical)


def _canonical(id_: str, place: int) -> str:
    try:
        return str(uuid.UUID(id_.strip()))
    except ValueError:
        raise InvalidInputError(
            f"id {place} is no prediction's; expected 36 characters such as {uuid.UUID(int=0)}"
        ) from None
