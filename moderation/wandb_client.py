"""The only module that imports the W&B SDK.

``python -m moderation.wandb_client`` answers one JSON request per line until its stdin ends: see
`moderation.wandb_process`, which asks. Training alone imports the SDK in-process (`start_run`), since the Trainer
reports to it there.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from moderation.errors import BundleError, ModerationError, NotFoundError, RegistryError, UnavailableError
from moderation.registry.registry import check_unmoved
from moderation.wandb_process import KINDS, MODEL, MOVE, REPORT, STEP, Answer, api_key, clean

REACH_S = 8.0
"""How long the server may take to answer anything at all."""
API_TIMEOUT_S = 15


def project() -> str:
    """Return the project of runs and artifacts."""
    return os.environ.get("WANDB_PROJECT") or "moderation"


def start_run(finish_timeout_s: float, **options: Any) -> Any:  # noqa: ANN401 - a run of the SDK
    """Start the SDK's run in this process, where the Trainer's callback finds it; probe the server first."""
    import wandb

    settings = wandb.Settings(
        api_key=api_key(),
        init_timeout=30.0,
        finish_timeout=finish_timeout_s,
        x_graphql_retry_max=1,
        silent=True,
        console="off",
    )
    return wandb.init(project=project(), settings=settings, **options)


def _reach() -> None:
    url = os.environ["WANDB_BASE_URL"]
    try:
        urllib.request.urlopen(url, timeout=REACH_S).close()  # noqa: S310 - the operator's own URL
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise UnavailableError(f"W&B at {url} cannot be reached: {clean(cause)}") from error


def _api() -> Any:  # noqa: ANN401 - wandb.Api
    import wandb

    return wandb.Api(timeout=API_TIMEOUT_S)


def _project_path(api: Any) -> str:  # noqa: ANN401
    return f"{os.environ.get('WANDB_ENTITY') or api.default_entity}/{project()}"


def _members(api: Any, collection: str) -> list[Any]:  # noqa: ANN401
    """Return the collection's artifacts, oldest first."""
    if not api.artifact_collection_exists(collection, MODEL):
        return []
    return sorted(api.artifacts(MODEL, collection), key=_number)


def _number(artifact: Any) -> int:  # noqa: ANN401
    """Return the artifact's number in its collection; ``artifact.version`` can be that of the source it links to."""
    return int(artifact.name.rpartition(":v")[2])


def _version(artifact: Any) -> str:  # noqa: ANN401
    version = artifact.metadata.get("version")
    if not isinstance(version, str):
        raise RegistryError(f"{artifact.qualified_name} is no bundle of ours: its metadata has no version")
    return version


def _member(api: Any, collection: str, version: str) -> Any:  # noqa: ANN401
    for artifact in _members(api, collection):
        if artifact.metadata.get("version") == version:
            return api.artifact(f"{collection}:v{_number(artifact)}", type=MODEL)  # listed, it does not download
    raise NotFoundError(f"version {version!r} is not in {collection}")


def _probe() -> Answer:
    return {"entity": _api().default_entity}


def _resolve(collection: str, alias: str) -> Answer:
    try:
        return _version(_api().artifact(f"{collection}:{alias}", type=MODEL))
    except Exception as error:
        if "not found" in str(error).lower():
            raise NotFoundError(f"W&B has no alias {alias!r} in {collection}") from error
        raise


def _versions(collection: str) -> Answer:
    # What others linked there by hand is no bundle of ours, and no reason to fail.
    return [
        {"version": artifact.metadata["version"], "aliases": artifact.aliases, "name": f"v{_number(artifact)}"}
        for artifact in _members(_api(), collection)
        if "version" in artifact.metadata
    ]


def _fetch(collection: str, version: str, directory: str) -> Answer:
    _download(_member(_api(), collection, version), directory)


def _download(artifact: Any, directory: str) -> None:  # noqa: ANN401
    """Download into an empty folder and compare digests: the SDK's download alone takes damaged files."""
    artifact.download(root=directory, skip_cache=True)
    try:
        artifact.verify(root=directory)
    except (ValueError, OSError) as error:
        raise BundleError(f"{artifact.qualified_name} arrived damaged: {clean(error)}") from error


@contextlib.contextmanager
def _run(job_type: str, **options: Any) -> Iterator[Any]:  # noqa: ANN401
    import wandb

    settings = wandb.Settings(init_timeout=30.0, finish_timeout=60.0, finish_timeout_raises=True)
    with wandb.init(project=project(), job_type=job_type, settings=settings, **options) as run:
        yield run


def _log_artifact(run: Any, spec: dict[str, Any]) -> Any:  # noqa: ANN401
    """Log the artifact of ``spec`` (name, type, metadata, directory or files), and wait until it is there."""
    return run.log_artifact(_artifact(spec)).wait()


def _artifact(spec: dict[str, Any]) -> Any:  # noqa: ANN401
    import wandb

    artifact = wandb.Artifact(spec["name"], type=spec["type"], metadata=spec["metadata"])
    if "directory" in spec:
        artifact.add_dir(spec["directory"])
    for file in spec.get("files", []):
        artifact.add_file(file)
    return artifact


def _publish(collection: str, artifact: dict[str, Any]) -> Answer:
    with _run("publish") as run:
        _log_artifact(run, artifact).link(collection)


def _record(
    run: dict[str, Any],
    dataset: dict[str, Any] | None = None,
    history: list[dict[str, Any]] | None = None,
    summary: dict[str, Any] | None = None,
    curves: dict[str, Any] | None = None,
    tables: dict[str, Any] | None = None,
    artifact: dict[str, Any] | None = None,
    collection: str | None = None,
) -> Answer:
    """Start a run or go on with one, add what is given, and return its path and URL."""
    import wandb

    with _run(**run) as active:
        if dataset is not None:
            active.use_artifact(_artifact(dataset))
        for row in _missing(active, history or []):
            active.log(row)
        for name, curve in (curves or {}).items():
            active.log({name: wandb.plot.line_series(**curve)})
        for name, table in (tables or {}).items():
            active.log({name: wandb.Table(**table)})
        active.summary.update(summary or {})
        if artifact is not None:
            logged = _log_artifact(active, artifact)
            if collection is not None:
                logged.link(collection)
        return {"path": active.path, "url": active.url}


def _missing(run: Any, history: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the rows that W&B does not have; one step has a row of training and one of validation at most."""
    if not history:
        return []

    def place(row: dict[str, Any]) -> tuple[int | None, bool]:
        return row.get(STEP), any(name.startswith("eval/") for name in row)

    there = {place(row) for row in _api().run(run.path).scan_history()}
    return [row for row in history if place(row) not in there]


def _point(collection: str, alias: str, version: str, expected_previous: str | None, event: dict[str, Any]) -> Answer:
    api = _api()
    target = _member(api, collection, version)
    previous = _pointed(api, collection, alias)
    check_unmoved(alias, expected_previous, previous)
    recorded = {**event, "alias": alias, "version": version, "previous": previous}
    # The run first: a failure between the two leaves a move that was recorded but did not happen.
    with _run(MOVE, config={"collection": collection, **recorded}, name=f"{alias}-{version[:12]}") as run:
        run.use_artifact(target)
    check_unmoved(alias, expected_previous, _pointed(api, collection, alias))  # recording takes seconds
    if alias not in target.aliases:
        target.aliases.append(alias)
        target.save()
    return recorded


def _pointed(api: Any, collection: str, alias: str) -> str | None:  # noqa: ANN401
    return next((_version(member) for member in _members(api, collection) if alias in member.aliases), None)


def _events(collection: str, alias: str) -> Answer:
    api = _api()
    try:
        configs = [dict(run.config) for run in api.runs(_project_path(api), filters={"jobType": MOVE}, lazy=False)]
    except ValueError:  # no such project: nothing was moved yet
        return []
    ours = [config for config in configs if (config.get("collection"), config.get("alias")) == (collection, alias)]
    fields = ("alias", "version", "previous", "moved_at", "moved_by", "reason")
    return sorted(({name: config[name] for name in fields} for config in ours), key=lambda event: event["moved_at"])


def _keep_report(collection: str, version: str, artifact: dict[str, Any]) -> Answer:
    with _run("gate") as run:
        run.use_artifact(_member(_api(), collection, version))
        _log_artifact(run, artifact)


def _reports(name: str) -> Answer:
    api = _api()
    path = f"{_project_path(api)}/{name}"
    if not api.artifact_collection_exists(path, REPORT):
        return []
    reports = sorted(api.artifacts(REPORT, path), key=_number)
    return [{"name": report.qualified_name, "digest": report.digest} for report in reports]


def _fetch_report(name: str, directory: str) -> Answer:
    _download(_api().artifact(name, type=REPORT), directory)


def _sync(directory: str) -> Answer:
    """Upload what an offline or cut run logged; it can lose artifacts and say nothing, so those are logged anew."""
    command = [sys.executable, "-m", "wandb", "sync", "--no-skip-online", directory]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own folder
    if done.returncode:
        raise RegistryError(f"`wandb sync {directory}` failed: {clean((done.stderr or done.stdout)[-300:])}")


def _workspace(name: str, labels: list[str]) -> Answer:
    """Save a workspace of the project that shows its runs side by side; return its URL."""
    import wandb_workspaces.reports.v2 as panels
    from wandb_workspaces import workspaces

    def final(key: str) -> str:
        return f"test/figures/{key}"

    headline = ("roc_auc", "average_precision", "f1", "brier_skill", "calibration_slope")
    path = _project_path(_api())
    entity, _, project_name = path.partition("/")
    sections = {
        "Test split: means over labels": [
            panels.BarPlot(title=figure.replace("_", " "), metrics=[final(f"mean/{figure}")]) for figure in headline
        ],
        "Test split: average precision per label": [
            panels.BarPlot(title=label, metrics=[final(f"{label}/average_precision")]) for label in labels
        ],
        "Validation while training": [
            panels.LinePlot(title=title, x="train/global_step", y=[key])
            for title, key in (
                ("macro average precision", "eval/macro_average_precision"),
                ("macro ROC-AUC", "eval/macro_roc_auc"),
                ("validation loss", "eval/loss"),
                ("training loss", "train/loss"),
            )
        ],
        "What differs": [panels.RunComparer(diff_only="split")],
    }
    workspace = workspaces.Workspace(
        entity=entity,
        project=project_name,
        name=name,
        sections=[workspaces.Section(name=title, panels=shown, is_open=True) for title, shown in sections.items()],
    )
    return workspace.save().url


COMMANDS: dict[str, Callable[..., Answer]] = {
    name.removeprefix("_"): function
    for name, function in (
        *(("probe", _probe), ("resolve", _resolve), ("versions", _versions), ("fetch", _fetch), ("publish", _publish)),
        *(("record", _record), ("point", _point), ("events", _events), ("keep_report", _keep_report)),
        *(("reports", _reports), ("fetch_report", _fetch_report), ("sync", _sync)),
        ("workspace", _workspace),
    )
}


def _error_of(error: Exception) -> ModerationError:
    if isinstance(error, KINDS):
        return error
    said, cause = str(error), str(error.__cause__ or "")
    text = clean(f"{type(error).__name__}: {said}" + (f" ({cause})" if cause not in said else ""))
    # A status code stands alone: a port or a digest can hold the same digits. And whatever goes wrong while a key is
    # checked is an AuthenticationError: a server that is away, too.
    is_away = "giving up after" in text
    if not is_away and re.search(r"AuthenticationError|not logged in|permission|PERMISSION_ERROR|\b40[13]\b", text):
        return RegistryError(f"W&B refuses this key (WANDB_API_KEY): {text}")
    return UnavailableError(f"W&B failed: {text}")


def _answer(request: dict[str, Any]) -> dict[str, object]:
    try:
        _reach()
        return {"answer": COMMANDS[request.pop("command")](**request)}
    except Exception as error:  # noqa: BLE001 - the edge of this process: the parent raises it again
        known = _error_of(error)
        return {"error": known.code, "message": str(known)}


def main() -> None:
    """Answer requests until stdin ends, which it does with the parent."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what the SDK prints is no answer
    requests: list[bytes] = []
    arrived = threading.Semaphore(0)

    def read() -> None:
        for line in sys.stdin.buffer:
            requests.append(line)
            arrived.release()
        os.killpg(0, signal.SIGKILL)  # whatever hangs

    threading.Thread(target=read, daemon=True).start()
    while arrived.acquire():
        answers.write(json.dumps(_answer(json.loads(requests.pop(0))), default=str).encode() + b"\n")


if __name__ == "__main__":
    main()
