from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from train.__main__ import _parser, _sweep_folder
from train.config import load

SWEEP = yaml.safe_load(Path("configs/train/sweep.yaml").read_text())


def command(values: dict[str, object]) -> list[str]:
    """Return what W&B's agent would run for a trial with these values."""
    arguments = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    words = []
    for word in create_sweep_command(SWEEP["command"]):
        words += arguments["args_no_hyphens"] if word == "${args_no_hyphens}" else [word]
    return words


@pytest.mark.parametrize("end", [0, -1])
def test_the_command_of_a_trial_is_one_that_training_understands(end: int) -> None:
    values = {}
    for name, parameter in SWEEP["parameters"].items():
        ends = parameter.get("values") or [parameter.get("value", parameter.get("min")), parameter.get("max")]
        values[name] = next(value for value in ([ends[end], ends[0]]) if value is not None)
    words = command(values)
    assert words[2:5] == ["-m", "${program}", "configs/train/distilroberta.yaml"]
    parsed = _parser().parse_args(words[4:])
    config = load(parsed.config, parsed.overrides)
    assert config.fit.learning_rate == values["fit.learning_rate"]
    assert config.fit.loss.name == values["fit.loss.name"]
    assert config.model.pooling == values["model.pooling"]
    assert (config.tracking.mode, config.publish, config.baseline) == ("auto", False, False)


def test_a_sweep_says_what_every_sweep_must() -> None:
    assert SWEEP["program"] == "train"
    assert SWEEP["method"] in ("grid", "random", "bayes")
    assert SWEEP["metric"] == {"name": "eval/macro_average_precision", "goal": "maximize"}


def test_each_trial_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    monkeypatch.setenv("WANDB_RUN_ID", "t1")
    assert _sweep_folder() == []
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    assert _sweep_folder() == ["output_dir=runs/sweeps/s1/t1"]
