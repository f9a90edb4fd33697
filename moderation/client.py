"""HTTP client of our API: answers as contracts, errors as the exceptions that the server raised."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import httpx
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from moderation.contracts import (
    Answer,
    BatchPrediction,
    BatchRequest,
    ErrorBody,
    FeedbackReceipt,
    FeedbackRequest,
    Prediction,
    PredictRequest,
    Request,
    ServedVersion,
)
from moderation.errors import (
    ConfigurationError,
    DeadlineError,
    ForbiddenError,
    InvalidInputError,
    ModerationError,
    NotFoundError,
    OverloadedError,
    OverQuotaError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

_BY_CODE: dict[str, type[ModerationError]] = {
    kind.code: kind
    for kind in (
        DeadlineError,
        ForbiddenError,
        InvalidInputError,
        NotFoundError,
        TooLargeError,
        UnauthorizedError,
        UnavailableError,
    )
}
A = TypeVar("A", bound=Answer)


class ModerationClient:
    """A connection to one server; a context manager, and safe to use from several threads.

    Every method raises UnavailableError if the server cannot be reached or answers too late, and otherwise
    the ModerationError whose code the server answered.
    """

    def __init__(self, base_url: str, timeout_s: float = 10.0, api_key: str | None = None) -> None:
        """Connect to ``base_url`` when first used; ``timeout_s`` bounds each wait for the server.

        Raises:
            ConfigurationError: ``base_url`` is no URL.
        """
        self._base_url = base_url
        try:
            self._http = httpx.Client(
                base_url=base_url,
                timeout=timeout_s,
                headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
                # The server closes idle connections after 75 s, balancers often after 60 s; one that is reused at
                # that moment fails.
                limits=httpx.Limits(keepalive_expiry=50),
                trust_env=False,  # a proxy for the internet must not get comments, nor a .netrc replace the key
            )
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"{base_url!r} is not the URL of an API: {error}") from None

    def __enter__(self) -> "ModerationClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self, text: str, *, do_not_store: bool = False, author_id: str | None = None, explain: bool = False
    ) -> Prediction:
        """Score one comment; ``do_not_store`` keeps its text and author out of the log, ``explain`` asks for words."""
        body = _body(PredictRequest, comment_text=text, do_not_store=do_not_store, author_id=author_id, explain=explain)
        return self._ask("POST", "/predict", Prediction, body)

    def predict_batch(
        self, texts: Sequence[str], *, do_not_store: bool = False, author_id: str | None = None
    ) -> list[Prediction]:
        """Score several comments of one author; the answer keeps their order."""
        body = _body(BatchRequest, comment_texts=list(texts), do_not_store=do_not_store, author_id=author_id)
        return self._ask("POST", "/predict/batch", BatchPrediction, body).predictions

    def feedback(self, prediction_id: str, agree: bool, labels: Mapping[str, bool] | None = None) -> FeedbackReceipt:
        """Agree or disagree with a prediction; ``labels`` are those that the comment should have, where known."""
        body = _body(FeedbackRequest, prediction_id=prediction_id, agree=agree, labels=labels)
        return self._ask("POST", "/feedback", FeedbackReceipt, body)

    def version(self) -> ServedVersion:
        """Return what the server scores with."""
        return self._ask("GET", "/version", ServedVersion)

    def _ask(self, method: str, path: str, kind: type[A], body: str | None = None) -> A:
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            response = self._http.request(method, path, content=body, headers=headers)
        except httpx.RequestError as error:
            raise UnavailableError(
                f"no answer from the API at {self._base_url} ({type(error).__name__}); is it running?"
            ) from error
        if not response.is_success:
            raise _error_of(response, self._base_url)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError:
            raise UnavailableError(f"what answers at {self._base_url} is not the moderation API") from None


def _body(kind: type[Request], **fields: object) -> str:
    """Return the request as JSON; the messages of pydantic's errors would repeat the input."""
    try:
        return kind.model_validate(fields).model_dump_json(exclude_defaults=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidInputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except PydanticSerializationError:  # a lone surrogate
        raise InvalidInputError(f"{', '.join(fields)}: not text that UTF-8 can hold") from None


def _error_of(response: httpx.Response, base_url: str) -> ModerationError:
    try:
        body = ErrorBody.model_validate_json(response.content)
    except ValidationError:
        return UnavailableError(f"{base_url} answered {response.status_code} and not as the moderation API does")
    for kind in (OverloadedError, OverQuotaError):
        if body.code == kind.code:
            wait = response.headers.get("Retry-After", "")
            return kind(body.message, int(wait)) if wait.isdecimal() else kind(body.message)
    fallback = InvalidInputError if response.is_client_error else ModerationError
    return _BY_CODE.get(body.code, fallback)(body.message)
