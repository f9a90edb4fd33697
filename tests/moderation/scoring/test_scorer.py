import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.bundle import MANIFEST, ONNX_WEIGHTS, IsotonicCalibration, PlattCalibration, read_bundle, write_manifest
from moderation.errors import BundleError
from moderation.labels import LABELS
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.scorer import Scorer, to_scores
from tests.bundles import BIAS, MAX_TOKENS, WORDS, build_tiny_bundle

pieces = st.sampled_from([*"abc 😀\u200b\ud800", "damn ", "kill "])
texts = st.lists(st.lists(pieces, max_size=30).map("".join), max_size=8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(read_bundle(build_tiny_bundle(tmp_path_factory.mktemp("tiny"))), threads=2)


@pytest.fixture(scope="module")
def starter() -> Scorer:
    return Scorer.load(read_bundle(STARTER_DIR, expected_labels=LABELS), threads=2)


def test_scores_are_a_sigmoid_per_label(tiny: Scorer) -> None:
    expected = 1 / (1 + np.exp(-(BIAS + np.array(WORDS["idiot"]))))
    np.testing.assert_allclose(tiny.score(["Idiot!"]).scores, [expected], rtol=1e-6)


@given(texts)
@settings(max_examples=50, deadline=None)
def test_shapes_and_ranges_hold_for_any_texts(tiny: Scorer, given_texts: list[str]) -> None:
    scored = tiny.score(given_texts)
    assert scored.scores.shape == (len(given_texts), len(LABELS))
    assert scored.scores.dtype == np.float32
    assert ((scored.scores >= 0) & (scored.scores <= 1)).all()
    assert scored.tokens_read.shape == scored.truncated.shape == (len(given_texts),)


def test_without_windows_in_the_manifest_a_long_text_is_cut_and_says_so(tiny: Scorer) -> None:
    scored = tiny.score(["word " * MAX_TOKENS, "word " * (MAX_TOKENS + 1)])
    assert scored.tokens_read.tolist() == [MAX_TOKENS, MAX_TOKENS]
    assert scored.truncated.tolist() == [False, True]


outliers = st.one_of(
    st.text(max_size=200),
    st.sampled_from(["", "\u0000", "!" * 3000, "KILL " * 800, "😀" * 300, "a" * 4000, "\ud800", "ﷺ" * 200]),
)


@given(
    st.lists(outliers, min_size=1, max_size=6), st.integers(0), st.sampled_from(["You are disgusting.", "x y " * 400])
)
@settings(max_examples=12, deadline=None)
def test_a_text_scores_the_same_alone_and_in_any_company(
    starter: Scorer, company: list[str], place: int, text: str
) -> None:
    alone = starter.score([text]).scores[0]
    place %= len(company) + 1
    together = starter.score([*company[:place], text, *company[place:]]).scores[place]
    assert together.tobytes() == alone.tobytes()


def test_another_process_gives_the_same_scores(starter: Scorer) -> None:
    code = (
        "import sys; from moderation.bundle import read_bundle; from moderation.registry.starter import STARTER_DIR\n"
        "from moderation.scoring.scorer import Scorer\n"
        "texts = sys.stdin.read().split('|')\n"
        "sys.stdout.write(Scorer.load(read_bundle(STARTER_DIR), threads=1).score(texts).scores.tobytes().hex())"
    )
    some = ["You fool.", "thanks " * 300, "What a lovely day"]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input="|".join(some), capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == starter.score(some).scores.tobytes().hex()


def test_tokenizing_and_inferring_apart_scores_the_same(starter: Scorer) -> None:
    some = ["You fool.", "thanks " * 300, "What a lovely day"]
    expected = starter.score(some)
    tokens = starter.tokenize(some)
    one_by_one = [starter.infer([text]) for text in tokens]
    assert np.concatenate([found.scores for found in one_by_one]).tobytes() == expected.scores.tobytes()
    assert [text.tokens_read for text in tokens] == expected.tokens_read.tolist()


def test_scoring_from_several_threads_changes_nothing(starter: Scorer) -> None:
    some = [f"Comment number {number}, you fool." for number in range(20)]
    expected = starter.score(some).scores
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: starter.score(some).scores, range(4)):
            assert found.tobytes() == expected.tobytes()


def test_the_starter_tells_an_insult_from_thanks(starter: Scorer) -> None:
    thresholds = starter.bundle.manifest.thresholds
    insult, thanks = (
        dict(zip(LABELS, row, strict=True))
        for row in starter.score(["You are disgusting.", "Thank you for the clear explanation."]).scores
    )
    assert insult["toxic"] >= thresholds["toxic"]
    assert insult["insult"] >= thresholds["insult"]
    assert all(thanks[label] < thresholds[label] for label in LABELS)


def test_a_probe_that_scores_otherwise_is_refused(tmp_path: Path) -> None:
    bundle = build_tiny_bundle(tmp_path)
    manifest = read_bundle(bundle).manifest
    probes = manifest.probes.model_dump()
    probes["examples"][0]["scores"][0] -= 0.01
    write_manifest(bundle, manifest.model_validate(manifest.model_dump() | {"probes": probes}))
    with pytest.raises(BundleError, match="probes"):
        Scorer.load(read_bundle(bundle))


def test_weights_that_are_no_model_are_refused(tmp_path: Path) -> None:
    bundle = build_tiny_bundle(tmp_path)
    manifest = read_bundle(bundle).manifest
    (bundle / ONNX_WEIGHTS).write_bytes(b"not a model")
    write_manifest(bundle, manifest)
    with pytest.raises(BundleError, match=ONNX_WEIGHTS):
        Scorer.load(read_bundle(bundle))


def test_weights_for_other_labels_are_refused(tmp_path: Path) -> None:
    bundle = build_tiny_bundle(tmp_path)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["labels"].pop()
    for probe in manifest["probes"]["examples"]:
        probe["scores"].pop()
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="6 labels"):
        Scorer.load(read_bundle(bundle))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(0.01, 10), st.floats(-10, 10))
def test_any_finite_logit_becomes_a_score(logit: float, scale: float, offset: float) -> None:
    score = to_scores(np.array([[logit]], dtype=np.float32), [PlattCalibration(scale=scale, offset=offset)])
    assert 0 <= score[0, 0] <= 1


KNOTS = IsotonicCalibration(logits=[-3.0, 0.0, 1.0], log_odds=[-4.0, -1.0, 3.0])


def test_isotonic_calibration_is_a_line_through_its_knots_that_goes_on_with_slope_one() -> None:
    logits = np.array([[-5.0], [-3.0], [-1.5], [0.0], [0.25], [1.0], [3.0]], dtype=np.float32)
    expected = 1 / (1 + np.exp(-np.array([-6.0, -4.0, -2.5, -1.0, 0.0, 3.0, 5.0])))
    np.testing.assert_allclose(to_scores(logits, [KNOTS])[:, 0], expected, rtol=1e-6)


@given(st.lists(st.floats(-20, 10, width=32), min_size=2, max_size=30))
def test_isotonic_calibration_never_turns_the_order_of_two_logits(logits: list[float]) -> None:
    rising = np.sort(np.array(logits, dtype=np.float32))
    scores = to_scores(rising[:, None], [KNOTS])[:, 0]
    assert (np.diff(scores) >= 0).all()
    far = np.diff(rising) > 1e-3
    assert (np.diff(scores)[far & (rising[1:] < 8)] > 0).all()


@given(st.lists(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), min_size=1, max_size=20))
def test_labels_of_both_kinds_score_the_same_alone_and_in_company(rows: list[list[float]]) -> None:
    logits = np.array(rows, dtype=np.float32)
    platt = PlattCalibration(scale=0.7, offset=-0.2)
    together = to_scores(logits, [platt, KNOTS, platt])
    np.testing.assert_array_equal(
        together, np.concatenate([to_scores(row[None], [platt, KNOTS, platt]) for row in logits])
    )
    np.testing.assert_array_equal(together[:, :1], to_scores(logits[:, :1], [platt]))
    np.testing.assert_array_equal(together[:, 1:2], to_scores(logits[:, 1:2], [KNOTS]))
