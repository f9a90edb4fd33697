"""The gate's report as one HTML page: no script, nothing loaded from elsewhere."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from train.gate.plots import plots
from train.gate.report import GateReport

TEMPLATE = Path(__file__).with_name("page.html")
PLACES = (
    (
        "differences",
        "Candidate against production",
        "Lines: simultaneous bounds; grey marks: margins, right of which a line must begin. A cross failed.",
    ),
    (
        "reliability",
        "Calibration",
        "On the dotted line, scores are probabilities. Circles: candidate; squares, dashed: production.",
    ),
    (
        "obfuscation",
        "Disguised words",
        "Filled: texts with the label; hollow: texts without. Circles: candidate; squares, dashed: production.",
    ),
    (
        "identity",
        "Identity slices",
        "How much more often texts without the label get it when they mention a group. The numbers stand below.",
    ),
)


def render(report: GateReport) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template(TEMPLATE.name)
    return template.render(report=report, plots=plots(report), places=PLACES, number=_number)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
