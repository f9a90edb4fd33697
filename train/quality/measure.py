"""Runs the parts that are wanted on one bundle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from moderation.bundle import ONNX_WEIGHTS, Bundle
from moderation.errors import InvalidInputError
from moderation.scoring.scorer import Scorer
from train.commit import commit
from train.config import DataConfig
from train.data.card import digest
from train.data.rows import load_rows
from train.gate.gate import score_texts
from train.gate.rules import case_files
from train.metrics.ranking import hard
from train.metrics.resampling import SEED
from train.quality import disguises, spans, templates
from train.quality.cost import int8_cost, size_and_speed
from train.quality.figure import Part, Report
from train.quality.functional import SUITES, functional
from train.quality.held_out import held_out
from train.quality.samples import file_digest

NEEDS_ROWS = ("held-out", "obfuscation", "speed")


@dataclass(frozen=True)
class Wanted:
    """Parts by name, in order, and those left out; ``folder`` holds the files of bias and spans."""

    parts: list[str]
    left_out: list[str]
    folder: Path
    resamples: int


def measure(bundle: Bundle, data: DataConfig, wanted: Wanted, against: Bundle | None = None) -> Report:
    """Return the report of ``bundle``, which was trained on ``data``.

    Raises:
        InvalidInputError: a file that is missing or cannot be used, or data that did not train the bundle.
        BundleError: a bundle that does not score its probes as its manifest states.
    """
    files, code = _read_files(wanted), commit()  # before the minutes in which somebody may edit
    test = _test_split(bundle, data) if set(NEEDS_ROWS) & set(wanted.parts) else pd.DataFrame()
    scorer = _load(bundle)
    parts = _parts(scorer, _load(against) if against else None, test, files, wanted.resamples)
    return Report(
        bundle=bundle.manifest.name,
        version=bundle.version,
        weights=bundle.manifest.files[ONNX_WEIGHTS].sha256,
        backend=scorer.backend,
        git_commit=str(code["git_commit"]),
        git_dirty=bool(code["git_dirty"]),
        dataset=None if test.empty else bundle.manifest.provenance.dataset_digest,
        files={path.name: file_digest(path) for name in wanted.parts for path in _files(name, wanted.folder)},
        resamples=wanted.resamples,
        seed=SEED,
        left_out=wanted.left_out,
        parts=_measured({name: parts[name] for name in wanted.parts}),
    )


def _parts(
    scorer: Scorer, rival: Scorer | None, test: pd.DataFrame, files: Mapping[str, pd.DataFrame], resamples: int
) -> dict[str, Callable[[], Part]]:
    """Return what measures each part; ``test`` and ``files`` hold what the wanted ones need."""
    score, manifest = partial(score_texts, scorer), scorer.bundle.manifest
    thresholds = manifest.thresholds

    def on_test() -> Part:
        scores = score(test["comment_text"].tolist()).astype(np.float64)
        return held_out(test, scores, thresholds, resamples)

    def disguised() -> Part:
        truth = hard(test[disguises.LABEL])
        return disguises.disguises(score, test["comment_text"].tolist(), truth, thresholds[disguises.LABEL], resamples)

    return {
        "held-out": on_test,
        "functional": lambda: functional(score, thresholds, resamples),
        "obfuscation": disguised,
        "bias": lambda: templates.template_bias(score, files["bias"], thresholds[templates.LABEL], resamples),
        "spans": lambda: spans.span_quality(score, files["spans"], thresholds[spans.LABEL], resamples),
        "int8": lambda: int8_cost(manifest),
        "speed": lambda: size_and_speed(scorer, rival, test["comment_text"].tolist()),
    }


def _measured(parts: Mapping[str, Callable[[], Part]]) -> list[Part]:
    found = []
    with tqdm(parts.items(), unit=" parts", disable=None) as bar:
        for name, part in bar:
            bar.set_description(name)
            found.append(part())
    return found


def _files(part: str, folder: Path) -> list[Path]:
    """Return what a part reads besides the bundle and the rows it was trained on."""
    return {
        "functional": case_files(SUITES),
        "obfuscation": [disguises.WORDS],
        "bias": [folder / templates.FILE],
        "spans": [folder / spans.FILE],
    }.get(part, [])


def _load(bundle: Bundle) -> Scorer:
    return Scorer.load(bundle, backend=bundle.manifest.stated_backend)


def _read_files(wanted: Wanted) -> dict[str, pd.DataFrame]:
    """Read what can be missing before anything is scored."""
    readers = {
        "bias": (templates.FILE, templates.read_templates),
        "spans": (spans.FILE, spans.read_posts),
    }
    return {name: read(wanted.folder / file) for name, (file, read) in readers.items() if name in wanted.parts}


def _test_split(bundle: Bundle, data: DataConfig) -> pd.DataFrame:
    rows = load_rows(data)
    stated = bundle.manifest.provenance.dataset_digest
    if (found := digest(rows)) != stated:
        raise InvalidInputError(
            f"the config's data have digest {found[:16]}, {bundle.path} was trained on {stated[:16]}: give the config "
            "that trained it, so that its test split is what it has not seen"
        )
    return rows[rows["split"] == "test"].reset_index(drop=True)
