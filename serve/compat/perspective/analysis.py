"""From a request of ``comments:analyze`` to its answer, through the same predictor as every other route."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from moderation.errors import DeadlineError, InvalidInputError, NotFoundError
from moderation.language import language_tag, script
from moderation.text import normalize
from serve.compat.headers import TRUNCATED, UNSUPPORTED, bundle_headers
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
            languages = request.languages or [await asyncio.to_thread(self._detect, request.text)]
            raise language_not_supported(unscorable[0], languages, requested=bool(request.languages))
        if self._rules.strict and not request.languages and script(request.text) == NO_LETTERS:
            raise PerspectiveError("Unable to detect language", "LANGUAGE_DETECTION_FAILED")
        models = await self._models(wanted, call)
        kept, refused = _by_language(wanted, models, request.languages or [])
        if refused and not drops:
            raise language_not_supported(*refused[0], requested=True)
        headers = {UNSUPPORTED: ", ".join([*unscorable, *(name for name, _ in refused)])}
        headers = headers if headers[UNSUPPORTED] else {}
        if not kept:
            languages = [await asyncio.to_thread(self._detect, request.text)]
            return _with_languages({}, request, languages), headers
        spans = await asyncio.to_thread(sentences, request.text) if request.span_annotations else []
        answers = await self._answers(request, call, spans, kept, models)
        used = {answered.model.served.version: answered.model for answered in answers.values()}
        headers |= bundle_headers(list(used.values()), scale == "perspective")
        if any(answered.predictions[0].truncated for answered in answers.values()):
            headers[TRUNCATED] = "true"
        return await asyncio.to_thread(_body, request, spans, kept, answers, scale), headers

    def _detect(self, text: str) -> str:
        return self._current().likely_language(language_tag(normalize(text)))

    async def _models(self, wanted: Sequence[Attribute], call: Call) -> dict[str | None, Model]:
        """Return the model for each way that a version is asked for, None being the one in service."""
        current = self._current()
        models: dict[str | None, Model] = {None: current}
        versions = {current.served.version}
        try:
            async with asyncio.timeout(self._rules.deadline_s):
                for attribute in wanted:
                    if attribute.pinned is not None and attribute.pinned not in models:
                        models[attribute.pinned] = await self._find(attribute, call, versions)
        except TimeoutError:
            raise DeadlineError("a version that was asked for is being loaded; try again later") from None
        return models

    async def _find(self, attribute: Attribute, call: Call, versions: set[str]) -> Model:
        """Return the model that ``attribute`` names; ``versions`` are those of the request so far."""
        beginning = attribute.pinned or ""
        try:
            if self._pinned.loaded(beginning) is None:
                await call.charge(1)  # to find and load it costs more than a comment
            version = await self._pinned.match(beginning)
            versions.add(version)
            if len(versions) > 1 + self._pinned.max_models:
                most = self._pinned.max_models
                raise PerspectiveError(f"More than {most} versions are requested beside the current one")
            return await self._pinned.load(version)
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
        """Return what each version says, by the ways that it is asked for."""
        parts = [request.text[start:end] for start, end in spans] if len(spans) > 1 else []
        by_version: dict[str, Answered] = {}
        answers: dict[str | None, Answered] = {}
        try:
            for pinned in dict.fromkeys(attribute.pinned for attribute in kept):
                asked = models[pinned]
                if asked.served.version not in by_version:
                    model = None if asked is models[None] else asked
                    answered = await self._predictor.answer({"comment.text": request.text}, call, parts, model)
                    by_version[asked.served.version] = answered
                answers[pinned] = by_version[asked.served.version]
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
    texts = [request.text, *(request.text[start:end] for start, end in spans if len(spans) > 1)]
    once = {answered.model.served.version: answered for answered in answers.values()}  # asked for by many a beginning
    values = {version: _values(answered, texts, scale) for version, answered in once.items()}
    scores: dict[str, Any] = {}
    for attribute in kept:
        version = answers[attribute.pinned].model.served.version
        summary, *parts = (found[attribute.label] for found in values[version])
        if attribute.threshold is not None and summary < attribute.threshold:
            continue
        scores[attribute.name] = {
            "spanScores": [
                {"begin": begin, "end": end, "score": _score(value)}
                for (begin, end), value in zip(offsets, parts or [summary], strict=True)
            ],
            "summaryScore": _score(summary),
        }
    # The scores come first: a client in R takes the first element of the answer.
    first = answers[kept[0].pinned]
    detected = list(map(first.model.likely_language, first.languages))
    return _with_languages({"attributeScores": scores} if scores else {}, request, detected)


def _values(answered: Answered, texts: Sequence[str], scale: Scale) -> list[dict[str, float]]:
    """Return what is answered of the whole text and of each of its parts, by our label."""
    own = [answered.predictions[0].scores, *answered.part_scores]
    known = answered.model.perspective if scale == "perspective" else None
    return [
        {**scores, **(known.scores(text, scores) if known else {})} for text, scores in zip(texts, own, strict=True)
    ]


def _score(value: float) -> dict[str, Any]:
    return {"value": value, "type": PROBABILITY}


def _with_languages(body: dict[str, Any], request: AnalyzeRequest, detected: list[str]) -> dict[str, Any]:
    body |= {"languages": request.languages or detected[:1], "detectedLanguages": detected}
    return body if request.client_token is None else body | {"clientToken": request.client_token}
