import threading
from types import SimpleNamespace
from typing import cast

from cli.worker import _work
from moderation.jobs.worker import Worker


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
