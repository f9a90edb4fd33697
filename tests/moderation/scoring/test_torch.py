"""The backend for GPUs, on the CPU of the tests: the same code but for the attention's kernel."""

import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.bundle import CONFIG, ONNX_WEIGHTS, TORCH_WEIGHTS, read_bundle, write_manifest
from moderation.errors import BundleError, ConfigurationError
from moderation.labels import LABELS
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.exact import dequantized
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.packed import PACKED, pack, padding_index
from moderation.scoring.scorer import Scorer
from moderation.scoring.torch import TorchModel, by_length
from moderation.scoring.weights import read_back
from tests.encoders import WORDS, classifier, encoder_bundle
from train.export import export_int8, torch_logits

IDS = [np.random.default_rng(0).integers(4, WORDS, length) for length in (1, 2, 7, 30, 64, 7)]


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def starter(request: pytest.FixtureRequest) -> Scorer:
    model = TorchModel(STARTER_DIR, device="cpu", dtype=request.param, budget_tokens=600)
    return Scorer(read_bundle(STARTER_DIR, LABELS), model, "torch")


outliers = st.one_of(
    st.text(max_size=200),
    st.sampled_from(["", "\u0000", "!" * 3000, "KILL " * 800, "😀" * 300, "a" * 4000, "\ud800", "ﷺ" * 200]),
)


@given(
    st.lists(outliers, min_size=1, max_size=6), st.integers(0), st.sampled_from(["You are disgusting.", "x y " * 400])
)
@settings(max_examples=5, deadline=None)
def test_a_text_scores_the_same_alone_and_in_any_company(
    starter: Scorer, company: list[str], place: int, text: str
) -> None:
    alone = starter.score([text]).scores[0]
    place %= len(company) + 1
    together = starter.score([*company[:place], text, *company[place:]]).scores[place]
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_the_starter_without_float_weights_is_served_by_torch_as_its_manifest_states() -> None:
    assert not (STARTER_DIR / TORCH_WEIGHTS).exists()
    scorer = Scorer.load(read_bundle(STARTER_DIR, LABELS), backend="torch")
    assert (scorer.backend, scorer.device) == ("torch", "cuda" if torch.cuda.is_available() else "cpu")
    probes = scorer.bundle.manifest.probes
    found = Scorer(scorer.bundle, TorchModel(STARTER_DIR, device="cpu"), "torch").score(
        [p.text for p in probes.examples]
    )
    np.testing.assert_allclose(found.scores, [probe.exact_scores for probe in probes.examples], atol=1e-5)


def test_bf16_stays_within_the_tolerance_for_torch(starter: Scorer) -> None:
    assert starter.worst_probe() < starter.bundle.manifest.probes.torch_tolerance


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("pooling", ["first", "mean_max"])
def test_the_weights_of_an_int8_graph_are_read_back_by_name(tmp_path: Path, kind: str, pooling: str) -> None:
    model = classifier(kind, pooling)
    export_int8(model, tmp_path / "model.onnx")
    found, expected = read_back(tmp_path / "model.onnx"), model.state_dict()
    assert set(found) == set(expected)
    for name, values in found.items():
        assert values.shape == expected[name].shape, name
        step = float(expected[name].abs().max()) / 63 if values.ndim == 2 else 0.0  # 7 bits; embeddings have 8
        assert np.abs(values - expected[name].numpy()).max() <= step, name


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("pooling", ["first", "mean", "mean_max"])
def test_float_weights_score_as_the_trained_model_does(tmp_path: Path, kind: str, pooling: str) -> None:
    path = encoder_bundle(tmp_path / "bundle", kind, pooling, safetensors=True)
    expected = torch_logits(classifier(kind, pooling), IDS)
    for budget_tokens in (1, 40, 1000):  # one by one, some together, all together
        found = TorchModel(path, device="cpu", budget_tokens=budget_tokens).logits(IDS)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert TorchModel(path, device="cpu").logits([]).shape == (0, len(LABELS))


@pytest.mark.parametrize("pooling", ["first", "mean", "mean_max"])
def test_an_encoder_in_bf16_is_read_padded_and_laid_end_to_end(pooling: str) -> None:
    model = classifier("bert", pooling)
    expected = torch_logits(model, IDS)
    model.encoder.set_attn_implementation(PACKED)
    model.encoder.to(torch.bfloat16)  # as it is served on a GPU: the head stays in fp32
    with torch.inference_mode():
        found = model(**pack(IDS, padding_index(model.encoder)))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=0.05)
    np.testing.assert_allclose(torch_logits(model, IDS), expected, atol=0.05)


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean_max"), ("roberta", "first")])
def test_without_float_weights_it_scores_as_the_exact_backend_does(tmp_path: Path, kind: str, pooling: str) -> None:
    path = encoder_bundle(tmp_path / "bundle", kind, pooling, safetensors=False)
    exact = OnnxModel(path / ONNX_WEIGHTS, graph=dequantized(path / ONNX_WEIGHTS))
    padded = [*IDS, np.array([4, 1, 0, 5])]  # a comment can hold the token of padding: RoBERTa's is 1, BERT's 0
    np.testing.assert_allclose(TorchModel(path, device="cpu").logits(padded), exact.logits(padded), atol=1e-4)
    assert Scorer.load(read_bundle(path), backend="torch").backend == "torch"


def test_a_batch_that_the_memory_cannot_hold_is_computed_by_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TorchModel(encoder_bundle(tmp_path / "bundle", "bert", "mean", safetensors=True), device="cpu")
    expected, computed = model.logits(IDS), model._run
    sizes: list[int] = []

    def with_memory_for(windows: int) -> None:
        def run(batch: list[np.ndarray]) -> torch.Tensor:
            sizes.append(len(batch))
            if len(batch) > windows:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return computed(batch)

        monkeypatch.setattr(model, "_run", run)

    with_memory_for(2)
    np.testing.assert_allclose(model.logits(IDS), expected, atol=1e-5)
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    with_memory_for(0)
    with pytest.raises(torch.OutOfMemoryError):
        model.logits(IDS)


def test_calls_side_by_side_get_their_own_logits(tmp_path: Path) -> None:
    model = TorchModel(encoder_bundle(tmp_path / "bundle", "bert", "mean", safetensors=True))
    alone = [model.logits([ids]) for ids in IDS]
    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(lambda number: model.logits([IDS[number % len(IDS)]]), range(48))):
            np.testing.assert_allclose(found, alone[number % len(IDS)], atol=1e-3)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_hold_each_window_once_by_length_within_the_budget(lengths: list[int], budget_tokens: int) -> None:
    batches = list(by_length(lengths, budget_tokens))
    order = [number for batch in batches for number in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[number] for number in order] == sorted(lengths)
    for batch, following in zip_longest(batches, batches[1:], fillvalue=[]):
        tokens = sum(lengths[number] for number in batch)
        assert len(batch) == 1 or tokens <= budget_tokens
        assert not following or tokens + lengths[following[0]] > budget_tokens  # none could have held more


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return encoder_bundle(tmp_path / "bundle", "bert", "mean", safetensors=True)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the choice of the backend see a GPU; what it chooses still computes on the CPU."""
    monkeypatch.setattr("moderation.scoring.scorer.has_gpu", lambda: True)


def restate(path: Path, **fields: object) -> None:
    write_manifest(path, read_bundle(path).manifest.model_copy(update=fields))


@pytest.mark.usefixtures("gpu")
def test_auto_takes_torch_on_a_gpu(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Scorer.load(read_bundle(bundle)).backend == "torch"
    restate(bundle, gpu_backend="torch")
    assert Scorer.load(read_bundle(bundle)).backend == "torch"
    assert not caplog.records


@pytest.mark.usefixtures("gpu")
def test_auto_takes_what_was_faster_beside_a_gpu_at_export(bundle: Path) -> None:
    restate(bundle, gpu_backend="int8")
    assert Scorer.load(read_bundle(bundle)).backend == "int8"


def test_auto_does_not_take_torch_without_a_gpu(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation.scoring.scorer.has_gpu", lambda: False)
    restate(bundle, gpu_backend="torch")
    assert Scorer.load(read_bundle(bundle)).backend == "int8"


@pytest.mark.usefixtures("gpu")
def test_where_torch_is_out_of_its_tolerance_another_takes_over_and_says_so(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = read_bundle(bundle).manifest
    examples = [
        probe.model_copy(update={"torch_scores": [score * 0.9 for score in probe.torch_scores or []]})
        for probe in manifest.probes.examples
    ]
    restate(bundle, probes=manifest.probes.model_copy(update={"examples": examples}))
    with caplog.at_level(logging.WARNING):
        assert Scorer.load(read_bundle(bundle)).backend == "int8"
    assert "torch is 0." in caplog.text
    assert "tolerance 0.001" in caplog.text
    with pytest.raises(BundleError, match="torch is 0"):
        Scorer.load(read_bundle(bundle), backend="torch")
    restate(bundle, probes=manifest.probes.model_copy(update={"examples": examples, "torch_tolerance": 0.2}))
    assert Scorer.load(read_bundle(bundle)).backend == "torch"  # a tolerance of its own


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("change", "said"),
    [({"model_type": "deberta"}, "deberta"), ({"head": None}, "no classifier"), ({"hidden_size": 64}, "do not fit")],
)
def test_what_torch_cannot_serve_is_served_by_another(
    bundle: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object], said: str
) -> None:
    manifest = read_bundle(bundle).manifest
    raw = json.loads((bundle / CONFIG).read_text())
    (bundle / CONFIG).write_text(json.dumps(raw | change))
    write_manifest(bundle, manifest)
    assert Scorer.load(read_bundle(bundle)).backend == "int8"
    assert said in caplog.text
    with pytest.raises(BundleError, match=said):
        Scorer.load(read_bundle(bundle), backend="torch")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    "failing", ["__init__", "logits"], ids=["while the weights are loaded", "while the probes are scored"]
)
@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: no kernel image is available\nCUDA kernel errors might be reported later"),
        torch.OutOfMemoryError("CUDA out of memory"),
        ConfigurationError("the backend torch needs transformers"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_gpu_that_fails_is_done_without_and_named(
    bundle: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, failing: str, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TorchModel, failing, fail)
    assert Scorer.load(read_bundle(bundle)).backend == "int8"
    first, *others = str(error).split("\n")
    assert first in caplog.text
    assert not any(line in caplog.text for line in others)
    # of these two the API's watcher says that the version is refused, and it tries again later
    with pytest.raises((BundleError, ConfigurationError), match=first):
        Scorer.load(read_bundle(bundle), backend="torch")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(BundleError, match="no ONNX file"):
        read_back(tmp_path / "model.onnx")


def test_without_torch_installed_int8_serves_and_torch_is_a_clear_error() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'safetensors'): sys.modules[name] = None\n"
        "from moderation.bundle import read_bundle; from moderation.registry.starter import STARTER_DIR\n"
        "from moderation.errors import ConfigurationError; from moderation.scoring.scorer import Scorer\n"
        "import serve.app\n"
        "assert Scorer.load(read_bundle(STARTER_DIR), threads=1).backend == 'int8'\n"
        "try: Scorer.load(read_bundle(STARTER_DIR), backend='torch')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "requirements/gpu.txt" in done.stdout
