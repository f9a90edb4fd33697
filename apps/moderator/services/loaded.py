"""The comments that a moderator has loaded, with one scoring job per column of them."""

import pandas as pd

from apps.moderator.services.history import History
from apps.moderator.services.job import ScoringJob
from apps.moderator.services.results import results_of
from apps.moderator.services.table import Table, texts_of

PASTED = "pasted lines"


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
            self._history.note_job(self.name, self._jobs[column])
