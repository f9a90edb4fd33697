"""Builds the images of a commit and pushes them to ECR, those that are not there yet."""

import base64
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stacks import DeploymentError

PLATFORM = "--platform=linux/amd64"
"""What instances and tasks run on, whatever the machine is that builds."""
KEPT = 10
"""How many releases of an environment are kept for going back, however many others push meanwhile."""
MANIFESTS = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]
"""Every kind that a push can have left; ECR leaves out what is not asked for."""
ROOT = Path(__file__).resolve().parents[2]
Run = Callable[[Sequence[str], str | None], None]


def release_of(repository: Path) -> str:
    """Return the commit that is checked out, which names the images.

    Raises:
        DeploymentError: files differ from it, so that its name would say something else than what was built.
    """
    if changed := _git(repository, "status", "--porcelain"):
        raise DeploymentError(
            f"{len(changed.splitlines())} files differ from the commit: commit them, or use --release"
        )
    return _git(repository, "rev-parse", "--short=12", "HEAD")


def push_images(
    ecr: Any, names: Sequence[str], release: str, run: Run | None = None, build: bool = True, source: str = ""
) -> None:
    """Build what is checked out and push it as ``moderation-<name>:<release>`` for each of ``names``.

    With ``source``, a registry and owner, copy the images of its ``moderation-<name>:<release>`` instead: the same
    digests, nothing is built.

    Raises:
        DeploymentError: `docker` fails, or an image is missing and may not be built.
    """
    run = run or _docker
    missing = [name for name in names if not _is_there(ecr, name, release)]
    if not missing:
        print(f"images of {release} are pushed already")
        return
    if not (build or source):
        raise DeploymentError(
            f"no image of {release} for {', '.join(missing)} in ECR: check it out and deploy it without RELEASE"
        )
    login = ecr.get_authorization_token()["authorizationData"][0]
    registry = login["proxyEndpoint"].removeprefix("https://")
    user, _, password = base64.b64decode(login["authorizationToken"]).decode().partition(":")
    run(["docker", "login", "--username", user, "--password-stdin", registry], password)
    for name in missing:
        tag = f"{registry}/moderation-{name}:{release}"
        if source:
            # Else it wraps an image for one platform into an index of its own, with another digest.
            copy = ["docker", "buildx", "imagetools", "create", "--prefer-index=false", "--tag", tag]
            run([*copy, f"{source}/moderation-{name}:{release}"], None)
        else:
            options = f"BUILD_OPTIONS={os.environ.get('BUILD_OPTIONS', '')} {PLATFORM}"
            named = [f"IMAGE_PREFIX={registry}/moderation-", f"IMAGE_TAG={release}"]
            run(["env", options, *named, "docker/build.sh", name], None)
            run(["docker", "push", "--quiet", tag], None)


def keep_images(ecr: Any, names: Sequence[str], release: str, environment: str) -> None:
    """Tag the images of ``release`` as used by ``environment``, which no rule deletes, and untag all but the newest.

    The repositories are shared: without a tag of its own, what one environment serves goes once others pushed enough.

    Raises:
        DeploymentError: ECR does not hand out an image.
    """
    tag = f"{environment}-{release}"
    for name in names:
        repository = f"moderation-{name}"
        if not _is_there(ecr, name, tag):
            _tag(ecr, repository, release, tag)
        pages = ecr.get_paginator("describe_images").paginate(repositoryName=repository)
        pushed = {
            each: image["imagePushedAt"]
            for page in pages
            for image in page["imageDetails"]
            for each in image.get("imageTags", ())
            if each.rpartition("-")[0] == environment
        }
        others = sorted((it for it in pushed if it != tag), key=lambda it: pushed[it], reverse=True)
        if old := [{"imageTag": it} for it in others[KEPT - 1 :]]:
            ecr.batch_delete_image(repositoryName=repository, imageIds=old)  # the tag alone, while there is another


def _tag(ecr: Any, repository: str, release: str, tag: str) -> None:
    answer = ecr.batch_get_image(
        repositoryName=repository, imageIds=[{"imageTag": release}], acceptedMediaTypes=MANIFESTS
    )
    if not answer["images"]:
        reasons = ", ".join(it.get("failureReason", "?") for it in answer.get("failures", ()))
        raise DeploymentError(f"ECR does not hand out {repository}:{release}: {reasons or 'no reason given'}")
    (found,) = answer["images"]
    # A manifest of OCI may not say in itself what it is.
    kind = {"imageManifestMediaType": found["imageManifestMediaType"]} if "imageManifestMediaType" in found else {}
    ecr.put_image(repositoryName=repository, imageManifest=found["imageManifest"], imageTag=tag, **kind)


def _is_there(ecr: Any, name: str, release: str) -> bool:
    try:
        ecr.describe_images(repositoryName=f"moderation-{name}", imageIds=[{"imageTag": release}])
    except ecr.exceptions.ImageNotFoundException:
        return False
    return True


def _docker(command: Sequence[str], stdin: str | None) -> None:
    print(f"$ {' '.join(command)}")
    try:
        subprocess.run(command, input=stdin, text=True, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DeploymentError(f"{command[0]} {command[-1]} failed: {error}") from error


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=repository, check=True, capture_output=True, text=True)  # noqa: S607
    return done.stdout.strip()
