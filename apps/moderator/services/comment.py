"""One comment: scored, shown, and judged by a moderator at most once. Knows no Streamlit.

Streamlit may start a second run of a page while the first still waits for the API (a double click
does that), and stops the first at its next Streamlit call. So everything that must happen once, or
must not get lost, happens under this object's lock and is kept in it before the page goes on.
"""

import threading
from dataclasses import dataclass
from typing import Literal

from apps.moderator.services.history import History, Verdict
from moderation.client import ModerationClient
from moderation.contracts import Prediction
from moderation.errors import DeadlineError, ModerationError, OverloadedError, OverQuotaError, TooLargeError
from moderation.policy import TRUNCATED

Reached = Literal["below", "review", "remove"]
_OTHER_CAUSES = {TRUNCATED: "its length: the model has not read it to its end"}


@dataclass(frozen=True)
class LabelScore:
    """One label's score and thresholds, in [0, 1]; a threshold of None is never reached."""

    label: str
    score: float
    review: float | None
    remove: float | None

    @property
    def reached(self) -> Reached:
        """The strictest threshold that the score reaches."""
        if self.remove is not None and self.score >= self.remove:
            return "remove"
        return "review" if self.review is not None and self.score >= self.review else "below"


@dataclass(frozen=True)
class ScoredComment:
    """A comment with its prediction; ``thresholds_known`` is False if they belong to another version.

    ``unexplained`` is why the words that drive the scores were asked for and are missing.
    """

    text: str
    prediction: Prediction
    label_scores: tuple[LabelScore, ...]
    thresholds_known: bool
    unexplained: ModerationError | None = None

    @property
    def predicted_labels(self) -> list[str]:
        """Labels that reach at least their review threshold; those that caused the decision if it is not known."""
        if not self.thresholds_known:
            return [reason for reason in self.prediction.reasons if reason in self.prediction.scores]
        return [each.label for each in self.label_scores if each.reached != "below"]


class CommentDesk:
    """The comment in front of one moderator."""

    def __init__(self, history: History) -> None:
        """Start with nothing scored; what is done is noted in ``history``."""
        self._history = history
        self._disputed: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._scored: ScoredComment | None = None
        self._verdict: Verdict | None = None
        self._error: ModerationError | None = None

    @property
    def scored(self) -> ScoredComment | None:
        """The newest scored comment; waits for one that is on its way."""
        with self._lock:
            return self._scored

    @property
    def verdict(self) -> Verdict | None:
        """What was sent about the scored comment; waits for one that is on its way."""
        with self._lock:
            return self._verdict

    @property
    def error(self) -> ModerationError | None:
        """Why the newest step failed, or None."""
        with self._lock:
            return self._error

    @property
    def disputed(self) -> frozenset[str]:
        """The labels on which the moderator does not agree with the model."""
        return self._disputed

    def dispute(self, label: str) -> None:
        """Disagree on ``label``, or agree again; waits for a verdict on its way, and does nothing once one was sent."""
        with self._lock:
            if self._verdict is None:
                self._disputed ^= {label}

    def score(self, client: ModerationClient, text: str, explain: bool = True) -> None:
        """Score ``text`` in place of what was there; a failure is kept in `error`."""
        with self._lock:
            self._scored = self._verdict = self._error = None
            self._disputed = frozenset()
            try:
                self._scored = score_comment(client, text, explain)
                self._history.note_comment(text, self._scored.prediction)
            except ModerationError as error:
                self._error = error

    def judge(self, client: ModerationClient, scored: ScoredComment, agree: bool) -> None:
        """Send the verdict on ``scored`` unless one was sent already; a failure is kept in `error`.

        Who disagrees sends every label as it should be: as the model found it, but for those that are disputed.
        """
        with self._lock:
            if self._verdict is not None or self._scored is not scored:
                return
            self._error = None
            labels = None
            if not agree:
                found = scored.predicted_labels
                labels = {name: (name in found) != (name in self._disputed) for name in scored.prediction.scores}
            try:
                receipt = client.feedback(scored.prediction.id, agree, labels)
                self._verdict = Verdict(agree, receipt.id, labels)
                self._history.note_verdict(scored.prediction.id, self._verdict)
            except ModerationError as error:
                self._error = error


def score_comment(client: ModerationClient, text: str, explain: bool = True) -> ScoredComment:
    """Score ``text`` and lay its scores beside the thresholds of the version that scored it."""
    prediction, unexplained = _predict(client, text, explain)
    thresholds: dict[str, dict[str, float | None]] = {}
    try:
        served = client.version()
        # The API may have changed to another version between the two calls.
        if served.version == prediction.version:
            thresholds = served.thresholds
    except ModerationError:
        pass  # the scores are worth showing without their thresholds, and the page says that they are missing
    scores = tuple(
        LabelScore(label, score, thresholds.get(label, {}).get("review"), thresholds.get(label, {}).get("remove"))
        for label, score in prediction.scores.items()
    )
    return ScoredComment(text, prediction, scores, bool(thresholds), unexplained)


def _predict(client: ModerationClient, text: str, explain: bool) -> tuple[Prediction, ModerationError | None]:
    """Return the prediction; without its words, and why, if those are more than the API gives now."""
    if not explain:
        return client.predict(text), None
    try:
        return client.predict(text, explain=True), None
    except (DeadlineError, OverloadedError, OverQuotaError, TooLargeError) as error:
        return client.predict(text), error


def decision_words(scored: ScoredComment) -> str:
    """Return the decision and why, as one plain sentence."""
    prediction = scored.prediction
    if prediction.decision == "allow":
        return "Stays up: no label reaches its review threshold."
    by_label = {each.label: each for each in scored.label_scores}
    causes = []
    for label in prediction.reasons:
        if label not in by_label:
            causes.append(_OTHER_CAUSES.get(label, label))
            continue
        cause = by_label[label]
        threshold = cause.remove if prediction.decision == "remove" else cause.review
        reaches = f", threshold {threshold:.3f}" if threshold is not None else ""
        causes.append(f"{label.replace('_', ' ')} ({cause.score:.3f}{reaches})")
    action = "Goes to a person" if prediction.decision == "review" else "Comes down"
    return f"{action} because of {', '.join(causes)}."
