"""ONNX Runtime on CPU: token ids to logits, one window per session call.

Dynamic int8 has one activation scale per tensor, so a batch-mate could move a score; alone, the same
window gets the same logits bit for bit. Several calls run side by side, each on one thread, through one
session: a session per thread would hold the weights as often in the cache, and is slower (docs/EXPERIMENTS.md).
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from moderation.errors import BundleError

INPUT_NAMES = ("input_ids",)
MASKED_INPUT_NAMES = ("input_ids", "attention_mask")
"""Of bundles that were exported with a mask, which one window alone does not need."""
OUTPUT_NAME = "logits"
# ONNX Runtime's SkipLayerNormalization takes five times as long as the Add and LayerNormalization that it replaces.
SLOWER_THAN_THEIR_PARTS = ["SkipLayerNormFusion"]


def available_cores() -> int:
    """Return how many cores this process may use; Linux alone knows of a restriction."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OnnxModel:
    """An ONNX classifier; `logits` may be called from several threads at once."""

    device = "cpu"
    call_tokens = 0

    def __init__(self, path: Path, threads: int = 0, graph: bytes | None = None) -> None:
        """Load ``path``, or ``graph`` made of it; ``threads`` windows are read side by side, 0 for one per core.

        With 1, a call is computed by the thread that makes it, at that thread's priority.

        Raises:
            BundleError: the file is no ONNX model, or has other inputs or outputs.
        """
        self.threads = threads or available_cores()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                path if graph is None else graph,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=SLOWER_THAN_THEIR_PARTS,
            )
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise BundleError(f"{path} cannot be loaded by ONNX Runtime ({type(error).__name__})") from error
        found = tuple(node.name for node in self._session.get_inputs())
        outputs = [node.name for node in self._session.get_outputs()]
        if found not in (INPUT_NAMES, MASKED_INPUT_NAMES) or outputs != [OUTPUT_NAME]:
            raise BundleError(f"{path} has inputs {', '.join(found)}; expected {', '.join(INPUT_NAMES)}")
        self._masked = found == MASKED_INPUT_NAMES
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="onnx") if self.threads > 1 else None

    def logits(self, ids: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """Return logits of shape (N, K) for N token sequences, in order."""
        if self._pool is None or len(ids) <= 1:
            rows = [self._run(sequence) for sequence in ids]
        else:
            rows = list(self._pool.map(self._run, ids))
        return np.concatenate(rows) if rows else np.empty((0, self.num_outputs), dtype=np.float32)

    @property
    def num_outputs(self) -> int:
        """K, the number of labels that the graph answers."""
        return int(self._session.get_outputs()[0].shape[1])

    def _run(self, sequence: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        row = sequence[None, :]
        fed = {"input_ids": row, "attention_mask": np.ones_like(row)} if self._masked else {"input_ids": row}
        (logits,) = self._session.run([OUTPUT_NAME], fed)
        return np.asarray(logits, dtype=np.float32)
