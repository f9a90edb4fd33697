from pathlib import Path

import pytest

from moderation.errors import InvalidInputError
from moderation.registry.cache import BundleCache
from moderation.registry.wandb import WandbRegistry
from moderation.run_folder import RunFolder
from tests.bundles import build_tiny_bundle


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write("run", {"id": "abc"})
    assert folder.read("run") == {"id": "abc"}
    assert folder.read("results") == {}
    assert folder.bundle() is None
    bundle = build_tiny_bundle(folder.path / "bundle")
    found = folder.bundle()
    assert found is not None
    assert found.path == bundle


def test_a_folder_that_is_none_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    registry = WandbRegistry("wandb-registry-model/none", BundleCache(tmp_path / "cache"))
    with pytest.raises(InvalidInputError, match="holds no tracked run"):
        RunFolder(tmp_path).upload(registry)
    (tmp_path / "tracking").mkdir()
    (tmp_path / "tracking" / "run.json").write_text("{")
    with pytest.raises(InvalidInputError, match=r"run\.json is not JSON"):
        RunFolder(tmp_path).upload(registry)
