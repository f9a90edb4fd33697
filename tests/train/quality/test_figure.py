import pytest

from train.metrics.resampling import Interval
from train.quality.figure import Figure
from train.quality.page import aim, number

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "low", "high", "at_least", "at_most", "reached"),
    [
        (0.92, 0.91, 0.93, 0.9, None, "yes"),
        (0.92, 0.89, 0.93, 0.9, None, "by value"),
        (0.89, 0.88, 0.93, 0.9, None, "no"),
        (0.02, 0.0, 0.05, None, 0.03, "by value"),
        (1.0, 0.95, 1.05, 0.9, 1.1, "yes"),
        (1.2, 0.95, 1.3, 0.9, 1.1, "no"),
        (21.0, NAN, NAN, None, 30, "yes"),
        (NAN, NAN, NAN, 0.9, None, "no"),
        (0.5, 0.4, 0.6, None, None, ""),
    ],
)
def test_an_aim_is_reached_by_the_whole_interval_or_by_the_value_alone(
    value: float, low: float, high: float, at_least: float | None, at_most: float | None, reached: str
) -> None:
    assert Figure.of("x", "x", Interval(value, low, high), at_least, at_most).reached == reached


def test_a_figure_is_shown_with_its_interval_and_its_aim() -> None:
    both = Figure.of("slope", "slope", Interval(0.987654, 0.91, 1.06), 0.9, 1.1)
    assert (number(both), aim(both)) == ("0.988 (0.910 to 1.060)", "0.9 to 1.1")
    size = Figure.of("size", "size", 23.456, at_most=30, digits=1)
    assert (number(size), aim(size)) == ("23.5", "≤ 30")
    assert number(Figure.of("none", "none", NAN)) == "–"
