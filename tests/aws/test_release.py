"""Images of a release in ECR: built or copied once, and kept as long as an environment may go back to them."""

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import images
import pytest
from images import keep_images, push_images, release_of
from stacks import DeploymentError

from tests.aws.conftest import Clients
from tests.aws.fakes import Repositories, Stored
from tests.aws.test_deploy import FIRST


def test_images_are_built_and_pushed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_OPTIONS", "--network host")
    ran: list[tuple[list[str], str | None]] = []
    ecr = Repositories({("moderation-api", FIRST)})

    def run(command: Sequence[str], stdin: str | None) -> None:
        ran.append((list(command), stdin))

    push_images(ecr, ["api", "monitor"], FIRST, run)
    tag = f"1.dkr.ecr.example/moderation-monitor:{FIRST}"
    # Instances and tasks are x86: an image that an ARM machine built for itself would not start there.
    options = "BUILD_OPTIONS=--network host --platform=linux/amd64"
    names = ["IMAGE_PREFIX=1.dkr.ecr.example/moderation-", f"IMAGE_TAG={FIRST}"]
    built = ["env", options, *names, "docker/build.sh", "monitor"]
    assert ran == [
        (["docker", "login", "--username", "AWS", "--password-stdin", "1.dkr.ecr.example"], "secret"),
        (built, None),
        (["docker", "push", "--quiet", tag], None),
    ]


def test_what_an_environment_uses_is_kept_and_the_newest_releases_for_going_back(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "KEPT", 2)
    ecr = clients("ecr")
    ecr.create_repository(repositoryName="moderation-api")
    releases = [f"{number:012x}" for number in range(3)]
    for number, release in enumerate(releases):
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        config = {"digest": f"sha256:{number}"}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []})
        ecr.put_image(repositoryName="moderation-api", imageManifest=manifest, imageTag=release)
        keep_images(ecr, ["api"], release, "prod")
        time.sleep(1.1)  # times of pushes are whole seconds
    keep_images(ecr, ["api"], releases[-1], "prod")  # again: nothing to do
    keep_images(ecr, ["api"], releases[0], "prod-2")
    found = ecr.describe_images(repositoryName="moderation-api")["imageDetails"]
    tags = {tag for image in found for tag in image["imageTags"]}
    assert tags == {*releases, *(f"prod-{release}" for release in releases[1:]), f"prod-2-{releases[0]}"}


def test_a_release_is_copied_from_where_its_images_were_built_and_listed() -> None:
    ran: list[list[str]] = []
    push_images(
        Repositories(set()), ["api"], FIRST, lambda command, _: ran.append([*command]), False, "ghcr.io/example"
    )
    tag, origin = f"1.dkr.ecr.example/moderation-api:{FIRST}", f"ghcr.io/example/moderation-api:{FIRST}"
    # A single manifest stays what it is, so that the digest does.
    assert ran[1:] == [["docker", "buildx", "imagetools", "create", "--prefer-index=false", "--tag", tag, origin]]


def test_an_image_that_ecr_does_not_hand_out_is_said(clients: Clients) -> None:
    ecr = clients("ecr")
    ecr.create_repository(repositoryName="moderation-api")
    with pytest.raises(DeploymentError, match=f"ECR does not hand out moderation-api:{FIRST}: .*not.*found"):
        keep_images(ecr, ["api"], FIRST, "prod")


def test_an_image_is_asked_for_in_every_form_and_tagged_in_the_one_it_has() -> None:
    index = "application/vnd.oci.image.index.v1+json"
    ecr = Stored(index)
    images._tag(ecr, "moderation-api", FIRST, f"prod-{FIRST}")
    assert ecr.put == {
        "repositoryName": "moderation-api",
        "imageManifest": "{}",
        "imageManifestMediaType": index,
        "imageTag": f"prod-{FIRST}",
    }


def test_a_release_of_which_images_are_missing_is_not_built_from_what_is_checked_out() -> None:
    def run(command: Sequence[str], stdin: str | None) -> None:
        raise AssertionError(command)

    ecr = Repositories({("moderation-api", FIRST)})
    push_images(ecr, ["api"], FIRST, run, build=False)
    with pytest.raises(DeploymentError, match=f"no image of {FIRST} for monitor in ECR"):
        push_images(ecr, ["api", "monitor"], FIRST, run, build=False)


def test_what_differs_from_the_commit_has_no_name(tmp_path: Path) -> None:
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "First"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words], cwd=tmp_path, check=True)
    assert len(release_of(tmp_path)) == 12
    (tmp_path / "new").touch()
    with pytest.raises(DeploymentError, match="1 files differ from the commit"):
        release_of(tmp_path)
