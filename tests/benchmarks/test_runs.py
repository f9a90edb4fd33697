"""The benchmarks run, on a bundle that is made in milliseconds; what they measure then means nothing."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import bulk_scoring
from benchmarks.comments import comments
from benchmarks.engine import Int8Rate
from benchmarks.engine_torch import _Padded, _Unsorted
from benchmarks.processes import StartError
from benchmarks.usage import Samples
from moderation.bundle import read_bundle
from moderation.scoring.torch import TorchModel
from tests.bundles import build_tiny_bundle
from tests.encoders import encoder_bundle

ROOT = Path(__file__).resolve().parents[2]


def benchmark(name: str, *arguments: object, timeout_s: float = 150) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return build_tiny_bundle(tmp_path / "tiny")


def test_serving_compares_the_api_with_the_engine(bundle: Path, tmp_path: Path) -> None:
    done = benchmark("serving", "--bundle", bundle, "--quick", "--output", tmp_path / "figures.json")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| api ≥ 0.8 × engine \| \d", done.stdout, re.MULTILINE), done.stdout
    assert "api 0.0000, api-64 0.0000" in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["cells"]) == {"engine", "api", "api-64"}
    assert figures["cells"]["api"]["8"][0]["comments_per_s"] > 0


def test_an_explanation_is_timed_beside_the_scores_alone(bundle: Path) -> None:
    done = benchmark("explain", "--bundle", bundle, "--count", 2, "--words", 5, 30)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", done.stdout, re.MULTILINE)
    assert [words for words, *_ in rows] == ["5", "30"]
    assert all(float(number) > 0 for row in rows for number in row)


def test_bulk_scoring_is_measured_on_scores_that_are_those_of_the_engine(bundle: Path) -> None:
    done = benchmark("bulk_scoring", "--bundle", bundle, "--count", 64, "--rounds", 1, "--no-ray", "--pipeline-batches")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| local \| \d+ \(\d+ to \d+\) \| \d+\.\d{3} \|$", done.stdout, re.MULTILINE), done.stdout
    (held,) = re.findall(r"^\| local \| (\d+) \| (\d+) \|$", done.stdout, re.MULTILINE)
    assert 50 < int(held[0]) <= int(held[1])


@pytest.mark.parametrize(("ids", "score"), [([0, 2, 1], 0.5), ([0, 1, 1], 0.5), ([0, 1, 2], 0.4)])
def test_bulk_scoring_refuses_answers_of_other_rows_or_scores(tmp_path: Path, ids: list[int], score: float) -> None:
    expected = np.full((3, 1), 0.5, dtype=np.float32)
    pq.write_table(pa.table({"id": [0, 1, 2], "toxic": expected[:, 0]}), tmp_path / "part.parquet")
    bulk_scoring._check(tmp_path, expected, ["toxic"])
    pq.write_table(pa.table({"id": ids, "toxic": np.full(3, score, dtype=np.float32)}), tmp_path / "part.parquet")
    with pytest.raises(AssertionError, match="not equal"):
        bulk_scoring._check(tmp_path, expected, ["toxic"])


def test_bulk_scoring_counts_the_memory_of_the_processes_below() -> None:
    child = "import time; held = bytearray(200 << 20); time.sleep(1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    _, own, tree = bulk_scoring._measured([sys.executable, "-c", parent])
    assert own < 100
    assert tree > own + 200


@pytest.mark.full
def test_serving_measures_the_int8_rate_of_the_starter_in_the_same_run() -> None:
    done = benchmark("serving", "--quick", timeout_s=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"10⁹ operations/s .* to reach 0.45: 0\.\d+ . at 1 clients, 0\.\d+ . at 8 clients", done.stdout)


def test_the_int8_rate_is_of_a_bundle_with_int8_matrices(bundle: Path) -> None:
    assert Int8Rate(read_bundle(ROOT / "models" / "starter")).all_cores() > 1e8
    with pytest.raises(ValueError, match="has no int8 matrix"):
        Int8Rate(read_bundle(bundle))


@pytest.mark.parametrize("name", ["serving", "overload", "soak"])
def test_a_server_that_is_asked_again_does_not_answer_from_its_cache(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def api(*_: object, **settings: object) -> None:
        asked.update(settings)
        raise StartError("far enough")

    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(module, "api", api)
    monkeypatch.setattr("sys.argv", [name])
    with pytest.raises(StartError):
        module.main()
    assert asked["cache_texts"] == (64 if name == "soak" else 0)


@pytest.mark.full
def test_overload_accounts_for_every_request(bundle: Path) -> None:
    done = benchmark("overload", "--bundle", bundle, "--seconds", 5, "--capacity-comments", 512, "--factor", 1.5)
    assert "✓ answered or refused" in done.stdout, done.stdout + done.stderr


@pytest.mark.full
def test_soak_finds_nothing_that_grows(bundle: Path) -> None:
    done = benchmark("soak", "--bundle", bundle, "--minutes", 1, "--warm-up", 0.5)
    assert done.returncode == 0, done.stdout + done.stderr


def test_made_comments_are_distinct_and_as_long_as_stated() -> None:
    made = comments(None, 3000)
    assert len(set(made)) == 3000
    lengths = [min(256, len(text.split())) for text in made]
    assert 65 <= sum(lengths) / len(lengths) <= 85


def test_too_few_rows_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("comment_text\nhello\nhello\n  \n")
    with pytest.raises(ValueError, match=r"rows.csv has 1 distinct comments; 2 are needed"):
        comments(tmp_path / "rows.csv", 2)


def test_growth_is_between_the_medians_of_the_first_and_the_last_quarter() -> None:
    samples = Samples([float(second) for second in range(8)], {"rss_mib": [100, 100, 900, 0, 0, 900, 110, 110]})
    assert samples.growth("rss_mib") == pytest.approx(0.1)
    assert samples.after(6).at_s == [6.0, 7.0]


@pytest.mark.full
def test_the_engine_benchmark_measures_the_torch_backend_beside_the_others(tmp_path: Path) -> None:
    path = encoder_bundle(tmp_path / "bundle", "bert", "mean_max", safetensors=True)
    done = benchmark("engine", "--bundle", path, "--count", 8, "--rounds", 1, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for variant in ("ours", "torch", "padded", "unsorted", "one by one"):
        assert re.search(rf"^\| {variant} \| .*\d \|$", done.stdout, re.MULTILINE), done.stdout


def test_the_variants_of_the_torch_benchmark_compute_the_same(tmp_path: Path) -> None:
    path = encoder_bundle(tmp_path / "bundle", "bert", "mean_max", safetensors=True)
    ids = [np.arange(4, 4 + length) for length in (30, 2, 50, 9, 1)]
    expected = TorchModel(path, device="cpu").logits(ids)
    for variant in (_Padded, _Unsorted):
        for budget_tokens in (20, 1000):
            found = variant(path, device="cpu", budget_tokens=budget_tokens).logits(ids)
            np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.full
def test_training_throughput_measures_training_without_padding() -> None:
    done = benchmark("training_throughput", "--count", 16, "--rounds", 1, "--variants", "ours", "packed", timeout_s=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| packed \| \d", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.full
def test_perspectives_benchmark_runs(tmp_path: Path) -> None:
    run = benchmark("perspective", "--quick", "--bundle", build_tiny_bundle(tmp_path / "tiny"))
    assert "times single calls one after another" in run.stdout, run.stderr
