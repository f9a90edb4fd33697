"""Workflows pin what they use, run targets that exist, and what branch protection waits for is a job."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
FILES = (*GITHUB.glob("workflows/*.yml"), *GITHUB.glob("actions/*/action.yml"))


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / name).read_text())["jobs"]
    return found


def test_every_action_is_pinned_by_commit() -> None:
    used = [each for path in FILES for each in re.findall(r"uses: (\S+)", path.read_text())]
    floating = [each for each in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}|\./\.github/actions/\w+", each)]
    assert len(used) > 10
    assert floating == []


def test_every_step_with_make_names_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = [
        word
        for path in FILES
        for line in re.findall(r"(?:run: |^ +)make (.+)", path.read_text(), re.MULTILINE)
        for word in line.split()
    ]
    assert {"lint", "test-full", "test-images", "deploy", "audit"} <= set(called)
    assert {word for word in called if re.fullmatch(r"[a-z-]+", word)} - targets - {"tee"} == set()


def test_branch_protection_waits_for_every_job_of_ci() -> None:
    script = (GITHUB / "protect-main.sh").read_text()
    rules = json.loads(script.partition("'RULES'\n")[2].partition("\nRULES")[0])
    assert rules["required_status_checks"]["contexts"] == list(jobs("ci.yml"))


def test_a_release_asks_for_the_same_jobs() -> None:
    (names,) = re.findall("for job in (.+); do", (GITHUB / "require-green.sh").read_text())
    assert names.split() == list(jobs("ci.yml"))


def test_a_release_builds_every_image_once_and_deploys_what_it_built() -> None:
    release = jobs("release.yml")
    targets = re.findall(
        r"^FROM (?:server|app|command) AS (\S+)", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE
    )
    assert sorted(release["images"]["strategy"]["matrix"]["image"]) == sorted(targets)
    assert release["images"]["needs"] == "green"
    assert release["deploy"]["needs"] == "images"
    (deploy,) = (step["run"] for step in release["deploy"]["steps"] if "make deploy" in step.get("run", ""))
    assert "RELEASE=" in deploy
    assert "IMAGES=" in deploy  # copied, not built


def test_the_deployments_credentials_outlive_its_job() -> None:
    deploy = jobs("release.yml")["deploy"]
    (lasting,) = (
        step["with"]["role-duration-seconds"]
        for step in deploy["steps"]
        if "configure-aws-credentials" in step.get("uses", "")
    )
    assert lasting > deploy["timeout-minutes"] * 60
    (allowed,) = re.findall(r"MaxSessionDuration: (\d+)", (ROOT / "docker/aws/oidc.yaml").read_text())
    assert lasting <= int(allowed)


def test_every_image_has_a_bill_of_materials_in_ci() -> None:
    (loop,) = re.findall("for image in (.+); do", (GITHUB / "workflows/ci.yml").read_text())
    (built,) = re.findall(r"docker/build\.sh (.+?) &&", (ROOT / "Makefile").read_text())
    assert loop.split() == built.split()
    assert sorted(loop.split()) == sorted(jobs("release.yml")["images"]["strategy"]["matrix"]["image"])


def test_only_the_deployment_may_ask_for_an_identity_and_nothing_has_a_key_of_aws() -> None:
    assert jobs("release.yml")["deploy"]["permissions"]["id-token"] == "write"
    for path in FILES:
        assert "AWS_SECRET" not in path.read_text()
        assert path.name == "release.yml" or "id-token" not in path.read_text()
