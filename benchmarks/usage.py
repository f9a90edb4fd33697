"""A server's memory, files and threads over time."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.processes import Server

EVERY_S = 0.5


@dataclass(frozen=True)
class Samples:
    """Figures by name, at the same instants (s since the first)."""

    at_s: list[float]
    values: dict[str, list[float]]

    def after(self, begin_s: float) -> "Samples":
        """Return the samples from ``begin_s`` on."""
        first = next((n for n, at in enumerate(self.at_s) if at >= begin_s), len(self.at_s))
        return Samples(self.at_s[first:], {name: values[first:] for name, values in self.values.items()})

    def quarters(self, name: str) -> tuple[float, float]:
        """Return the medians of the first and of the last quarter: single peaks do not count."""
        size = max(1, len(self.at_s) // 4)
        return statistics.median(self.values[name][:size]), statistics.median(self.values[name][-size:])

    def growth(self, name: str) -> float:
        """Return the last quarter's median over the first's, minus 1."""
        first, last = self.quarters(name)
        return last / first - 1

    def slope_per_minute(self, name: str) -> float:
        """Return the slope of the least-squares line, per minute."""
        return 60 * float(np.polyfit(self.at_s, self.values[name], 1)[0])

    def shown(self, name: str) -> str:
        """Return the course in four figures."""
        values = self.values[name]
        first, last = self.quarters(name)
        return f"least {min(values):.0f}, first quarter {first:.0f}, last quarter {last:.0f}, most {max(values):.0f}"


def sampled(server: Server, until: Callable[[], bool]) -> Samples:
    """Return samples of ``server`` until ``until`` holds (blocking)."""
    begun = time.monotonic()
    at_s: list[float] = []
    values: dict[str, list[float]] = {}
    while not at_s or not until():
        at_s.append(time.monotonic() - begun)
        for name, value in server.usage().items():
            values.setdefault(name, []).append(value)
        time.sleep(EVERY_S)
    return Samples(at_s, values)
