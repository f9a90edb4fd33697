"""What the edge of the app noted of a request, for the parts that log it."""

from fastapi import Request

from serve.predictor import Call


def call_of(request: Request, do_not_store: bool = False, author_id: str | None = None) -> Call:
    """Return who asks, for which route, since when, and what may be kept."""
    return Call(
        request_id=request.state.request_id,
        route=request.scope["route"].path,
        started=request.state.started,
        do_not_store=do_not_store,
        author_id=author_id,
    )
