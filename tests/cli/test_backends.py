"""What judges or replays a version computes it as its manifest states, also beside a GPU."""

from pathlib import Path

import pytest

from cli import promote, worker
from moderation.registry.local import LocalRegistry
from moderation.scoring.scorer import BACKENDS, Model
from moderation.settings import WorkerSettings
from tests.encoders import encoder_bundle


def test_the_check_of_a_promotion_and_a_back_test_take_the_stated_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Model:
        raise AssertionError

    monkeypatch.setattr("moderation.scoring.scorer.has_gpu", lambda: True)
    monkeypatch.setitem(BACKENDS, "torch", never)
    settings = WorkerSettings(state_dir=tmp_path)
    registry = LocalRegistry(settings.resolved_registry_dir())
    version = registry.publish(encoder_bundle(tmp_path / "bundle", "bert", "mean", safetensors=True))
    promote._check_loads(registry, version, None)
    assert worker._load(settings, version).backend == "int8"
