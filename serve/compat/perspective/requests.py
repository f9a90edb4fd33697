"""What Perspective's clients send, read as they send it: any Content-Type or none, and JSON as JavaScript writes it.

Google's own parsers take names in either case (``doNotStore``, ``do_not_store``) and a word for a list, so clients send
them. Fields that Perspective never had are ignored; no message repeats what a caller wrote.
"""

from abc import abstractmethod
from collections.abc import Sized
from typing import Annotated, Any, TypeVar

import pyjson5
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from serve import payload
from serve.compat.perspective.errors import comment_empty, comment_too_long, no_attributes
from serve.errors import PerspectiveError

MAX_TEXT_BYTES = 20_480
"""Perspective's own limit, in UTF-8."""
MAX_ATTRIBUTES = 100
MAX_LANGUAGES = 20
MAX_ITEMS = 10_000
"""Of the whole body: the comments before this one, which are taken and ignored, count as well."""
LENIENT_BYTES = payload.UNCOUNTED_BYTES
"""Larger bodies must be JSON by the book: people who write it by hand send small ones."""
_MAX_DEPTH = 16
_NO_JSON = "Invalid JSON payload received."
_LONGEST_NAME = 64
_PLAIN_TEXT = (None, "PLAIN_TEXT", "TEXT_TYPE_UNSPECIFIED")

Token = Annotated[Annotated[str, StringConstraints(max_length=1024)] | None, Field()]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, validate_by_name=True)


class Comment(_Message):
    """The text, and how it is to be read."""

    text: str | None = None
    type: str | None = None


class AttributeConfig(_Message):
    """What is wanted of one attribute."""

    score_type: str | None = None
    score_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None


class Score(_Message):
    """A score that a caller suggests."""

    value: Annotated[float, Field(ge=0, le=1)]


class SuggestedScores(_Message):
    """What a caller suggests for one attribute; those of spans are ignored."""

    summary_score: Score


def _as_list(languages: object) -> object:
    """Return a word as a list of it, without words of nothing, which name no language."""
    found = [languages] if isinstance(languages, str) else languages
    return [each for each in found if each != ""] if isinstance(found, list) else found


Languages = Annotated[
    list[Annotated[str, StringConstraints(max_length=_LONGEST_NAME)]] | None,
    Field(max_length=MAX_LANGUAGES),
    BeforeValidator(_as_list),
]


class _AboutComment(_Message):
    comment: Comment | None = None
    languages: Languages = None
    do_not_store: bool | None = None
    client_token: str | None = None

    @property
    def text(self) -> str:
        """The comment, once `check_comment` has found it."""
        return (self.comment and self.comment.text) or ""

    @property
    @abstractmethod
    def named(self) -> Sized | None:
        """What is said or asked, by attribute."""


class AnalyzeRequest(_AboutComment):
    """``comments:analyze``."""

    requested_attributes: dict[str, AttributeConfig | None] | None = None
    span_annotations: bool | None = None
    drop_unsupported_attributes: bool | None = None

    @property
    def named(self) -> Sized | None:
        """What is asked, by attribute."""
        return self.requested_attributes


class SuggestRequest(_AboutComment):
    """``comments:suggestscore``; what is kept of it is bounded."""

    client_token: Token = None
    session_id: Token = None
    community_id: Token = None
    attribute_scores: dict[str, SuggestedScores] | None = None

    @property
    def named(self) -> Sized | None:
        """What is said, by attribute."""
        return self.attribute_scores


R = TypeVar("R", bound=_AboutComment)


def read(body: bytes, model: type[R], max_text_bytes: int) -> R:
    """Return the body as ``model``, with a comment within the limits.

    Raises:
        PerspectiveError: no JSON, something of the wrong kind, no comment, one that is too long or no plain text, or
            no attributes.
        TooLargeError: a large body of very many items.
    """
    if not body.strip():
        raise comment_empty()
    payload.check_count(body, MAX_ITEMS)
    found = _parsed(body)
    if not isinstance(found, dict):
        raise PerspectiveError("Invalid JSON payload received. Expected an object.")
    try:
        request = model.model_validate(found)
    except ValidationError as error:
        raise PerspectiveError(f"Invalid value at '{_where(error)}'") from None
    _check_comment(request, max_text_bytes)
    if not request.named:
        raise no_attributes()
    if len(request.named) > MAX_ATTRIBUTES:
        raise PerspectiveError(f"{len(request.named)} attributes are requested; at most {MAX_ATTRIBUTES} are taken")
    return request


def _check_comment(request: _AboutComment, max_text_bytes: int) -> None:
    if not request.text.strip():
        raise comment_empty()
    if request.comment is not None and request.comment.type not in _PLAIN_TEXT:
        raise PerspectiveError("Currently, only 'PLAIN_TEXT' comments are supported")
    if len(request.text.encode()) > max_text_bytes:
        raise comment_too_long()


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - whatever the JSON holds
    try:
        return payload.parse(body)
    except ValueError:
        if len(body) > LENIENT_BYTES:
            raise PerspectiveError(_NO_JSON) from None
    try:
        return payload.whole(pyjson5.decode(body.decode("utf-8-sig"), maxdepth=_MAX_DEPTH))
    except (ValueError, RecursionError, pyjson5.Json5Exception):
        raise PerspectiveError(_NO_JSON) from None


def _where(error: ValidationError) -> str:
    """Return the path to the first fault; keys below a map of attributes are the caller's own words."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    known = (str(part) for part in first if isinstance(part, int) or part in _FIELDS)
    return ".".join(known)


_FIELDS = frozenset(
    alias or name
    for model in (AnalyzeRequest, SuggestRequest, Comment, AttributeConfig, SuggestedScores, Score)
    for name, field in model.model_fields.items()
    for alias in (field.alias, name)
)
