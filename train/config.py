"""One YAML file per run, read into a frozen model that refuses unknown keys.

``--set data.path=…`` on the command line changes single values; what was used is kept in the bundle.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from moderation.errors import ConfigurationError

Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PrevalenceWeights(_Section):
    """Sample weights that undo a subsampling of the rows without any label.

    Rows whose ``column`` is below ``complete_below`` are complete; of the others the rows without
    a label were thinned out, and each stands for ``all_zero`` rows.
    """

    column: str
    complete_below: int
    all_zero: Annotated[float, Field(ge=1)]


class DataConfig(_Section):
    """Which rows, and how they are split (`train.data.assign_splits` states the rule)."""

    path: Path
    licence: str
    text_column: str = "comment_text"
    id_column: str = "id"
    exclude: Path | None = None
    weights: PrevalenceWeights | None = None
    test_share: Share = 0.1
    validation_share: Share = 0.1
    salt: str = "1"


class ModelConfig(_Section):
    """The encoder and its head."""

    encoder: Annotated[str, Field(description="A Hub name or directory, or `package:NAME` with get_model_path().")]
    pooling: Literal["first", "mean", "mean_max"] = "mean"
    max_tokens: Annotated[int, Field(ge=8, le=4096)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    encoder_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    attention: Literal["eager", "sdpa"] = "sdpa"


class FitConfig(_Section):
    """How the Trainer runs."""

    epochs: Annotated[float, Field(gt=0)] = 3
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    head_learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.06
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0


class TrackingConfig(_Section):
    """Whether and as what the run goes to W&B; server, entity, project and key are ``WANDB_*`` variables."""

    mode: Annotated[
        Literal["auto", "online", "offline", "disabled"],
        Field(description="auto: online if a key is there and the server answers, else offline."),
    ] = "auto"
    group: str | None = None
    tags: tuple[str, ...] = ()
    worst_errors: Annotated[int, Field(ge=0, description="Rows of the table of worst errors, per label.")] = 20
    log_texts: Annotated[bool, Field(description="Put comment texts into that table; else ids alone.")] = False


class TrainConfig(_Section):
    """Everything that decides a run."""

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]*$")]
    data: DataConfig
    model: ModelConfig
    fit: FitConfig = FitConfig()
    baseline: Annotated[bool, Field(description="Also fit TF-IDF with logistic regression, to compare with.")] = True
    tracking: TrackingConfig = TrackingConfig()
    output_dir: Path = Path("runs")

    @property
    def run_dir(self) -> Path:
        """Where checkpoints and the finished bundle of this run lie."""
        return self.output_dir / self.name


def load(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read ``path`` and apply ``overrides`` of the form ``section.key=value`` (value in YAML).

    Raises:
        ConfigurationError: no such file, no YAML, an unknown key (the nearest one is named), a value that does not fit.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"config {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigurationError(f"config {path} holds no mapping")
    for override in overrides:
        _set(raw, override)
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(f"config {path}: " + "; ".join(map(_explain, error.errors()))) from None


def _set(raw: dict[str, object], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise ConfigurationError(f"--set {override!r}: expected section.key=value")
    *sections, last = key.split(".")
    place = raw
    for section in sections:
        below = place.setdefault(section, {})
        if not isinstance(below, dict):
            raise ConfigurationError(f"--set {override!r}: {section} is no section")
        place = below
    place[last] = yaml.safe_load(value)


def _explain(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}"
    nearest = difflib.get_close_matches(str(error["loc"][-1]), _keys(TrainConfig), n=1)
    return f"unknown key {where}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _keys(model: type[BaseModel]) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(name)
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys += _keys(part)
    return keys
