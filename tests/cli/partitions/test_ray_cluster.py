"""A cluster of a head and three nodes, simulated by Ray's own tool: a node dies, then the driver; no row is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.partitions.parts import MANIFEST
from tests.cli.conftest import ROOT
from tests.cli.partitions.conftest import read_rows, rows_of, write_parquet

ROWS = 300_000


def wait_for_parts(output: Path, count: int, driver: "subprocess.Popen[bytes]") -> None:
    while len(list(output.glob("part-*"))) < count:
        assert driver.poll() is None, f"the driver ended with {driver.returncode} before {count} parts were there"
        time.sleep(0.05)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_node_dies_and_the_driver_dies_and_every_row_is_there_once(
    bundle: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    write_parquet(tmp_path / "in.parquet", rows_of(0, ROWS))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    options = ("--text-column", "text", "--bundle", str(bundle), "--output")
    command = [sys.executable, "-m", "cli", "score", str(tmp_path / "in.parquet"), *options]
    on_ray = [*command, str(tmp_path / "out"), "--engine", "ray", "--address", cluster.address]
    try:
        driver = subprocess.Popen(on_ray, cwd=ROOT, env=environment)
        wait_for_parts(tmp_path / "out", 3, driver)
        cluster.remove_node(nodes[0], allow_graceful=False)
        wait_for_parts(tmp_path / "out", 8, driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert not (tmp_path / "out" / MANIFEST).exists()
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
        subprocess.run(on_ray, cwd=ROOT, env=environment, check=True, timeout=300)
    finally:
        cluster.shutdown()
    assert all(path.stat().st_mtime_ns == before[path] for path in before)
    assert read_rows(tmp_path / "out")["id"] == [f"{number:06d}" for number in range(ROWS)]
    subprocess.run([*command, str(tmp_path / "local")], cwd=ROOT, env=environment, check=True, timeout=300)
    assert (tmp_path / "out" / MANIFEST).read_bytes() == (tmp_path / "local" / MANIFEST).read_bytes()
