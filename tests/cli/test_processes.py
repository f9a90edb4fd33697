"""The runner, with small processes that misbehave."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT
from tests.cli.system import pids_with, wait_for

RUNNER = """
import os, sys
from pathlib import Path
from cli.processes import Command, Runner

log_dir, *scripts = sys.argv[1:]
commands = [
    Command(
        f"child{number}",
        (sys.executable, "-c", script),
        dict(os.environ),
        stop_s=600 if "FINISHES" in script else 5,
    )
    for number, script in enumerate(scripts)
]
runner = Runner(commands, Path(log_dir), lambda runner: print("started", flush=True))
code = runner.run()
print("first ended:", runner.first_ended)
sys.exit(code)
"""
SLEEPS = "import time; print('ready', flush=True); time.sleep(600)"
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
FINISHES = """  # FINISHES
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(7), print('finished', flush=True), sys.exit(0)))
print('ready', flush=True)
time.sleep(600)
"""
HAS_A_CHILD = (
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', " + repr(IGNORES_SIGTERM) + "]); " + SLEEPS
)


class Run:
    """A runner as a process of its own, and everything it has started."""

    def __init__(self, log_dir: Path, *scripts: str) -> None:
        self.log_dir = log_dir
        self.mark = f"TEST_RUN={uuid.uuid4().hex}"
        name, value = self.mark.split("=")
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(log_dir), *scripts],
            cwd=ROOT,
            env={**os.environ, name: value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self, count: int) -> None:
        def ready() -> bool:
            return sum(log.read_text().count("ready") for log in self.log_dir.glob("*.log")) == count

        wait_for(ready, 30)

    def end(self, limit_s: float = 30) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=limit_s)
        return self.process.returncode, output, errors

    def pids(self) -> list[int]:
        return pids_with(self.mark)


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a runner of the given scripts; kill whatever is left of it at the end."""
    runs: list[Run] = []

    def start(*scripts: str) -> Run:
        runs.append(Run(tmp_path / "logs", *scripts))
        return runs[-1]

    yield start
    for run in runs:
        for pid in run.pids():
            os.kill(pid, signal.SIGKILL)
        run.process.communicate()


@pytest.mark.parametrize(("sent", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all(start: Start, sent: signal.Signals, exit_code: int) -> None:
    run = start(SLEEPS, SLEEPS)
    run.wait_until_ready(2)
    run.process.send_signal(sent)
    assert run.end() == (exit_code, "started\nfirst ended: None\n", "")
    assert run.pids() == []


def test_processes_that_ignore_sigterm_are_killed(start: Start) -> None:
    run = start(IGNORES_SIGTERM, IGNORES_SIGTERM)
    run.wait_until_ready(2)
    run.process.send_signal(signal.SIGTERM)
    assert run.end()[0] == 143
    assert run.pids() == []


def test_one_that_has_longer_to_end_finishes_while_the_others_are_gone(start: Start) -> None:
    run = start(FINISHES, SLEEPS)
    run.wait_until_ready(2)
    run.process.send_signal(signal.SIGTERM)
    assert "Finishing, up to 600 s; Ctrl-C again stops at once.\n" in run.end()[1]
    assert "finished" in (run.log_dir / "child0.log").read_text()


def test_a_second_ctrl_c_ends_what_still_finishes(start: Start) -> None:
    run = start(FINISHES.replace("time.sleep(7)", "time.sleep(600)"), SLEEPS)
    run.wait_until_ready(2)
    run.process.send_signal(signal.SIGINT)
    wait_for(lambda: len(run.pids()) < 5, 10)  # the runner, two watchers, the one that finishes
    run.process.send_signal(signal.SIGINT)
    assert run.end(5)[0] == 130
    assert run.pids() == []


def test_grandchildren_are_stopped_with_their_parent(start: Start) -> None:
    run = start(HAS_A_CHILD, SLEEPS)
    run.wait_until_ready(3)
    run.process.send_signal(signal.SIGINT)
    assert run.end()[0] == 130
    assert run.pids() == []


@pytest.mark.parametrize("own_exit_code", [0, 3])
def test_one_that_ends_ends_all_with_an_error(start: Start, own_exit_code: int) -> None:
    run = start(SLEEPS, f"raise SystemExit({own_exit_code})")
    assert run.end()[:2] == (1, "started\nfirst ended: child1\n")
    assert run.pids() == []


def test_a_signal_at_once_stops_all(start: Start) -> None:
    run = start(SLEEPS, SLEEPS)
    wait_for(lambda: len(run.pids()) > 1, 30)  # the first is being started, the second perhaps not yet
    run.process.send_signal(signal.SIGTERM)
    assert run.end()[0] == 143
    assert run.pids() == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_none_outlives_a_runner_that_is_killed(start: Start) -> None:
    run = start(IGNORES_SIGTERM, SLEEPS)
    run.wait_until_ready(2)
    run.process.kill()
    wait_for(lambda: run.pids() == [], 10)


def test_output_goes_to_a_file_and_warnings_to_stderr_too(start: Start) -> None:
    run = start("print('INFO quiet'); print('2026 WARNING \\x00 odd', flush=True); import os; os.write(1, b'\\xff\\n')")
    code, output, errors = run.end()
    assert code == 1
    assert "INFO" not in output + errors
    assert errors == "child0 | 2026 WARNING \x00 odd\n"
    log = (run.log_dir / "child0.log").read_text()
    assert log.splitlines() == ["INFO quiet", "2026 WARNING \x00 odd", "\ufffd"]
