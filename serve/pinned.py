"""Versions that callers name, loaded from the registry beside the one in service: a few, the one used last stays.

One thread loads them, one after another. A version that is dropped answers the requests that have it to their end.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from moderation.errors import NotFoundError, OverloadedError
from serve.model import Model

MAX_LOADING = 4
"""So many versions wait to be loaded; a load takes seconds."""
UNKNOWN_S = 60.0
"""How long the registry is not asked again for a version that it did not have."""
MAX_UNKNOWN = 1_000


class PinnedModels:
    """Finds models by the first digits of their version; for one event loop."""

    def __init__(self, current: Callable[[], Model], load: Callable[[str], Model], max_models: int) -> None:
        """Keep at most ``max_models`` beside the ``current`` one; ``load`` blocks and may fail."""
        self._current = current
        self._load = load
        self._max_models = max_models
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._loading: dict[str, asyncio.Future[Model]] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pinned")

    def close(self) -> None:
        """Load no more; does not wait for a registry that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def find(self, version: str) -> Model:
        """Return the model whose version starts with ``version``, 8 to 64 hexadecimal digits.

        Raises:
            NotFoundError: the registry has none, or several; or no versions are kept beside the current one.
            OverloadedError: others are being loaded.
            ModerationError: the registry cannot give it, or it cannot be served.
        """
        for model in (self._current(), *self._models.values()):
            if model.served.version.startswith(version):
                if model.served.version in self._models:
                    self._models.move_to_end(model.served.version)
                return model
        if self._max_models == 0 or self._unknown.get(version, 0.0) > time.monotonic():
            raise NotFoundError(f"version {version} is not served here")
        if version not in self._loading:
            if len(self._loading) >= MAX_LOADING:
                raise OverloadedError(f"{MAX_LOADING} versions are being loaded; try again later", retry_after_s=5)
            loading = asyncio.get_running_loop().run_in_executor(self._pool, self._load, version)
            self._loading[version] = loading
            loading.add_done_callback(lambda done: self._take(version, done))
        # Whoever leaves does not stop it for the others.
        return await asyncio.shield(self._loading[version])

    def _take(self, version: str, loading: asyncio.Future[Model]) -> None:
        del self._loading[version]
        error = None if loading.cancelled() else loading.exception()
        if isinstance(error, NotFoundError):
            self._unknown[version] = time.monotonic() + UNKNOWN_S
            while len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
        elif error is None and not loading.cancelled():
            model = loading.result()
            self._models[model.served.version] = model
            while len(self._models) > self._max_models:
                self._models.popitem(last=False)
