"""Scores shards on a Ray cluster: Ray Data maps a table of their numbers over workers that load the bundle once.

The bundle travels with the job; input and output must be where every node reaches them. What a worker or node that dies
was on, Ray gives to others; a part is written whole or not at all.
"""

import json
import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cli.locations import Location
from cli.output import counted
from cli.partitions.parts import Part
from cli.partitions.plan import How, InputFile, Shard, inspect
from cli.partitions.worker import Job, Worker
from moderation.bundle import MANIFEST, Bundle, read_bundle
from moderation.errors import ConfigurationError, InvalidInputError, ModerationError, UnavailableError
from moderation.release import VERSION

CONNECT_S = 5.0
MOST_BLOCKS = 10_000
"""Of the table of shards; what Ray Data repeats when a worker dies is a block."""
MOST_RETRIES = 3
"""Of a shard whose worker died: Ray Data itself tries for ever, also what kills every worker."""


@contextmanager
def ray_cluster(address: str | None) -> Iterator[Any]:
    """Yield Ray, connected to the cluster at ``address``, or to one of this machine that ends with this process.

    Inside a job that was submitted to a cluster, Ray's own RAY_ADDRESS names it.

    Raises:
        ConfigurationError: Ray is not installed.
        UnavailableError: no cluster answers, or none starts here.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before it is imported: else it reports to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what is below names no fault of ours
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the engine ray needs {error.name}: run `make install-ray`") from None
    address = address or os.environ.get("RAY_ADDRESS")
    own = {} if address else {"include_dashboard": False}
    if address:
        _check_listens(address)
    try:
        # "local": with no address at all, Ray joins the last cluster that was started here
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # noqa: BLE001 - Ray raises it bare where its processes do not come up in time
        failed = f"no Ray cluster at {address}" if address else "Ray did not start here"
        raise UnavailableError(f"{failed}: {str(error).partition(chr(10))[0]}{_token_hint(address)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_listens(address: str) -> None:
    """Refuse HOST:PORT where nobody listens: Ray itself waits for minutes and then ends the process."""
    if "://" in address:  # Ray Client, or the jobs' server: neither runs Ray Data from here
        raise ConfigurationError(
            f"{address!r} is no address of a cluster; expected HOST:PORT, such as HOST:6379, or auto"
        )
    host, _, port = address.rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except OSError as error:
            raise UnavailableError(f"no Ray cluster at {address}: {error.strerror or error}") from None


def _token_hint(address: str | None) -> str:
    """Say what may be wrong where somebody listens: Ray sends its token to a stated address only if it is told to."""
    if address in (None, "auto") or "RAY_AUTH_MODE" in os.environ:
        return ""
    return "; one that asks for a token needs RAY_AUTH_MODE=token here, and the token in ~/.ray/auth_token"


class RayEngine:
    """The engine on a connected cluster, with ``workers`` processes: of 0, one per GPU or CPU."""

    def __init__(self, ray: Any, workers: int = 0) -> None:  # noqa: ANN401 - an optional module
        """Take `ray_cluster`'s."""
        self._ray = ray
        self._workers = workers

    def inspected(self, files: Mapping[str, Location], how: How) -> Iterator[InputFile | ModerationError]:
        """Yield what `inspect` finds in each file, in order."""
        self._room("CPU", 1)
        task = self._ray.remote(_inspected)
        with self._ray_errors():
            for reference in [task.remote(name, location, how) for name, location in files.items()]:
                yield self._ray.get(reference)

    def score(
        self, job: Job, bundle: Bundle, shards: Sequence[Shard], on_done: Callable[[int], object]
    ) -> Iterator[Part]:
        """Yield the parts of ``shards`` as they are written, in any order; ``on_done`` is told of a part's rows.

        Raises:
            InvalidInputError: what the first worker says that could not read or write.
        """
        if not shards:
            return
        from ray.data import ActorPoolStrategy, DataContext, from_items

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        DataContext.get_current().enable_progress_bars = False
        of_each, workers = self._resources(job, bundle)
        numbers = [{"shard": shard.number} for shard in shards]
        table = from_items(numbers, override_num_blocks=min(len(numbers), MOST_BLOCKS))
        job = replace(job, threads=job.threads or 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Ray 2.60 knows no other way to state the retries
            rows = table.map_batches(
                _RayWorker,
                fn_constructor_args=(job, self._ray.put(_packed(bundle)), "num_gpus" in of_each),
                batch_size=1,
                # One shard at a time: what waits behind another while a worker is idle makes the end late.
                compute=ActorPoolStrategy(size=min(workers, len(shards)), max_tasks_in_flight_per_actor=1),
                max_task_retries=MOST_RETRIES,
                **of_each,
            )
        with self._ray_errors():
            for row in rows.iter_rows():
                if row["error"]:
                    raise InvalidInputError(row["error"])
                part = Part(**json.loads(row["part"]))
                on_done(part.rows)
                yield part

    @contextmanager
    def _ray_errors(self) -> Iterator[None]:
        """Say what Ray gives up on in one line.

        Raises:
            UnavailableError: a worker failed, or was lost too often.
        """
        try:
            yield
        except (self._ray.exceptions.RayTaskError, self._ray.exceptions.UserCodeException) as error:
            cause = getattr(error, "cause", None) or error.__cause__ or error
            raise UnavailableError(
                f"a worker failed with {type(cause).__name__}; see Ray's logs on its node"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise UnavailableError(
                f"Ray lost a worker ({type(error).__name__}), and those that took its place; see Ray's logs, and run "
                "again to go on"
            ) from error

    def _resources(self, job: Job, bundle: Bundle) -> tuple[dict[str, int], int]:
        """Return what a worker asks of Ray, and how many there are.

        Raises:
            ConfigurationError: the cluster has no room for them.
        """
        gpus = self._ray.cluster_resources().get("GPU", 0)
        on_gpu = gpus and job.plan.how.backend in ("auto", "torch") and bundle.manifest.gpu_backend in (None, "torch")
        name, each = ("GPU", 1) if on_gpu else ("CPU", job.threads or 1)
        room = self._room(name, each)
        if self._workers > room:
            raise ConfigurationError(
                f"--workers {self._workers}: the cluster has room for {room} of {each} {name} each"
            )
        return {f"num_{name.lower()}s": each}, self._workers or room

    def _room(self, name: str, each: int) -> int:
        """Return for how many workers of ``each`` the nodes have room: Ray waits forever for what they do not have."""
        has = [node["Resources"].get(name, 0) for node in self._ray.nodes() if node["Alive"]]
        if max(has, default=0) < each:
            raise ConfigurationError(
                f"a worker takes {each} {name} of one node (MODERATION_THREADS states how many); the largest of "
                f"{counted(len(has), 'node')} has {max(has, default=0):g}"
            )
        return sum(int(found // each) for found in has)


class _RayWorker:
    """A `Worker` as Ray Data calls it: numbers of shards in, what became of each out."""

    def __init__(self, job: Job, packed: Any, on_gpu: bool) -> None:  # noqa: ANN401 - a reference to `_packed`'s
        self._job = job
        self._packed = packed
        self._on_gpu = on_gpu
        self._worker: Worker | None = None

    def __call__(self, batch: Any) -> dict[str, list[str]]:  # noqa: ANN401 - arrays by column
        parts, errors = [], []
        for number in batch["shard"].tolist():
            try:
                self._worker = self._worker or self._loaded()
                (part,) = self._worker.score([self._job.plan.shards[number]])
                parts.append(json.dumps(asdict(part)))
                errors.append("")
            except ModerationError as error:  # returned, not raised: Ray would try again
                parts.append("")
                errors.append(_with_node(error))
        return {"part": parts, "error": errors}

    def _loaded(self) -> Worker:
        import ray

        if (release := self._job.plan.how.release) != VERSION:
            raise ConfigurationError(f"a node of the cluster has release {VERSION}, the driver {release}; install one")
        with tempfile.TemporaryDirectory() as folder:
            for name, content in ray.get(self._packed).items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            worker = Worker(self._job, read_bundle(Path(folder), expected_version=self._job.plan.how.version))
        if self._on_gpu and worker.device != "cuda":  # it would hold the GPU and score on one core
            raise ConfigurationError(
                "a GPU of the cluster is not used: install requirements/gpu.txt on its node, or set MODERATION_BACKEND "
                "to int8 or fp32 to score on CPUs"
            )
        return worker


def _inspected(name: str, location: Location, how: How) -> InputFile | ModerationError:
    found = inspect(name, location, how)
    return InvalidInputError(_with_node(found)) if isinstance(found, ModerationError) else found


def _with_node(error: ModerationError) -> str:
    return f"{error} (on node {socket.gethostname()})"


def _packed(bundle: Bundle) -> dict[str, bytes]:
    return {name: (bundle.path / name).read_bytes() for name in (MANIFEST, *bundle.manifest.files)}
