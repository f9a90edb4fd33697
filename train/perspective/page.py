"""The report of a bundle's scale to Perspective's scores, as Markdown for its card and for people."""

from collections.abc import Mapping
from typing import Any

from moderation.labels import LABELS
from moderation.perspective_scale import PerspectiveScale

HEADING = "## On Perspective's scale"

TEMPLATE = """{heading}

Per attribute an index of all the bundle's scores and of the text's words, and a rising map from it, give what
Perspective's score would be, so that a threshold of Perspective's can be kept. Scale `{id}`: {method}; fitted on
{rows:,} comments, of which those count for a label that its source scores: {fitted_on}.
Measured on others that neither they nor training saw, with 95 % bootstrap intervals. Precision and recall take
Perspective's decision at the same threshold for the truth. Left out: {left_out}.
{sources}
### The same share flagged

At Perspective's threshold in the first line, the threshold of the bundle's own scores that flags the same share:

{thresholds}
"""


def page(scale: PerspectiveScale, report: Mapping[str, Any]) -> str:
    """Return the page of what `train.perspective.scale` reports."""
    return TEMPLATE.format(
        heading=HEADING,
        method=scale.method,
        id=scale.id,
        rows=scale.rows,
        fitted_on=", ".join(f"{report['attributes'][label]} {report['fitted_on'][label]:,}" for label in scale.labels),
        left_out=", ".join(f"{count} {reason}" for reason, count in report["left_out"].items() if count) or "none",
        sources="".join(_source(name, labels, report["attributes"]) for name, labels in report["sources"].items()),
        thresholds=_thresholds(report),
    ).rstrip()


def _source(name: str, labels: Mapping[str, Any], attributes: Mapping[str, str]) -> str:
    rows = max(found["rows"] for found in labels.values())
    lines = [
        f"\n### {name}, {rows:,} comments kept out\n",
        "| attribute | Spearman | mean absolute difference |",
        "|---|---|---|",
    ]
    ordered = [(label, labels[label]) for label in LABELS if label in labels]
    for label, found in ordered:
        figures = found["figures"]
        lines.append(
            f"| {attributes[label]} | {_cell(figures['spearman'])} | {_cell(figures['mean_absolute_difference'])} |"
        )
    lines += [
        "",
        "| attribute | threshold | Perspective flags | bundle flags | precision | recall | F1 |",
        "|---" * 7 + "|",
    ]
    for label, found in ordered:
        for threshold, at in found["at"].items():
            cells = " | ".join(_cell(at["figures"][name]) for name in ("precision", "recall", "f1"))
            lines.append(f"| {attributes[label]} | {threshold} | {at['theirs']} | {at['ours']} | {cells} |")
    return "\n".join(lines) + "\n"


def _thresholds(report: Mapping[str, Any]) -> str:
    marks = list(next(iter(report["thresholds"].values())))
    lines = ["| attribute | label | " + " | ".join(marks) + " |", "|---" * (len(marks) + 2) + "|"]
    lines += [
        f"| {report['attributes'][label]} | {label} | " + " | ".join(f"{found[mark]:.4f}" for mark in marks) + " |"
        for label in LABELS
        if (found := report["thresholds"].get(label))
    ]
    return "\n".join(lines)


def _cell(figure: Mapping[str, float | None]) -> str:
    """Return a figure with its interval; a dash where it is not defined."""
    if figure["value"] is None:
        return "–"
    return f"{figure['value']:.3f} ({figure['low'] or 0:.3f} to {figure['high'] or 0:.3f})"
