"""A bundle: the directory that is trained, published, downloaded and served.

It holds ``manifest.json``, ``config.json``, ``tokenizer.json``, weights and ``README.md``; its version
is the SHA-256 of the manifest, which states the SHA-256 of every other file. This module reads,
verifies and writes it without any model library, so it cannot say whether the model scores right:
the probes in the manifest are for `moderation.scoring` to check.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moderation.errors import BundleError
from moderation.exports import Export
from moderation.perspective_scale import PerspectiveScale
from moderation.text import NORMALIZER_VERSION

SCHEMA_VERSION: Literal[1] = 1
MANIFEST = "manifest.json"
ONNX_WEIGHTS = "model.int8.onnx"
TORCH_WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"
CARD = "README.md"
PERSPECTIVE_WORDS = "perspective_words.npy"
"""What Perspective's scores take from a text's words (`moderation.hashed_ngrams`)."""
AGAIN = "publish it again with `moderation registry publish DIR`"
REQUIRED_FILES = (CONFIG, TOKENIZER, CARD)

Score = Annotated[float, Field(ge=0, le=1)]
Backend = Literal["int8", "fp32"]
"""What computes the one file of weights on CPU: integer products, or the same weights in fp32."""
GpuBackend = Literal["torch", "int8", "fp32"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileEntry(_Part):
    """One file of the bundle."""

    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PlattCalibration(_Part):
    """Score = sigmoid(scale · logit + offset); Platt, Probabilistic Outputs for SVMs (1999)."""

    method: Literal["platt"] = "platt"
    scale: Annotated[float, Field(gt=0)]
    offset: float


class IsotonicCalibration(_Part):
    """Score = sigmoid of a rising line through knots (logit, log-odds), which goes on with slope 1 beyond the ends.

    Strictly rising, so that two logits never tie and the ranking is that of the logits.
    """

    method: Literal["isotonic"] = "isotonic"
    logits: Annotated[list[float], Field(min_length=1)]
    log_odds: Annotated[list[float], Field(min_length=1)]

    @model_validator(mode="after")
    def _rises(self) -> "IsotonicCalibration":
        if len(self.logits) != len(self.log_odds):
            raise ValueError(f"{len(self.logits)} logits for {len(self.log_odds)} log_odds")
        for name, knots in (("logits", self.logits), ("log_odds", self.log_odds)):
            if any(after <= before for before, after in pairwise(knots)):
                raise ValueError(f"{name} of the knots must rise from each to the next")
        return self


Calibration = Annotated[PlattCalibration | IsotonicCalibration, Field(discriminator="method")]


class OperatingPoint(_Part):
    """How a threshold does on the held-out split, at the real prevalence.

    The counts are what the rates are worth: comments with and without the label, fewer where weights differ (Kish's
    effective sample size, *Survey Sampling*, 1965, section 11.7).
    """

    sensitivity: Score
    specificity: Score
    positives: Annotated[int, Field(ge=1)]
    negatives: Annotated[int, Field(ge=1)]


class LabelManifest(_Part):
    """One label, at its place in the output."""

    name: str
    threshold: Score
    calibration: Calibration
    operating_point: OperatingPoint | None = None
    """Of ``threshold``. None: not stated, or no comment of the split is known to have, or to lack, the label."""


class Provenance(_Part):
    """Where the bundle comes from; the code that exported it can be newer than the one that trained it."""

    git_commit: str
    git_dirty: bool
    dataset: str
    dataset_digest: str
    config: dict[str, object]
    seed: int
    run_url: str | None = None
    exports: tuple[Export, ...] = ()
    created_at: str
    exported_commit: str


class Probe(_Part):
    """A sentence of our own and the scores it must get, in label order: from int8, and from the exact backend.

    ``torch_scores`` are those of ``model.safetensors``; without it, torch computes the exact backend's weights.
    """

    text: str
    scores: list[Score]
    exact_scores: list[Score] | None = None
    torch_scores: list[Score] | None = None


class Probes(_Part):
    """What a loaded bundle must score before it serves."""

    tolerance: Annotated[float, Field(gt=0, lt=1)]
    torch_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """bf16 keeps 8 bits: the starter's probes are up to 0.007 off in it (docs/adr/0009)."""
    examples: Annotated[list[Probe], Field(min_length=1)]


class Reference(_Part):
    """Distributions on the held-out split at the real prevalence, which drift is compared with."""

    score_bin_edges: list[float]
    score_shares: dict[str, list[float]]
    length_bin_edges: list[float]
    length_shares: list[float]
    prevalence: dict[str, Score]
    language_shares: dict[str, Score] | None = None
    unknown_shares: list[Score] | None = None
    """Of the bins of `moderation.traits`, as ``density_shares``. None: not stated, or every byte is known."""
    density_shares: list[Score] | None = None


class Windows(_Part):
    """How a text longer than ``max_tokens`` is read: by windows that overlap, each scored like a text of its own.

    A label's score is the highest of its calibrated scores over the windows.
    """

    overlap_tokens: Annotated[int, Field(ge=0)]
    max_windows: Annotated[int, Field(ge=1)]
    aggregation: Literal["max"] = "max"


class Manifest(_Part):
    """Everything that is stated about a bundle; its canonical JSON is what the version hashes."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    architecture: str
    labels: Annotated[list[LabelManifest], Field(min_length=1)]
    normalizer_version: str
    max_tokens: Annotated[int, Field(ge=8)]
    windows: Windows | None = None
    """None: of a longer text only the first ``max_tokens`` tokens are read."""
    backend: Backend | None = None
    """What its calibration, thresholds and figures were computed with. None: int8."""
    gpu_backend: GpuBackend | None = None
    """What was fastest with a GPU where it was exported. None: not measured."""
    provenance: Provenance
    metrics: dict[str, object]
    perspective: PerspectiveScale | None = None
    """What carries the scores over to those of Perspective. None: not fitted."""
    reference: Reference
    probes: Probes
    files: dict[str, FileEntry]

    @property
    def stated_backend(self) -> Backend:
        """What its figures hold for, and so what judges it, whatever is at hand to serve it."""
        return self.backend or "int8"

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels in output order."""
        return tuple(label.name for label in self.labels)

    @property
    def thresholds(self) -> dict[str, float]:
        """The score, in [0, 1], from which each label counts as present."""
        return {label.name: label.threshold for label in self.labels}

    @property
    def operating_points(self) -> dict[str, dict[str, float]] | None:
        """Of each label that has one, with the ``threshold`` that it holds for; None: none has."""
        stated = {
            label.name: label.operating_point.model_dump() | {"threshold": label.threshold}
            for label in self.labels
            if label.operating_point is not None
        }
        return stated or None

    @property
    def calibration_id(self) -> str:
        """Twelve hex digits that change with what makes probabilities of logits."""
        stated = [label.calibration.model_dump_json() for label in self.labels]
        return hashlib.sha256("\n".join(stated).encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _fits_together(self) -> "Manifest":
        names = self.label_names
        if len(set(names)) != len(names):
            raise ValueError(f"labels repeat: {', '.join(names)}")
        if self.perspective and (unknown := [label for label in self.perspective.labels if label not in names]):
            raise ValueError(f"a Perspective scale for {', '.join(unknown)}, which the bundle does not score")
        scale = self.perspective
        words = self.files.get(PERSPECTIVE_WORDS)
        if scale and scale.indices and (words is None or words.sha256 != scale.words_sha256):
            raise ValueError(f"the Perspective scale was not fitted with the {PERSPECTIVE_WORDS} of the bundle")
        for label, index in (scale.indices if scale else {}).items():
            if unknown := [each for each in index.log_scores if each not in names]:
                raise ValueError(f"the index of {label} has {', '.join(unknown)}, which the bundle does not score")
        for number, probe in enumerate(self.probes.examples):
            for scores in (probe.scores, probe.exact_scores, probe.torch_scores):
                if scores is not None and len(scores) != len(names):
                    raise ValueError(f"probe {number} has {len(scores)} scores for {len(names)} labels")
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or name == MANIFEST:
                raise ValueError(f"file name {name!r} is not a plain path inside the bundle")
        return self


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    version: str
    manifest: Manifest

    @property
    def perspective(self) -> PerspectiveScale | None:
        """What carries the scores over to those of Perspective; None: the bundle has no such scale."""
        return self.manifest.perspective


def write_manifest(path: Path, manifest: Manifest) -> str:
    """Write ``manifest`` with the files that now lie in ``path``; return the bundle's version."""
    files = {name: _entry(path / name) for name in _file_names(path) if name != MANIFEST}
    complete = manifest.model_copy(update={"files": files})
    content = json.dumps(complete.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=True) + "\n"
    (path / MANIFEST).write_text(content, encoding="utf-8")
    return read_bundle(path).version


def read_bundle(
    path: Path, expected_labels: Iterable[str] | None = None, expected_version: str | None = None
) -> Bundle:
    """Read and verify the bundle in ``path``.

    Raises:
        BundleError: no readable manifest, a file missing, extra, or with another size or hash, a normaliser
            other than this code's, labels that are not ``expected_labels`` in that order, or a version that is not
            ``expected_version``.
    """
    try:
        content = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"{path} is no bundle: cannot read {MANIFEST} ({error.strerror})") from error
    version = hashlib.sha256(content).hexdigest()
    if expected_version not in (None, version):  # first: a manifest that was edited may be wrong in any way
        raise BundleError(f"{path / MANIFEST} is that of version {version[:12]}, expected {expected_version}; {AGAIN}")
    manifest = _parse(path, content)
    _check_files(path, manifest.files)
    if manifest.normalizer_version != NORMALIZER_VERSION:
        raise BundleError(
            f"{path} was trained with text normaliser {manifest.normalizer_version}, this is {NORMALIZER_VERSION}; "
            "serve it with the release that trained it, or train it again"
        )
    if expected_labels is not None and manifest.label_names != tuple(expected_labels):
        raise BundleError(
            f"{path} has labels {', '.join(manifest.label_names)}; expected {', '.join(expected_labels)} "
            "in that order; serve another bundle, or train this one again"
        )
    return Bundle(path, version, manifest)


def _parse(path: Path, content: bytes) -> Manifest:
    try:
        raw = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{path / MANIFEST} is not JSON ({error}); {AGAIN}") from error
    found = raw.get("schema_version") if isinstance(raw, Mapping) else None
    if found != SCHEMA_VERSION:
        raise BundleError(f"{path / MANIFEST} has schema version {found!r}; this release reads {SCHEMA_VERSION}")
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "manifest"
        raise BundleError(f"{path / MANIFEST}: {where}: {first['msg']}") from error


def _check_files(path: Path, files: Mapping[str, FileEntry]) -> None:
    stated, present = set(files), _file_names(path) - {MANIFEST}
    missing = sorted((stated | set(REQUIRED_FILES)) - present)
    if missing:
        raise BundleError(f"{path} is incomplete: {', '.join(missing)} missing; {AGAIN}")
    if extra := sorted(present - stated):
        raise BundleError(f"{path} holds files that its manifest does not state: {', '.join(extra)}")
    for name, entry in files.items():
        if (path / name).stat().st_size != entry.size_bytes or _sha256(path / name) != entry.sha256:
            raise BundleError(f"{path / name} is not the file that the manifest states; {AGAIN}")


def _file_names(path: Path) -> set[str]:
    return {found.relative_to(path).as_posix() for found in path.rglob("*") if not found.is_dir()}


def _entry(path: Path) -> FileEntry:
    return FileEntry(size_bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
