import json
import random
import shutil
import subprocess
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moderation.bundle import TOKENIZER, TORCH_WEIGHTS, read_bundle
from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.scoring.scorer import Scorer, has_gpu
from tests.train.processes import start
from train.bundling import BACKEND
from train.config import load
from train.folder import FINISHED, RECIPE, alone, restart

pytestmark = pytest.mark.timeout(900)  # seconds each on an idle machine
OPTIONS = [
    *("configs/train/tiny.yaml", "--set", "fit.epochs=3", "fit.interval=10", "baseline=false", "publish=false"),
    *("fit.average=0.9", "fit.layer_decay=0.9", "disguise={share: 0.1}"),
    "teachers=[{kind: tfidf, share: 0.1, folds: 2, word_features: 500}]",
]


class Runs:
    """Runs of one config in one folder, with what they printed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run_dir = directory / "tiny"
        self.log = directory / "log.txt"

    def start(self, *options: str, **circumstances: Any) -> ForkServerProcess:
        return start([*OPTIONS, f"output_dir={self.directory}", *options], self.log, **circumstances)

    def finish(self, *options: str, **circumstances: Any) -> int | None:
        process = self.start(*options, **circumstances)
        process.join(400)
        assert process.exitcode is not None, "still running"
        return process.exitcode

    def newest_step(self) -> int:
        steps = [int(path.name.rpartition("-")[2]) for path in self.run_dir.glob("checkpoints/checkpoint-*")]
        return max(steps, default=0)

    def kill_after_checkpoint(self, step: int, delay_s: float) -> None:
        process = self.start()
        deadline = time.monotonic() + 400
        while self.newest_step() < step:
            assert process.is_alive(), self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(delay_s)
        process.kill()
        process.join()
        assert process.exitcode == -9

    def error(self) -> str:
        """The last error line; a progress bar may be drawn once more after it."""
        return [line for line in self.log.read_text().splitlines() if line.startswith("error: ")][-1]

    def result(self) -> tuple[bytes, object]:
        bundle = read_bundle(self.run_dir / "bundle", expected_labels=LABELS)
        return (self.run_dir / TORCH_WEIGHTS).read_bytes(), bundle.manifest.metrics


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("unbroken"))
    assert runs.finish() == 0, runs.log.read_text()
    return runs


def test_a_killed_run_ends_with_the_same_weights_and_figures(unbroken: Runs, tmp_path: Path) -> None:
    killed = Runs(tmp_path)
    # In the middle of the second and of the third epoch, of 24 steps each: in the first, more comes right by itself.
    # A checkpoint takes some 20 ms to write, so some kills tear one and others fall between two.
    for step in (30, 50):
        killed.kill_after_checkpoint(step, delay_s=random.uniform(0, 0.05))
    assert killed.newest_step() < 72, "killed too late to prove anything"

    # A full disk in between: the optimiser's state does not fit, the weights do.
    weights_bytes = (unbroken.run_dir / TORCH_WEIGHTS).stat().st_size
    assert killed.finish(largest_file_bytes=int(1.3 * weights_bytes)) == 1
    error = killed.error()
    assert error.startswith("error: cannot write checkpoint")
    assert "make room and run the same command again" in error

    assert killed.finish() == 0, killed.log.read_text()
    assert killed.result() == unbroken.result()


def test_the_figures_are_not_all_perfect(unbroken: Runs) -> None:
    mean = json.loads(json.dumps(unbroken.result()[1]))["test"]["figures"]["mean"]["average_precision"]["value"]
    assert 0.3 < mean < 0.99  # else equal figures would say little; by chance it is the labels' mean prevalence, 0.16


def test_a_finished_run_is_not_trained_again(unbroken: Runs) -> None:
    weights = unbroken.run_dir / TORCH_WEIGHTS
    before, content = weights.stat().st_mtime_ns, weights.read_bytes()
    weights.unlink()  # as if killed between the last checkpoint and the result
    (unbroken.run_dir / FINISHED).unlink()
    assert unbroken.finish() == 0
    assert weights.stat().st_mtime_ns > before
    assert weights.read_bytes() == content


@pytest.fixture
def finished(unbroken: Runs, tmp_path: Path) -> Runs:
    """A copy of the finished run, with a log of its own."""
    shutil.copytree(unbroken.run_dir, tmp_path / "tiny")
    return Runs(tmp_path)


def test_a_finished_run_keeps_its_bundle_at_a_later_commit(finished: Runs, tmp_path: Path) -> None:
    version = read_bundle(finished.run_dir / "bundle").version
    named = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], [*named, "commit", "-q", "--allow-empty", "-m", "later"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert finished.finish(variables={"GIT_DIR": str(tmp_path / ".git")}) == 0, finished.log.read_text()
    assert read_bundle(finished.run_dir / "bundle").version == version
    assert "has finished, trained at commit" in finished.log.read_text()
    assert "--restart" in finished.log.read_text()


def test_other_thresholds_of_a_finished_run_make_another_bundle_of_the_same_weights(finished: Runs) -> None:
    version, weights = read_bundle(finished.run_dir / "bundle").version, finished.run_dir / TORCH_WEIGHTS
    before = weights.stat().st_mtime_ns
    assert finished.finish("thresholds.default={rule: recall, at_least: 0.9}") == 0, finished.log.read_text()
    assert read_bundle(finished.run_dir / "bundle").version != version
    assert weights.stat().st_mtime_ns == before


def test_float_weights_come_into_the_bundle_when_asked_for_and_torch_serves_them(finished: Runs) -> None:
    assert TORCH_WEIGHTS not in read_bundle(finished.run_dir / "bundle").manifest.files
    assert finished.finish("model.safetensors=true") == 0, finished.log.read_text()
    bundle = read_bundle(finished.run_dir / "bundle", LABELS)
    assert (bundle.path / TORCH_WEIGHTS).read_bytes() == (finished.run_dir / TORCH_WEIGHTS).read_bytes()
    scorer = Scorer.load(bundle, backend="torch")
    probes = bundle.manifest.probes.examples
    stated = [probe.torch_scores for probe in probes]
    np.testing.assert_allclose(scorer.score([probe.text for probe in probes]).scores, stated, atol=1e-3)
    assert stated != [probe.exact_scores for probe in probes]


def test_another_config_is_refused_with_the_difference_and_a_way_out(unbroken: Runs) -> None:
    weights = (unbroken.run_dir / TORCH_WEIGHTS).read_bytes()
    assert unbroken.finish("fit.seed=3", "fit.workers=0") == 1
    error = unbroken.error()
    assert "fit.seed was 0 and is now 3." in error
    assert "--restart" in error
    assert "workers" not in error
    assert (unbroken.run_dir / TORCH_WEIGHTS).read_bytes() == weights


def test_a_run_of_a_release_that_knew_fewer_keys_is_finished_and_goes_on(finished: Runs) -> None:
    version = read_bundle(finished.run_dir / "bundle").version
    recipe, noted = finished.run_dir / RECIPE, finished.run_dir / FINISHED
    kept = json.loads(recipe.read_text())
    recipe.write_text(json.dumps({key: value for key, value in kept.items() if key != "model.undisguise"}))
    done = json.loads(noted.read_text())
    del done["config"]["model"]["undisguise"]
    noted.write_text(json.dumps(done))
    assert finished.finish() == 0, finished.log.read_text()
    assert "has finished" in finished.log.read_text()
    assert read_bundle(finished.run_dir / "bundle").version == version
    assert finished.finish("model.undisguise=true") == 1
    assert "model.undisguise was False and is now True" in finished.error()


def test_a_run_goes_on_with_the_tokenizer_that_it_began_with(finished: Runs) -> None:
    tokenizer = finished.run_dir / TOKENIZER
    kept = tokenizer.read_text() + "\n"  # as another release might have written it
    tokenizer.write_text(kept)
    shutil.rmtree(finished.run_dir / "bundle")
    assert finished.finish() == 0, finished.log.read_text()
    assert (finished.run_dir / "bundle" / TOKENIZER).read_text() == kept


def test_a_restart_deletes_the_old_run(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.kill_after_checkpoint(10, delay_s=0)
    (runs.run_dir / "left-over").touch()
    assert runs.finish("fit.seed=5", "--restart") == 0, runs.log.read_text()
    assert json.loads((runs.run_dir / RECIPE).read_text())["fit.seed"] == 5
    assert not (runs.run_dir / "left-over").exists()


@pytest.mark.parametrize(
    "typo",
    ["data.sources.0.path=nowhere.csv", "fit.report_to=[nothing]", "model.encoder=./nowhere", "tracking.mode=online"],
)
def test_a_restart_that_cannot_begin_costs_nothing(finished: Runs, typo: str) -> None:
    before = finished.result()
    assert finished.finish(typo, "--restart", variables={"WANDB_API_KEY": "", "NETRC": "./nowhere"}) == 1
    assert any(cause in finished.error() for cause in ("nowhere", "nothing", "no key"))
    assert finished.result() == before


def test_a_bundle_stays_until_the_next_one_is_whole(finished: Runs) -> None:
    version = read_bundle(finished.run_dir / "bundle").version
    limit = int(0.9 * (finished.run_dir / TORCH_WEIGHTS).stat().st_size)  # the export does not fit
    rule = "thresholds.default={rule: recall, at_least: 0.9}"
    assert finished.finish(rule, largest_file_bytes=limit) == 1
    assert (finished.run_dir / ".bundle").exists(), finished.log.read_text()
    assert read_bundle(finished.run_dir / "bundle").version == version
    assert finished.finish(rule) == 0
    assert read_bundle(finished.run_dir / "bundle").version != version
    assert not list(finished.run_dir.glob(".bundle*"))


@pytest.mark.full
def test_the_backend_is_chosen_once_per_run_and_int8_is_judged_whatever_serves(finished: Runs) -> None:
    def export(*options: str) -> tuple[str | None, float]:
        assert finished.finish(*options) == 0, finished.log.read_text()
        manifest = read_bundle(finished.run_dir / "bundle").manifest
        assert f"computed in {manifest.backend}" in (finished.run_dir / "bundle" / "README.md").read_text()
        # Not the largest: calibrated otherwise, one score on a steep step is twice as far off.
        return manifest.backend, manifest.metrics["int8"]["mean_score_difference"]  # type: ignore[index]

    int8, difference = export()
    assert int8 == "int8"
    fp32, of_int8 = export("model.backend=fp32")
    assert fp32 == "fp32"
    assert of_int8 == pytest.approx(difference, rel=0.5)  # and no rounding of fp32, which is far less
    measured, _ = export("model.backend=auto")
    kept = finished.run_dir / BACKEND
    noted = json.loads(kept.read_text())
    assert noted["backend"] == measured
    assert (noted["gpu_backend"] is None) == (not has_gpu())
    other = {"int8": "fp32", "fp32": "int8"}[str(measured)]
    kept.write_text(json.dumps({"backend": other}))
    (finished.run_dir / FINISHED).unlink()
    assert export("model.backend=auto")[0] == other


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    with alone(load(Path("configs/train/tiny.yaml"), [f"output_dir={tmp_path}"])):
        assert runs.finish() == 1
    assert "another process trains in" in runs.error()
    assert not runs.run_dir.exists()


def test_rows_in_another_order_are_another_run(finished: Runs, tmp_path: Path) -> None:
    pd.read_csv("tests/fixtures/comments.csv")[::-1].to_csv(tmp_path / "comments.csv", index=False)
    assert finished.finish(f"data.sources.0.path={tmp_path / 'comments.csv'}") == 1
    assert "order of rows was" in finished.error()
    assert "dataset digest" not in finished.error()


@pytest.mark.full
def test_a_run_that_goes_on_at_another_commit_says_so_and_names_both(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.kill_after_checkpoint(10, delay_s=0)
    begun = json.loads((runs.run_dir / "run.json").read_text())
    assert "goes on at" not in runs.log.read_text()
    later = tmp_path / "later"
    named = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q", str(later)], check=True)
    subprocess.run(["git", "-C", str(later), *named, "commit", "-q", "--allow-empty", "-m", "later"], check=True)
    assert runs.finish(variables={"GIT_DIR": str(later / ".git")}) == 0, runs.log.read_text()
    commit = begun["git_commit"]
    assert f"begun at commit {commit[:12]}" in runs.log.read_text()
    noted = json.loads((runs.run_dir / "run.json").read_text())
    assert [each["git_commit"] != commit for each in noted["gone_on"]] == [True]
    tracked = json.loads((runs.run_dir / "tracking" / "run.json").read_text())["config"]
    assert (tracked["git_commit"], tracked["gone_on"]) == (commit, noted["gone_on"])
    assert read_bundle(runs.run_dir / "bundle").manifest.provenance.git_commit == commit


def test_a_folder_that_no_run_made_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "thesis.txt").touch()
    with pytest.raises(ConfigurationError, match="delete it by hand"):
        restart(load(Path("configs/train/tiny.yaml"), [f"output_dir={tmp_path}"]))
    assert (tmp_path / "tiny" / "thesis.txt").exists()
