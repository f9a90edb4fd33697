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
        "Points: difference on the frozen data; lines: simultaneous bounds; grey mark: the margin that the lower bound "
        "must stay above. A cross failed. The numbers stand in the table above.",
    ),
    (
        "reliability",
        "Calibration",
        "On the dotted line, scores are probabilities. Circles: candidate; squares, dashed: production.",
    ),
    (
        "obfuscation",
        "Disguised words",
        "Recall on texts that have the label, the more words are disguised. Circles: candidate; squares, dashed: "
        "production.",
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
