"""Versions that callers name, loaded from the registry beside the one in service: a few, the one used last stays.

One thread loads them, one after another. A version that is dropped answers the requests that have it to their end.
"""

import asyncio
import functools
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from moderation.errors import NotFoundError, OverloadedError
from serve.model import Model

MAX_LOADING = 4
"""So many versions wait to be found or loaded; a load takes seconds."""
UNKNOWN_S = 60.0
"""How long the registry is not asked again for a version that it did not have."""
MAX_UNKNOWN = 1_000

_Done = TypeVar("_Done", str, Model)


@dataclass(frozen=True)
class Versions:
    """How the registry is asked; both block and may fail."""

    match: Callable[[str], str]
    """Returns the one version that starts so."""
    load: Callable[[str], Model]
    """Returns the model of a whole version."""


class PinnedModels:
    """Finds models by the first digits of their version; for one event loop."""

    def __init__(self, current: Callable[[], Model], versions: Versions | None, max_models: int) -> None:
        """Keep at most ``max_models`` of ``versions`` beside the ``current`` one; without them there is only that."""
        self._current = current
        self._versions = versions
        self.max_models = max_models if versions else 0
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._matching: dict[str, asyncio.Future[str]] = {}
        self._loading: dict[str, asyncio.Future[Model]] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pinned")

    def close(self) -> None:
        """Load no more; does not wait for a registry that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def loaded(self, beginning: str) -> Model | None:
        """Return the model at hand whose version starts with ``beginning``, 8 to 64 hexadecimal digits."""
        for model in (self._current(), *self._models.values()):
            if model.served.version.startswith(beginning):
                if model.served.version in self._models:
                    self._models.move_to_end(model.served.version)
                return model
        return None

    async def match(self, beginning: str) -> str:
        """Return the one version that starts with ``beginning``.

        Raises:
            NotFoundError: the registry has none, or several; or no versions are kept beside the current one.
            OverloadedError: others are being looked for.
            ModerationError: the registry cannot say.
        """
        if (model := self.loaded(beginning)) is not None:
            return model.served.version
        return await self._once(self._matching, beginning, self._known().match)

    async def load(self, version: str) -> Model:
        """Return the model of a whole ``version``.

        Raises:
            NotFoundError: the registry does not have it; or no versions are kept beside the current one.
            OverloadedError: others are being loaded.
            ModerationError: the registry cannot give it, or it cannot be served.
        """
        if (model := self.loaded(version)) is not None:
            return model
        return await self._once(self._loading, version, self._known().load)

    def _known(self) -> Versions:
        if self._versions is None or self.max_models == 0:
            raise NotFoundError("no versions are served here beside the current one")
        return self._versions

    async def _once(self, jobs: dict[str, asyncio.Future[_Done]], name: str, work: Callable[[str], _Done]) -> _Done:
        """Return what ``work`` makes of ``name``; whoever asks for the same meanwhile waits for the same."""
        if self._unknown.get(name, 0.0) > time.monotonic():
            raise NotFoundError(f"version {name} is not served here")
        if name not in jobs:
            if len(self._matching) + len(self._loading) >= MAX_LOADING:
                raise OverloadedError(f"{MAX_LOADING} versions are being loaded; try again later", retry_after_s=5)
            jobs[name] = asyncio.get_running_loop().run_in_executor(self._pool, work, name)
            jobs[name].add_done_callback(functools.partial(self._take, jobs, name))
        # Whoever leaves does not stop it for the others.
        return await asyncio.shield(jobs[name])

    def _take(self, jobs: dict[str, asyncio.Future[_Done]], name: str, done: asyncio.Future[_Done]) -> None:
        del jobs[name]
        error = None if done.cancelled() else done.exception()
        if isinstance(error, NotFoundError):
            self._unknown[name] = time.monotonic() + UNKNOWN_S
            while len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
        elif error is None and not done.cancelled() and isinstance(model := done.result(), Model):
            self._models[name] = model
            while len(self._models) > self.max_models:
                self._models.popitem(last=False)
