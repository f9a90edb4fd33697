"""The API server: its parts put together (`create_app`), and the process that runs it (`run`).

Order of work: a request is checked at the edge and at the door, its texts wait in the batcher, worker
threads score them, the rows are committed to the outbox, the answer leaves; a shipper moves the rows to
the database. The event loop never runs the model and never waits for a disk or a database.
"""

import asyncio
import functools
import gc
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from moderation.db import keys
from moderation.db.database import connect, require_current
from moderation.db.log import record_version
from moderation.db.quotas import lease
from moderation.errors import ConfigurationError, UnavailableError
from moderation.privacy import Privacy
from moderation.scoring.onnx import available_cores
from moderation.settings import ApiSettings
from serve import auth, logs, payload
from serve.auth import LOOPBACK, Access
from serve.batcher import Batcher
from serve.cache import Cache
from serve.edge import Edge
from serve.errors import UnreadableError, body_response, error_response
from serve.feedback import FeedbackDesk
from serve.keys import KeyRing
from serve.limits import BodyLimit
from serve.metrics import Metrics
from serve.model import Model, ModelSource
from serve.outbox import Outbox
from serve.prediction_log import PredictionLog
from serve.predictor import Limits, Predictor
from serve.protocol import protocol, raise_file_limit
from serve.quotas import Quotas
from serve.routes import admin, feedback, page, predictions, status
from serve.routes.status import OK, Readiness
from serve.shadow import Shadow
from serve.shipper import Shipper
from serve.stages import Asked, Found, Stages
from serve.watcher import Follower, Watcher

BODY_TIMEOUT_S = 10.0
BACKLOG = 1024
"""Connections that wait to be accepted."""
KEEP_ALIVE_S = 75
"""How long a connection stays open without a request: longer than load balancers keep theirs (60 s at AWS), which would
otherwise send a request into one that is just being closed."""
DRAIN_S = 20
"""How long requests that are being answered may take after the signal to stop."""
FLUSH_S = 5.0
"""How long the outbox is emptied after that; what is left is shipped by the next start."""

LAG_PERIOD_S = 0.2
"""How often the event loop's lateness is measured."""

logger = logging.getLogger(__name__)


def create_app(
    settings: ApiSettings,
    *,
    watcher: Watcher,
    outbox: Outbox,
    log: PredictionLog,
    access: Access | None = None,
    body_timeout_s: float = BODY_TIMEOUT_S,
    flush_s: float = FLUSH_S,
) -> FastAPI:
    """Return the app around its parts; starting it starts the threads, stopping it ends them.

    The outbox and the log stay the caller's to close. Without ``access`` there are no keys, and this machine alone
    is answered. ``body_timeout_s`` bounds how long a request's body may
    take to arrive, ``flush_s`` how long the outbox is emptied at the end.

    Raises:
        ConfigurationError: limits that contradict each other.
    """
    if settings.max_batch_texts > min(settings.max_waiting_texts, settings.max_outbox_rows):
        raise ConfigurationError(
            "MODERATION_MAX_BATCH_TEXTS is larger than MODERATION_MAX_WAITING_TEXTS or MODERATION_MAX_OUTBOX_ROWS: "
            "such a batch could never be taken"
        )
    stages = Stages(Cache(settings.cache_texts) if settings.cache_texts else None)
    batcher = Batcher(
        stages.tokenize,
        stages.infer,
        settings.threads or available_cores(),
        settings.max_waiting_texts,
        settings.max_wait_s,
        size_of=lambda asked: len(asked.text),
    )
    shadow = Shadow(
        lambda: watcher.candidate,
        settings.shadow_share,
        lambda: batcher.waiting_texts == 0 and not outbox.half_full,
        outbox.append,
    )
    shipper = Shipper(outbox, log)
    desk = FeedbackDesk(lambda: watcher.current.served, outbox, log, lambda: shipper.database_reachable)
    access = access or Access(settings)
    metrics = _metrics(watcher, batcher, outbox, shipper, shadow, access)

    def require_room() -> None:
        outbox.require_room(1)
        batcher.require_room(1)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        outbox.start()
        shipper.start()
        watcher.start(metrics.serves)
        shadow.start()
        access.start()
        lag = asyncio.create_task(_measure_lag(metrics.lagged))
        yield
        lag.cancel()
        access.close()
        desk.close()
        watcher.close()
        await shadow.close()
        await asyncio.to_thread(batcher.close)
        await asyncio.to_thread(outbox.stop)
        await asyncio.to_thread(shipper.close, flush_s)

    app = FastAPIOffline(  # its /docs loads nothing from elsewhere
        docs_url="/docs",
        redoc_url=None,
        title="Moderation",
        version="1",
        description="Scores comments for six kinds of toxicity and decides whether to allow, review or remove them.",
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    readiness = functools.partial(_readiness, watcher, batcher, outbox, shipper, access)
    limits = Limits(settings.max_text_bytes, settings.deadline_s)
    privacy = Privacy(settings)
    predictor = Predictor(lambda: watcher.current, batcher, outbox, shadow, metrics, limits, privacy)
    app.include_router(predictions.router(predictor, settings.max_batch_texts))
    app.include_router(feedback.router(desk))
    app.include_router(status.router(lambda: watcher.current.served, metrics, readiness))
    app.include_router(admin.router(watcher))
    app.include_router(page.router())
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=body_timeout_s)
    app.add_middleware(Edge, metrics=metrics, access=access, require_room=require_room)  # added last: outermost
    if access.keys is not None:
        _describe_keys(app)
    return app


def run(settings: ApiSettings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was admitted, empty the outbox and return.

    Raises:
        ModerationError: as `prepared` does, before anything is served.
    """
    logs.configure()
    with prepared(settings) as (app, listeners):
        _serve(app, listeners)


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
        outbox = Outbox(settings.state_dir / "outbox.db", settings.max_outbox_rows)
        stack.callback(outbox.close)
        record = functools.partial(_record, engine)
        follower = Follower(settings.shadow_alias) if settings.shadow_alias is not None else None
        watcher = Watcher(model, source, record, settings.alias_poll_s, problem, follower)
        if database_is_here:
            record(model)
        else:
            watcher.record_later(model)
        app = create_app(settings, watcher=watcher, outbox=outbox, log=PredictionLog(engine), access=access)
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
        if host not in LOOPBACK and not _with_keys(settings):
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
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({error.strerror}); stop what uses it or set MODERATION_{name}_PORT"
        ) from error
    with listener:
        yield listener


def _serve(app: FastAPI, listeners: list[socket.socket]) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        http=protocol(raise_file_limit()),
    )
    # What is loaded by now lives as long as the server; a collection that walks it holds every answer up for 200 ms.
    gc.collect()
    gc.freeze()
    # uvicorn raises the signal that stopped it again once it is done; the exit status would be the signal's.
    previous = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.Server(config).run(sockets=listeners)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: object) -> None:
    pass


def _record(engine: Engine, model: Model) -> None:
    with engine.begin() as connection:
        record_version(connection, model.record())


def _describe_keys(app: FastAPI) -> None:
    """Let the API's description say which keys its paths need (the way that FastAPI's documentation gives)."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = auth.describe(plain())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _readiness(
    watcher: Watcher, batcher: Batcher[Asked, Any, Found], outbox: Outbox, shipper: Shipper, access: Access
) -> Readiness:
    problem = outbox.problem
    parts = {
        "model": OK if batcher.running else "stopped",
        "outbox": OK if problem is None else problem,
        "database": OK if shipper.database_reachable else f"away, {outbox.pending()} rows wait in the outbox",
        "registry": watcher.problem or OK,
    }
    if watcher.shadow is not None:
        parts["shadow"] = OK if watcher.candidate else watcher.shadow.problem or "the candidate is what answers"
    usable = True
    if access.keys is not None:
        usable = access.keys.usable
        parts["keys"] = (access.keys.problem or OK) if usable else "too old to go by, every caller is refused"
    # Without the registry the loaded version serves on, without the database the outbox keeps every row and the last
    # known keys go on for a while; without the outbox nothing can be answered.
    return Readiness(ready=usable and parts["model"] == parts["outbox"] == OK, parts=parts)


async def _measure_lag(note: Callable[[float], None]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(LAG_PERIOD_S)
        note(max(0.0, time.perf_counter() - before - LAG_PERIOD_S))


def _metrics(
    watcher: Watcher,
    batcher: Batcher[Asked, Any, Found],
    outbox: Outbox,
    shipper: Shipper,
    shadow: Shadow,
    access: Access,
) -> Metrics:
    metrics = Metrics()
    metrics.serves(watcher.current.served)
    metrics.gauge("waiting_texts", "Comments admitted and not yet answered.", lambda: batcher.waiting_texts)
    metrics.gauge("outbox_rows", "Rows that the database does not have yet.", outbox.pending)
    metrics.gauge("outbox_oldest_seconds", "How long the oldest of them has been waiting.", outbox.oldest_age_s)
    metrics.gauge("refused_rows", "Rows that the database refused, since the start.", lambda: shipper.refused_rows)
    metrics.gauge("database_up", "1 if the database was reached at last attempt.", lambda: shipper.database_reachable)
    metrics.gauge("registry_up", "1 if what the alias points to is served.", lambda: watcher.problem is None)
    production = watcher.production
    metrics.gauge("version_changes", "Versions swapped in since the start.", lambda: production.changes)
    metrics.gauge("refused_versions", "Versions not fit to serve, since the start.", lambda: production.refusals)
    metrics.gauge("shadow_up", "1 if a candidate is scored in the background.", lambda: watcher.candidate is not None)
    metrics.gauge("shadow_waiting", "Comments that wait for the candidate.", lambda: shadow.waiting)
    metrics.gauge("shadow_scored", "Comments that the candidate scored, since the start.", lambda: shadow.scored)
    metrics.gauge("shadow_dropped", "Comments that it had no time for, since the start.", lambda: shadow.dropped)
    metrics.gauge("shadow_failed", "Comments that it failed on, since the start.", lambda: shadow.failed)
    if (ring := access.keys) is not None:
        metrics.gauge("keys_age_seconds", "Since the API keys were read from the database.", lambda: ring.age_s)
    return metrics


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    """Answer what the framework refuses: no such path, no such method."""
    message = HTTPStatus(error.status_code).phrase
    code, headers = message.lower().replace(" ", "_"), dict(error.headers or {})
    if methods := headers.get("Allow"):
        example = payload.example(getattr(request.scope.get("route"), "openapi_extra", None))
        message = f"this path takes {methods}" + (f" with a JSON body, such as {example}" if example else "")
    return body_response(error.status_code, code, message, request.state.request_id, headers)


async def _validation_error(request: Request, _: RequestValidationError) -> JSONResponse:
    """Answer what FastAPI's own validation refuses, without the input that its default answer repeats."""
    return error_response(UnreadableError("the request is not what the contract asks for"), request.state.request_id)
