"""Keeps the served models what their aliases point to, without dropping a request.

A thread asks the registry now and then, loads a new version beside the one that serves, and swaps one reference.
Requests that were admitted before finish on the version they began with. Whatever goes wrong, the model stays.
A second alias, whose model answers nobody, is followed in the same way; that nothing has it is no fault.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import cast

from moderation.contracts import ServedVersion
from moderation.db.log import VersionRecord
from moderation.errors import BundleError, ConfigurationError, NotFoundError
from serve.model import Model, ModelSource

TRY_AGAIN_S = 600.0
"""When a refused version is tried again: it may have been damaged on the way only."""

logger = logging.getLogger(__name__)


class Follower:
    """The model of one alias, and why it is not what the alias points to."""

    def __init__(self, alias: str, model: Model | None = None, problem: str | None = None) -> None:
        """Start with ``model``, if there is one."""
        self.alias = alias
        self.model = model
        self.problem = problem
        self.changes = 0
        self.refusals = 0
        self._refused: dict[str, tuple[float, Exception]] = {}  # version to when it is tried again, and its fault

    def look(self, source: ModelSource) -> bool:
        """Ask what the alias points to and load it if it is new; return whether the model is another now (blocking).

        Raises:
            ModerationError: the registry cannot say or give it.
        """
        version = source.resolve(self.alias)
        if self.model is not None and version == self.model.served.version:
            self.problem = None
            return False
        if (refused := self._refused.get(version)) is not None and time.monotonic() < refused[0]:
            self._report_refused(version, refused[1])
            return False
        return self._load(version, source)

    def forget_refusals(self) -> None:
        """Try refused versions again at the next look."""
        self._refused.clear()

    def report(self, problem: str) -> None:
        """Say ``problem``, once and not at every look."""
        if problem != self.problem:
            logger.error("%s", problem)
        self.problem = problem

    def _load(self, version: str, source: ModelSource) -> bool:
        try:
            self.model = source.load(version, self.alias)
        except (BundleError, ConfigurationError) as error:
            self.refusals += version not in self._refused
            self._refused[version] = (time.monotonic() + TRY_AGAIN_S, error)
            self._report_refused(version, error)
            return False
        self.changes += 1
        self.problem = None
        logger.info("now serving %s as %s, version %s", self.model.served.name, self.alias, version)
        return True

    def _report_refused(self, version: str, error: Exception) -> None:
        stays = f"{self.model.served.version} stays" if self.model is not None else "none serves"
        self.report(f"version {version} is refused, {stays}: {error}")


class Watcher:
    """Holds the current model and the candidate; without a source they stay the first ones."""

    def __init__(
        self,
        model: Model,
        source: ModelSource | None = None,
        record: Callable[[VersionRecord], None] = lambda _: None,
        poll_s: float = 30.0,
        problem: str | None = None,
        shadow: Follower | None = None,
    ) -> None:
        """Start with ``model``; ``record`` tells the database of a new one, ``problem`` why this is not the newest.

        ``shadow`` is the alias that is followed besides.
        """
        self.production = Follower(model.served.alias, model, problem)
        self.shadow = shadow
        self._source = source
        self._record = record
        self._poll_s = poll_s
        self.unrecorded: dict[str, VersionRecord] = {}  # rows, no models: those would stay in memory with them
        self._changed: Callable[[ServedVersion], None] = lambda _: None
        self._stopping = False
        self._wanted = threading.Event()
        self._looked = threading.Condition()
        self._looks_begun = self._looks_ended = 0
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    @property
    def current(self) -> Model:
        """The model that answers."""
        return cast(Model, self.production.model)  # it began with one, and a model is only ever replaced

    @property
    def candidate(self) -> Model | None:
        """The model of the second alias, unless it is the one that answers."""
        model = self.shadow.model if self.shadow is not None else None
        return model if model is not None and model.served.version != self.current.served.version else None

    @property
    def problem(self) -> str | None:
        """Why the current model is not what the alias points to."""
        return self.production.problem

    def start(self, changed: Callable[[ServedVersion], None]) -> None:
        """Start the thread; ``changed`` is called in it with each new version that answers."""
        self._changed = changed
        if self._source is not None:
            if self.shadow is not None:
                self._wanted.set()  # the candidate is not loaded yet
            self._thread.start()

    def record(self, record: VersionRecord) -> bool:
        """Tell the database of a version, with the next look if that fails; return whether it did (blocking)."""
        try:
            self._record(record)
            return True
        except Exception as error:  # noqa: BLE001 - whatever the database says, the version can answer
            logger.warning("cannot record version %s yet: %s", record.version, type(error).__name__)
            self.record_later(record)
            return False

    def record_later(self, record: VersionRecord) -> None:
        """Tell the database of a version with the next look; it could not be told yet."""
        self.unrecorded[record.version] = record

    def close(self) -> None:
        """Stop looking; does not wait for a registry that hangs."""
        self._stopping = True
        self._wanted.set()

    def look_now(self, timeout_s: float) -> bool:
        """Look, trying refused versions again, and return whether that was done in ``timeout_s`` (blocking)."""
        if self._source is None:
            return True
        with self._looked:
            mine = self._looks_begun + 1  # one that runs already may have asked too early
            for follower in self._followers():
                follower.forget_refusals()
            self._wanted.set()
            return self._looked.wait_for(lambda: self._looks_ended >= mine, timeout_s)

    def _run(self) -> None:
        while True:
            self._wanted.wait(self._poll_s)
            self._wanted.clear()
            if self._stopping:
                return
            with self._looked:
                self._looks_begun += 1
            self._look()
            with self._looked:
                self._looks_ended += 1
                self._looked.notify_all()
            self._record_pending()

    def _followers(self) -> list[Follower]:
        return [follower for follower in (self.production, self.shadow) if follower is not None]

    def _look(self) -> None:
        for follower in self._followers():
            try:
                if self._source is None or not follower.look(self._source) or follower.model is None:
                    continue
            except NotFoundError as error:
                if follower is self.shadow:
                    follower.model, follower.problem = None, str(error)
                else:
                    follower.report(f"cannot look for a new version: {error}")
                continue
            except Exception as error:  # noqa: BLE001 - the edge of this thread: the model serves on
                follower.report(f"cannot look for a new version: {error}")
                continue
            self.record_later(follower.model.record())
            if follower is self.production:
                self._changed(follower.model.served)

    def _record_pending(self) -> None:
        for version in list(self.unrecorded):  # other threads add to it
            if not self.record(self.unrecorded.pop(version)):
                return
