"""Each image by itself: what it holds, as whom it runs, and the API with nothing beside it."""

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.images.docker import ROOT, TARGETS, container, docker, free_ports, image, run, wait_for

pytestmark = [pytest.mark.images, pytest.mark.timeout(600)]
MEGABYTE = 1_000_000
ABSENT = {
    "api": ("torch", "streamlit", "pandas", "pyarrow", "typer", "train", "cli", "apps"),
    "moderator": ("torch", "transformers", "onnxruntime", "wandb", "fastapi", "sqlalchemy", "serve", "train"),
    "monitor": ("torch", "transformers", "onnxruntime", "wandb", "fastapi", "httpx", "serve", "train"),
    "tools": ("torch", "transformers", "datasets", "streamlit", "apps"),
    "train": ("streamlit", "fastapi", "sqlalchemy", "serve", "cli", "apps"),
    "api-gpu": ("datasets", "streamlit", "pandas", "train", "cli", "apps"),
}
FIND = "import importlib.util, sys; print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"


def inspect(target: str) -> dict[str, object]:
    (found,) = json.loads(docker("image", "inspect", image(target)).stdout)
    return found  # type: ignore[no-any-return]


def test_the_api_fits_into_900_mb() -> None:
    assert int(str(inspect("api")["Size"])) < 900 * MEGABYTE


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_and_says_its_commit(target: str) -> None:
    config = inspect(target)["Config"]
    assert isinstance(config, dict)
    assert config["User"] == "10001:10001"
    commit = config["Labels"]["org.opencontainers.image.revision"].removesuffix("-dirty")
    assert run(("git", "cat-file", "-t", commit)).stdout == "commit\n"
    assert config["Labels"]["org.opencontainers.image.title"] == f"moderation-{target}"
    assert config["Healthcheck"]["Test"] == (["NONE"] if target in ("tools", "train") else ["CMD", "healthcheck"])


@pytest.mark.parametrize(("target", "names"), ABSENT.items())
def test_an_image_holds_no_more_than_it_needs(target: str, names: tuple[str, ...]) -> None:
    listed = docker("run", "--rm", "--entrypoint", "python", image(target), "-c", FIND, "moderation", *names)
    assert listed.stdout.strip() == "['moderation']"


def test_the_api_alone_prints_a_key_and_asks_for_it() -> None:
    (port,) = free_ports(1)
    with container(image("api"), "-p", f"127.0.0.1:{port}:9123", "-e", "PORT=9123") as api:
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=30, trust_env=False) as http:
            wait_for(lambda: http.get("/ready").is_success)
            (key,) = re.findall(r"\bmod_[0-9a-f]{12}_[0-9a-f]{64}\b", docker("logs", api).stdout)
            assert "<!doctype html>" in http.get("/").text
            assert http.post("/predict", json={"comment_text": "hello"}).status_code == 401
            body, headers = {"comment_text": "You are disgusting."}, {"X-API-Key": key}
            assert http.post("/predict", json=body, headers=headers).json()["decision"] != "allow"
            docker("restart", api)
            wait_for(lambda: http.get("/ready").is_success)
            assert http.post("/predict", json=body, headers=headers).status_code == 200
            assert docker("logs", api).stdout.count("mod_") == 1
            wait_for(lambda: docker("inspect", "-f", "{{.State.Health.Status}}", api).stdout == "healthy\n")
        begun = ("run", "--rm", "--volumes-from", api, image("tools"), "keys", "list")
        assert "first" in docker(*begun).stdout
        docker("stop", api)
        assert docker("inspect", "-f", "{{.State.ExitCode}}", api).stdout == "0\n"


def test_keys_can_be_switched_off_on_purpose_for_those_who_say_localhost() -> None:
    (port,) = free_ports(1)
    with container(image("api"), "-p", f"127.0.0.1:{port}:8001", "-e", "MODERATION_AUTH=off"):
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=30, trust_env=False) as http:
            wait_for(lambda: http.get("/ready").is_success)
            assert http.post("/predict", json={"comment_text": "hello"}).status_code == 200
            assert http.get("/ready", headers={"Host": "elsewhere.example"}).status_code == 403


@pytest.mark.parametrize("target", ["api", "monitor"])
def test_a_secret_that_is_missing_is_said_in_one_line(target: str) -> None:
    variable = "MODERATION_DATABASE_URL_FILE=/run/secrets/none"
    done = docker("run", "--rm", "-e", variable, image(target), check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "MODERATION_DATABASE_URL_FILE: cannot read /run/secrets/none: No such file or directory" in last


def test_the_train_image_trains(tmp_path: Path) -> None:
    """On comments of our own, which the image does not hold."""
    tmp_path.chmod(0o777)
    comments = f"{ROOT / 'tests' / 'fixtures'}:/data:ro"
    folders = ("--tmpfs", "/tmp", "-v", comments, "-v", f"{tmp_path}:/var/lib/moderation")
    options = ("--rm", "--read-only", *folders, "-e", "OMP_NUM_THREADS=1")
    settings = ("data.sources.0.path=/data/comments.csv", "baseline=false", "publish=false")
    docker(
        "run", *options, image("train"), "/app/configs/train/tiny.yaml", *(f"--set={each}" for each in settings),
        timeout=500,
    )  # fmt: skip
    commit = json.loads((tmp_path / "runs/tiny/bundle/manifest.json").read_text())["provenance"]["git_commit"]
    assert run(("git", "cat-file", "-t", commit)).stdout == "commit\n"


def test_the_gpu_image_has_torch_and_answers_without_a_gpu() -> None:
    (port,) = free_ports(1)
    with container(image("api-gpu"), "-p", f"127.0.0.1:{port}:8001", "-e", "MODERATION_AUTH=off") as api:
        docker("exec", api, "python", "-c", "import torch")
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=30, trust_env=False) as http:
            wait_for(lambda: http.get("/ready").is_success)
            assert http.post("/predict", json={"comment_text": "You are disgusting."}).json()["decision"] != "allow"
