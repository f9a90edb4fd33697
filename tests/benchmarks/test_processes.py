import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import StartError, free_port, inherited, started
from tests.serve.server import wait_until

ROOT = Path(__file__).resolve().parents[2]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_that_does_not_come_up_says_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with pytest.raises(StartError, match="no such model"):
        with started(command, free_port(), "/", tmp_path / "log", inherited()):
            pass


def test_sigterm_ends_the_servers_even_those_that_are_paused(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from benchmarks.processes import exit_on_sigterm, free_port, inherited, started
exit_on_sigterm()
port = free_port()
command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
with started(command, port, "/", Path({str(tmp_path / "log")!r}), inherited()) as server:
    server.pause()
    print(server.process.pid, flush=True)
    time.sleep(60)
"""
    benchmark = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert benchmark.stdout is not None
    server = int(benchmark.stdout.readline())
    assert alive(server)
    benchmark.send_signal(signal.SIGTERM)
    assert benchmark.wait(30) == 143
    benchmark.stdout.close()
    wait_until(lambda: not alive(server))
