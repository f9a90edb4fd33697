"""`moderation up` with real processes: it answers, keeps its data, and leaves nothing behind."""

import os
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.cli.conftest import ROOT, Moderation
from tests.cli.system import PORT_VARIABLES, free_ports, started, wait_for

pytestmark = pytest.mark.timeout(300)


def predict(api_url: str, text: str) -> dict[str, object]:
    answer = httpx.post(f"{api_url}/predict", json={"comment_text": text}, timeout=30, trust_env=False)
    answer.raise_for_status()
    body: dict[str, object] = answer.json()
    return body


def logged_ids(state_dir: Path) -> set[object]:
    with sqlite3.connect(state_dir / "moderation.db") as database:
        return {str(UUID(identifier)) for (identifier,) in database.execute("SELECT id FROM predictions")}


def test_answers_keeps_its_data_and_leaves_nothing_behind(
    environment: dict[str, str], state_dir: Path, moderation: Moderation
) -> None:
    with started(environment, ROOT) as system:
        system.wait_until_up()
        first = predict(system.api_url, "You are disgusting.")
        assert first["decision"] != "allow"

        again = moderation("up")
        assert again.returncode == 1
        assert "already runs with state folder" in again.stderr

        assert system.stop(signal.SIGINT) == 130
        assert system.pids() == []
    with started(environment, ROOT) as system:
        system.wait_until_up()
        second = predict(system.api_url, "Thank you for the clear explanation.")
        assert second["decision"] == "allow"
        assert system.stop(signal.SIGTERM) == 143
        assert system.pids() == []
    assert logged_ids(state_dir) == {first["id"], second["id"]}
    with sqlite3.connect(state_dir / "moderation.db") as database:
        assert database.execute("SELECT alias, reason FROM alias_moves").fetchall() == [("production", "set up")]


def test_one_process_that_ends_stops_all_and_is_named(environment: dict[str, str]) -> None:
    with started(environment, ROOT) as system:
        system.wait_until_up()
        os.kill(system.pid_of("monitor"), signal.SIGKILL)
        assert system.process.wait(30) == 1
        assert system.pids() == []
        assert "error: the monitor ended, so all were stopped" in system.output
        assert "You can now view your Streamlit app" in system.output.split("Last lines of")[1]


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_nothing_outlives_a_killed_runner(environment: dict[str, str]) -> None:
    with started(environment, ROOT) as system:
        system.wait_until_up()
        system.stop(signal.SIGKILL)
        wait_for(lambda: system.pids() == [], 10)


def test_a_bundle_that_does_not_load_is_said_with_the_last_lines(environment: dict[str, str], state_dir: Path) -> None:
    (weights,) = state_dir.glob("registry/versions/*/model.int8.onnx")
    weights.write_bytes(b"not a model")
    with started(environment, ROOT) as system:
        assert system.process.wait(120) == 1
        assert "model.int8.onnx is not the file that the manifest states" in system.output
        assert system.output.splitlines()[-1] == "error: the api ended, so all were stopped"
        assert "Traceback" not in system.output


@pytest.mark.parametrize("variable", PORT_VARIABLES)
def test_a_port_in_use_is_one_line_that_names_the_variable(moderation: Moderation, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ports = dict(zip(PORT_VARIABLES, map(str, free_ports(3)), strict=True))
        done = moderation("up", **{**ports, variable: port})
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"port {port} " in done.stderr
    assert variable in done.stderr


def test_two_services_on_one_port_are_refused(moderation: Moderation) -> None:
    api_port, port = map(str, free_ports(2))
    done = moderation("up", MODERATION_API_PORT=api_port, MODERATION_UI_PORT=port, MODERATION_MONITOR_PORT=port)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr


def test_a_misspelt_variable_is_one_line_with_the_nearest_name(moderation: Moderation) -> None:
    done = moderation("up", MODERATION_API_PROT="1")
    assert done.returncode == 1
    assert done.stderr == (
        "error: unknown environment variable MODERATION_API_PROT; did you mean MODERATION_API_PORT?\n"
    )


def test_a_state_folder_that_cannot_be_made_is_one_line(moderation: Moderation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in (("up",), ("migrate",), ("registry", "seed")):
        done = moderation(*command, MODERATION_STATE_DIR=str(tmp_path / "file" / "state"))
        assert done.returncode == 1
        assert done.stderr.startswith("error: cannot ")
        assert f"{tmp_path}/file/state" in done.stderr
        assert "check MODERATION_STATE_DIR" in done.stderr
        assert len(done.stderr.splitlines()) == 1
