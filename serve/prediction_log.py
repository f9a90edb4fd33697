"""The database, as far as serving needs it. Every method blocks: never call one on the event loop."""

from collections.abc import Sequence

from sqlalchemy import Engine, text

from moderation.db import log
from moderation.db.log import FailureRecord, FeedbackRecord, LoggedScores, PredictionRecord, ShadowRecord


class PredictionLog:
    """What is logged, in the database."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``, which stays its owner's to dispose of."""
        self._engine = engine

    def insert(
        self,
        predictions: Sequence[PredictionRecord],
        feedback: Sequence[FeedbackRecord] = (),
        shadows: Sequence[ShadowRecord] = (),
        failures: Sequence[FailureRecord] = (),
    ) -> None:
        """Insert all or none; records that are there already stay as they are."""
        with self._engine.begin() as connection:
            log.insert(connection, predictions, feedback, shadows, failures)

    def rehearse(self, prediction: PredictionRecord) -> None:
        """Insert a prediction and take it back; raises what `insert` would."""
        with self._engine.connect() as connection:  # never committed
            log.insert(connection, [prediction])

    def find_scores(self, prediction_id: str) -> LoggedScores | None:
        """Return what was answered for the prediction; None if the database does not have it."""
        with self._engine.connect() as connection:
            return log.find_scores(connection, prediction_id)

    def ping(self) -> None:
        """Raise if the database cannot be reached."""
        with self._engine.connect() as connection:
            connection.execute(text("SELECT 1"))
