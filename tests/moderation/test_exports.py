from datetime import UTC, datetime
from pathlib import Path

import pytest

from moderation.errors import InvalidInputError
from moderation.exports import Export, file_digest, manifest_path, read_export, write_manifest

SECRET = "zebra lantern umbrella"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "feedback.jsonl"
    path.write_text(SECRET)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    export = Export(
        kind="feedback",
        sha256=file_digest(path),
        first_at=at,
        last_at=at,
        rows=3,
        without_text=1,
        versions={"a" * 64: 2, "b" * 64: 1},
    )
    write_manifest(path, export)
    assert read_export(path) == export
    return path


def refused(file: Path) -> str:
    with pytest.raises(InvalidInputError) as error:
        read_export(file)
    assert SECRET not in str(error.value)
    return str(error.value)


def test_a_file_that_was_changed_is_refused(file: Path) -> None:
    file.write_text(f"{SECRET}.")
    assert "export it again" in refused(file)


def test_a_manifest_that_is_missing_or_damaged_is_named(file: Path) -> None:
    manifest_path(file).write_text('{"kind": "feedback"}')
    assert "feedback.jsonl.manifest.json is no manifest of an export" in refused(file)
    manifest_path(file).unlink()
    assert "cannot read" in refused(file)
    assert "`moderation export`" in refused(file)


def test_a_missing_file_is_named(file: Path) -> None:
    file.unlink()
    assert "feedback.jsonl (No such file" in refused(file)
