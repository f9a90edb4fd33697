"""``comments:suggestscore``: what a caller says a comment's scores should be, kept as feedback for people to look at.

A suggestion names no prediction, so its comment is scored here to compare: a prediction that is no traffic. What is
suggested is never a label nor a metric; where it differs from our decision, triage shows the comment to a reviewer.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moderation.errors import InvalidInputError, OverQuotaError
from moderation.language import UNDETERMINED
from serve.compat.headers import UNSUPPORTED
from serve.compat.perspective.attributes import Attribute, scorable
from serve.compat.perspective.errors import comment_empty, language_not_supported
from serve.compat.perspective.requests import SuggestRequest
from serve.feedback import FeedbackDesk
from serve.predictor import Call, Predictor

REJECTED = 0.5
"""From here on a suggested score says that the comment has the attribute; Coral sends 0 or 1."""
_MINUTE_S = 60.0
_MAX_CALLERS = 10_000


class PerMinute:
    """Bounds how often each caller does a thing in a minute."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow ``most`` times per caller."""
        self._most = most
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # caller to when their minute began, and uses

    def take(self, caller: str) -> None:
        """Count one time of ``caller``; raises OverQuotaError if there were too many this minute."""
        now = self._clock()
        began, count = self._counts.pop(caller, (now, 0))
        if now - began >= _MINUTE_S:
            began, count = now, 0
        self._counts[caller] = (began, min(count + 1, self._most))
        while len(self._counts) > _MAX_CALLERS:
            self._counts.popitem(last=False)
        if count >= self._most:
            raise OverQuotaError(
                f"more than {self._most} suggestions in a minute; try again later",
                retry_after_s=max(1, round(began + _MINUTE_S - now)),
                limit=self._most,
            )


class SuggestionDesk:
    """Answers ``comments:suggestscore``."""

    def __init__(self, predictor: Predictor, desk: FeedbackDesk, per_minute: PerMinute) -> None:
        """Take the parts."""
        self._predictor = predictor
        self._desk = desk
        self._per_minute = per_minute

    async def take(self, request: SuggestRequest, call: Call) -> tuple[dict[str, Any], dict[str, str]]:
        """Record the suggestion, and return the answer's body and headers.

        Raises:
            OverQuotaError: too many in this minute.
            PerspectiveError: an attribute that Perspective never had, or none that we score.
            ModerationError: as `Predictor.answer` does.
        """
        self._per_minute.take(call.client)
        suggested = request.attribute_scores or {}
        attributes, unscorable = scorable(dict.fromkeys(suggested))
        if not attributes:
            raise language_not_supported(
                unscorable[0], request.languages or [UNDETERMINED], requested=bool(request.languages)
            )
        try:
            answered = await self._predictor.answer({"comment.text": request.text}, call)
        except InvalidInputError:  # nothing that a reader could see
            raise comment_empty() from None
        (prediction,) = answered.predictions
        values = {attribute.name: suggested[attribute.name].summary_score.value for attribute in attributes}
        origin: dict[str, Any] = {"suggested": values}
        if not request.do_not_store:
            named = {"community_id", "session_id", "client_token"}
            origin |= request.model_dump(include=named, exclude_none=True)
        agrees = _agrees(attributes, values, prediction.scores, answered.model.served.thresholds)
        await self._desk.suggested(prediction.id, agrees, origin, call)
        body: dict[str, Any] = {} if request.client_token is None else {"clientToken": request.client_token}
        body["detectedLanguages"] = list(map(answered.model.likely_language, answered.languages))
        if request.languages:
            body["requestedLanguages"] = request.languages
        return body, {UNSUPPORTED: ", ".join(unscorable)} if unscorable else {}


def _agrees(
    attributes: Sequence[Attribute],
    values: Mapping[str, float],
    scores: Mapping[str, float],
    thresholds: Mapping[str, Mapping[str, float | None]],
) -> bool:
    """Return whether all that is suggested is what the ``thresholds`` say of the ``scores``."""
    for attribute in attributes:
        limit = thresholds[attribute.label]["review"]
        ours = limit is not None and scores[attribute.label] >= limit
        if ours != (values[attribute.name] >= REJECTED):
            return False
    return True
