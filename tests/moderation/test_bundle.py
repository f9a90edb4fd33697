import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.bundle import MANIFEST, ONNX_WEIGHTS, TOKENIZER, OperatingPoint, read_bundle, write_manifest
from moderation.errors import BundleError
from moderation.labels import LABELS
from tests.bundles import build_tiny_bundle
from tests.cli.scaled import build_scaled_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return build_tiny_bundle(tmp_path / "bundle")


def change_manifest(bundle: Path, change: Callable[[dict[str, object]], object]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_written_bundle_reads_back_with_its_labels(bundle: Path) -> None:
    read = read_bundle(bundle, expected_labels=LABELS)
    assert read.manifest.label_names == LABELS
    assert set(read.manifest.files) == {path.name for path in bundle.iterdir()} - {MANIFEST}


def test_operating_points_are_those_of_the_stated_thresholds_and_absent_in_older_bundles(bundle: Path) -> None:
    older = read_bundle(bundle).manifest
    assert older.operating_points is None
    point = OperatingPoint(sensitivity=0.8, specificity=0.95, positives=40, negatives=300)
    labels = [older.labels[0].model_copy(update={"operating_point": point}), *older.labels[1:]]
    write_manifest(bundle, older.model_copy(update={"labels": labels}))
    stated = {"sensitivity": 0.8, "specificity": 0.95, "positives": 40, "negatives": 300, "threshold": 0.5}
    assert read_bundle(bundle).manifest.operating_points == {"toxic": stated}


def test_the_version_depends_on_the_content_alone(tmp_path: Path) -> None:
    one, same, other = (
        read_bundle(build_tiny_bundle(tmp_path / name, bias=bias)).version
        for name, bias in [("one", -4.0), ("same", -4.0), ("other", -3.0)]
    )
    assert one == same != other


@given(st.integers(0), st.integers(1, 255))
@settings(max_examples=30)
def test_any_changed_byte_of_any_file_is_found(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int
) -> None:
    bundle = build_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    names = sorted(path.name for path in bundle.iterdir() if path.name != MANIFEST)
    path = bundle / names[position % len(names)]
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= change
    path.write_bytes(content)
    with pytest.raises(BundleError, match=path.name):
        read_bundle(bundle)


@pytest.mark.parametrize("name", [ONNX_WEIGHTS, TOKENIZER, "README.md", "config.json"])
def test_a_missing_or_cut_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes((bundle / name).read_bytes()[:-1])
    with pytest.raises(BundleError, match=name):
        read_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} missing"):
        read_bundle(bundle)


def test_a_file_that_the_manifest_does_not_state_is_refused(bundle: Path) -> None:
    (bundle / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"extra\.bin"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m.update(schema_version=2), "schema version 2"),
        (lambda m: m.update(normalizer_version="0"), "normaliser 0"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m["labels"].append(m["labels"][0]), "repeat"),
        (lambda m: m["labels"][0].update(threshold=1.5), "threshold"),
        (lambda m: m["probes"]["examples"][0]["scores"].pop(), "5 scores for 6 labels"),
        (lambda m: m["files"].update({"../escape": {"size_bytes": 1, "sha256": "0" * 64}}), "escape"),
        (lambda m: m.pop("probes"), "probes"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused_with_its_place(
    bundle: Path, change: Callable[[dict[str, object]], object], named: str
) -> None:
    change_manifest(bundle, change)
    with pytest.raises(BundleError, match=named):
        read_bundle(bundle)


def of_toxic(manifest: Any) -> dict[str, Any]:
    return manifest["perspective"]["indices"]["toxic"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m["perspective"].update(words_sha256="1" * 64), "was not fitted with the perspective_words"),
        (lambda m: [of_toxic(m)[part].update(rude=0.1) for part in ("log_scores", "log_complements")], "has rude"),
        (lambda m: of_toxic(m)["log_scores"].update(toxic=-0.1), "falls where its own score rises"),
    ],
)
def test_a_scale_that_does_not_fit_its_bundle_is_refused(
    tmp_path: Path, change: Callable[[dict[str, object]], object], named: str
) -> None:
    scaled = build_scaled_bundle(tmp_path / "scaled")
    assert read_bundle(scaled).perspective is not None
    change_manifest(scaled, change)
    with pytest.raises(BundleError, match=named):
        read_bundle(scaled)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_no_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=MANIFEST):
        read_bundle(bundle)


def test_a_directory_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        read_bundle(tmp_path / "nowhere")


def test_other_labels_or_another_order_are_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match="in that order"):
        read_bundle(bundle, expected_labels=reversed(LABELS))


def test_writing_the_manifest_again_keeps_the_version(bundle: Path) -> None:
    before = read_bundle(bundle)
    assert write_manifest(bundle, before.manifest) == before.version


def calibrate(manifest: dict[str, object], calibration: dict[str, object]) -> None:
    manifest["labels"][2]["calibration"] = calibration  # type: ignore[index]


def test_an_isotonic_calibration_is_read_back_as_written(bundle: Path) -> None:
    knots = {"method": "isotonic", "logits": [-2.0, 1.0], "log_odds": [-3.5, 0.25]}
    change_manifest(bundle, lambda manifest: calibrate(manifest, knots))
    found = read_bundle(bundle).manifest
    assert found.labels[2].calibration.model_dump() == knots
    assert found.labels[0].calibration.method == "platt"


@pytest.mark.parametrize(
    ("calibration", "named"),
    [
        ({"method": "isotonic", "logits": [0, 0], "log_odds": [0, 1]}, "logits of the knots must rise"),
        ({"method": "isotonic", "logits": [0, 1], "log_odds": [1, 1]}, "log_odds of the knots must rise"),
        ({"method": "isotonic", "logits": [0, 1], "log_odds": [1]}, "2 logits for 1 log_odds"),
        ({"method": "isotonic", "logits": [], "log_odds": []}, "at least 1 item"),
        ({"method": "platt", "scale": 0, "offset": 0}, "greater than 0"),
        ({"method": "beta"}, "platt"),
    ],
)
def test_a_calibration_that_would_break_the_ranking_is_refused(
    bundle: Path, calibration: dict[str, object], named: str
) -> None:
    change_manifest(bundle, lambda manifest: calibrate(manifest, calibration))
    with pytest.raises(BundleError, match=named) as error:
        read_bundle(bundle)
    assert "labels.2.calibration" in str(error.value)
