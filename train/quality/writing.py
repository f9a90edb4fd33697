"""Puts a report into files, and into a bundle: its manifest, which gives it a new version, and its card."""

import shutil
from pathlib import Path

from moderation.bundle import CARD, Bundle, read_bundle, write_manifest
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.card import with_section
from train.quality.figure import Report
from train.quality.page import HEADING, page

METRICS = "quality"


def write_report(report: Report, folder: Path) -> None:
    """Write ``quality.json`` and ``quality.md`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quality.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / "quality.md").write_text(page(report) + "\n", encoding="utf-8")


def check_output(bundle: Bundle, output: Path) -> None:
    """Refuse what `write_bundle_with` could not write, before minutes of measuring.

    Raises:
        InvalidInputError: ``output`` exists, or the card of ``bundle`` is no UTF-8.
    """
    if output.exists():
        raise InvalidInputError(f"{output} exists; give another --output")
    _card(bundle)


def _card(bundle: Bundle) -> str:
    path = bundle.path / CARD
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is no UTF-8 at byte {error.start}; --output adds the figures to it") from None


def write_bundle_with(report: Report, bundle: Bundle, output: Path) -> Bundle:
    """Write ``bundle`` to the new folder ``output`` with ``report`` in place of an earlier one, and return it.

    Raises:
        InvalidInputError: the card of ``bundle`` is no UTF-8.
    """
    card = with_section(_card(bundle), HEADING, page(report))
    staging = output.with_name(f".{output.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        shutil.copytree(bundle.path, staging)
        (staging / CARD).write_text(card, encoding="utf-8")
        metrics = {**bundle.manifest.metrics, METRICS: report.model_dump(mode="json")}
        write_manifest(staging, bundle.manifest.model_copy(update={"metrics": metrics}))
        read_bundle(staging, LABELS)
        staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return read_bundle(output, LABELS)
