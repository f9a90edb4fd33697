"""The gate's report: ``report.json`` for machines, ``report.html`` for people, both self-contained."""

import json
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from moderation.errors import InvalidInputError
from train.gate.behaviour import CapabilityResult
from train.gate.checks import Check
from train.gate.identity import Slice
from train.gate.obfuscation import CurvePoint
from train.gate.technical import Latency

JSON_FILE = "report.json"
HTML_FILE = "report.html"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Judged(_Part):
    """A bundle that was judged, or judged against."""

    version: str
    name: str
    architecture: str
    backend: str | None = None
    """What computed it. None: a report of an earlier release does not say."""
    git_commit: str
    git_dirty: bool
    dataset: str
    dataset_digest: str
    seed: int


class DataSummary(_Part):
    """The frozen data: its file, its digest, how many rows have each label, and labels of which it knows nothing."""

    name: str
    digest: str
    rows: int
    positives: dict[str, int]
    unknown: list[str] = []


class Figures(_Part):
    """What the checks were made from, for the plots; reliability points per label are (mean score, share)."""

    slices: list[Slice]
    behaviour: list[CapabilityResult]
    obfuscation: list[CurvePoint]
    latency: Latency
    reliability: dict[str, list[tuple[float, float]]]
    rival_reliability: dict[str, list[tuple[float, float]]]


class GateReport(_Part):
    """The verdict on ``candidate``; ``against`` is None for a first promotion."""

    schema_version: Literal[1] = 1
    passed: bool
    reasons: list[str]
    candidate: Judged
    against: Judged | None
    data: DataSummary
    rules_digest: str
    created_at: datetime
    seconds: float
    checks: list[Check]
    figures: Figures
    warnings: list[str] = []
    """What refuses nothing and somebody should know before a promotion."""

    @property
    def not_judged(self) -> list[str]:
        """What the data or the rules left nothing to judge of, in words."""
        unknown = [f"{label}: no row of the data says whether it has it" for label in self.data.unknown]
        return unknown + [check.reason for check in self.checks if check.passed and check.value is None]


def write_report(report: GateReport, directory: Path) -> None:
    """Write both files into ``directory``, which is made.

    Raises:
        InvalidInputError: the directory cannot be written.
    """
    from train.gate.page import render  # matplotlib takes a second to import

    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / JSON_FILE).write_text(
            json.dumps(report.model_dump(mode="json"), indent=1, ensure_ascii=True) + "\n", encoding="utf-8"
        )
        (directory / HTML_FILE).write_text(render(report), encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"cannot write the report into {directory}: {error.strerror}") from error


def read_report(directory: Path) -> GateReport:
    """Read what `write_report` wrote.

    Raises:
        InvalidInputError: no report, a damaged one, or one of another release.
    """
    path = directory / JSON_FILE
    try:
        return GateReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInputError(
            f"{path} is no gate report: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
