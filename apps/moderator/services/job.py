"""Many comments scored batch by batch, able to stop and go on at any row. Knows no Streamlit.

A page's run can be stopped and another started at any moment, so the job keeps what it has and each
run calls `step` until `done`: nothing is scored twice and nothing is lost.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from apps.moderator.services.table import Table, write_table
from moderation.client import ModerationClient
from moderation.contracts import Prediction
from moderation.errors import InvalidInputError, ModerationError, OverloadedError, TooLargeError
from moderation.policy import LabelThresholds

BATCH_TEXTS = 16
"""Small enough that the progress bar moves several times a second on two cores."""
MOST_RETRIES = 10
NOT_SCORED = "not scored"


@dataclass(frozen=True)
class ScoredRow:
    """What came of one row: a prediction, or a note that says why there is none."""

    prediction: Prediction | None
    note: str = ""


class ScoringJob:
    """The texts of one column, on their way through the API."""

    def __init__(self, table: Table, texts: Sequence[str], sleep: Callable[[float], None] = time.sleep) -> None:
        """Take the texts of ``table`` in row order; ``sleep`` waits for an API that is busy."""
        self.table = table
        self.counts = Counter[str]()
        """How many rows got each decision, and how many were not scored; it goes on as the job does."""
        self.error: ModerationError | None = None
        self._stopped = False
        self._texts = texts
        self._sleep = sleep
        self._rows: list[ScoredRow] = []
        self._lock = threading.Lock()
        self._working_s = 0.0
        self._thresholds: dict[str, dict[str, LabelThresholds]] = {}

    @property
    def rows(self) -> Sequence[ScoredRow]:
        """What came of the rows so far, in row order."""
        return tuple(self._rows)

    @property
    def texts(self) -> Sequence[str]:
        """The texts, in row order."""
        return self._texts

    @property
    def finished(self) -> int:
        """How many rows were dealt with."""
        return len(self._rows)

    @property
    def total(self) -> int:
        """How many rows there are."""
        return len(self._texts)

    @property
    def done(self) -> bool:
        """Whether every row was dealt with."""
        return self.finished == self.total

    @property
    def running(self) -> bool:
        """Whether `step` has something to do: not done, not stopped, not failed."""
        return not (self.done or self._stopped or self.error is not None)

    @property
    def left_s(self) -> float | None:
        """About how many seconds the rest will take; None before the first batch."""
        return self._working_s / self.finished * (self.total - self.finished) if self.finished else None

    def step(self, client: ModerationClient) -> None:
        """Score the next batch; a failure is kept in `error`.

        A second caller waits for the first, then takes the batch after it.
        """
        with self._lock:
            if not self.running:
                return
            started = time.monotonic()
            batch = self._texts[len(self._rows) : len(self._rows) + BATCH_TEXTS]
            try:
                scored = self._score(client, batch)
                self._learn_thresholds(client, scored)
                self._rows.extend(scored)
                self.counts.update(row.prediction.decision if row.prediction else NOT_SCORED for row in scored)
            except ModerationError as error:
                self.error = error
            self._working_s += time.monotonic() - started

    def thresholds(self, version: str) -> dict[str, LabelThresholds]:
        """Return from which scores ``version`` decides, label by label; empty if that is not known."""
        return self._thresholds.get(version, {})

    def stop(self) -> None:
        """Keep what is there and score no more until `resume`."""
        self._stopped = True

    def resume(self) -> None:
        """Go on with the first row that has no result."""
        self.error, self._stopped = None, False

    def download(self) -> bytes:
        """Return the table with the results so far in columns of ours; rows not reached yet say so in ``note``."""
        labels = next((list(row.prediction.scores) for row in self._rows if row.prediction), [])
        waiting = [ScoredRow(None, "not reached")] * (self.total - len(self._rows))
        header = [*labels, "decision", "reasons", "truncated", "version", "note"]
        return write_table(self.table, header, [_cells(row, labels) for row in (*self._rows, *waiting)])

    def _score(self, client: ModerationClient, texts: Sequence[str]) -> list[ScoredRow]:
        rows = [ScoredRow(None, "no text")] * len(texts)
        places = [place for place, text in enumerate(texts) if text.strip()]
        found = self._predict(client, [texts[place] for place in places])
        for place, row in zip(places, found, strict=True):
            rows[place] = row
        return rows

    def _learn_thresholds(self, client: ModerationClient, rows: Sequence[ScoredRow]) -> None:
        """Ask for what each new version decides by; the scores are worth having without it."""
        if {row.prediction.version for row in rows if row.prediction} <= self._thresholds.keys():
            return
        with suppress(ModerationError):
            served = client.version()
            self._thresholds[served.version] = {
                label: LabelThresholds(limits["review"], limits["remove"])
                for label, limits in served.thresholds.items()
            }

    def _predict(self, client: ModerationClient, texts: list[str]) -> list[ScoredRow]:
        """Score ``texts``; when the API refuses a batch, halve it until the text that it means stands alone."""
        if not texts:
            return []
        try:
            return [ScoredRow(prediction) for prediction in self._patiently(client, texts)]
        except (InvalidInputError, TooLargeError) as error:
            if len(texts) == 1:
                return [ScoredRow(None, str(error))]
            half = len(texts) // 2
            return self._predict(client, texts[:half]) + self._predict(client, texts[half:])

    def _patiently(self, client: ModerationClient, texts: list[str]) -> list[Prediction]:
        for _ in range(MOST_RETRIES):
            try:
                return client.predict_batch(texts)
            except OverloadedError as error:
                self._sleep(error.retry_after_s)
        return client.predict_batch(texts)


def _cells(row: ScoredRow, labels: Sequence[str]) -> list[str]:
    if row.prediction is None:
        return [*([""] * len(labels)), "", "", "", "", row.note]
    prediction = row.prediction
    scores = [f"{prediction.scores[label]:.6f}" if label in prediction.scores else "" for label in labels]
    truncated = "yes" if prediction.truncated else "no"
    return [*scores, prediction.decision, " ".join(prediction.reasons), truncated, prediction.version, row.note]
