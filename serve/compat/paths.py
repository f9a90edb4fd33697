"""The paths of other services that are answered here, and whose clients ask for them."""

from typing import Literal

ANALYZE = "/v1alpha1/comments:analyze"
SUGGEST = "/v1alpha1/comments:suggestscore"
DISCOVERY = "/$discovery/rest"
BATCH = "/batch"
MODERATIONS = "/v1/moderations"

Dialect = Literal["perspective", "openai"]
_DIALECTS: dict[str, Dialect] = {
    "v1alpha1": "perspective",
    "$discovery": "perspective",
    "batch": "perspective",
    "v1": "openai",
}


def dialect_of(path: str) -> Dialect | None:
    """Return whose clients ask for ``path``; None: our own."""
    return _DIALECTS.get(path.split("/", 2)[1]) if path.startswith("/") else None
