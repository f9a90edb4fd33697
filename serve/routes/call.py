"""What the edge of the app noted of a request, for the parts that log it."""

from fastapi import Request

from serve.predictor import Call


def call_of(
    request: Request, do_not_store: bool = False, author_id: str | None = None, is_traffic: bool = True
) -> Call:
    """Return who asks, for which route, since when, how they are charged, and what may be kept."""
    state = request.state
    return Call(
        request_id=state.request_id,
        route=request.scope["route"].path,
        started=state.started,
        client=state.caller.name,
        do_not_store=do_not_store,
        author_id=author_id,
        charge=state.caller.charge,
        is_traffic=is_traffic,
    )
