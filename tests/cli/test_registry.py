"""`moderation registry` against a registry on disk."""

from pathlib import Path

from moderation.bundle import read_bundle
from tests.bundles import build_tiny_bundle
from tests.cli.conftest import Moderation
from tests.wandb_server import WandbServer


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


def test_a_local_version_is_pushed_to_wandb_and_served_from_there(
    moderation: Moderation, bundle: Path, wandb_server: WandbServer, tmp_path: Path
) -> None:
    own = {**wandb_server.variables(tmp_path / "home"), "MODERATION_WANDB_COLLECTION": "wandb-registry-model/pushed"}
    version = read_bundle(bundle).version
    done = moderation("registry", "push", "production", **own)
    assert done.stdout == f"uploaded and verified: wandb-registry-model/pushed {version}\n", done.stderr
    assert moderation("registry", "list", MODERATION_REGISTRY="wandb", **own).stdout == f"{version}\n"


def test_a_push_says_what_to_give_and_what_is_missing(moderation: Moderation, tmp_path: Path) -> None:
    assert "give a bundle or --run" in moderation("registry", "push").stderr
    assert "holds no tracked run" in moderation("registry", "push", "--run", tmp_path).stderr
    done = moderation("registry", "push", "production", WANDB_BASE_URL="", WANDB_API_KEY="")
    assert done.stderr.startswith("error: WANDB_BASE_URL is not set")
