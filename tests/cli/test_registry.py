"""`moderation registry` against a registry on disk."""

from pathlib import Path

from moderation.bundle import read_bundle
from tests.bundles import build_tiny_bundle
from tests.cli.conftest import Moderation


def test_a_bundle_is_published_named_found_and_listed(moderation: Moderation, bundle: Path, tmp_path: Path) -> None:
    second = build_tiny_bundle(tmp_path / "second", bias=-5.0)
    first_version, second_version = read_bundle(bundle).version, read_bundle(second).version

    assert moderation("registry", "publish", second).stdout == f"{second_version}\n"
    assert moderation("registry", "point", "candidate", second_version[:8]).stdout == f"candidate -> {second_version}\n"
    assert moderation("registry", "resolve", "candidate").stdout == f"{second_version}\n"
    assert read_bundle(Path(moderation("registry", "fetch", second_version).stdout.strip())).version == second_version
    assert moderation("registry", "list").stdout.splitlines() == [
        f"{first_version}  production",
        f"{second_version}  candidate",
    ]


def test_seeding_leaves_an_alias_that_exists(moderation: Moderation, bundle: Path) -> None:
    assert moderation("registry", "seed").stdout == f"production -> {read_bundle(bundle).version}\n"


def test_seeding_gives_an_empty_registry_the_starter(moderation: Moderation, tmp_path: Path) -> None:
    done = moderation("registry", "seed", "trial", MODERATION_REGISTRY_DIR=str(tmp_path / "empty"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trial -> ")


def test_publishing_a_folder_that_is_no_bundle_is_one_line(moderation: Moderation, tmp_path: Path) -> None:
    done = moderation("registry", "publish", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path} is no bundle: cannot read manifest.json (No such file or directory)\n"
