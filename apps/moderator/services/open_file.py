"""The file that a moderator has open, with one scoring job per column of it."""

from apps.moderator.services.job import ScoringJob
from apps.moderator.services.table import Table, read_table, texts_of


class OpenFile:
    """An uploaded file, read once; a job stays when another column is looked at."""

    def __init__(self, file_id: str, name: str, content: bytes) -> None:
        """Read ``content``; ``file_id`` tells one upload from another of the same name.

        Raises:
            InvalidInputError: the file cannot be read as a table.
        """
        self.file_id = file_id
        self.name = name
        self.table: Table = read_table(content)
        self._jobs: dict[int, ScoringJob] = {}

    @property
    def download_name(self) -> str:
        """The name under which the result is saved."""
        return f"{self.name.rpartition('.')[0] or self.name}-scored.csv"

    def job(self, column: int) -> ScoringJob | None:
        """Return the job of ``column`` if it was started."""
        return self._jobs.get(column)

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
