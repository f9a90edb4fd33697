"""Whatever dies under load: every answered prediction is stored once in the end, and no answer is wrong."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation.bundle import read_bundle, write_manifest
from tests.bundles import build_tiny_bundle
from tests.chaos.disk import small_disk
from tests.chaos.system import BATCH, NO_ANSWER, System, pause
from tests.postgres import binaries, own_cluster
from tests.serve.process import running
from tests.serve.server import wait_until

MOST_ROWS = 2_000


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
@pytest.mark.timeout(600)  # to ship what a minute of load left takes minutes on a machine with other work
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
def test_postgresql_away_until_the_outbox_is_full(system: System) -> None:
    """Ten minutes of an outage, scaled: the bound is what a server of this speed answers in a few seconds."""
    bounds = {"MODERATION_MAX_OUTBOX_ROWS": str(MOST_ROWS), "MODERATION_MAX_BATCH_TEXTS": "100"}
    with running(system.environment | bounds, system.log) as (_, process):
        with system.load() as seen:
            system.wait_for_answers()
            system.postgres.stop()
            wait_until(lambda: system.figure("moderation_outbox_rows") > MOST_ROWS - 2 * BATCH, timeout_s=60)
            pause(20)
            assert system.figure("moderation_outbox_rows") <= MOST_ROWS
            assert process.poll() is None
        system.postgres.start()
        system.wait_until_shipped()
        with system.load() as after:
            pause(3)
        system.wait_until_shipped()
        system.check(seen, after)
    assert set(seen.statuses) == {200, 503}
    assert after.statuses[200] > 0
    assert set(after.statuses) <= {200, 503}  # answers can fill so small an outbox faster than it is shipped


@pytest.mark.full
def test_postgresql_hung_under_load(system: System) -> None:
    with running(system.environment, system.log):
        with system.load() as before:
            system.wait_for_answers()
        system.wait_until_shipped()
        with system.load(judged=before.predictions[:20]) as during:
            pause(1)
            system.postgres.hang()
            try:
                pause(8)
            finally:
                system.postgres.go_on()
            pause(3)
        system.wait_until_shipped()
    assert during.feedback
    assert set(before.statuses) | set(during.statuses) == {200}
    system.check(before, during)


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


def flip_a_byte(bundle: Path) -> None:
    weights = next(bundle.glob("*.onnx"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")


def state_other_probes(bundle: Path) -> None:
    manifest = read_bundle(bundle).manifest
    probes = [probe.model_copy(update={"scores": [0.5] * len(probe.scores)}) for probe in manifest.probes.examples]
    stated = manifest.probes.model_copy(update={"examples": probes})
    write_manifest(bundle, manifest.model_copy(update={"probes": stated}))


@pytest.mark.full
@pytest.mark.parametrize("published_whole", [True, False])
def test_corrupt_version_published_under_load(system: System, tmp_path: Path, published_whole: bool) -> None:
    bundle = build_tiny_bundle(tmp_path / "corrupt", bias=-1.0)
    if published_whole:  # every byte is as its manifest says, but it does not score as it says
        state_other_probes(bundle)
    corrupt = system.registry.publish(bundle)
    if not published_whole:
        flip_a_byte(system.registry.fetch(corrupt))
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
