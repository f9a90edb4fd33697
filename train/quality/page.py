"""The report as Markdown, for the terminal and for the bundle's card."""

from train.quality.figure import Figure, Part, Report

HEADING = "## Quality"

TEMPLATE = """{heading}

Measured by `python -m train.quality` on version `{version}` (weights `{weights}`, computed in {backend}), at commit
`{commit}`{dirty}, with 95 % intervals ({resamples:,} resamples, seed {seed}). *ok* says "by value" where the value
reaches the aim and an end of its interval does not. What each figure means: `docs/quality.md`.{left_out}{asked}

| what | reached | to reach | ok |
|---|---|---|---|
{rows}
"""


def page(report: Report) -> str:
    """Return the report with all its tables."""
    return "\n".join([summary(report), *map(_part, report.parts)]).rstrip()


def summary(report: Report) -> str:
    """Return the table of every figure beside its aim."""
    left_out = f" Not measured: {', '.join(report.left_out)}." if report.left_out else ""
    return TEMPLATE.format(
        heading=HEADING,
        version=report.version[:12],
        weights=report.weights[:12],
        backend=report.backend,
        commit=report.git_commit[:12],
        dirty=" with uncommitted changes" if report.git_dirty else "",
        resamples=report.resamples,
        seed=report.seed,
        asked=_asked(report),
        left_out=left_out,
        rows="\n".join(
            f"| {figure.what} | {number(figure)} | {aim(figure)} | {figure.reached} |"
            for part in report.parts
            for figure in part.figures
        ),
    )


def _asked(report: Report) -> str:
    """Return on what was measured, by the first digits of each SHA-256."""
    named = {"the test split of the dataset": report.dataset} if report.dataset else {}
    named |= {f"`{name}`": report.files[name] for name in sorted(report.files)}
    said = ", ".join(f"{name} `{digest[:16]}`" for name, digest in named.items())
    return f"\n\nMeasured on {said}." if said else ""


def _part(part: Part) -> str:
    lines = [f"### {part.title}", "", part.how, ""]
    for table in part.tables:
        lines += [f"{table.title}:", "", f"| {table.first} | {' | '.join(table.columns)} |"]
        lines += ["|---" * (len(table.columns) + 1) + "|"]
        lines += [
            f"| {row.name} | {' | '.join(_shown(**cell, digits=3) for cell in row.cells)} |" for row in table.rows
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


def _shown(value: float | None, low: float | None, high: float | None, digits: int) -> str:
    if value is None:
        return "–"
    shown = f"{value:.{digits}f}"
    return shown if low is None or high is None else f"{shown} ({low:.{digits}f} to {high:.{digits}f})"
