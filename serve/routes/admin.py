"""What an operator may ask of a running server."""

import asyncio
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from serve.errors import documented
from serve.watcher import Watcher

LOOK_S = 20.0
"""How long a caller waits for the registry; the look itself goes on."""


class Reloaded(BaseModel):
    """What is served after a look at the registry."""

    version: str
    changed: Annotated[bool, Field(description="Whether this look brought another version.")]
    problem: Annotated[str | None, Field(description="Why it is not what the alias points to; null: it is.")]
    shadow_version: Annotated[str | None, Field(description="The candidate that is scored in the background.")]


def router(watcher: Watcher, look_s: float = LOOK_S) -> APIRouter:
    """Return the operator's routes."""
    routes = APIRouter(tags=["operation"], responses=documented())
    one_at_a_time = asyncio.Lock()  # each look holds a thread of the pool that all share

    @routes.post("/admin/reload")
    async def reload() -> Reloaded:
        """Look at the registry now; a version that was refused is tried again."""
        async with one_at_a_time:
            before = watcher.current.served.version
            looked = await asyncio.to_thread(watcher.look_now, look_s)
        problem = watcher.problem if looked else f"the registry has not answered within {look_s:g} s; it is still asked"
        served, candidate = watcher.current.served, watcher.candidate
        return Reloaded(
            version=served.version,
            changed=served.version != before,
            problem=problem,
            shadow_version=candidate.served.version if candidate is not None else None,
        )

    return routes
