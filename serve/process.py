"""The process that serves: its real parts opened and checked, its sockets, and how it stops."""

import functools
import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from moderation.db import keys
from moderation.db.database import connect, require_current
from moderation.db.log import VersionRecord, record_version
from moderation.db.quotas import lease
from moderation.errors import ConfigurationError, UnavailableError
from moderation.settings import ApiSettings
from serve import first_start, logs
from serve.app import create_app
from serve.auth import LOOPBACK, Access
from serve.keys import KeyRing
from serve.model import Model, ModelSource
from serve.outbox import Outbox
from serve.pinned import Versions
from serve.prediction_log import PredictionLog
from serve.protocol import protocol, raise_file_limit
from serve.quotas import Quotas
from serve.stopping import drain_s
from serve.watcher import Follower, Watcher

BACKLOG = 1024
"""Connections that wait to be accepted."""
KEEP_ALIVE_S = 75
"""How long a connection stays open without a request: longer than load balancers keep theirs (60 s at AWS), which would
otherwise send a request into one that is just being closed."""
COLLECT_AFTER = (700, 10, 100)
"""`gc.set_threshold`'s; Python's own last one is 10. A full collection walks all waiting requests: at three times the
capacity, with a thousand, one every 5 s stopped all answers for 70 to 120 ms. What is in no cycle does not wait for
it."""

logger = logging.getLogger(__name__)


def run(settings: ApiSettings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was admitted, empty the outbox and return.

    Where the state folder is empty and nothing is named elsewhere, all that is needed is made first, and if callers
    need a key, one is made and printed.

    Raises:
        ModerationError: as `prepared` does, before anything is served.
    """
    logs.configure()
    if settings.is_new:
        key = first_start.make(settings, with_key=_with_keys(settings))
        if key is not None:
            sys.stdout.write(f"API key, shown this once (scopes predict and feedback): {key}\n")
            sys.stdout.flush()
    with prepared(settings) as (app, listeners):
        _serve(app, listeners, drain_s(settings.deadline_s))


@contextmanager
def prepared(settings: ApiSettings) -> Iterator[tuple[FastAPI, list[socket.socket]]]:
    """Yield the app around its real parts, all of them checked, and the sockets to serve it on: the API's, the private.

    Raises:
        ConfigurationError: an address beyond loopback without keys, or one in use, a database that is behind, a bad
            policy, a state folder that cannot be written or that another server uses.
        UnavailableError: the database with no copy of its keys here, or the registry with no last good copy here,
            cannot be reached.
        NotFoundError: the registry has no such alias.
        RegistryError: the registry refuses to answer.
        BundleError: the bundle cannot be served.
    """
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in _listeners(settings)]
        engine = connect(settings.resolved_database_url())
        stack.callback(engine.dispose)
        access = _access(settings, engine)
        database_is_here = _check_database(engine, access.keys)
        source = ModelSource(settings)
        stack.callback(source.close)
        model, problem = source.first()
        outbox = Outbox(settings.state_dir / "outbox.db", settings.max_outbox_rows, settings.outbox_sync)
        stack.callback(outbox.close)
        record = functools.partial(record_in, engine)
        follower = Follower(settings.shadow_alias) if settings.shadow_alias is not None else None
        watcher = Watcher(model, source, record, settings.alias_poll_s, problem, follower)
        if database_is_here:
            record(model.record())
        else:
            watcher.record_later(model.record())
        app = create_app(
            settings,
            watcher=watcher,
            outbox=outbox,
            log=PredictionLog(engine),
            access=access,
            versions=Versions(source.match, functools.partial(load_pinned, source, watcher)),
        )
        logger.info("serving %s, version %s", model.served.name, model.served.version)
        yield app, listeners


def _access(settings: ApiSettings, engine: Engine) -> Access:
    if not _with_keys(settings):
        return Access(settings)
    read, note_use = functools.partial(keys.read, engine), functools.partial(keys.note_use, engine)
    ring = KeyRing(read, note_use, settings.state_dir / "keys.json", settings.keys_max_age_s)
    quotas = Quotas(functools.partial(lease, engine), settings.replicas, reachable=lambda: ring.problem is None)
    return Access(settings, ring, quotas)


def _with_keys(settings: ApiSettings) -> bool:
    """Return whether callers need keys."""
    return settings.api_host not in LOOPBACK if settings.auth is None else settings.auth


def _check_database(engine: Engine, ring: KeyRing | None) -> bool:
    """Return whether the database is there; with keys, a copy of them lets the server start without it."""
    try:
        require_current(engine)
    except UnavailableError as error:
        if ring is None or not ring.load_copy():
            raise
        logger.error("starting without the database, with the last known keys: %s", error)
        return False
    if ring is not None:
        ring.refresh()
        if ring.empty:
            logger.warning("no API key holds, so every caller is refused; make one with `moderation keys create`")
    return True


def _listeners(settings: ApiSettings) -> Iterator[AbstractContextManager[socket.socket]]:
    """Yield the listening sockets: taken first, so that a port in use is said before a model is loaded."""
    addresses = [("API", settings.api_host, settings.api_port)]
    if settings.private_port is not None:
        addresses.append(("PRIVATE", settings.private_host, settings.private_port))
    for name, host, _ in addresses:
        if host not in LOOPBACK and not _with_keys(settings) and not settings.in_container:
            raise ConfigurationError(
                f"MODERATION_{name}_HOST is {host!r} and MODERATION_AUTH is off: without keys only "
                f"{', '.join(LOOPBACK)} are listened on; leave MODERATION_AUTH unset and run `moderation keys create`"
            )
    if settings.private_port == settings.api_port:
        raise ConfigurationError(f"MODERATION_PRIVATE_PORT is {settings.private_port}, as MODERATION_API_PORT is")
    for name, host, port in addresses:
        yield _listener(name, host, port)


@contextmanager
def _listener(name: str, host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # asyncio sets it on sockets whose protocol is stated, which those accepted here do not: without it, the body
        # of an answer waits 40 ms for the caller's acknowledgement of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]  # Python's own says the address again
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({reason}); stop what uses it or set MODERATION_{name}_PORT"
        ) from error
    with listener:
        yield listener


def _serve(app: FastAPI, listeners: list[socket.socket], drain_s: int) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s,
        http=protocol(raise_file_limit(), app.state.metrics.refused),
    )
    # What is loaded by now lives as long as the server; a collection that walks it holds every answer up for 200 ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    # uvicorn raises the signal that stopped it again once it is done; the exit status would be the signal's.
    previous = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.Server(config).run(sockets=listeners)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: object) -> None:
    pass


def load_pinned(source: ModelSource, watcher: Watcher, version: str) -> Model:
    """Load what a caller names, and let the database know of it first: roll-ups classify by what is recorded."""
    model = source.load_pinned(version)
    watcher.record(model.record())
    return model


def record_in(engine: Engine, record: VersionRecord) -> None:
    """Tell the database of a version."""
    with engine.begin() as connection:
        record_version(connection, record)
