import os
import threading

import pytest

from apps.monitor.services.estimates import side_by_side


def test_no_more_threads_than_cores_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)

    def meet(_: int) -> bool:
        try:
            both.wait(2)
        except threading.BrokenBarrierError:
            return False
        return True

    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert side_by_side(meet, range(2)) == [False, False]
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    both.reset()
    assert side_by_side(meet, range(2)) == [True, True]
