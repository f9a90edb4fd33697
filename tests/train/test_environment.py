from pathlib import Path
from types import SimpleNamespace

import torch

from train.environment import environment, gpu

TWO = SimpleNamespace(
    is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda number: f"GPU number {number}"
)


def tool(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_environment_names_what_decides_a_result() -> None:
    found = environment()
    assert torch.__version__.startswith(found["packages"]["torch"].partition("+")[0])  # type: ignore[index]
    assert ("gpu" in found, found["gpu"] is None) == (True, not torch.cuda.is_available())


def test_gpus_are_named_with_cuda_and_the_driver(tmp_path: Path) -> None:
    found = gpu(TWO, tool(tmp_path / "tool", "printf '570.86.15\\n570.86.15\\n'"))
    assert found is not None
    assert found["names"] == ["GPU number 0", "GPU number 1"]
    assert found["driver"] == "570.86.15"
    assert set(found) == {"names", "cuda", "cudnn", "driver"}


def test_a_driver_that_cannot_be_asked_is_unknown(tmp_path: Path) -> None:
    for command in (str(tmp_path / "missing"), tool(tmp_path / "fails", "exit 9")):
        found = gpu(TWO, command)
        assert found is not None
        assert found["driver"] == "unknown"
