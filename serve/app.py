"""The API: its parts put together around the routes.

Order of work: a request is checked at the edge and at the door, its texts wait in the batcher, worker
threads score them, the rows are committed to the outbox, the answer leaves; a shipper moves the rows to
the database. The event loop never runs the model and never waits for a disk or a database.
"""

import asyncio
import functools
import math
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import Response

from moderation.errors import ConfigurationError
from moderation.privacy import Privacy
from moderation.release import VERSION
from moderation.scoring.onnx import available_cores
from moderation.settings import ApiSettings
from serve import auth, payload
from serve.auth import Access
from serve.batcher import Batcher
from serve.cache import Cache
from serve.compat.errors import answer_to, answer_to_http
from serve.compat.headers import bundle_headers
from serve.compat.openai import moderations as openai
from serve.compat.perspective import routes as perspective
from serve.compat.perspective.analysis import Analyzer, Rules
from serve.compat.perspective.suggestions import PerMinute, SuggestionDesk
from serve.edge import Edge
from serve.errors import UnreadableError, body_response
from serve.feedback import FeedbackDesk
from serve.limits import BodyLimit
from serve.metrics import Metrics
from serve.outbox import Outbox
from serve.pinned import PinnedModels, Versions
from serve.prediction_log import PredictionLog
from serve.predictor import Limits, Predictor
from serve.routes import admin, feedback, page, predictions, status
from serve.routes.status import OK, Readiness
from serve.shadow import Shadow
from serve.shipper import Shipper
from serve.stages import Asked, Found, Stages
from serve.stopping import FLUSH_S
from serve.watcher import Watcher

DESCRIPTION = """Scores comments for six kinds of toxicity and decides whether to allow, review or remove them.

Clients of the Perspective API and of OpenAI's moderation find their routes here as well, `/v1alpha1/comments:analyze`,
`/v1alpha1/comments:suggestscore`, `/batch` and `/v1/moderations`: `docs/perspective.md` in the repository describes
them.
"""
BODY_TIMEOUT_S = 10.0
LAG_PERIOD_S = 0.2
"""How often the event loop's lateness is measured."""


def create_app(
    settings: ApiSettings,
    *,
    watcher: Watcher,
    outbox: Outbox,
    log: PredictionLog,
    access: Access | None = None,
    body_timeout_s: float = BODY_TIMEOUT_S,
    flush_s: float = FLUSH_S,
    versions: Versions | None = None,
) -> FastAPI:
    """Return the app around its parts; starting it starts the threads, stopping it ends them.

    The outbox and the log stay the caller's to close. Without ``access`` there are no keys, and this machine alone
    is answered. ``body_timeout_s`` bounds how long a request's body may
    take to arrive, ``flush_s`` how long the outbox is emptied at the end. ``versions`` finds those that
    callers name; without it there is only the current one.

    Raises:
        ConfigurationError: limits that contradict each other.
    """
    batcher = _batcher(settings, watcher)
    shadow = Shadow(
        lambda: watcher.candidate,
        settings.shadow_share,
        lambda: batcher.waiting_texts == 0 and not outbox.half_full,
        outbox.append,
    )
    shipper = Shipper(outbox, log)
    desk = FeedbackDesk(lambda: watcher.current.served, outbox, log, lambda: shipper.database_reachable)
    pinned = PinnedModels(lambda: watcher.current, versions, settings.pinned_versions)
    access = access or Access(settings)
    metrics = _metrics(watcher, batcher, outbox, shipper, shadow, access)
    _show_bounds(metrics, settings)

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
        tasks = [
            asyncio.create_task(_measure_lag(metrics.lagged)),
            asyncio.create_task(metrics.failures.keep_logging(outbox.append, lambda: not outbox.half_full)),
        ]
        yield
        for task in tasks:
            task.cancel()
        access.close()
        desk.close()
        pinned.close()
        watcher.close()
        await shadow.close()
        await asyncio.to_thread(batcher.close)
        await metrics.failures.flush(outbox.append, all_=True)
        await asyncio.to_thread(outbox.stop)
        await asyncio.to_thread(shipper.close, flush_s)

    app = FastAPIOffline(  # its /docs loads nothing from elsewhere
        docs_url="/docs",
        redoc_url=None,
        title="Moderation",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.metrics = metrics  # the server counts there what never becomes a request
    readiness = functools.partial(_readiness, watcher, batcher, outbox, shipper, access)
    limits = Limits(settings.max_text_bytes, settings.deadline_s)
    predictor = Predictor(lambda: watcher.current, batcher, outbox, shadow, metrics, limits, Privacy(settings))
    app.include_router(predictions.router(predictor, settings.max_batch_texts))
    app.include_router(feedback.router(desk))
    app.include_router(status.router(lambda: watcher.current.served, metrics, readiness))
    app.include_router(admin.router(watcher))
    _include_compat(app, settings, predictor, pinned, desk, watcher)
    app.include_router(page.router())
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=body_timeout_s)
    app.add_middleware(  # added last: outermost
        Edge,
        metrics=metrics,
        access=access,
        require_room=require_room,
        bundle_headers=lambda: bundle_headers([watcher.current], settings.perspective_scale == "perspective"),
    )
    if access.keys is not None:
        _describe_keys(app)
    return app


def _batcher(settings: ApiSettings, watcher: Watcher) -> Batcher[Asked, Any, Found]:
    """Return the batcher; raise ConfigurationError for limits that contradict each other."""
    if settings.max_batch_texts > min(settings.max_waiting_texts, settings.max_outbox_rows):
        raise ConfigurationError(
            "MODERATION_MAX_BATCH_TEXTS is larger than MODERATION_MAX_WAITING_TEXTS or MODERATION_MAX_OUTBOX_ROWS: "
            "such a batch could never be taken"
        )
    stages = Stages(Cache(settings.cache_texts) if settings.cache_texts else None)
    return Batcher(
        stages.tokenize,
        stages.infer,
        settings.threads or available_cores(),
        settings.max_waiting_texts,
        settings.max_wait_s,
        size_of=lambda asked: len(asked.text),
        call_tokens=lambda: watcher.current.call_tokens,
    )


def _include_compat(
    app: FastAPI,
    settings: ApiSettings,
    predictor: Predictor,
    pinned: PinnedModels,
    desk: FeedbackDesk,
    watcher: Watcher,
) -> None:
    rules = Rules(settings.perspective_strict, settings.deadline_s)
    analyzer = Analyzer(predictor, pinned, lambda: watcher.current, rules)
    per_minute = PerMinute(settings.suggestions_per_minute)
    suggestions = SuggestionDesk(predictor, desk, per_minute)
    app.include_router(
        perspective.router(
            analyzer, suggestions, settings.perspective_scale, settings.max_text_bytes, settings.public_url
        )
    )
    app.include_router(openai.router(predictor, settings.max_batch_texts))


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
    metrics.gauge("outbox_up", "1 if the outbox can be written.", lambda: outbox.problem is None)
    metrics.count("refused_rows", "Rows that the database refused.", lambda: shipper.refused_rows)
    metrics.gauge("database_up", "1 if the database was reached at last attempt.", lambda: shipper.database_reachable)
    metrics.gauge("registry_up", "1 if what the alias points to is served.", lambda: watcher.problem is None)
    production = watcher.production
    metrics.count("version_changes", "Versions swapped in.", lambda: production.changes)
    metrics.count("refused_versions", "Versions not fit to serve.", lambda: production.refusals)
    if watcher.shadow is not None:
        _show_shadow(metrics, watcher, shadow)
    if (ring := access.keys) is not None:
        metrics.gauge("keys_age_seconds", "Since the API keys were read from the database.", lambda: ring.age_s)
    return metrics


def _show_shadow(metrics: Metrics, watcher: Watcher, shadow: Shadow) -> None:
    metrics.gauge("shadow_up", "1 if a candidate is scored in the background.", lambda: watcher.candidate is not None)
    metrics.gauge("shadow_waiting", "Comments that wait for the candidate.", lambda: shadow.waiting)
    metrics.count("shadow_scored", "Comments that the candidate scored.", lambda: shadow.scored)
    metrics.count("shadow_dropped", "Comments that the candidate had no time for.", lambda: shadow.dropped)
    metrics.count("shadow_failed", "Comments that the candidate failed on.", lambda: shadow.failed)


def _show_bounds(metrics: Metrics, settings: ApiSettings) -> None:
    rows, folder = settings.max_outbox_rows, settings.state_dir
    metrics.gauge("outbox_max_rows", "From how many rows in the outbox on predictions are refused.", lambda: rows)
    metrics.gauge("state_size_bytes", "Size of the disk with the state folder.", lambda: _disk(folder)[0])
    metrics.gauge("state_free_bytes", "What is free of it.", lambda: _disk(folder)[1])


def _disk(folder: Path) -> tuple[float, float]:
    """Return size and free bytes of the disk with ``folder``; NaN while it cannot be asked."""
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return math.nan, math.nan
    return found.total, found.free


async def _http_error(request: Request, error: HTTPException) -> Response:
    """Answer what the framework refuses: no such path, no such method."""
    if (answer := answer_to_http(error, request.scope)) is not None:
        return answer
    message = HTTPStatus(error.status_code).phrase
    code, headers = message.lower().replace(" ", "_"), dict(error.headers or {})
    if methods := headers.get("Allow"):
        example = payload.example(getattr(request.scope.get("route"), "openapi_extra", None))
        message = f"this path takes {methods}" + (f" with a JSON body, such as {example}" if example else "")
    return body_response(error.status_code, code, message, request.state.request_id, headers)


async def _validation_error(request: Request, _: RequestValidationError) -> Response:
    """Answer what FastAPI's own validation refuses, without the input that its default answer repeats."""
    return answer_to(UnreadableError("the request is not what the contract asks for"), request.scope)
