import csv
import io
import weakref

import pytest

from apps.moderator.services.history import MOST_BYTES, MOST_ENTRIES, History, Verdict
from apps.moderator.services.job import ScoringJob
from apps.moderator.services.loaded import Loaded, Room
from apps.moderator.services.table import Table
from moderation.errors import OverloadedError
from tests.apps.moderator.fakes import FakeClient, prediction_of


def test_download_holds_everything_and_no_formula() -> None:
    history = History()
    prediction = prediction_of("x")
    history.note_comment("=1+1", prediction)
    history.note_verdict(prediction.id, Verdict(agree=False, receipt="r1", labels={"toxic": False, "insult": True}))
    (row,) = csv.DictReader(io.StringIO(history.download().decode("utf-8-sig")))
    assert row["text"] == "'=1+1"
    assert (row["decision"], row["verdict"], row["labels"], row["receipt"]) == ("review", "disagree", "insult", "r1")
    assert (row["prediction_id"], row["version"]) == (prediction.id, prediction.version)
    assert row["scores"] == "toxic=0.700000 severe_toxic=0.100000 insult=0.200000"


def test_job_is_counted_when_the_history_is_read() -> None:
    history = History()
    loaded = Loaded("file.csv", Table(("text",), (("hello",), ("",))), history)
    loaded.start(0)
    loaded.start(0)
    assert [entry.decision for entry in history.entries] == ["none scored"]
    job = loaded.job(0)
    assert isinstance(job, ScoringJob)
    job.step(FakeClient())
    assert [(entry.text, entry.decision) for entry in history.entries] == [("file.csv", "1 not scored, 1 review")]


def test_the_history_is_bounded_by_its_bytes_and_holds_no_table() -> None:
    history = History()
    for number in range(30):
        history.note_comment(f"{number}".ljust(1 << 20), prediction_of(str(number)))
    assert [entry.text.strip() for entry in history.entries][:2] == ["29", "28"]
    assert 10 < len(history.entries) <= 16
    assert history.size_bytes <= MOST_BYTES
    loaded = Loaded("file.csv", Table(("text",), (("hello",),)), history)
    loaded.start(0)
    job = weakref.ref(loaded.job(0))  # type: ignore[arg-type]
    del loaded
    assert job() is None


def test_what_is_loaded_in_all_tabs_has_its_room() -> None:
    room, table = Room(most_bytes=30_000), Table(("text",), (("x" * 10_000,),))
    first, second = (Loaded("file.csv", table, History()) for _ in range(2))
    room.take(first)
    room.take(second)
    with pytest.raises(OverloadedError, match="expected at most 0 MB together"):
        room.take(Loaded("file.csv", table, History()))
    del first
    room.take(Loaded("file.csv", table, History()))


def test_oldest_entries_go_and_their_verdicts_with_them() -> None:
    history = History()
    for number in range(MOST_ENTRIES + 1):
        history.note_comment(str(number), prediction_of(str(number)))
    history.note_verdict("id-0", Verdict(agree=True, receipt="r"))
    history.note_verdict("id-1", Verdict(agree=True, receipt="r"))
    assert len(history.entries) == MOST_ENTRIES
    assert [entry.text for entry in history.entries if entry.verdict] == ["1"]
