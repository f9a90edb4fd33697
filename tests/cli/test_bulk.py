"""Work ahead of who takes its results: in order, bounded, and stopped by the first failure."""

import threading
from collections.abc import Iterator

import pytest

from cli.bulk import PARTS_AHEAD, overlapped


def test_results_are_in_the_order_of_the_items_whatever_takes_longest() -> None:
    later_one_done = threading.Event()

    def square(number: int) -> int:
        if number == 0:
            assert later_one_done.wait(10)
        if number == 1:
            later_one_done.set()
        return number * number

    assert list(overlapped(square, range(20), threads=2)) == [number * number for number in range(20)]


def test_no_more_is_taken_than_the_next_stage_needs() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = overlapped(str, items(), threads=1)
    assert next(results) == "0"
    assert len(taken) == 2 + PARTS_AHEAD
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 2 + PARTS_AHEAD


def test_a_failure_reaches_the_caller_in_its_place_and_ends_the_work() -> None:
    done: list[int] = []

    def invert(number: int) -> float:
        done.append(number)
        return 1 / (3 - number)

    results = overlapped(invert, range(100))
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(done) < 10
