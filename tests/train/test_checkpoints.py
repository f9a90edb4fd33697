import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from train.batches import GroupedSampler
from train.checkpoints import is_finished, is_out_of_patience, is_whole, last_whole, remove_torn

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


def make_checkpoint(directory: Path, step: int) -> Path:
    checkpoint = directory / f"checkpoint-{step}"
    checkpoint.mkdir()
    save_file({"weight": torch.ones(100)}, checkpoint / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.ones(100)}, checkpoint / name)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 100}))
    return checkpoint


def test_a_checkpoint_is_whole_as_the_trainer_wrote_it(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path, 10)
    assert is_whole(checkpoint, processes=1)
    assert not is_whole(checkpoint, processes=2)  # each process has a random state of its own


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_ends_early_tears_a_checkpoint(tmp_path: Path, name: str, share: float) -> None:
    make_checkpoint(tmp_path, 9)
    torn = make_checkpoint(tmp_path, 10)
    content = (torn / name).read_bytes()
    (torn / name).write_bytes(content[: int(share * len(content))])
    assert last_whole(tmp_path, 1) == tmp_path / "checkpoint-9"
    assert remove_torn(tmp_path, 1) == [torn]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-9"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_tears_a_checkpoint(tmp_path: Path, name: str) -> None:
    (make_checkpoint(tmp_path, 10) / name).unlink()
    assert last_whole(tmp_path, 1) is None


def test_the_newest_is_the_one_of_most_steps(tmp_path: Path) -> None:
    for step in (900, 1000, 95):
        make_checkpoint(tmp_path, step)
    assert last_whole(tmp_path, 1) == tmp_path / "checkpoint-1000"


def history(*values: float) -> list[dict[str, float]]:
    return [entry for value in values for entry in ({"loss": 1.0}, {"eval_macro_average_precision": value})]


@pytest.mark.parametrize(
    ("values", "stops"),
    [((0.5,), False), ((0.5, 0.4), False), ((0.5, 0.4, 0.5), True), ((0.5, 0.4, 0.6), False), ((0.1, 0.5, 0.4), False)],
)
def test_patience_counts_evaluations_since_the_best(values: tuple[float, ...], stops: bool) -> None:
    assert is_out_of_patience(history(*values), patience=2) is stops
    assert not is_out_of_patience(history(*values), patience=None)


def test_a_run_is_finished_at_its_last_step_or_when_it_stopped_early() -> None:
    begun = {"global_step": 5, "max_steps": 10, "log_history": history(0.5, 0.4)}
    assert not is_finished(begun, patience=2)
    assert is_finished(begun, patience=1)
    assert is_finished({**begun, "global_step": 10}, patience=None)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = [(7 * n) % 50 + 3 for n in range(200)]

    def order(seed: int, epoch: int) -> list[int]:
        torch.rand(epoch + seed)  # the global generator has no part in it
        sampler = GroupedSampler(lengths, 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert sorted(order(0, 0)) == list(range(200))
    batches = [order(0, 0)[start : start + 8] for start in range(0, 200, 8)]
    spread = [max(lengths[n] for n in batch) - min(lengths[n] for n in batch) for batch in batches]
    assert sum(spread) / len(spread) < 25  # 45 or so for random batches
