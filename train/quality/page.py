"""The report as Markdown, for the terminal and for the bundle's card."""

from collections.abc import Sequence

from train.quality.figure import Cells, Figure, Report

HEADING = "## Quality"

TEMPLATE = """{heading}

Measured by `python -m train.quality` on version `{version}` (weights `{weights}`, computed in {backend}), at commit
`{commit}`, with 95 % intervals. *ok* says "by value" where the value reaches the aim and an end of its interval does
not. What each figure means: `docs/quality.md`.{left_out}

| what | reached | to reach | ok |
|---|---|---|---|
{rows}
"""


def page(report: Report) -> str:
    """Return the report with all its tables."""
    return "\n".join(
        [summary(report), *(_part(report, name) for name in [part.name for part in report.parts])]
    ).rstrip()


def summary(report: Report) -> str:
    """Return the table of every figure beside its aim."""
    left_out = f" Not measured: {', '.join(report.left_out)}." if report.left_out else ""
    return TEMPLATE.format(
        heading=HEADING,
        version=report.version[:12],
        weights=report.weights[:12],
        backend=report.backend,
        commit=report.git_commit[:12],
        left_out=left_out,
        rows="\n".join(
            f"| {figure.what} | {number(figure)} | {aim(figure)} | {figure.reached} |"
            for part in report.parts
            for figure in part.figures
        ),
    )


def _part(report: Report, name: str) -> str:
    part = next(part for part in report.parts if part.name == name)
    lines = [f"### {part.title}", "", part.how, ""]
    for table in part.tables:
        columns = list(next(iter(table.rows.values())))
        lines += [f"{table.title}:", ""]
        lines += [f"| {table.first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        lines += [
            f"| {row} | {' | '.join(_cell(cells, column) for column in columns)} |" for row, cells in table.rows.items()
        ]
        lines.append("")
    return "\n".join(lines)


def number(figure: Figure) -> str:
    """Return a figure with its interval; a dash where it is not defined."""
    return _shown(figure.value, figure.low, figure.high, figure.digits)


def aim(figure: Figure) -> str:
    """Return what a figure is to reach."""
    bounds = [(sign, bound) for sign, bound in (("≥", figure.at_least), ("≤", figure.at_most)) if bound is not None]
    if len(bounds) == 2:
        return f"{bounds[0][1]:g} to {bounds[1][1]:g}"
    return " ".join(f"{sign} {bound:g}" for sign, bound in bounds)


def _cell(cells: Cells, column: str) -> str:
    shown = cells[column]
    return _shown(shown["value"], shown["low"], shown["high"], 3)


def _shown(value: float | None, low: float | None, high: float | None, digits: int) -> str:
    if value is None:
        return "–"
    ends: Sequence[float | None] = (low, high)
    shown = f"{value:.{digits}f}"
    if None in ends:
        return shown
    return f"{shown} ({' to '.join(f'{end:.{digits}f}' for end in ends)})"
