"""The command, on a bundle that reads six words, the comments of our fixture, and small files."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from moderation.bundle import CARD, ONNX_WEIGHTS, read_bundle, write_manifest
from moderation.labels import LABELS
from tests.bundles import build_tiny_bundle
from tests.train.quality.files import write_posts, write_sentences
from train.commit import commit
from train.config import load
from train.data.card import digest
from train.data.rows import load_rows
from train.quality.__main__ import PARTS, main
from train.quality.disguises import DISTRACTOR, KINDS
from train.quality.figure import Report
from train.quality.page import aim, number, page

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "configs/train/tiny.yaml"
PATH = f"data.sources.0.path={ROOT / 'tests/fixtures/comments.csv'}"
CELL = {"value": 0.0004, "low": -0.0002, "high": 0.0011}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bundle of the fixture's data, and the files that are asked for."""
    folder = tmp_path_factory.mktemp("quality")
    rows = {row: {"roc_auc": CELL, "average_precision": CELL} for row in (*LABELS, "mean")}
    int8 = {"max_score_difference": 0.02, "mean_score_difference": 0.001, "above_fp32": rows}
    bundle = read_bundle(build_tiny_bundle(folder / "bundle", metrics={"int8": int8}))
    found = digest(load_rows(load(CONFIG, [PATH]).data))
    origin = bundle.manifest.provenance.model_copy(update={"dataset_digest": found})
    write_manifest(bundle.path, bundle.manifest.model_copy(update={"provenance": origin}))
    write_sentences(folder / "bias_madlibs.parquet")
    write_posts(folder / "toxic_spans_dev.parquet")
    return folder


def command(state: Path, *words: object) -> int:
    given = ["--bundle", state / "bundle", "--data", state, "--resamples", 20, *words, "--set", PATH]
    return main([str(CONFIG), *map(str, given)])


@pytest.fixture(scope="module")
def measured(state: Path) -> Path:
    assert command(state, "--against", state / "bundle", "--report", state / "report", "--output", state / "new") == 0
    return state


def test_every_part_is_measured_and_the_card_says_what_the_manifest_says(measured: Path) -> None:
    before, after = read_bundle(measured / "bundle"), read_bundle(measured / "new")
    stated: Any = after.manifest.metrics["quality"]
    report = Report.model_validate(stated)
    assert [part.name for part in report.parts] == [
        "held-out", "functional", "obfuscation", "bias", "spans", "int8", "speed",
    ]  # fmt: skip
    assert report.version == before.version != after.version
    assert after.manifest.metrics["int8"] == before.manifest.metrics["int8"]
    assert after.manifest.probes == before.manifest.probes
    card = (measured / "new" / CARD).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+) \| (.+) \| (.*) \| (.*) \|$", card, re.MULTILINE)
    for figure in (figure for part in report.parts for figure in part.figures):
        assert (figure.what, number(figure), aim(figure), figure.reached) in rows
    assert card.startswith("# tiny\n\nA bag of words for tests.\n\n## Quality\n")
    assert card.endswith(page(report) + "\n")


def test_the_report_is_written_as_json_and_markdown(measured: Path) -> None:
    report = Report.model_validate(json.loads((measured / "report/quality.json").read_text(encoding="utf-8")))
    assert (measured / "report/quality.md").read_text(encoding="utf-8") == page(report) + "\n"
    figures = {figure.name: figure for part in report.parts for figure in part.figures}
    assert figures["size_mb"].reached == "yes"
    assert figures["roc_auc_difference"].reached == "by value"
    ratio = figures["comments_per_second_ratio"].value
    assert ratio is not None
    assert 0.2 < ratio < 5
    text = json.dumps(report.model_dump(mode="json"))
    assert "Tindarians" not in text  # of the rows
    assert "chapter 1" not in text  # of the posts


def test_figures_have_one_name_each_which_the_documentation_explains(measured: Path) -> None:
    report = Report.model_validate(json.loads((measured / "report/quality.json").read_text(encoding="utf-8")))
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs/quality.md").read_text(encoding="utf-8")))
    for part in report.parts:
        names = [figure.name for figure in part.figures]
        assert len(set(names)) == len(names)
        assert {pattern(name) for name in names} <= documented, part.name


def pattern(name: str) -> str:
    """Return a figure's name as the documentation has it, for any label, disguise or slice."""
    own = name.removeprefix("recall_lost_").replace("_", " ")
    if name.startswith("recall_lost_") and own in (*KINDS, DISTRACTOR):
        return "recall_lost_DISGUISE"
    if name.startswith("gap_"):
        return "gap_SLICE"
    return re.sub(rf"_({'|'.join(LABELS)})$", "_LABEL", name)


def test_a_report_says_what_it_takes_to_measure_again(measured: Path) -> None:
    report = Report.model_validate(json.loads((measured / "report/quality.json").read_text(encoding="utf-8")))
    names = ["abusive_words.txt", "bias_madlibs.parquet", "contrast.yaml", "hateful.yaml", "spelling.yaml"]
    assert sorted(report.files) == [*names, "toxic_spans_dev.parquet"]
    spans = (measured / "toxic_spans_dev.parquet").read_bytes()
    assert report.files["toxic_spans_dev.parquet"] == hashlib.sha256(spans).hexdigest()
    assert report.dataset == read_bundle(measured / "bundle").manifest.provenance.dataset_digest
    assert {"git_commit": report.git_commit, "git_dirty": report.git_dirty} == commit()
    assert (report.resamples, report.seed) == (20, 0)
    said = page(report.model_copy(update={"git_dirty": True}))
    assert f"`{report.git_commit[:12]}` with uncommitted changes, with 95 % intervals (20 resamples, seed 0)" in said
    assert f"`bias_madlibs.parquet` `{report.files['bias_madlibs.parquet'][:16]}`" in said


def test_a_second_measurement_takes_the_place_of_the_first(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = ["--without", "held-out", "obfuscation", "bias", "spans", "speed", "functional"]
    given = ["--bundle", str(measured / "new"), "--output", str(measured / "newer"), *some, "--set", PATH]
    assert main([str(CONFIG), *given]) == 0
    card = (measured / "newer" / CARD).read_text(encoding="utf-8")
    assert card.count("## Quality") == 1
    assert "Not measured: held-out, functional, obfuscation, bias, spans, speed." in card
    assert f"bundle {read_bundle(measured / 'newer').version[:12]} in" in capsys.readouterr().out


def test_what_is_missing_is_said_before_anything_is_measured(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(state, "--data", tmp_path) == 1
    assert re.search(
        r"^error: no file .*bias_madlibs\.parquet; .*--without bias$", capsys.readouterr().err, re.MULTILINE
    )
    assert command(state, "--output", tmp_path) == 1
    assert "exists; give another --output" in capsys.readouterr().err
    nowhere = ["--without", "bias", "spans", "--set", "data.sources.0.path=nowhere.csv"]
    assert main([str(CONFIG), "--bundle", str(state / "bundle"), *nowhere]) == 1
    assert "no file nowhere.csv; name another with --set, e.g. data.sources.0.path=FILE" in capsys.readouterr().err
    assert command(state, "--resamples", 0) == 1
    assert "--resamples is 0" in capsys.readouterr().err


def test_help_lists_every_part_with_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^0$"):
        main(["--help"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines if line.split()[0] in PARTS] == list(PARTS)
    assert [line.rpartition(" in --data")[0].split()[-1] for line in lines if line.endswith(" in --data")] == [
        "bias_madlibs.parquet",
        "toxic_spans_dev.parquet",
    ]


def test_a_bundle_of_other_data_is_refused(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = build_tiny_bundle(tmp_path / "other")
    assert command(state, "--bundle", other) == 1
    assert "trained on 0000000000000000: give the config that trained it" in capsys.readouterr().err
    assert command(state, "--bundle", other, "--without", "held-out", "obfuscation", "speed", "bias", "spans") == 1
    assert "does not state metrics.int8" in capsys.readouterr().err


def test_a_card_that_cannot_be_read_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read_bundle(build_tiny_bundle(tmp_path / "bundle"))
    (bundle.path / CARD).write_bytes(b"# tiny \xff\n")
    write_manifest(bundle.path, bundle.manifest)
    assert (
        main([str(CONFIG), "--bundle", str(bundle.path), "--data", "nowhere", "--output", str(tmp_path / "new")]) == 1
    )
    assert "README.md is no UTF-8 at byte 7" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_card_of_the_shipped_bundle_has_the_figures_of_its_manifest() -> None:
    bundle = read_bundle(ROOT / "models/starter")
    report = Report.model_validate(bundle.manifest.metrics["quality"])
    assert report.left_out == []
    assert report.weights == bundle.manifest.files[ONNX_WEIGHTS].sha256
    assert page(report) in (bundle.path / CARD).read_text(encoding="utf-8")
