"""The gate on real bundles that are made in milliseconds: a good one, one that forgot two words, one out of tune."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from moderation.bundle import ONNX_WEIGHTS, Bundle, read_bundle, write_manifest
from moderation.errors import BundleError, InvalidInputError
from moderation.labels import LABELS
from moderation.scoring.scorer import BACKENDS, Model
from tests.bundles import BIAS, WORDS, build_tiny_bundle
from tests.encoders import encoder_bundle
from tests.train.gate.exam import FORGETFUL, METRICS, make_frozen, make_rules
from train.gate.gate import run_gate
from train.gate.report import GateReport, read_report, write_report
from train.gate.rules import GateRules, read_rules


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="module")
def rules(folder: Path) -> GateRules:
    return read_rules(make_rules(folder))


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return make_frozen(folder / "frozen.parquet")


@pytest.fixture(scope="module")
def production(folder: Path) -> Bundle:
    return read_bundle(build_tiny_bundle(folder / "production", metrics=METRICS))


@pytest.fixture(scope="module")
def refused(folder: Path, rules: GateRules, data: Path, production: Bundle) -> GateReport:
    worse = read_bundle(build_tiny_bundle(folder / "worse", words=FORGETFUL, metrics=METRICS))
    return run_gate(worse, production, rules, data, 1)


@pytest.fixture(scope="module")
def written(folder: Path, refused: GateReport) -> Path:
    write_report(refused, folder / "report")
    return folder / "report"


def failed(report: GateReport) -> set[str]:
    return {check.group for check in report.checks if not check.passed}


def test_a_bundle_that_forgot_words_is_refused_with_the_reasons_named(refused: GateReport) -> None:
    assert not refused.passed
    assert failed(refused) >= {"against production", "behaviour"}
    said = "\n".join(refused.reasons)
    assert "insult: ROC-AUC" in said
    assert "identity_hate: average precision" in said
    assert "worse than production" in said
    assert "minimum functionality (9 cases) is 66.7%, expected at least 90.0%" in said


def test_a_bundle_is_judged_by_the_backend_that_it_states_and_the_report_names_it(
    folder: Path, rules: GateRules, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Model:
        raise AssertionError

    monkeypatch.setattr("moderation.scoring.scorer.has_gpu", lambda: True)
    monkeypatch.setitem(BACKENDS, "torch", never)
    path = encoder_bundle(folder / "encoder", "bert", "mean", safetensors=True)
    assert run_gate(read_bundle(path), None, rules, data, 1).candidate.backend == "int8"
    write_manifest(path, read_bundle(path).manifest.model_copy(update={"backend": "fp32"}))
    report = run_gate(read_bundle(path), None, rules, data, 1)
    assert report.candidate.backend == "fp32"
    (probes,) = (check for check in report.checks if check.group == "probes")
    assert probes.value < 1e-6, "they are compared with what the manifest states for this backend"


def test_a_sibling_of_production_passes(folder: Path, rules: GateRules, data: Path, production: Bundle) -> None:
    sibling = read_bundle(build_tiny_bundle(folder / "sibling", bias=BIAS + 0.05, metrics=METRICS))
    report = run_gate(sibling, production, rules, data, 1)
    assert report.reasons == []
    assert report.passed
    groups = {"probes", "floors", "against production", "calibration", "behaviour", "identity", "obfuscation"}
    assert {check.group for check in report.checks} == groups | {"int8", "latency"}


def test_a_better_bundle_passes_against_a_worse_one_and_without_one(
    folder: Path, rules: GateRules, data: Path, production: Bundle
) -> None:
    worse = read_bundle(build_tiny_bundle(folder / "worse", words=FORGETFUL, metrics=METRICS))
    assert run_gate(production, worse, rules, data, 1).passed
    first = run_gate(production, None, rules, data, 1)
    assert first.passed
    assert first.against is None
    assert all(check.group != "against production" for check in first.checks)


def test_scores_that_are_too_bold_fail_the_calibration(
    folder: Path, rules: GateRules, data: Path, production: Bundle
) -> None:
    bold = {word: tuple(3.0 * weight for weight in weights) for word, weights in WORDS.items()}
    candidate = read_bundle(build_tiny_bundle(folder / "bold", words=bold, bias=3 * BIAS, metrics=METRICS))
    assert "calibration" in failed(run_gate(candidate, production, rules, data, 1))


def test_labels_that_the_data_do_not_know_are_named_and_not_judged(
    folder: Path, rules: GateRules, data: Path, production: Bundle, tmp_path: Path
) -> None:
    table = pd.read_parquet(data).assign(true_toxic=None, true_insult=None)
    table.to_parquet(tmp_path / "part.parquet")
    report = run_gate(production, production, rules, tmp_path / "part.parquet", 1)
    assert report.passed, report.reasons
    assert report.data.unknown == ["toxic", "insult"]
    assert report.not_judged == [
        "toxic: no row of the data says whether it has it",
        "insult: no row of the data says whether it has it",
        "identity: no group is mentioned by 20 texts without toxic",
        "obfuscation: the data do not know toxic",
    ]
    assert {check.label for check in report.checks} == {*LABELS, None} - {"toxic", "insult"}
    write_report(report, tmp_path / "report")
    assert "toxic: no row of the data says" in (tmp_path / "report" / "report.html").read_text()


def test_the_probes_are_measured_on_this_machine(refused: GateReport) -> None:
    (probes,) = [check for check in refused.checks if check.group == "probes"]
    assert probes.value is not None
    assert 0 <= probes.value < 1e-5
    assert "4 probes from the manifest, by int8" in probes.reason


def test_a_manifest_without_int8_figures_fails_that_check(
    folder: Path, rules: GateRules, data: Path, production: Bundle
) -> None:
    silent = read_bundle(build_tiny_bundle(folder / "silent"))
    report = run_gate(silent, production, rules, data, 1)
    assert failed(report) == {"int8"}
    assert "is not stated, expected at most 0.01" in report.reasons[0]


def test_weights_that_do_not_score_the_probes_are_an_error(
    folder: Path, rules: GateRules, data: Path, production: Bundle, tmp_path: Path
) -> None:
    swapped = build_tiny_bundle(tmp_path / "swapped", words=FORGETFUL)
    broken = Bundle(swapped, "0" * 64, production.manifest)
    with pytest.raises(BundleError, match="does not score its probes"):
        run_gate(broken, production, rules, data, 1)
    (swapped / ONNX_WEIGHTS).write_bytes(b"cut")
    with pytest.raises(BundleError, match="is not the file that the manifest states"):
        read_bundle(swapped)


def test_the_report_reads_back_and_its_page_needs_nothing_else(refused: GateReport, written: Path) -> None:
    assert read_report(written) == refused
    page = (written / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "✗ Refused" in page
    assert all(reason.split(",")[0].split("(")[0].strip() in page for reason in refused.reasons)
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert 'lang="en"' in page
    clips = re.findall(r'<clipPath id="(\w+)"', page)
    assert len(set(clips)) == len(clips)  # those of one plot are not those of another


def test_the_report_holds_none_of_the_frozen_texts(written: Path, data: Path) -> None:
    page = (written / "report.json").read_text() + (written / "report.html").read_text()
    assert not [text for text in pd.read_parquet(data)["comment_text"] if text in page]


def test_a_report_that_is_damaged_or_cannot_be_written_is_one_line(
    refused: GateReport, written: Path, tmp_path: Path
) -> None:
    raw = json.loads((written / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps(raw | {"passed": "perhaps"}))
    with pytest.raises(InvalidInputError, match="is no gate report: passed"):
        read_report(tmp_path)
    with pytest.raises(InvalidInputError, match="cannot read"):
        read_report(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="cannot write the report into"):
        write_report(refused, tmp_path / "file" / "report")
