"""What the edge of the app noted of a request, for the parts that log it."""

from fastapi import Request

from serve.predictor import Call


def call_of(request: Request) -> Call:
    """Return who asks, for which route, since when, and how they are charged."""
    state = request.state
    return Call(
        request_id=state.request_id,
        route=request.scope["route"].path,
        started=state.started,
        client=state.caller.name,
        charge=state.caller.charge,
    )
