"""The plots of the gate's report, as SVG text to put into a page.

The colours are Okabe and Ito's (Color Universal Design, 2008); shapes and dashes say the same as they do.
"""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.gate.checks import AGAINST_PRODUCTION, Check
from train.gate.obfuscation import CurvePoint
from train.gate.report import GateReport

BLUE, ORANGE, VERMILION, GREY = "#0072B2", "#E69F00", "#D55E00", "#666666"


def plots(report: GateReport) -> dict[str, str]:
    """Return each plot by the name of its place in the page."""
    with mpl.rc_context({"svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}):
        drawn = {"reliability": _reliability(report)}
        if report.figures.obfuscation:
            drawn["obfuscation"] = _obfuscation(report.figures.obfuscation)
        differences = [check for check in report.checks if check.group == AGAINST_PRODUCTION]
        if differences:
            drawn["differences"] = _differences(differences)
        if report.figures.slices:
            drawn["identity"] = _identity(report)
        return {name: _svg(figure, name) for name, figure in drawn.items()}


def _differences(checks: Sequence[Check]) -> Figure:
    """Draw a point per difference with its simultaneous bounds, and the margin as a mark."""
    names = list(dict.fromkeys(check.name for check in checks))
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    for place, (axes, name) in enumerate(zip(figure.subplots(1, len(names)), names, strict=True)):
        own = [check for check in checks if check.name == name][::-1]
        for row, check in enumerate(own):
            colour = BLUE if check.passed else VERMILION
            axes.plot([check.low or 0, check.high or 0], [row, row], color=colour, lw=2.5)
            axes.plot((check.value or 0) - (check.rival or 0), row, "o" if check.passed else "X", color=colour, ms=7)
            axes.plot(-(check.margin or 0), row, "|", color=GREY, ms=16, mew=2)
        axes.axvline(0, color=GREY, lw=0.8, ls=":")
        axes.set(title=name, xlabel="candidate minus production")
        axes.set_yticks(range(len(own)), [str(check.label) for check in own] if place == 0 else [""] * len(own))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    return figure


def _reliability(report: GateReport) -> Figure:
    figure = Figure(figsize=(9.5, 5.6), layout="constrained")
    grid: list[Axes] = list(figure.subplots(2, 3, sharex=True, sharey=True).ravel())
    for axes in grid[len(report.figures.reliability) :]:
        axes.set_axis_off()
    for axes, (label, points) in zip(grid, report.figures.reliability.items(), strict=False):
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        if rival := report.figures.rival_reliability.get(label):
            axes.plot(*zip(*rival, strict=True), "s--", color=ORANGE, ms=5, label="production")
        axes.plot(*zip(*points, strict=True), "o-", color=BLUE, ms=5, label="candidate")
        axes.set(title=label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    grid[0].legend(frameon=False)
    figure.supxlabel("mean score of the bin")
    figure.supylabel("share that has the label")
    return figure


def _identity(report: GateReport) -> Figure:
    slices = report.figures.slices[::-1]
    figure = Figure(figsize=(9.5, 0.6 + 0.3 * len(slices)), layout="constrained")
    axes = figure.subplots()
    for row, each in enumerate(slices):
        colour = BLUE if each.judged else GREY
        axes.plot([each.low, each.high], [row, row], color=colour, lw=2.5, ls="-" if each.judged else ":")
        axes.plot(each.rate_gap, row, "o", color=colour, ms=7)
        if each.rival_rate_gap is not None:
            axes.plot(each.rival_rate_gap, row, "s", mfc="none", mec=ORANGE, mew=2, ms=8)
    axes.axvline(0, color=GREY, lw=0.8, ls=":")
    axes.set_yticks(range(len(slices)), [f"{each.group} ({each.rows})" for each in slices])
    axes.set_xlabel("false-positive rate above texts that mention no group; square: production; dotted: too few rows")
    return figure


def _obfuscation(points: Sequence[CurvePoint]) -> Figure:
    clean, *others = points
    names = list(dict.fromkeys(point.disguise for point in others))
    figure = Figure(figsize=(9.5, 5.6), layout="constrained")
    columns = 3
    grid = figure.subplots(-(-len(names) // columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid, names, strict=False):
        line = [clean, *(point for point in others if point.disguise == name)]
        strengths = [point.strength for point in line]
        rivals = [point.rival for point in line if point.rival is not None]
        for rates, marker, colour, who in (
            (rivals, "s--", ORANGE, "production"),
            ([point.candidate for point in line], "o-", BLUE, "candidate"),
        ):
            if rates:
                axes.plot(strengths, [each.recall for each in rates], marker, color=colour, ms=5, label=who)
                axes.plot(strengths, [each.false_alarms for each in rates], marker, color=colour, ms=5, mfc="none")
        axes.set(title=name, ylim=(-0.02, 1.02))
    grid[0].legend(frameon=False, loc="lower left")
    figure.supxlabel("share of words that are disguised")
    figure.supylabel("share of texts in which the label is found")
    return figure


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an ``<svg>`` element; ``name`` keeps its ids apart from those of the other plots."""
    with mpl.rc_context({"svg.hashsalt": name}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace("<svg", '<svg role="img" aria-hidden="true"', 1)
