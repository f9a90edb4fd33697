"""LitServe around the int8 ONNX graph that we serve.

``python benchmarks/rivals/lit.py MODEL_DIR --port N --workers N --threads N``. The graph reads one window and has no
mask, so texts are not batched: padding would move their scores. Logits become scores by a sigmoid, without our
calibration.
"""

import argparse
import json
from pathlib import Path

import litserve
import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class Classify(litserve.LitAPI):
    """One worker: a tokenizer and a session of its own."""

    def __init__(self, folder: Path, threads: int) -> None:
        super().__init__()
        self._folder = folder
        self._threads = threads

    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        graph = self._folder / "onnx" / "model_quantized.onnx"
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        config = json.loads((self._folder / "config.json").read_text())
        limit = json.loads((self._folder / "tokenizer_config.json").read_text())["model_max_length"]
        self._labels = [config["id2label"][str(number)] for number in range(config["num_labels"])]
        self._tokenizer.enable_truncation(limit)

    def decode_request(self, request: dict[str, str]) -> str:
        return request["comment_text"]

    def predict(self, given: str) -> list[float]:
        ids = np.array([self._tokenizer.encode(given).ids])
        (logits,) = self._session.run(["logits"], {"input_ids": ids})
        scores: list[float] = (1 / (1 + np.exp(-logits[0]))).tolist()
        return scores

    def encode_response(self, output: list[float]) -> dict[str, dict[str, float]]:
        return {"scores": dict(zip(self._labels, output, strict=True))}


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    for name in ("port", "workers", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    server = litserve.LitServer(
        Classify(arguments.model, arguments.threads),
        accelerator="cpu",
        workers_per_device=arguments.workers,
        timeout=False,
        fast_queue=True,
    )
    server.run(host="127.0.0.1", port=arguments.port, log_level="error", access_log=False, generate_client_file=False)


if __name__ == "__main__":
    main()
