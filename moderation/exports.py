"""Predictions that people judged, exported as a file that training reads, and the manifest that lies beside it.

The manifest says what the file was made of, so that whatever is trained on it can be traced back to the versions
whose predictions were judged. It holds counts and no text.
"""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderation.errors import InvalidInputError


class Export(BaseModel):
    """One export: its file's SHA-256, from when its judgements are, and its rows by the version that was judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    kind: Literal["feedback", "reviews"]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    first_at: datetime
    last_at: datetime
    rows: Annotated[int, Field(ge=1)]
    without_text: Annotated[int, Field(ge=0, description="Judged, but not stored: not in the file.")]
    versions: dict[str, int]


def manifest_path(file: Path) -> Path:
    """Return where the manifest of ``file`` lies."""
    return file.with_name(f"{file.name}.manifest.json")


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_manifest(file: Path, export: Export) -> None:
    """Write the manifest of ``file``, whole or not at all."""
    path = manifest_path(file)
    staging = path.with_name(f".{path.name}")
    staging.write_text(json.dumps(export.model_dump(mode="json"), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    staging.replace(path)


def read_export(file: Path) -> Export:
    """Return the manifest of ``file``.

    Raises:
        InvalidInputError: no manifest or a damaged one, or the file is not the one that was exported.
    """
    path = manifest_path(file)
    try:
        export = Export.model_validate_json(path.read_bytes())
        digest = file_digest(file)
    except OSError as error:
        raise InvalidInputError(
            f"cannot read {error.filename} ({error.strerror}); `moderation export` writes a file and its manifest"
        ) from error
    except ValidationError as error:
        raise InvalidInputError(
            f"{path} is no manifest of an export ({error.error_count()} values do not fit)"
        ) from None
    if digest != export.sha256:
        raise InvalidInputError(
            f"{file} has SHA-256 {digest[:16]}…, its manifest states {export.sha256[:16]}…: export it again, or read "
            "what was changed by hand as layout table"
        )
    return export
