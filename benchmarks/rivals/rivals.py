"""The servers that ours is compared with: how each is installed, started, asked and read.

Every rival runs in an environment of its own (``uv``, pinned in ``requirements-*.txt``) and gets the same weights
(`benchmarks.rivals.weights`). Where settings matter on a CPU, several are tried and the best is kept.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import post
from benchmarks.processes import Server, free_port, inherited, started

HERE = Path(__file__).resolve().parent
FIND_LINKS = "find-links"


@dataclass(frozen=True)
class Rival:
    """A server; ``settings`` are the command-line arguments to try, by what is said of them."""

    name: str
    about: str
    script: str
    settings: Mapping[str, Sequence[str]]
    request: Callable[[str], bytes]
    scores: Callable[[bytes], dict[str, float]]


def _predict(text: str) -> bytes:
    return post("/predict", {"comment_text": text})


def _classify(text: str) -> bytes:
    return post("/classify", {"model": "starter", "input": [text]})


def _scores(body: bytes) -> dict[str, float]:
    return dict(json.loads(body)["scores"])


def _labelled(body: bytes) -> dict[str, float]:
    return {one["label"]: one["score"] for one in json.loads(body)["data"][0]}


RIVALS = {
    "plain": Rival(
        "plain",
        "FastAPI endpoint calling the transformers pipeline, torch float32",
        "plain.py",
        {"1 torch thread": ["--threads", "1"], "2 torch threads": ["--threads", "2"]},
        _predict,
        _scores,
    ),
    "infinity": Rival(
        "infinity",
        "infinity-emb 0.0.78 /classify, engine optimum, our int8 graph",
        "infinity.py",
        {"one text at a time": ["--batch-size", "1"]},
        _classify,
        _labelled,
    ),
    "litserve": Rival(
        "litserve",
        "LitServe 0.2.19, our int8 graph",
        "lit.py",
        {
            f"{workers} workers of {threads} threads": ["--workers", str(workers), "--threads", str(threads)]
            for workers, threads in ((1, 2), (2, 1), (3, 1))
        },
        _predict,
        _scores,
    ),
}


def install(rival: Rival, folder: Path) -> Path:
    """Return the Python of the rival's environment in ``folder``; it is made if it is not there as pinned now.

    Raises:
        subprocess.CalledProcessError: uv cannot install it; its own words are on stderr.
    """
    requirements = HERE / f"requirements-{rival.name}.txt"
    home = folder / rival.name
    python, stamp = home / "bin" / "python", home / "installed.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        uv = [sys.executable, "-m", "uv"]
        environment = os.environ | {"UV_SYSTEM_CERTS": "1", "UV_FIND_LINKS": _from_pip()}
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
        install_all = [*uv, "pip", "install", "--quiet", "--python", python, "--requirement", requirements]
        subprocess.run(install_all, check=True, env=environment)
        stamp.write_text(requirements.read_text())
    return python


def serve(rival: Rival, setting: str, python: Path, model: Path, log: Path) -> AbstractContextManager[Server]:
    """Run the rival with one of its settings."""
    port = free_port()
    if rival.name == "infinity":
        own = ["v2", "--model-id", model, "--served-model-name", "starter", "--engine", "optimum", "--device", "cpu"]
        own += ["--host", "127.0.0.1", "--no-model-warmup", "--log-level", "error"]
    else:
        own = [model]
    command = [python, HERE / rival.script, *own, "--port", str(port), *rival.settings[setting]]
    return started(command, port, "/health", log, inherited() | {"HF_HUB_OFFLINE": "1"})


def _from_pip() -> str:
    """Return where pip also looks for wheels, which uv does not read by itself: a CPU build of torch may lie there."""
    if links := os.environ.get("UV_FIND_LINKS"):
        return links
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = [line.partition("=")[2].strip("'") for line in told.splitlines() if f".{FIND_LINKS}=" in line]
    return ",".join(found[:1]).replace(" ", ",")
