"""From a request of ``comments:analyze`` to its answer, through the same predictor as every other route."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moderation.errors import DeadlineError, InvalidInputError, NotFoundError
from moderation.language import language_tag, script
from moderation.text import normalize
from serve.compat.headers import UNSUPPORTED, bundle_headers
from serve.compat.perspective.attributes import PROBABILITY, Attribute, scorable, untrained
from serve.compat.perspective.errors import comment_empty, language_not_supported, unknown_attribute
from serve.compat.perspective.requests import AnalyzeRequest
from serve.compat.perspective.spans import Span, sentences, utf16_length, utf16_spans
from serve.errors import PerspectiveError
from serve.model import Model
from serve.pinned import PinnedModels
from serve.predictor import Answered, Call, Predictor

Scale = Literal["perspective", "probability"]
NO_LETTERS = "Zyyy"


@dataclass(frozen=True)
class Rules:
    """What a deployment decides: ``strict`` refuses whatever cannot be scored, as Perspective did."""

    strict: bool
    deadline_s: float


class Analyzer:
    """Answers ``comments:analyze``."""

    def __init__(self, predictor: Predictor, pinned: PinnedModels, current: Callable[[], Model], rules: Rules) -> None:
        """Take the parts; ``current`` returns the model in service."""
        self._predictor = predictor
        self._pinned = pinned
        self._current = current
        self._rules = rules

    async def analyze(self, request: AnalyzeRequest, call: Call, scale: Scale) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the answer's body and headers.

        Raises:
            PerspectiveError: an attribute, a version or a language that is not there.
            ModerationError: as `Predictor.answer` does.
        """
        wanted, unscorable = scorable(request.requested_attributes or {})
        drops = bool(request.drop_unsupported_attributes)
        if unscorable and not drops and (self._rules.strict or not wanted):
            languages = request.languages or [await asyncio.to_thread(_detect, request.text)]
            raise language_not_supported(unscorable[0], languages, requested=bool(request.languages))
        if self._rules.strict and not request.languages and script(request.text) == NO_LETTERS:
            raise PerspectiveError("Unable to detect language", "LANGUAGE_DETECTION_FAILED")
        models = await self._models(wanted)
        kept, refused = _by_language(wanted, models, request.languages or [])
        if refused and not drops:
            raise language_not_supported(*refused[0], requested=True)
        headers = {UNSUPPORTED: ", ".join([*unscorable, *(name for name, _ in refused)])}
        headers = headers if headers[UNSUPPORTED] else {}
        if not kept:
            languages = [await asyncio.to_thread(_detect, request.text)]
            return _with_languages({}, request, languages), headers
        spans = await asyncio.to_thread(sentences, request.text) if request.span_annotations else []
        answers = await self._answers(request, call, spans, kept, models)
        headers |= bundle_headers([answered.model for answered in answers.values()], scale == "perspective")
        return _body(request, spans, kept, answers, scale), headers

    async def _models(self, wanted: Sequence[Attribute]) -> dict[str | None, Model]:
        """Return the model of each version that is asked for, None being the one in service."""
        models: dict[str | None, Model] = {None: self._current()}
        try:
            async with asyncio.timeout(self._rules.deadline_s):
                for attribute in wanted:
                    if attribute.pinned is not None and attribute.pinned not in models:
                        models[attribute.pinned] = await self._find(attribute)
        except TimeoutError:
            raise DeadlineError("a version that was asked for is being loaded; try again later") from None
        return models

    async def _find(self, attribute: Attribute) -> Model:
        try:
            return await self._pinned.find(attribute.pinned or "")
        except NotFoundError:
            raise unknown_attribute(attribute.name) from None

    async def _answers(
        self,
        request: AnalyzeRequest,
        call: Call,
        spans: Sequence[Span],
        kept: Sequence[Attribute],
        models: Mapping[str | None, Model],
    ) -> dict[str | None, Answered]:
        parts = [request.text[start:end] for start, end in spans] if len(spans) > 1 else []
        answers: dict[str | None, Answered] = {}
        try:
            for pinned in dict.fromkeys(attribute.pinned for attribute in kept):
                model = None if models[pinned] is models[None] else models[pinned]
                answers[pinned] = await self._predictor.answer({"comment.text": request.text}, call, parts, model)
        except InvalidInputError:  # nothing that a reader could see
            raise comment_empty() from None
        return answers


def _by_language(
    wanted: Sequence[Attribute], models: Mapping[str | None, Model], named: Sequence[str]
) -> tuple[list[Attribute], list[tuple[str, list[str]]]]:
    """Return the attributes that can be scored in the languages that the caller named, and the others with why."""
    kept, refused = [], []
    for attribute in wanted:
        if unknown := untrained(named, models[attribute.pinned].languages):
            refused.append((attribute.name, unknown))
        else:
            kept.append(attribute)
    return kept, refused


def _body(
    request: AnalyzeRequest,
    spans: list[Span],
    kept: Sequence[Attribute],
    answers: Mapping[str | None, Answered],
    scale: Scale,
) -> dict[str, Any]:
    offsets = utf16_spans(request.text, spans) or [(0, utf16_length(request.text))]
    scores: dict[str, Any] = {}
    for attribute in kept:
        answered = answers[attribute.pinned]
        summary = _value(answered, answered.predictions[0].scores, attribute.label, scale)
        if attribute.threshold is not None and summary < attribute.threshold:
            continue
        parts = [_value(answered, part, attribute.label, scale) for part in answered.part_scores] or [summary]
        scores[attribute.name] = {
            "spanScores": [
                {"begin": begin, "end": end, "score": _score(value)}
                for (begin, end), value in zip(offsets, parts, strict=True)
            ],
            "summaryScore": _score(summary),
        }
    # The scores come first: a client in R takes the first element of the answer.
    return _with_languages({"attributeScores": scores} if scores else {}, request, answers[kept[0].pinned].languages)


def _value(answered: Answered, scores: Mapping[str, float], label: str, scale: Scale) -> float:
    known = answered.model.perspective
    if scale == "perspective" and known is not None and label in known.attributes:
        return known.to_perspective(label, scores[label])
    return scores[label]


def _score(value: float) -> dict[str, Any]:
    return {"value": value, "type": PROBABILITY}


def _with_languages(body: dict[str, Any], request: AnalyzeRequest, detected: list[str]) -> dict[str, Any]:
    body |= {"languages": request.languages or detected[:1], "detectedLanguages": detected}
    return body if request.client_token is None else body | {"clientToken": request.client_token}


def _detect(text: str) -> str:
    return language_tag(normalize(text))
