"""A client that answers without an API, for what a healthy API does not do on demand."""

import threading
from collections.abc import Callable, Sequence

from moderation.contracts import ExplainedSpan, FeedbackReceipt, Prediction, ServedVersion
from moderation.errors import ModerationError

LABELS = ("toxic", "severe_toxic", "insult")
THRESHOLDS: dict[str, dict[str, float | None]] = {
    "toxic": {"review": 0.5, "remove": 0.95},
    "severe_toxic": {"review": 0.4, "remove": None},
    "insult": {"review": None, "remove": 0.9},
}


def prediction_of(text: str, version: str = "a" * 64) -> Prediction:
    """Return a prediction whose toxic score is 0.7 and whose id holds the text."""
    scores = dict(zip(LABELS, (0.7, 0.1, 0.2), strict=True))
    return Prediction(
        id=f"id-{text}",
        scores=scores,
        decision="review",
        reasons=["toxic"],
        version=version,
        tokens_read=3,
        truncated=False,
    )


class FakeClient:
    """Answers every text alike; ``refuse`` may raise instead, ``entered`` and ``release`` hold feedback back."""

    def __init__(self, refuse: Callable[[Sequence[str]], None] = lambda texts: None, served: str = "a" * 64) -> None:
        self.refuse = refuse
        self.served = served
        self.refuse_words: ModerationError | None = None
        self.batches: list[list[str]] = []
        self.verdicts: list[tuple[str, bool, dict[str, bool] | None]] = []
        self.entered = threading.Event()
        self.release = threading.Event()
        self.release.set()

    def predict(self, text: str, *, explain: bool = False) -> Prediction:
        self.refuse([text])
        if not explain:
            return prediction_of(text)
        if self.refuse_words is not None:
            raise self.refuse_words
        whole = ExplainedSpan(start=0, end=len(text), contributions=dict.fromkeys(LABELS, 1.5))
        return prediction_of(text).model_copy(update={"explanation": [whole]})

    def predict_batch(self, texts: Sequence[str]) -> list[Prediction]:
        self.refuse(texts)
        self.batches.append(list(texts))
        return [prediction_of(text) for text in texts]

    def feedback(self, prediction_id: str, agree: bool, labels: dict[str, bool] | None = None) -> FeedbackReceipt:
        self.refuse([])
        self.entered.set()
        self.release.wait(10)
        self.verdicts.append((prediction_id, agree, labels))
        return FeedbackReceipt(id=f"receipt-{len(self.verdicts)}")

    def version(self) -> ServedVersion:
        return ServedVersion(
            version=self.served,
            name="fake",
            alias="production",
            labels=list(LABELS),
            thresholds=THRESHOLDS,
            max_tokens=128,
            normalizer_version="1",
            backend="fake",
        )
