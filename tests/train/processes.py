"""`python -m train` in processes that can be killed, without paying for its imports each time.

A fork server imports what training needs once; each run is a fork of it, so it begins with the same state as a new
process and can be stopped like one.
"""

import multiprocessing
import os
import resource
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import MappingProxyType

THREADS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["train.__main__", "train.pipeline"])


def start(
    arguments: list[str],
    output: Path,
    largest_file_bytes: int | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> ForkServerProcess:
    """Run `python -m train ARGUMENTS`; what it prints goes to ``output``, added to what is there."""
    os.environ.update(THREADS)
    process = _context.Process(
        target=_run, args=(arguments, str(output), largest_file_bytes, dict(variables)), daemon=True
    )
    process.start()
    return process


def _run(arguments: list[str], output: str, largest_file_bytes: int | None, variables: dict[str, str]) -> None:
    os.environ.update(THREADS | variables)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    if largest_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))
    import torch

    from train.__main__ import main

    torch.set_num_threads(1)
    sys.exit(main(arguments))
