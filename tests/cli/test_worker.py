import threading
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Engine

from cli.worker import _say_drift, _work
from moderation.jobs.worker import Worker
from tests.apps.monitor.test_drift_page import fill
from tests.moderation.db.records import VERSION


class Busy:
    """A worker for whom a job always waits, and who is told to stop while he does the first."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.begun = 0

    def keep_sample(self) -> list[object]:
        return []

    def work(self) -> SimpleNamespace | None:
        self.begun += 1
        self.stopped.set()
        return SimpleNamespace(id="one") if self.begun < 3 else None


def test_who_is_told_to_stop_begins_no_other_job() -> None:
    busy = Busy()
    _work(cast(Worker, busy), busy.stopped)
    assert busy.begun == 1


class Queue:
    """A worker for whom two jobs wait, and who notes what he does."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def keep_sample(self) -> list[object]:
        self.did.append("draw")
        return []

    def work(self) -> SimpleNamespace | None:
        self.did.append("job")
        return SimpleNamespace(id="one") if self.did.count("job") < 3 else None


def test_a_row_of_jobs_delays_no_draw() -> None:
    queue = Queue()
    _work(cast(Worker, queue), threading.Event())
    assert queue.did == ["draw", "job"] * 3


@pytest.mark.parametrize(("days", "labels"), [([0.2] * 21 + [0.8] * 10, ["toxic"]), ([0.2] * 31, [])])
def test_who_works_once_says_which_labels_drifted(
    engine: Engine, capsys: pytest.CaptureFixture[str], days: list[float], labels: list[str]
) -> None:
    fill(engine, days)
    _say_drift(engine)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(", since ")[0] for line in said] == [
        f"alert Drift: {label} of version {VERSION[:12]}" for label in labels
    ]
