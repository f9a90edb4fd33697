"""From an error of the API to what a moderator should do next."""

from apps.ui.problem import Problem
from moderation.errors import (
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

_KEPT = "What you entered is kept."
_WORDS: dict[type[ModerationError], tuple[str, str]] = {
    UnavailableError: (
        "The API at {url} does not answer.",
        f"If it is not running, start it with `make up` or `moderation serve`. {_KEPT}",
    ),
    OverloadedError: ("The API is busy.", f"Try again in a moment. {_KEPT}"),
    DeadlineError: (
        "The API took too long.",
        f"Try again; send shorter comments, or score without the words that matter. {_KEPT}",
    ),
    TooLargeError: ("This is longer than the API takes.", f"Shorten it, or score its parts. {_KEPT}"),
    InvalidInputError: ("The API cannot score this.", f"Change it and try again. {_KEPT}"),
    NotFoundError: ("The API does not know this prediction.", "Score the comment again, then say what you think."),
    UnauthorizedError: (
        "The API at {url} does not know this app's key.",
        "Start this app with a key as `MODERATION_API_KEY`; docs/access.md says how to make one.",
    ),
    ForbiddenError: (
        "The API at {url} refuses this app.",
        "Give `MODERATION_API_URL` the address it listens on, `MODERATION_API_KEY` the scopes predict and feedback.",
    ),
    OverQuotaError: ("The quota of this app's key is used up.", f"Go on in a minute. {_KEPT}"),
}
_OTHER = ("The API failed at this.", f"Try again; if it stays so, look into the API's log. {_KEPT}")


def explain(error: ModerationError, api_url: str) -> Problem:
    """Return ``error`` as a problem with its way out; ``api_url`` is where this app looks for the API."""
    title, advice = _WORDS.get(type(error), _OTHER)
    return Problem(title.format(url=f"`{api_url}`"), advice, str(error))
