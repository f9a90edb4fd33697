"""Databases that go away, come back or hang when a test says so."""

import threading
from collections.abc import Callable, Sequence

from sqlalchemy import Engine

from moderation.db.log import FeedbackRecord, PredictionRecord, ShadowRecord
from moderation.errors import UnavailableError
from serve.prediction_log import PredictionLog


class UnsteadyLog(PredictionLog):
    """The real log behind a switch; ``after_insert`` runs once rows are committed."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.away = False
        self.after_insert: Callable[[], None] = lambda: None
        self.largest_insert = 0

    def insert(
        self,
        predictions: Sequence[PredictionRecord],
        feedback: Sequence[FeedbackRecord] = (),
        shadows: Sequence[ShadowRecord] = (),
    ) -> None:
        self._check()
        self.largest_insert = max(self.largest_insert, len(predictions) + len(feedback) + len(shadows))
        super().insert(predictions, feedback, shadows)
        self.after_insert()

    def has_prediction(self, prediction_id: str) -> bool:
        self._check()
        return super().has_prediction(prediction_id)

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

    def has_prediction(self, prediction_id: str) -> bool:
        self.asked.set()
        self.answers.wait(30)
        return super().has_prediction(prediction_id)
