"""Whatever dies under load: every answered prediction is stored once in the end, and no answer is wrong."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import build_tiny_bundle
from tests.chaos.disk import small_disk
from tests.chaos.system import NO_ANSWER, System, pause
from tests.postgres import binaries, own_cluster
from tests.serve.process import running
from tests.serve.server import wait_until


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with own_cluster(binaries()) as postgres:
        yield System(tmp_path, postgres)


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.full)])
def test_kill_9_under_load(system: System, kills: int) -> None:
    with system.load() as seen:
        for _ in range(kills):
            with running(system.environment, system.log) as (_, process):
                system.wait_for_answers()
                process.send_signal(signal.SIGKILL)
                process.wait()
    with running(system.environment, system.log):
        system.wait_until_shipped()
    assert set(seen.statuses) == {200, NO_ANSWER}
    system.check(seen)


@pytest.mark.full
@pytest.mark.parametrize("stopped_s", [10, 60])
def test_postgresql_stopped_under_load(system: System, stopped_s: float) -> None:
    with running(system.environment, system.log):
        with system.load() as seen:
            system.wait_for_answers()
            system.postgres.stop()
            pause(stopped_s)
            system.postgres.start()
            pause(2)
        system.wait_until_shipped()
    assert set(seen.statuses) == {200}
    system.check(seen)


@pytest.mark.full
def test_kill_9_while_postgresql_is_away(system: System) -> None:
    with running(system.environment, system.log) as (_, process), system.load() as seen:
        system.wait_for_answers()
        system.postgres.stop()
        pause(2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    system.postgres.start()
    with running(system.environment, system.log):
        system.wait_until_shipped()
    assert set(seen.statuses) == {200, NO_ANSWER}
    system.check(seen)


@pytest.mark.full
def test_disk_full_while_postgresql_is_away(system: System) -> None:
    with small_disk(system.state) as disk, running(system.environment, system.log) as (_, process):
        with system.load() as before:
            system.wait_for_answers()
        system.postgres.stop()
        disk.fill(process.pid)
        with system.load() as during:
            pause(4)
        disk.free(process.pid)
        system.postgres.start()
        with system.load() as after:
            pause(4)
        system.wait_until_shipped()
        assert process.poll() is None
        system.check(before, during, after)
    assert set(before.statuses) == {200}
    assert during.statuses[503] > 0
    assert set(during.statuses) <= {200, 503}
    assert after.statuses[200] > 0


@pytest.mark.full
def test_alias_moved_under_load(system: System) -> None:
    with running(system.environment, system.log):
        with system.load() as seen:
            system.wait_for_answers()
            for number in range(20):
                system.point((number + 1) % 2)
                pause(0.5)
            pause(1)
        system.wait_until_shipped()
    assert set(seen.statuses) == {200}
    assert {one.version for one in seen.predictions} == set(system.versions)
    system.check(seen)


@pytest.mark.full
def test_corrupt_version_published_under_load(system: System, tmp_path: Path) -> None:
    corrupt = system.registry.publish(build_tiny_bundle(tmp_path / "corrupt", bias=-1.0))
    weights = next(system.registry.fetch(corrupt).glob("*.onnx"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    system.versions.append(corrupt)
    with running(system.environment, system.log):
        with system.load() as seen:
            system.wait_for_answers()
            system.point(2)
            wait_until(lambda: f"version {corrupt} is refused" in system.log.read_text(), timeout_s=60)
            pause(1)
            system.point(1)
            pause(3)
        system.wait_until_shipped()
    assert set(seen.statuses) == {200}
    assert {one.version for one in seen.predictions} == set(system.versions[:2])
    system.check(seen)
