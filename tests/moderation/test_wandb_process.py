"""Questions to W&B: what does not need a server to be seen."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from moderation.errors import ConfigurationError, UnavailableError
from moderation.wandb_process import WandbProcess, _environment, clean, has_key

KEY = "local-" + "a1" * 20
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "netrc"
    path.write_text(f"machine 127.0.0.1 login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return path


def test_no_message_repeats_a_key_wherever_it_comes_from(netrc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert clean(f"refused:\n {KEY} is unknown") == "refused: *** is unknown"
    monkeypatch.setenv("WANDB_API_KEY", "b" * 40)
    assert clean(f"{'b' * 40} or {KEY}") == "*** or ***"
    commit = "c" * 40  # as long as a key, and no secret
    assert clean(commit) == commit


@pytest.mark.parametrize(("content", "expected"), [(None, True), ("machine other password x", False), ("{", False)])
def test_a_key_is_looked_for_where_the_sdk_does(netrc: Path, content: str | None, expected: bool) -> None:
    if content is not None:
        netrc.write_text(content)
    assert has_key() is expected


def test_the_key_can_lie_in_a_file_and_is_not_repeated_either(
    tmp_path: Path, netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc.write_text("")
    (tmp_path / "key").write_text("d" * 40 + "\n")
    monkeypatch.setenv("WANDB_API_KEY_FILE", str(tmp_path / "key"))
    assert has_key()
    assert clean("d" * 40) == "***"
    given = _environment(str(tmp_path))
    assert given["WANDB_API_KEY"] == "d" * 40
    assert "WANDB_API_KEY_FILE" not in given
    (tmp_path / "key").write_text("")
    with pytest.raises(ConfigurationError, match="WANDB_API_KEY_FILE: .* is empty"):
        has_key()


@pytest.fixture
def many_files() -> Iterator[None]:
    """So many open files that the next has a number beyond what `select.select` takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with ExitStack() as files:
        while files.enter_context(Path(os.devnull).open()).fileno() < 1100:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_with_many_open_files_still_gets_its_answer(netrc: Path, many_files: None) -> None:
    process = WandbProcess()
    with pytest.raises(UnavailableError, match=f"W&B at {NOBODY} cannot be reached"):
        process.ask("probe", 60)
    process.close()


def test_closing_does_not_wait_for_a_question_that_is_stuck(netrc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = WandbProcess()
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        stuck = pool.submit(process.ask, "probe", 60)
        connection, _ = silent.accept()
        began = time.monotonic()
        process.close()
        assert time.monotonic() - began < 10
        assert not process._lock.locked()
        with pytest.raises(UnavailableError):
            stuck.result(timeout=10)
        connection.close()
