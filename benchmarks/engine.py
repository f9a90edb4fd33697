"""Comments and tokens per second of the engine alone, and its share of what this CPU multiplies in int8.

    .venv/bin/python -m benchmarks.engine [--rows FILE] [--variant NAME=BUNDLE …]

Each variant is the serving `Scorer` of a bundle on all cores, tokenizing included, no cache; `--variant` adds other
bundles, such as that of an older commit. `one window` is ours reading only the first window of long comments, `fp32`
the exact backend of the same bundle, if its manifest states it. The variants take turns on the same texts, 64 per call.
The rate of int8 products is the fastest that ONNX Runtime's own MatMulInteger reaches with any matrix of the model and
any of several heights, on one core and on all cores at once, in turns with the variants.

What counts as work: `nominal` is 2 per weight of a matrix (without embeddings) and token, plus 4 · layers · width · T²
for the attention of a window of T tokens, whatever the graph does; `executed` is what ONNX Runtime's profile says was
multiplied. Softmax, normalisation, activation and quantisation count as nothing. Tokens in two windows of a long
comment count twice. The profile, on one core, says which operators took the time.

With a GPU the torch backend follows in a table of its own (`benchmarks.engine_torch`): each variant's nominal work over
the measured rate of bf16 products. `--device cpu` runs that table on the CPU, which shows that it works and no more.
"""

import argparse
import collections
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.comments import comments
from moderation.bundle import CONFIG, ONNX_WEIGHTS, Bundle, read_bundle
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.onnx import MASKED_INPUT_NAMES, SLOWER_THAN_THEIR_PARTS, available_cores
from moderation.scoring.scorer import Scorer, has_gpu
from moderation.scoring.tokens import TextTokens

TEXTS_PER_CALL = 64
HEIGHTS = (32, 64, 128, 256, 512)
PROFILED_TEXTS = 64


@dataclass
class Taken:
    """Seconds of each round, per variant, and int8 products per second on one core and on all, per round."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    one_core: list[float] = field(default_factory=list)
    all_cores: list[float] = field(default_factory=list)


def main() -> int:
    """Print the tables; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=STARTER_DIR, help="bundle to measure (default: the starter)")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME=BUNDLE", help="another bundle beside it"
    )
    parser.add_argument("--rows", type=Path, help="parquet or CSV file with a column comment_text; else they are made")
    parser.add_argument("--count", type=int, default=512, help="comments per round (default %(default)s)")
    parser.add_argument(
        "--gpu-count", type=int, default=32_768, help="comments per round on a GPU, to fill it (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default %(default)s)")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="of the torch backend (default: a GPU, if there is one)"
    )
    arguments = parser.parse_args()
    texts = comments(arguments.rows, arguments.count)
    bundle = read_bundle(arguments.bundle)
    device = arguments.device or ("cuda" if has_gpu() else None)
    one_window = replace(bundle, manifest=bundle.manifest.model_copy(update={"windows": None}))
    scorers = {"ours": _as_stated(bundle), "one window": _as_stated(one_window)}
    if all(probe.exact_scores for probe in bundle.manifest.probes.examples):
        scorers["fp32"] = Scorer.load(bundle, backend="fp32")
    scorers |= {
        name: _as_stated(read_bundle(Path(path))) for name, path in (v.split("=", 1) for v in arguments.variant)
    }
    int8 = Int8Rate(bundle)
    taken = Taken()
    for _ in range(arguments.rounds):
        taken.one_core.append(int8.best.rate())
        taken.all_cores.append(int8.all_cores())
        for name, scorer in scorers.items():
            taken.seconds[name].append(_seconds(scorer, texts))
            print(f"  {name}: {len(texts) / taken.seconds[name][-1]:.1f} comments/s", file=sys.stderr)
    work = {name: Work(scorer.bundle, scorer.tokenize(texts)) for name, scorer in scorers.items()}
    _print(taken, work, int8.best)
    profile = Profile(bundle, scorers["ours"].tokenize(texts[:PROFILED_TEXTS]))
    print(f"\nexecuted over nominal work of ours: {profile.executed / profile.work.operations:.3f}")
    print("time by operator: " + ", ".join(f"{name} {share:.0%}" for name, share in profile.shares))
    if device is not None:
        from benchmarks.engine_torch import print_table

        print_table(
            bundle,
            comments(arguments.rows, arguments.gpu_count if device == "cuda" else arguments.count),
            arguments.rounds,
            device,
        )
    return 0


def _as_stated(bundle: Bundle) -> Scorer:
    return Scorer.load(bundle, backend=bundle.manifest.stated_backend)


def _seconds(scorer: Scorer, texts: Sequence[str]) -> float:
    begun = time.perf_counter()
    for start in range(0, len(texts), TEXTS_PER_CALL):
        scorer.score(texts[start : start + TEXTS_PER_CALL])
    return time.perf_counter() - begun


def matrices(bundle: Bundle) -> list[tuple[int, int]]:
    """Return the shapes (in, out) of the quantised matrices, one for each of its products."""
    graph = onnx.load(bundle.path / ONNX_WEIGHTS).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found = [shapes[node.input[1]] for node in graph.node if node.op_type == "MatMulInteger"]
    return [(height, width) for height, width in dict.fromkeys(found) if width % 16 == 0]


class Work:
    """What a bundle is to compute for some texts: tokens of all windows, and nominal operations."""

    def __init__(self, bundle: Bundle, texts: Sequence[TextTokens]) -> None:
        """Count as the module says; the head counts as if it were applied to every token."""
        config = json.loads((bundle.path / CONFIG).read_text())
        graph = onnx.load(bundle.path / ONNX_WEIGHTS).graph
        sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
        weights = sum(sizes[node.input[1]] for node in graph.node if node.op_type == "MatMulInteger")
        self.texts = len(texts)
        self.windows = [window for text in texts for window in text.windows]
        lengths = np.array([len(window) for window in self.windows], dtype=np.float64)
        self.tokens = float(lengths.sum())
        width = config["hidden_size"] * config["num_hidden_layers"]
        self.operations = float(2 * weights * self.tokens + 4 * width * (lengths**2).sum())


class Product:
    """Integer products of one shape, all of the same matrix, so that it stays in the cache."""

    def __init__(self, shape: tuple[int, int], height: int) -> None:
        """Multiply (height, in) by (in, out)."""
        self.shape, self.height = shape, height
        draw = np.random.default_rng(0)
        weight = numpy_helper.from_array(draw.integers(-64, 64, shape).astype(np.int8), "weight")
        node = helper.make_node("MatMulInteger", ["rows", "weight"], ["product"])
        inputs = [helper.make_tensor_value_info("rows", TensorProto.UINT8, ["height", shape[0]])]
        outputs = [helper.make_tensor_value_info("product", TensorProto.INT32, ["height", shape[1]])]
        model = helper.make_model(
            helper.make_graph([node], "product", inputs, outputs, [weight]), opset_imports=[helper.make_opsetid("", 17)]
        )
        model.ir_version = 8
        self._session = _session(model.SerializeToString())
        self._binding = self._session.io_binding()
        rows = draw.integers(0, 255, (height, shape[0])).astype(np.uint8)
        self._rows = onnxruntime.OrtValue.ortvalue_from_numpy(rows)
        self._binding.bind_ortvalue_input("rows", self._rows)
        result = onnxruntime.OrtValue.ortvalue_from_shape_and_type([height, shape[1]], np.int32, "cpu")
        self._binding.bind_ortvalue_output("product", result)

    def rate(self, seconds: float = 0.1) -> float:
        """Return operations per second, two for each weight and row."""
        done, begun = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begun) < seconds:
            for _ in range(10):
                self._session.run_with_iobinding(self._binding)
            done += 10
        return 2.0 * self.height * self.shape[0] * self.shape[1] * done / elapsed


class Int8Rate:
    """The rate of int8 products that this machine reaches with any matrix of a bundle and any of several heights."""

    def __init__(self, bundle: Bundle) -> None:
        """Find the fastest product on one core.

        Raises:
            ValueError: the bundle has no int8 matrix.
        """
        products = [Product(shape, height) for shape in matrices(bundle) for height in HEIGHTS]
        if not products:
            raise ValueError(f"{bundle.path} has no int8 matrix; expected one that is 16 columns wide or a multiple")
        self.best = max(products, key=Product.rate)
        self._side_by_side = [Product(self.best.shape, self.best.height) for _ in range(available_cores())]

    def all_cores(self) -> float:
        """Return operations per second of all cores at once."""
        with ThreadPoolExecutor(len(self._side_by_side)) as pool:
            return sum(pool.map(Product.rate, self._side_by_side))


class Profile:
    """Share of the time of each operator on one core, and the products that were executed, for some windows."""

    def __init__(self, bundle: Bundle, texts: Sequence[TextTokens]) -> None:
        """Run the windows of ``texts`` one by one under ONNX Runtime's profiler."""
        self.work = Work(bundle, texts)
        with tempfile.TemporaryDirectory() as directory:
            session = _session(str(bundle.path / ONNX_WEIGHTS), profile=f"{directory}/profile")
            masked = len(session.get_inputs()) == len(MASKED_INPUT_NAMES)
            for window in self.work.windows:
                row = window[None]
                session.run(None, dict(zip(MASKED_INPUT_NAMES, (row, np.ones_like(row))[: 1 + masked], strict=False)))
            events = json.loads(Path(session.end_profiling()).read_text())
        spent, self.executed = collections.Counter[str](), 0.0
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                spent[event["args"]["op_name"]] += event["dur"]
                self.executed += _products(event["args"])
        self.shares = [(name, microseconds / spent.total()) for name, microseconds in spent.most_common(8)]


def _products(arguments: dict[str, Any]) -> float:
    """Return the operations of one node's products, from the shapes of its inputs."""
    shapes = [next(iter(each.values())) for each in arguments["input_type_shape"]]
    operator = arguments["op_name"]
    if operator == "MultiHeadAttention":
        batch, tokens, width = shapes[0]
        return float(4 * batch * tokens * shapes[1][1] * width)
    if "MatMul" in operator or operator == "Gemm":
        return float(2 * np.prod(shapes[0]) * shapes[1][-1])
    return 0.0


def _session(model: str | bytes, profile: str | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = profile is not None
    options.profile_file_prefix = profile or ""
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model, options, providers, disabled_optimizers=SLOWER_THAN_THEIR_PARTS)


def _print(taken: Taken, work: dict[str, Work], best: Product) -> None:
    print(f"{work['ours'].texts} comments, {len(taken.one_core)} rounds")
    print(f"fastest int8 product: {best.height} rows by {best.shape}, in 10⁹ operations/s (median, least to most)")
    for name, rates in (("one core", taken.one_core), ("all cores at once", taken.all_cores)):
        print(f"  {name}: {_spread([rate / 1e9 for rate in rates], '.0f')}")
    print(
        "\n| variant | tokens per comment | comments/s (median, least to most) | tokens/s | tokens/s over ours "
        "| nominal work over int8 rate |\n|---|---|---|---|---|---|"
    )
    ours = [work["ours"].tokens / each for each in taken.seconds["ours"]]
    for name, seconds in taken.seconds.items():
        own = work[name]
        tokens = [own.tokens / each for each in seconds]
        over = statistics.median(each / our for each, our in zip(tokens, ours, strict=True))
        share = statistics.median(
            own.operations / each / rate for each, rate in zip(seconds, taken.all_cores, strict=True)
        )
        rate = _spread([own.texts / each for each in seconds], ".1f")
        print(
            f"| {name} | {own.tokens / own.texts:.0f} | {rate} | {statistics.median(tokens):.0f} | {over:.2f} "
            f"| {share:.3f} |"
        )


def _spread(values: Sequence[float], style: str) -> str:
    show: Callable[[float], str] = lambda value: format(value, style)  # noqa: E731
    return f"{show(statistics.median(values))} ({show(min(values))} to {show(max(values))})"


if __name__ == "__main__":
    sys.exit(main())
