"""The Ray engine on a cluster of this machine: the bytes of the local engine, whatever dies on the way."""

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from cli.locations import Location
from cli.partitions import ray_engine, run
from cli.partitions.parts import MANIFEST, Output, Part, open_output
from cli.partitions.plan import Plan, Shard
from cli.partitions.ray_engine import RayEngine, ray_cluster
from cli.partitions.worker import Job
from moderation.bundle import Bundle, read_bundle
from moderation.errors import ConfigurationError, InvalidInputError, UnavailableError
from moderation.release import VERSION
from tests.cli.partitions.conftest import ScoreFolder, contents, one_node

# Ray Data copies its own settings, those that it deprecates among them.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(400)]
# A Ray job takes 10 s and more to start its processes, whatever it does.
FULL = pytest.mark.full
HERE = re.escape(f"(on node {socket.gethostname()})")
WORKER = "ray::MapWorker(MapBatches(_RayWorker))"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with one_node() as cluster:
        yield cluster


@FULL
def test_both_engines_write_the_same_bytes_also_on_from_a_crash(
    score: ScoreFolder, source: Path, tmp_path: Path, address: str
) -> None:
    score(source, tmp_path / "local")
    score(source, tmp_path / "ray", engine="ray", address=address)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    for name in (MANIFEST, "part-00000003.parquet", "part-00000008.parquet"):
        (tmp_path / "ray" / name).unlink()
    score(source, tmp_path / "ray", engine="ray", address=address)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@FULL
def test_what_a_worker_was_on_when_it_was_killed_is_given_to_another(
    score: ScoreFolder, source: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    scored = RayEngine.score

    def with_a_kill(
        self: RayEngine, job: Job, bundle: Bundle, shards: Sequence[Shard], on_done: Callable[[int], object]
    ) -> Iterator[Part]:
        for part in scored(self, job, bundle, shards, on_done):
            if not killed:
                worker = next(each for each in psutil.process_iter() if WORKER in " ".join(_command(each)))
                worker.kill()
                killed.append(worker.pid)
            yield part

    monkeypatch.setattr(RayEngine, "score", with_a_kill)
    score(source, tmp_path / "ray", engine="ray", address=address)
    assert killed
    monkeypatch.undo()
    score(source, tmp_path / "local")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@FULL
def test_a_shard_that_kills_whoever_scores_it_is_given_up_and_the_others_stay(
    score: ScoreFolder, source: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(ray_engine._RayWorker):
        def __call__(self, batch: Any) -> dict[str, list[str]]:
            if batch["shard"][0] == 8:
                os._exit(1)
            return super().__call__(batch)

    monkeypatch.setattr(ray_engine, "_RayWorker", Killed)
    with pytest.raises(UnavailableError, match="Ray lost a worker .*, and those that took its place"):
        score(source, tmp_path / "ray", engine="ray", address=address)
    assert not (tmp_path / "ray" / "part-00000008.parquet").exists()
    monkeypatch.undo()
    score(source, tmp_path / "ray", engine="ray", address=address)
    score(source, tmp_path / "local")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def _command(process: psutil.Process) -> Sequence[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ()


@FULL
def test_what_a_worker_finds_wrong_is_said_as_the_local_engine_says_it_with_the_node(
    score: ScoreFolder, source: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "a.csv").write_text("id,text\n1,hello,secret\n")
    with pytest.raises(InvalidInputError, match=rf"a\.csv, line 2: 3 fields, the header has 2 {HERE}$"):
        score(source, tmp_path / "out", engine="ray", address=address)
    (source / "a.csv").write_text("id,text\n1,hello\n")

    def with_a_folder_in_the_way(output: Location, plan: Plan, overwrite: bool) -> Output:
        opened = open_output(output, plan, overwrite)
        Path(output.path, "part-00000000.parquet").mkdir()
        return opened

    monkeypatch.setattr(run, "open_output", with_a_folder_in_the_way)
    with pytest.raises(InvalidInputError, match=rf"cannot write .*part-00000000\.parquet: Is a directory {HERE}$"):
        score(source, tmp_path / "out", engine="ray", address=address)


def test_no_cluster_and_no_ray_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{unused.getsockname()[1]}"
        with (
            pytest.raises(UnavailableError, match=f"no Ray cluster at {closed}: Connection refused"),
            ray_cluster(closed),
        ):
            pass
    monkeypatch.setenv("RAY_ADDRESS", closed)  # as Ray sets it in a job
    with pytest.raises(UnavailableError, match=f"no Ray cluster at {closed}"), ray_cluster(None):
        pass
    with pytest.raises(ConfigurationError, match="'ray://head:10001' is no address"), ray_cluster("ray://head:10001"):
        pass
    monkeypatch.delenv("RAY_ADDRESS")

    def timed_out(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because ...")  # as Ray does

    with monkeypatch.context() as patched:
        patched.setattr("ray.init", timed_out)
        with (
            pytest.raises(UnavailableError, match=r"^Ray did not start here: The current node timed out .*\.$"),
            ray_cluster(None),
        ):
            pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match="the engine ray needs ray: run `make install-ray`"), ray_cluster(None):
        pass


def test_workers_are_one_per_gpu_or_core_unless_stated(bundle: Path) -> None:
    class Cluster:
        def __init__(self, *nodes: dict[str, float]) -> None:
            self.each = nodes

        def nodes(self) -> list[dict[str, Any]]:
            dead = {"Alive": False, "Resources": {"CPU": 64.0}}
            return [{"Alive": True, "Resources": each} for each in self.each] + [dead]

        def cluster_resources(self) -> dict[str, float]:
            return {name: sum(each.get(name, 0) for each in self.each) for name in ("CPU", "GPU")}

    def asked(*nodes: dict[str, float], workers: int = 0, threads: int = 0, backend: str = "auto") -> Any:
        how = SimpleNamespace(how=SimpleNamespace(backend=backend))
        job = Job(how, None, threads)  # type: ignore[arg-type]
        return RayEngine(Cluster(*nodes), workers)._resources(job, read_bundle(bundle))

    assert asked({"CPU": 8.0}) == ({"num_cpus": 1}, 8)
    assert asked({"CPU": 8.0}, threads=3) == ({"num_cpus": 3}, 2)
    assert asked({"CPU": 4.0}, {"CPU": 4.0}, {}, threads=3) == ({"num_cpus": 3}, 2)
    assert asked({"CPU": 8.0}, workers=5) == ({"num_cpus": 1}, 5)
    assert asked({"CPU": 8.0, "GPU": 2.0}) == ({"num_gpus": 1}, 2)
    assert asked({"CPU": 8.0, "GPU": 2.0}, backend="int8") == ({"num_cpus": 1}, 8)
    with pytest.raises(ConfigurationError, match=r"a worker takes 8 CPU of one node .*; the largest of 2 nodes has 4"):
        asked({"CPU": 4.0}, {"CPU": 4.0}, threads=8)
    with pytest.raises(ConfigurationError, match="--workers 9: the cluster has room for 8 of 1 CPU each"):
        asked({"CPU": 8.0}, workers=9)
    with pytest.raises(ConfigurationError, match="the largest of 1 node has 0"):
        next(RayEngine(Cluster({})).inspected({}, None))  # type: ignore[arg-type]


def test_what_ray_gives_up_on_is_said_by_its_cause() -> None:
    import ray

    engine = RayEngine(ray)
    task_error = ray.exceptions.RayTaskError("f", "the text of a comment", KeyError("secret"))
    for error, message in (
        (task_error, "a worker failed with KeyError; see Ray's logs on its node"),
        (
            ray.exceptions.WorkerCrashedError(),
            r"Ray lost a worker \(WorkerCrashedError\), and those that took its place; .*run again to go on",
        ),
    ):
        with pytest.raises(UnavailableError, match=f"^{message}$"), engine._ray_errors():
            raise error


def test_a_node_of_another_release_scores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = SimpleNamespace(how=SimpleNamespace(release="9.9.9"), shards=[None])
    worker = ray_engine._RayWorker(Job(plan, None, 1), None, on_gpu=False)  # type: ignore[arg-type]
    answer = worker({"shard": np.array([0])})
    assert answer["part"] == [""]
    assert re.fullmatch(
        rf"a node of the cluster has release {VERSION}, the driver 9\.9\.9; install one {HERE}", answer["error"][0]
    )


def test_a_node_that_does_not_use_its_gpu_scores_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = read_bundle(bundle)
    how = SimpleNamespace(release=VERSION, version=loaded.version, backend="int8")  # as auto takes without torch
    job = Job(SimpleNamespace(how=how, shards=[None]), None, 1)  # type: ignore[arg-type]
    monkeypatch.setattr("ray.get", lambda packed: packed)
    worker = ray_engine._RayWorker(job, ray_engine._packed(loaded), on_gpu=True)
    (error,) = worker({"shard": np.array([0])})["error"]
    assert re.search(rf"a GPU .* is not used: install requirements/gpu\.txt .* {HERE}$", error)
    assert ray_engine._RayWorker(job, ray_engine._packed(loaded), on_gpu=False)._loaded().device == "cpu"
