"""`moderation export`, and the way of what it writes: into a dataset, a manifest and the lineage."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from moderation.db.database import connect, migrate
from moderation.db.log import insert, record_version
from moderation.exports import manifest_path, read_export
from moderation.labels import LABELS
from moderation.registry.local import LocalRegistry
from tests.cli.conftest import Moderation
from tests.moderation.db.records import feedback, prediction, version

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
OTHER = "b" * 64


@pytest.fixture
def served(state_dir: Path) -> str:
    """The version of `production`, with four corrected predictions: three of it (one without text), one of another."""
    served = LocalRegistry(state_dir / "registry").resolve("production")
    engine = connect(f"sqlite:///{state_dir / 'moderation.db'}")
    migrate(engine)
    predictions = [prediction(version=served, text=text) for text in ("first", "second", None)]
    predictions.append(prediction(version=OTHER, text="third"))
    given = [
        feedback(prediction_id=each.id, labels={"toxic": place % 2 == 0}, created_at=AT + timedelta(hours=place))
        for place, each in enumerate(predictions)
    ]
    with engine.begin() as connection:
        insert(connection, predictions, given)
    engine.dispose()
    return served


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_corrected_predictions_are_written_with_a_manifest(
    moderation: Moderation, served: str, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"feedback{suffix}"
    done = moderation("export", "feedback", file)
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(file) if suffix == ".parquet" else pd.read_json(file, lines=True)
    assert rows["comment_text"].tolist() == ["first", "second", "third"]
    assert rows["toxic"].tolist() == [1, 0, 0]
    assert rows[list(LABELS[1:])].isna().all(axis=None)
    export = read_export(file)
    assert (export.rows, export.without_text, export.versions) == (3, 1, {served: 2, OTHER: 1})
    assert (export.first_at, export.last_at) == (AT, AT + timedelta(hours=3))
    assert "second" not in manifest_path(file).read_text()
    again = moderation("export", "feedback", file)
    assert (again.returncode, "exists; give --overwrite" in again.stderr) == (1, True)


def test_a_range_without_feedback_is_one_clear_line_and_leaves_no_file(
    moderation: Moderation, served: str, tmp_path: Path
) -> None:
    file = tmp_path / "feedback.parquet"
    done = moderation("export", "feedback", file, "--since", "2026-03-01T13:30:00", "--until", "2026-03-01T14:30:00")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no feedback with corrected labels on a stored text")
    assert "(without its text: 1)" in done.stderr
    assert list(tmp_path.glob("*feedback*")) == []


def test_lineage_leads_from_the_judged_version_to_what_was_trained_on_it(
    moderation: Moderation, served: str, state_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "feedback.jsonl"
    assert "none yet" in moderation("lineage", "production").stdout
    assert moderation("export", "feedback", file).returncode == 0
    export = json.loads(manifest_path(file).read_text())
    provenance = {"dataset": "train.csv, feedback.jsonl", "dataset_digest": "d" * 64, "exports": [export]}
    engine = connect(f"sqlite:///{state_dir / 'moderation.db'}")
    with engine.begin() as connection:
        record_version(connection, version(version="e" * 64, name="retrained", provenance=provenance))
    engine.dispose()
    done = moderation("lineage", "production")
    assert done.returncode == 0, done.stderr
    assert (
        "next dataset: train.csv, feedback.jsonl (digest dddddddddddd; 2 rows judged on this version; "
        "trained retrained eeeeeeeeeeee)"
    ) in done.stdout
