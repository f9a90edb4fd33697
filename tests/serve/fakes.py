"""Databases that go away, come back or hang when a test says so."""

import threading
from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from moderation.db.log import FailureRecord, FeedbackRecord, LoggedScores, PredictionRecord, ShadowRecord
from moderation.errors import UnavailableError
from serve.prediction_log import PredictionLog


class UnsteadyLog(PredictionLog):
    """The real log behind a switch; ``after_insert`` runs once rows are committed."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.away = False
        self.takes_rows = True
        self.after_insert: Callable[[], None] = lambda: None
        self.largest_insert = 0

    def insert(
        self,
        predictions: Sequence[PredictionRecord],
        feedback: Sequence[FeedbackRecord] = (),
        shadows: Sequence[ShadowRecord] = (),
        failures: Sequence[FailureRecord] = (),
    ) -> None:
        self._check()
        if not self.takes_rows:
            raise UnavailableError("cannot use database: its disk is full")
        self.largest_insert = max(self.largest_insert, len(predictions) + len(feedback) + len(shadows))
        super().insert(predictions, feedback, shadows, failures)
        self.after_insert()

    def find_scores(self, prediction_id: str) -> LoggedScores | None:
        self._check()
        return super().find_scores(prediction_id)

    def ping(self) -> None:
        self._check()
        super().ping()

    def _check(self) -> None:
        if self.away:
            raise UnavailableError("cannot use database: it is away")


class HangingLog(PredictionLog):
    """The real log, whose look-ups do not return until a test says so."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.asked = threading.Event()
        self.answers = threading.Event()

    def find_scores(self, prediction_id: str) -> LoggedScores | None:
        self.asked.set()
        self.answers.wait(30)
        return super().find_scores(prediction_id)
