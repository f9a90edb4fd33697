"""What tabs remember, bounded in time, number and bytes. Knows no Streamlit."""

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LIFE_S = 12 * 3_600
MOST_TABS = 500
MOST_BYTES = 1 << 30
Tab = tuple[str, str]
"""Who looks, and the random name of the tab."""


@dataclass
class _Memory:
    begun_at: float
    values: dict[str, Any] = field(default_factory=dict)
    size_bytes: int = 0


class Tabs:
    """The memories of tabs by who looks and which tab; beyond a bound the one used longest ago goes."""

    def __init__(self, most_bytes: int = MOST_BYTES, now: Callable[[], float] = time.monotonic) -> None:
        """Start with none; ``now`` are seconds of a clock that does not jump."""
        self._most_bytes = most_bytes
        self._now = now
        self._lock = threading.Lock()
        self._memories: OrderedDict[Tab, _Memory] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """About how much all of them hold."""
        with self._lock:
            return sum(each.size_bytes for each in self._memories.values())

    def of(self, tab: Tab) -> dict[str, Any]:
        """Return what a tab remembers."""
        with self._lock:
            self._forget()
            found = self._memories.get(tab)
            return {} if found is None else dict(found.values)

    def keep(self, tab: Tab, values: Mapping[str, Any]) -> None:
        """Add ``values`` to what a tab remembers."""
        with self._lock:
            memory = self._memories.setdefault(tab, _Memory(self._now()))
            self._memories.move_to_end(tab)
            memory.values.update(values)
            memory.size_bytes = sum(map(size_of, memory.values.values()))
            self._forget()

    def _forget(self) -> None:
        for tab in [tab for tab, each in self._memories.items() if self._now() - each.begun_at >= LIFE_S]:
            del self._memories[tab]
        total = sum(each.size_bytes for each in self._memories.values())
        while self._memories and (total > self._most_bytes or len(self._memories) > MOST_TABS):
            total -= self._memories.popitem(last=False)[1].size_bytes


def size_of(value: object) -> int:
    """Return about how many bytes a value holds: what it says itself (``size_bytes``), else what Python says."""
    stated = getattr(value, "size_bytes", None)
    return stated if isinstance(stated, int) else sys.getsizeof(value)
