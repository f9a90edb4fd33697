import csv
import io
import threading
from collections.abc import Sequence

import pytest

from apps.moderator.services.job import BATCH_TEXTS, ScoringJob
from apps.moderator.services.reading import read_csv
from apps.moderator.services.table import Table
from moderation.errors import OverloadedError, TooLargeError, UnavailableError
from moderation.policy import LabelThresholds
from tests.apps.moderator.fakes import FakeClient


def job_of(texts: Sequence[str], sleep: list[float] | None = None) -> ScoringJob:
    table = Table(("text",), tuple((text,) for text in texts))
    return ScoringJob(table, texts, (sleep if sleep is not None else []).append)


def finish(job: ScoringJob, client: FakeClient) -> None:
    while job.running:
        job.step(client)


def test_rows_keep_their_order_over_batches() -> None:
    texts = [f"comment {number}" for number in range(2 * BATCH_TEXTS + 5)]
    job, client = job_of(texts), FakeClient()
    finish(job, client)
    assert [row.prediction.id for row in job.rows if row.prediction] == [f"id-{text}" for text in texts]
    assert [len(batch) for batch in client.batches] == [BATCH_TEXTS, BATCH_TEXTS, 5]


def test_rows_without_text_are_kept_marked_and_not_sent() -> None:
    job, client = job_of(["", "hello", " \t"]), FakeClient()
    finish(job, client)
    assert client.batches == [["hello"]]
    assert [row.note for row in job.rows] == ["no text", "", "no text"]
    assert job.counts == {"review": 1, "not scored": 2}


def test_text_that_the_api_refuses_is_marked_and_the_rest_of_its_batch_scored() -> None:
    def refuse(texts: Sequence[str]) -> None:
        if any(len(text) > 100 for text in texts):
            raise TooLargeError("text has 101 bytes; at most 100 are taken")

    texts = [f"comment {number}" for number in range(BATCH_TEXTS)]
    texts[3] = "x" * 101
    job = job_of(texts)
    finish(job, FakeClient(refuse))
    assert [row.note for row in job.rows if row.note] == ["text has 101 bytes; at most 100 are taken"]
    assert job.rows[3].prediction is None
    assert job.counts["review"] == BATCH_TEXTS - 1


def test_failure_keeps_the_rows_so_far_and_goes_on_where_it_stopped() -> None:
    down = threading.Event()

    def refuse(texts: Sequence[str]) -> None:
        if down.is_set():
            raise UnavailableError("nobody there")

    job, client = job_of([f"comment {number}" for number in range(BATCH_TEXTS + 1)]), FakeClient(refuse)
    job.step(client)
    down.set()
    finish(job, client)
    assert isinstance(job.error, UnavailableError)
    assert len(job.rows) == BATCH_TEXTS
    down.clear()
    job.resume()
    finish(job, client)
    assert job.done
    assert sum(map(len, client.batches)) == BATCH_TEXTS + 1


def test_busy_api_is_waited_for_as_long_as_it_asks() -> None:
    waits: list[float] = []

    def refuse(texts: Sequence[str]) -> None:
        if len(waits) < 2:
            raise OverloadedError("busy", retry_after_s=7)

    job = job_of(["hello"], waits)
    finish(job, FakeClient(refuse))
    assert job.done
    assert waits == [7, 7]


def test_two_runs_of_the_page_never_score_a_row_twice() -> None:
    job, client = job_of([f"comment {number}" for number in range(20 * BATCH_TEXTS)]), FakeClient()
    runs = [threading.Thread(target=finish, args=(job, client)) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(10)
    assert job.done
    assert sorted(text for batch in client.batches for text in batch) == sorted(row[0] for row in job.table.rows)


@pytest.mark.parametrize("stop_after", [0, 1])
def test_download_holds_every_row_also_those_not_reached(stop_after: int) -> None:
    texts = ["", *(f"comment {number}" for number in range(BATCH_TEXTS))]
    job, client = job_of(texts), FakeClient()
    for _ in range(stop_after):
        job.step(client)
    job.stop()
    rows = list(csv.DictReader(io.StringIO(job.download().decode("utf-8-sig"))))
    assert [row["text"] for row in rows] == texts
    assert rows[-1]["note"] == "not reached"
    if stop_after:
        assert rows[0]["note"] == "no text"
        assert (rows[1]["toxic"], rows[1]["decision"], rows[1]["reasons"]) == ("0.700000", "review", "toxic")
        assert (rows[1]["version"], rows[1]["truncated"], rows[1]["note"]) == ("a" * 64, "no", "")


def test_column_that_the_file_has_already_is_not_overwritten() -> None:
    table = read_csv(b"text,toxic\nhello,yes\n")
    job = ScoringJob(table, ["hello"])
    finish(job, FakeClient())
    written = read_csv(job.download())
    assert written.header[:3] == ("text", "toxic", "toxic_2")
    assert written.rows[0][:3] == ("hello", "yes", "0.700000")


def test_thresholds_of_each_version_are_learnt_while_it_scores() -> None:
    job = job_of(["hello"])
    finish(job, FakeClient())
    assert job.thresholds("a" * 64)["toxic"] == LabelThresholds(0.5, 0.95)
    moved = job_of(["hello"])
    finish(moved, FakeClient(served="b" * 64))
    assert moved.done
    assert moved.thresholds("a" * 64) == {}
