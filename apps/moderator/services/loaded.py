"""The comments that a moderator has loaded, with one scoring job per column of them."""

import threading
import weakref

import pandas as pd

from apps.moderator.services.history import History
from apps.moderator.services.job import ScoringJob
from apps.moderator.services.results import results_of
from apps.moderator.services.table import Table, texts_of
from moderation.errors import OverloadedError

PASTED = "pasted lines"


MOST_BYTES = 2 << 30
"""Of all that is loaded in all tabs: a file of 50 MB with its results takes up to a tenth of it."""
_RESULT_BYTES = 3_000
"""Of a row that was scored, its prediction and its line of the table: 2.6 kB were measured."""


class Room:
    """How much is loaded in all tabs together; what no tab and no memory of one holds any more counts no longer."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Start with nothing loaded."""
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._loaded = weakref.WeakSet[Loaded]()

    def take(self, loaded: "Loaded") -> None:
        """Count ``loaded``.

        Raises:
            OverloadedError: there is no room for it beside what others have loaded.
        """
        with self._lock:
            held, more = sum(each.size_bytes for each in self._loaded), loaded.largest_bytes
            if held + more > self._most_bytes:
                raise OverloadedError(
                    f"these comments take about {more / 1e6:,.0f} MB, and {held / 1e6:,.0f} MB are loaded in all tabs; "
                    f"expected at most {self._most_bytes / 1e6:,.0f} MB together"
                )
            self._loaded.add(loaded)


class Loaded:
    """A table that was uploaded or pasted; a job stays when another column is looked at."""

    def __init__(self, name: str, table: Table, history: History) -> None:
        """Take what was read, and where its jobs are to be noted."""
        self.name = name
        self.table = table
        self._history = history
        self._jobs: dict[int, ScoringJob] = {}
        self._results: tuple[ScoringJob, int, pd.DataFrame] | None = None

    @property
    def size_bytes(self) -> int:
        """About how much memory the comments and their results take now."""
        return self.table.size_bytes + _RESULT_BYTES * sum(job.finished for job in list(self._jobs.values()))

    @property
    def largest_bytes(self) -> int:
        """About how much they take once one column is scored."""
        return self.table.size_bytes + _RESULT_BYTES * len(self.table.rows)

    @property
    def download_name(self) -> str:
        """The name under which the result is saved."""
        return f"{self.name.rpartition('.')[0] or self.name}-scored.csv"

    def job(self, column: int) -> ScoringJob | None:
        """Return the job of ``column`` if it was started."""
        return self._jobs.get(column)

    def results(self, job: ScoringJob) -> pd.DataFrame:
        """Return `results_of` the job, built anew only when it went on: 50,000 rows take half a second."""
        finished = job.finished
        if self._results is None or self._results[:2] != (job, finished):
            self._results = (job, finished, results_of(job))
        return self._results[2]

    def running_job(self) -> ScoringJob | None:
        """Return the job that is under way, if any."""
        return next((job for job in self._jobs.values() if job.running), None)

    def start(self, column: int) -> None:
        """Start scoring ``column`` unless it was started before.

        Raises:
            InvalidInputError: no such column, or no text in it.
        """
        if column not in self._jobs:
            self._jobs[column] = ScoringJob(self.table, texts_of(self.table, column))
            self._history.note_job(self.name, self._jobs[column].counts)
