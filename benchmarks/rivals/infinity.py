"""infinity-emb, its own command with its own options, on one model folder.

``python benchmarks/rivals/infinity.py v2 --model-id MODEL_DIR --engine optimum|torch …``. Two faults of 0.0.78 are
mended for the engine optimum, without which it does not answer: it hands optimum the path of a local graph where
optimum 2 takes the name alone (optimum 1 needs a torch of before 2.9), and it does not cut long texts, as
its torch engine does, so that every comment over the model's 512 positions is an error.
"""

import sys
from pathlib import Path

from infinity_emb.cli import cli
from infinity_emb.transformer.classifier import optimum

GRAPH = Path("model_quantized.onnx")


def _classify(self: optimum.OptimumClassifier, sentences: list[str]) -> list[list[dict[str, float]]]:
    found: list[list[dict[str, float]]] = self._pipe(sentences, truncation=True)
    return found


if __name__ == "__main__":
    optimum.get_onnx_files = lambda **_: GRAPH
    optimum.OptimumClassifier.encode_core = _classify
    sys.exit(cli())
