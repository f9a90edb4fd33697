"""Keeps the served model what the alias points to, without dropping a request.

A thread asks the registry now and then, loads a new version beside the one that serves, and swaps one reference.
Requests that were admitted before finish on the version they began with. Whatever goes wrong, the model stays.
"""

import logging
import threading
import time
from collections.abc import Callable

from moderation.contracts import ServedVersion
from moderation.errors import BundleError, ConfigurationError
from serve.model import Model, ModelSource

TRY_AGAIN_S = 600.0
"""When a refused version is tried again: it may have been damaged on the way only."""

logger = logging.getLogger(__name__)


class Watcher:
    """Holds the current model; without a source it stays the first one."""

    def __init__(
        self,
        model: Model,
        source: ModelSource | None = None,
        record: Callable[[Model], None] = lambda _: None,
        poll_s: float = 30.0,
        problem: str | None = None,
    ) -> None:
        """Start with ``model``; ``record`` tells the database of a new one, ``problem`` why this is not the newest."""
        self.current = model
        self.problem = problem
        self.changes = 0
        self.refusals = 0
        self._source = source
        self._record = record
        self._poll_s = poll_s
        self._refused: dict[str, tuple[float, str]] = {}  # version to when it is tried again, and why it was refused
        self._unrecorded: Model | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._changed: Callable[[ServedVersion], None] = lambda _: None

    def start(self, changed: Callable[[ServedVersion], None]) -> None:
        """Start the thread; ``changed`` is called in it with each new version."""
        self._changed = changed
        if self._source is not None:
            self._thread.start()

    def record_later(self, model: Model) -> None:
        """Tell the database of ``model`` with the next look; it could not be told yet."""
        self._unrecorded = model

    def close(self) -> None:
        """Stop looking; does not wait for a registry that hangs."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the edge of this thread: the model serves on
                self._report(f"cannot look for a new version: {error}")
            try:
                self._record_pending()
            except Exception as error:  # noqa: BLE001 - as above; the next look tries again
                logger.warning("cannot record version %s yet: %s", self.current.served.version, type(error).__name__)

    def look(self) -> None:
        """Ask what the alias points to, and swap to it if it is new and fit to serve (blocking).

        Raises:
            ModerationError: the registry cannot say or give it.
        """
        if self._source is None:
            return
        version = self._source.resolve()
        if version == self.current.served.version:
            self.problem = None
            return
        try_again_at, why = self._refused.get(version, (0.0, ""))
        if time.monotonic() < try_again_at:
            self.problem = why
        else:
            self._swap(version, self._source)

    def _swap(self, version: str, source: ModelSource) -> None:
        try:
            model = source.load(version)
        except (BundleError, ConfigurationError) as error:
            if version not in self._refused:
                self.refusals += 1
                self._report(f"version {version} is refused, {self.current.served.version} stays: {error}")
            self._refused[version] = (time.monotonic() + TRY_AGAIN_S, str(self.problem))
            return
        if self._stopping.is_set():
            return
        self.current = model
        self.changes += 1
        self.problem = None
        self._changed(model.served)
        logger.info("now serving %s, version %s", model.served.name, version)
        self._unrecorded = model

    def _record_pending(self) -> None:
        if self._unrecorded is not None:
            self._record(self._unrecorded)
            self._unrecorded = None

    def _report(self, problem: str) -> None:
        if problem != self.problem:  # once, not at every look
            logger.error("%s", problem)
        self.problem = problem
