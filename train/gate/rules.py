"""The rules of the gate, read from ``configs/gate.yaml`` into a frozen model that refuses unknown keys."""

import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from train.metrics.figures import COMPARED, Compared
from train.metrics.identity import TERMS

CASES = Path(__file__).with_name("cases")
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Label = Literal["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
Margins = dict[Label | Literal["default"], Annotated[float, Field(gt=0)]]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataRules(_Section):
    """The frozen data; a ``digest`` that is stated must be theirs."""

    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    min_positives: Count = 20


class ComparisonRules(_Section):
    """Non-inferiority margins per figure and label, and the confidence that holds for all of them together."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100)] = 1000
    margins: dict[Compared, Margins]

    def margin(self, figure: Compared, label: str) -> float:
        """Return the margin of one figure of one label."""
        margins = self.margins[figure]
        return margins[label] if label in margins else margins["default"]

    @model_validator(mode="after")
    def _covers_every_label(self) -> Self:
        if absent := set(COMPARED) - set(self.margins):
            raise ValueError(f"no margins for {', '.join(sorted(absent))}")
        for figure, margins in self.margins.items():
            if "default" not in margins and (missing := set(LABELS) - set(margins)):
                raise ValueError(f"{figure} has neither a default nor a margin for {', '.join(sorted(missing))}")
        return self


class FloorRules(_Section):
    """The least that each label must reach."""

    roc_auc: Share
    brier_skill: float


class CalibrationRules(_Section):
    """Where the calibration slope of each label must lie."""

    slope: tuple[Positive, Positive]

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.slope[0] >= self.slope[1]:
            raise ValueError(f"slope goes from {self.slope[0]} to {self.slope[1]}; the lower end comes first")
        return self


class BehaviourRules(_Section):
    """The least share of passed cases of each kind; ``cases`` is a folder of YAML files, seen from the rules' own."""

    cases: Path = CASES
    minimum_functionality: Share
    invariance: Share
    direction: Share
    margin: Share


class IdentityRules(_Section):
    """How far a slice of texts that mention a group (by a list of words) may be off."""

    label: Label
    min_rows: Count
    rate_gap: Share
    calibration_gap: Share
    margin: Share
    groups: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = TERMS


class ObfuscationRules(_Section):
    """How much must be left of recall minus false-positive rate when words are disguised."""

    texts: Count
    label: Label
    strengths: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    retained: Share
    margin: Share


class Int8Rules(_Section):
    """How far the int8 weights may be from fp32, by the manifest."""

    mean_score_difference: Share
    average_precision_drop: Share


class LatencyRules(_Section):
    """How long a text may take on this machine, and how much longer than with production."""

    texts: Count
    median_ms: Positive
    ratio: Positive


class GateRules(_Section):
    """Everything that decides; ``digest`` changes with any of it, the cases included."""

    data: DataRules
    comparison: ComparisonRules
    floors: FloorRules
    calibration: CalibrationRules
    behaviour: BehaviourRules
    identity: IdentityRules
    obfuscation: ObfuscationRules
    int8: Int8Rules
    latency: LatencyRules

    def digest(self) -> str:
        """Return the SHA-256 of the rules and of the files with the cases; where those lie does not matter."""
        stated = json.dumps(self.model_dump(mode="json", exclude={"behaviour": {"cases"}}), sort_keys=True)
        contents = [stated.encode(), *(path.read_bytes() for path in case_files(self.behaviour.cases))]
        return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


def case_files(folder: Path) -> list[Path]:
    """Return the YAML files of ``folder``, by name.

    Raises:
        ConfigurationError: there is none.
    """
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigurationError(f"behaviour.cases: no .yaml file in {folder}")
    return files


def read_rules(path: Path) -> GateRules:
    """Read the rules in ``path``.

    Raises:
        ConfigurationError: no such file, no YAML, an unknown key (the nearest one is named), a value that does not fit.
    """
    raw = read_yaml(path)
    try:
        rules = GateRules.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: " + "; ".join(map(_explain, error.errors()))) from None
    behaviour = rules.behaviour.model_copy(update={"cases": path.parent / rules.behaviour.cases})
    return rules.model_copy(update={"behaviour": behaviour})


def read_yaml(path: Path) -> object:
    """Return what the YAML file ``path`` holds.

    Raises:
        ConfigurationError: it cannot be read, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _explain(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}"
    sections = [field.annotation for field in GateRules.model_fields.values()]
    known = [*GateRules.model_fields, *(key for section in sections for key in getattr(section, "model_fields", ()))]
    nearest = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
    return f"unknown key {where}" + (f"; did you mean {nearest[0]}?" if nearest else "")
