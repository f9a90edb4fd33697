"""A bundle as the rivals take models: a folder in the Hub's format, with weights for torch and the same int8 graph.

The bundle's int8 weights are read back as float32, so that a torch rival computes what the bundle computes but for the
rounding of activations. The folder holds ``model.safetensors`` (encoder and head), the tokenizer, and
``onnx/model_quantized.onnx``, a copy of the graph that we serve.
"""

import json
import shutil
from pathlib import Path

from safetensors.numpy import save_file

from moderation.bundle import CONFIG, ONNX_WEIGHTS, TOKENIZER, read_bundle
from moderation.scoring.weights import read_weights


def write_model(bundle_dir: Path, folder: Path) -> None:
    """Write ``folder`` from the bundle.

    Raises:
        BundleError: no bundle, or a graph whose weights cannot be read back.
    """
    bundle = read_bundle(bundle_dir)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    config = json.loads((bundle_dir / CONFIG).read_text())
    labels = list(bundle.manifest.label_names)
    config |= {
        "architectures": ["BertForSequenceClassification"],
        "problem_type": "multi_label_classification",
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "num_labels": len(labels),
    }
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(bundle_dir / TOKENIZER, folder / "tokenizer.json")
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    kind = {"tokenizer_class": "BertTokenizerFast", "model_max_length": bundle.manifest.max_tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps({**kind, **special, "mask_token": "[MASK]"}))
    shutil.copy(bundle_dir / ONNX_WEIGHTS, folder / "onnx" / "model_quantized.onnx")
    save_file(read_weights(bundle_dir), folder / "model.safetensors")
