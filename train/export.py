"""From the trained torch model to the int8 ONNX file that serves."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from moderation.scoring.onnx import INPUT_NAMES, OUTPUT_NAME
from train.batches import Collator
from train.model import CommentClassifier

OPSET = 17
BATCH_TOKENS = 2048


def export_int8(model: CommentClassifier, path: Path) -> None:
    """Write ``model`` as ONNX with weights of 7 bits in int8 (per channel) and dynamic int8 activations."""
    model = model.eval().cpu().float()
    example = torch.ones((1, 16), dtype=torch.int64)
    axes = {0: "batch", 1: "tokens"}
    with tempfile.TemporaryDirectory() as directory:
        exact = Path(directory) / "model.onnx"
        with warnings.catch_warnings():  # the tracer warns of every Python branch it freezes
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (example, example),
                str(exact),
                input_names=list(INPUT_NAMES),
                output_names=[OUTPUT_NAME],
                dynamic_axes=dict.fromkeys(INPUT_NAMES, axes) | {OUTPUT_NAME: {0: "batch"}},
                opset_version=OPSET,
                dynamo=False,  # four times faster than the dynamo exporter, and equal to 6 decimals
            )
        # 7 bits: with 8, CPUs without VNNI overflow the 16-bit sum of two products and score wrongly (docs/adr/0003).
        quantize_dynamic(exact, path, per_channel=True, weight_type=QuantType.QInt8, reduce_range=True)


@torch.inference_mode()
def torch_logits(model: CommentClassifier, ids: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
    """Return the fp32 logits (N, K) of the torch model, in batches of like length."""
    collator = Collator(model.encoder.config.pad_token_id)
    logits = np.empty((len(ids), model.head.out_features), dtype=np.float32)
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    start = 0
    while start < len(order):
        size = max(1, BATCH_TOKENS // len(ids[order[min(start + 32, len(order) - 1)]]))
        chosen = order[start : start + size]
        start += size
        rows = [{"input_ids": ids[n], "labels": np.zeros(0, np.float32), "weight": np.float32(1)} for n in chosen]
        batch = collator(rows)
        logits[chosen] = model(batch["input_ids"], batch["attention_mask"]).numpy()
    return logits
