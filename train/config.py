"""One YAML file per run, read into a frozen model that refuses unknown keys.

``--set data.path=…`` on the command line changes single values; what was used is kept in the bundle.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from moderation.errors import ConfigurationError
from moderation.labels import LABELS

Share = Annotated[float, Field(gt=0, lt=1)]


def _known_label(name: str) -> str:
    if name not in LABELS:
        raise ValueError(f"{name} is no label; expected one of {', '.join(LABELS)}")
    return name


Label = Annotated[str, AfterValidator(_known_label)]


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

    encoder: Annotated[
        str,
        Field(
            description="A Hub name or directory, `package:NAME` with get_model_path(), or `tiny:`, a two-layer BERT "
            "with random weights and a vocabulary of the training texts."
        ),
    ]
    pooling: Literal["first", "mean", "mean_max"] = "mean"
    max_tokens: Annotated[int, Field(ge=8, le=4096)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    encoder_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    attention: Literal["eager", "sdpa"] = "sdpa"


class BceLoss(_Section):
    """Binary cross-entropy."""

    name: Literal["bce"] = "bce"


class FocalLoss(_Section):
    """Lin et al., Focal Loss for Dense Object Detection (2017), equation 4; gamma 0 is binary cross-entropy."""

    name: Literal["focal"]
    gamma: Annotated[float, Field(ge=0)] = 2.0


class AsymmetricLoss(_Section):
    """Ridnik et al., Asymmetric Loss For Multi-Label Classification (2021), equation 7, with its defaults."""

    name: Literal["asymmetric"]
    gamma_positive: Annotated[float, Field(ge=0)] = 0.0
    gamma_negative: Annotated[float, Field(ge=0)] = 4.0
    margin: Annotated[float, Field(ge=0, lt=1, description="Negatives below this probability cost nothing.")] = 0.05


Loss = Annotated[BceLoss | FocalLoss | AsymmetricLoss, Field(discriminator="name")]


class FitConfig(_Section):
    """How the Trainer runs; `batch_size` is that of a step over all processes, before gradient accumulation."""

    epochs: Annotated[float, Field(gt=0)] = 3
    max_steps: Annotated[int | None, Field(ge=1, description="Ends the run earlier or later than `epochs` says.")] = (
        None
    )
    batch_size: Annotated[int, Field(ge=1)] = 32
    gradient_accumulation: Annotated[int, Field(ge=1, description="Batches per optimiser step.")] = 1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    head_learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.06
    loss: Loss = BceLoss()
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="Share of a target that becomes 0.5.")] = 0.0
    class_weights: Annotated[
        Literal["none", "balanced"] | dict[Label, Annotated[float, Field(gt=0)]],
        Field(
            description="Weight of each label's positives; balanced: that of the negatives over that of the positives."
        ),
    ] = "none"
    interval: Annotated[
        Literal["epoch"] | Annotated[int, Field(ge=1)],
        Field(description="How often to evaluate and save, or every how many steps."),
    ] = "epoch"
    patience: Annotated[
        int | None,
        Field(ge=1, description="Stop after this many evaluations without a better macro average precision."),
    ] = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Annotated[Literal["off", "on", "auto"], Field(description="torch.compile; auto: on a GPU.")] = "auto"
    deterministic: Annotated[bool, Field(description="Only algorithms that repeat on a GPU too; slower there.")] = False
    workers: Annotated[
        int | None, Field(ge=0, description="Processes that prepare batches; null: none on CPU, up to four with a GPU.")
    ] = None
    report_to: Annotated[tuple[str, ...], Field(description="The Trainer's integrations, e.g. [wandb, mlflow].")] = ()
    seed: Annotated[int, Field(ge=0)] = 0


class TrainConfig(_Section):
    """Everything that decides a run."""

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]*$")]
    data: DataConfig
    model: ModelConfig
    fit: FitConfig = FitConfig()
    baseline: Annotated[bool, Field(description="Also fit TF-IDF with logistic regression, to compare with.")] = True
    publish: Annotated[bool, Field(description="Publish the bundle to the registry at the end.")] = True
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
