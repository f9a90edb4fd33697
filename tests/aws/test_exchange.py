"""The script around a command that is run by hand, from the template: files come from the bucket, and go there."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deploy import HERE
from stacks import read_template

from moderation.db.database import connect, migrate
from moderation.db.log import insert, record_version
from moderation.registry.local import LocalRegistry
from tests.aws.conftest import REGION, Clients
from tests.moderation.db.records import feedback, prediction, version

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "exchange"
Task = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def s3(clients: Clients) -> Any:
    client = clients("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


@pytest.fixture
def task(tmp_path: Path, moto_url: str) -> Task:
    """Run a command as the container of the task ``tools`` does, in a folder of the test instead of /tmp."""
    (definition,) = (
        it["Properties"]["ContainerDefinitions"][0]
        for name, it in read_template(HERE / "tasks.yaml")["Resources"].items()
        if name == "ToolsTask"
    )
    shell, options, script, name = definition["EntryPoint"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    variables = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "AS_FILES": "HANDOVER",
        "HANDOVER": "correct horse battery",
        "SETTINGS": "MODERATION_THREADS=1",
        "EXCHANGE": BUCKET,
        "MODERATION_STATE_DIR": str(tmp_path / "state"),
        "MODERATION_REGISTRY_DIR": str(tmp_path / "registry"),
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "no_proxy": "127.0.0.1",
    }
    moved = script.replace("/tmp/", f"{tmp_path}/")

    def run(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        subprocess.run(["rm", "-rf", tmp_path / "secrets", tmp_path / "exchange"], check=True)
        said = [word.replace("/tmp/", f"{tmp_path}/") for word in words]
        return subprocess.run(
            [shell, options, moved, name, *said], cwd=ROOT, env=variables | more, text=True, capture_output=True,
            timeout=120, check=False,
        )  # fmt: skip

    return run


def test_a_bundle_gets_from_the_bucket_into_the_registry(s3: Any, task: Task, tmp_path: Path) -> None:
    for path in (ROOT / "models/starter").rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), BUCKET, f"in/bundle/{path.relative_to(ROOT / 'models/starter')}")
    done = task("registry", "publish", "/tmp/exchange/in/bundle")
    assert done.returncode == 0, done.stderr
    assert LocalRegistry(tmp_path / "registry").versions() == [done.stdout.strip()]


def test_an_export_gets_into_the_bucket_and_a_failure_stays_one(s3: Any, task: Task, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    engine = connect(f"sqlite:///{tmp_path / 'state/moderation.db'}")
    migrate(engine)
    with engine.begin() as connection:
        record_version(connection, version())
        record = prediction(text="You fool.")
        insert(connection, [record], [feedback(prediction_id=record.id, agree=False, labels={"insult": True})])
    engine.dispose()
    s3.put_object(Bucket=BUCKET, Key="gate/test.parquet", Body=b"rows")
    done = task("export", "feedback", "/tmp/exchange/out/feedback.jsonl")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "exchange/gate/test.parquet").read_bytes() == b"rows"
    keys = {it["Key"] for it in s3.list_objects_v2(Bucket=BUCKET, Prefix="out/feedback")["Contents"]}
    assert keys == {"out/feedback.jsonl", "out/feedback.jsonl.manifest.json"}
    failed = task("registry", "publish", "/tmp/exchange/in/nothing")
    assert failed.returncode == 1, failed.stderr


def test_a_scheduled_command_fetches_nothing_and_gets_its_settings(task: Task, tmp_path: Path) -> None:
    done = task("registry", "list", EXCHANGE="")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "exchange").exists()
    assert (tmp_path / "secrets/HANDOVER").read_text() == "correct horse battery\n"
    wrong = task("registry", "list", EXCHANGE="", SETTINGS="MODERATION_THREAD=1")
    assert "MODERATION_THREADS" in wrong.stderr
