"""What else than code, config and data decides a result: interpreter, machine, packages, GPUs."""

import hashlib
import platform
import subprocess
from importlib.metadata import distributions
from typing import Any

import torch

from moderation.scoring.onnx import available_cores

NAMED = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "onnxruntime", "scikit-learn", "wandb")
DRIVER_S = 10.0
"""How long the driver's own tool may take to answer."""


def environment() -> dict[str, object]:
    """Return it as plain JSON values."""
    packages = {found.metadata["Name"].lower(): found.version for found in distributions()}
    frozen = "\n".join(f"{name}=={version}" for name, version in sorted(packages.items()))
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": available_cores(),
        "gpu": gpu(),
        "packages": {name: packages[name] for name in NAMED if name in packages},
        "packages_sha256": hashlib.sha256(frozen.encode()).hexdigest(),
    }


def gpu(cuda: Any = torch.cuda, driver_tool: str = "nvidia-smi") -> dict[str, object] | None:  # noqa: ANN401 - a module
    """Return names of the GPUs, and versions of CUDA, cuDNN and the driver; None without a GPU."""
    if not cuda.is_available():
        return None
    return {
        "names": [cuda.get_device_name(number) for number in range(cuda.device_count())],
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "driver": _driver(driver_tool),
    }


def _driver(tool: str) -> str:
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DRIVER_S)  # noqa: S603 - fixed
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout.split() or ["unknown"])[0]
