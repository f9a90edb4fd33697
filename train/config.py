"""One YAML file per run, read into a frozen model that refuses unknown keys.

``--set data.sources.0.path=…`` on the command line changes single values; what was used is kept in the bundle.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from train.config_errors import explain
from train.config_types import HashRange, Label
from train.perspective.config import PerspectiveConfig

SplitName = Literal["train", "validation", "test"]
COLUMNS = ("id", "comment_text", *LABELS, "weight", "language")
EXTENDS = "extends"


def _known_columns(columns: dict[str, str]) -> dict[str, str]:
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise ValueError(f"no column of ours is called {unknown[0]!r}; expected some of {', '.join(COLUMNS)}")
    return columns


Columns = Annotated[dict[str, str], AfterValidator(_known_columns)]


# YAML 1.1 reads a bare on or off as a boolean.
OnOffAuto = Annotated[
    Literal["off", "on", "auto"],
    BeforeValidator(lambda value: {True: "on", False: "off"}[value] if isinstance(value, bool) else value),
]


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


class _Source(_Section):
    licence: str
    link: Annotated[str | None, Field(description="Where the data come from; for the cards.")] = None
    weight: Annotated[float, Field(gt=0, description="Multiplies the sample weight of every row.")] = 1.0
    language: Annotated[
        str | None, Field(description="Of every row, e.g. en; null where it differs or is unknown.")
    ] = None
    split: Annotated[SplitName | None, Field(description="Where all rows go; null: `data.split` decides.")] = None


class _FileSource(_Source):
    path: Path

    @property
    def name(self) -> str:
        """What the rows' ``source`` column says."""
        return self.path.name


class TableSource(_FileSource):
    """Any CSV, JSON Lines, JSON or parquet file; ``columns`` maps our names to the file's."""

    layout: Literal["table"]
    columns: Columns = {}
    labels: Annotated[
        dict[Label, Annotated[float, Field(ge=0, le=1)]],
        Field(description="Labels that every row has alike; with `columns` that names some, the others are unknown."),
    ] = {}
    only: Annotated[
        dict[str, tuple[str | int | bool, ...]], Field(description="Columns of the file, and the values to keep.")
    ] = {}
    part: Annotated[
        HashRange | None, Field(description="Only texts whose hash lies from the one share to the other.")
    ] = None
    weights: PrevalenceWeights | None = None


class TemplatesSource(_FileSource):
    """Folder of YAML files: sentences of our own with slots (`train.data.templates`)."""

    layout: Literal["templates"]


class JigsawSource(_FileSource):
    """Folder of the Jigsaw Toxic Comment Classification Challenge: train.csv, test.csv with test_labels.csv."""

    layout: Literal["jigsaw"]


class MultilingualSource(_FileSource):
    """Folder of the multilingual challenge; its train file holds the first challenge's labelled test rows."""

    layout: Literal["jigsaw_multilingual"]
    first_test: Annotated[
        Path | None, Field(description="The first challenge's test.csv, whose rows are then excluded by id and text.")
    ] = None
    keep_leak: Annotated[bool, Field(description="Train on the first challenge's test rows all the same.")] = False


class CivilCommentsSource(_FileSource):
    """File of Civil Comments: shares of raters as labels."""

    layout: Literal["civil_comments"]


class ReviewsSource(_FileSource):
    """Our own exported reviews (docs/data.md states the format)."""

    layout: Literal["reviews"]


class HubSource(_Source):
    """Any dataset of the Hugging Face Hub, or a folder that ``datasets.load_dataset`` can read."""

    layout: Literal["hub"]
    name: str
    config: str | None = None
    hub_split: str = "train"
    revision: str | None = None
    columns: Columns = {}


Source = Annotated[
    TableSource | TemplatesSource | JigsawSource | MultilingualSource | CivilCommentsSource | ReviewsSource | HubSource,
    Field(discriminator="layout"),
]


class SplitConfig(_Section):
    """How rows are split that no source pins (`train.data.splits` states the rules)."""

    method: Literal["hash", "stratified"] = "hash"
    salt: Annotated[str, Field(description="Of the hash method.")] = "1"
    seed: Annotated[int, Field(ge=0, description="Of the stratified method.")] = 0
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.test_share + self.validation_share >= 1:
            raise ValueError(f"test_share {self.test_share} and validation_share {self.validation_share} leave no rows")
        other = {"hash": "seed", "stratified": "salt"}[self.method]
        if getattr(self, other) != type(self).model_fields[other].default:
            raise ValueError(f"{other} has no meaning for method {self.method}")
        return self


class TaughtConfig(_Section):
    """How the rows of a source that are trained on differ from what the source says of all its rows."""

    part: Annotated[
        HashRange | None, Field(description="Only texts whose hash lies from the one share to the other; null: all.")
    ] = None
    weight: Annotated[float, Field(gt=0, description="Multiplies the source's weight.")] = 1.0


class DataConfig(_Section):
    """Which rows, what is checked in them, and how they are split."""

    sources: tuple[Source, ...]
    exclude: Annotated[
        tuple[Path, ...], Field(description="Tables whose ids and texts (comment_text or text) are left out.")
    ] = ()
    taught: Annotated[
        dict[str, TaughtConfig],
        Field(description="By a source's name; validation and test stay as they are. For a stage of a training."),
    ] = {}
    empty_texts: Literal["refuse", "drop"] = "refuse"
    contradictions: Literal["refuse", "keep", "drop", "majority"] = "keep"
    near_duplicates: Literal["refuse", "keep", "drop", "together"] = "refuse"
    split: SplitConfig = SplitConfig()

    @field_validator("sources")  # min_length would also complain where a source does not fit
    @classmethod
    def _holds_one(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        if not sources:
            raise ValueError("at least one source is needed")
        return sources

    @property
    def name(self) -> str:
        """The sources' names, for people."""
        return ", ".join(dict.fromkeys(source.name for source in self.sources))


class ModelConfig(_Section):
    """The encoder and its head."""

    encoder: Annotated[
        str,
        Field(
            description="A Hub name or directory, `package:NAME` with get_model_path(), or `tiny:`, a two-layer BERT "
            "with random weights and a vocabulary of the training texts."
        ),
    ]
    start: Annotated[
        Path | None,
        Field(
            description="A bundle of this encoder, whose weights the training begins with: those of its int8 file as "
            "floats if it holds no others."
        ),
    ] = None
    pooling: Literal["first", "mean", "mean_max"] = "mean"
    max_tokens: Annotated[int, Field(ge=8, le=4096)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    encoder_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    attention: Literal["eager", "sdpa"] = "sdpa"
    undisguise: Annotated[
        bool,
        Field(
            description="The bundle's tokenizer undoes look-alike letters, spaced and repeated letters and digits for "
            "letters, and knows emoji and disguised words as words if it is a WordPiece; for languages in Latin script "
            "only."
        ),
    ] = False
    backend: Annotated[
        Literal["int8", "fp32", "auto"],
        Field(
            description="What computes the int8 weights when they are served, and thus in calibration and figures; "
            "auto: fp32 if it is clearly faster where the run is first exported, which its folder keeps."
        ),
    ] = "int8"
    safetensors: Annotated[bool, Field(description="Put the float weights into the bundle too, for GPUs.")] = False


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


class _Teacher(_Section):
    share: Annotated[float, Field(gt=0, lt=1, description="Of a target that is the teacher's.")]
    labels: Annotated[tuple[Label, ...], Field(min_length=1)] = LABELS
    sources: Annotated[
        tuple[str, ...] | None, Field(description="Names of the sources whose rows it teaches; null: all.")
    ] = None


class TfidfTeacher(_Teacher):
    """TF-IDF (`train.tfidf`), which answers for each fold of the training rows after it was fitted on the others."""

    kind: Literal["tfidf"]
    folds: Annotated[int, Field(ge=2)] = 3
    word_features: Annotated[int, Field(ge=1)] = 50_000


class BundleTeacher(_Teacher):
    """A bundle, its answers before its calibration: one not trained on the rows it teaches, or an earlier stage."""

    kind: Literal["bundle"]
    path: Path
    part: Annotated[HashRange | None, Field(description="Teach only texts whose hash lies in it; null: all.")] = None


Teacher = Annotated[TfidfTeacher | BundleTeacher, Field(discriminator="kind")]


class DisguiseConfig(_Section):
    """Copies of training rows in which words are disguised (`train.disguises`)."""

    share: Annotated[float, Field(gt=0, le=1, description="Of the training rows that get a disguised copy.")]
    weight: Annotated[float, Field(gt=0, description="Multiplies the sample weight of a copy.")] = 1.0


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
    layer_decay: Annotated[
        float, Field(gt=0, le=1, description="Of the learning rate, from each layer of the encoder to the one below.")
    ] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    average: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Decay of the moving average of the weights that is evaluated and kept."),
    ] = None
    quantization_aware: Annotated[
        bool, Field(description="Train with the weights rounded as the int8 file will hold them, and keep them so.")
    ] = False
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
    compile: Annotated[OnOffAuto, Field(description="torch.compile; auto: on a GPU, never measured there.")] = "off"
    padding_free: Annotated[
        OnOffAuto, Field(description="Lay rows end to end, not padded; auto: in bf16 on a GPU, never measured there.")
    ] = "off"
    deterministic: Annotated[bool, Field(description="Only algorithms that repeat on a GPU too; slower there.")] = False
    workers: Annotated[
        int | None, Field(ge=0, description="Processes that prepare batches; null: none on CPU, up to four with a GPU.")
    ] = None
    report_to: Annotated[tuple[str, ...], Field(description="The Trainer's integrations, e.g. [wandb, mlflow].")] = ()
    seed: Annotated[int, Field(ge=0)] = 0


class F1Rule(_Section):
    """The threshold with the highest F1."""

    rule: Literal["f1"] = "f1"


class AtLeastRule(_Section):
    """Precision or recall of at least a share; the other one as high as that allows."""

    rule: Literal["precision", "recall"]
    at_least: Annotated[float, Field(gt=0, le=1)]


class AtMostRule(_Section):
    """Of the rows without the label at most a share predicted; recall as high as that allows."""

    rule: Literal["false_positive_rate"]
    at_most: Annotated[float, Field(gt=0, lt=1)]


ThresholdRule = Annotated[F1Rule | AtLeastRule | AtMostRule, Field(discriminator="rule")]


class ThresholdConfig(_Section):
    """How the validation split chooses each label's threshold; ``default`` is for labels that are not named."""

    default: ThresholdRule = F1Rule()
    toxic: ThresholdRule | None = None
    severe_toxic: ThresholdRule | None = None
    obscene: ThresholdRule | None = None
    threat: ThresholdRule | None = None
    insult: ThresholdRule | None = None
    identity_hate: ThresholdRule | None = None

    def rule(self, label: str) -> F1Rule | AtLeastRule | AtMostRule:
        """Return the rule of ``label``."""
        chosen: F1Rule | AtLeastRule | AtMostRule | None = getattr(self, label)
        return chosen if chosen is not None else self.default


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
    teachers: Annotated[
        tuple[Teacher, ...], Field(description="Draw the targets of training rows towards what these would answer.")
    ] = ()
    disguise: DisguiseConfig | None = None
    fit: FitConfig = FitConfig()
    thresholds: ThresholdConfig = ThresholdConfig()
    perspective: Annotated[
        PerspectiveConfig | None,
        Field(description="Also fit a scale to Perspective's scores (docs/perspective_scale.md)."),
    ] = None
    baseline: Annotated[bool, Field(description="Also fit TF-IDF with logistic regression, to compare with.")] = True
    publish: Annotated[bool, Field(description="Publish the bundle to the local registry at the end.")] = True
    tracking: TrackingConfig = TrackingConfig()
    output_dir: Path = Path("runs")

    @field_validator("teachers")
    @classmethod
    def _leave_most_to_people(cls, teachers: tuple[Teacher, ...]) -> tuple[Teacher, ...]:
        for label in LABELS:
            if (share := sum(teacher.share for teacher in teachers if label in teacher.labels)) > 0.5:
                raise ValueError(f"of the target of {label} {share:g} would be teachers'; at most half can be")
        return teachers

    @property
    def run_dir(self) -> Path:
        """Where checkpoints and the finished bundle of this run lie."""
        return self.output_dir / self.name


def load(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read ``path``, over the config that it ``extends``, and apply ``overrides`` ``section.key=value`` (in YAML).

    Raises:
        ConfigurationError: no such file, no YAML, an unknown key (the nearest one is named), a value that does not fit.
    """
    raw = _read(path)
    for override in overrides:
        _set(raw, override)
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(
            f"config {path}: " + "; ".join(explain(found, TrainConfig) for found in error.errors())
        ) from None


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, object]:
    """Return what ``path`` says, over what the config that it extends says; ``above`` are those that extend it.

    Raises:
        ConfigurationError: no such file, no YAML, one that extends itself.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"config {path} is not UTF-8 ({error.reason})") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"config {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigurationError(f"config {path} holds no mapping")
    if EXTENDS not in raw:
        return raw
    base = path.parent / str(raw.pop(EXTENDS))
    if base.resolve() in [each.resolve() for each in (path, *above)]:
        raise ConfigurationError(f"config {path} extends itself")
    return _merged(_read(base, (path, *above)), raw)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, object]:
    """Return ``base`` with ``changes``, section by section; a list takes the place of a list."""
    sections = {
        key: _merged(base[key], value)
        for key, value in changes.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return base | changes | sections


def _set(raw: dict[str, object], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise ConfigurationError(f"--set {override!r}: expected section.key=value")
    *sections, last = key.split(".")
    place: Any = raw  # what stood in the YAML: mappings and lists
    for section in sections:
        place = place[_index(place, section)] if isinstance(place, list) else place.setdefault(section, {})
        if not isinstance(place, dict | list):
            raise ConfigurationError(f"--set {override!r}: {section} is no section")
    try:
        place[_index(place, last) if isinstance(place, list) else last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {key}: the value is not YAML") from error


def _index(place: list[object], key: str) -> int:
    if not key.isdecimal() or int(key) > len(place):
        raise ConfigurationError(f"--set: no place {key} in a list of {len(place)}; 0 is the first")
    if int(key) == len(place):
        place.append({})  # one more, such as a second source
    return int(key)
