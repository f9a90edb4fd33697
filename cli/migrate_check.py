"""`moderation migrate-check`: what changes for a site that leaves Perspective for a bundle of ours."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import counted
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.perspective_scale import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from cli.perspective_log import PerspectiveLog
    from moderation.bundle import Bundle
    from train.perspective.agreement import Nearest

RESAMPLES = 200
FEWEST = 10
"""Fewer comments say nothing of an attribute."""
MOST_BAD_ROWS = 20
FEWEST_OF_EITHER = 10
"""Fewer that Perspective flags, or that it does not, choose no threshold."""
LOW_RECALL = 0.5
"""A threshold that misses more than half of what Perspective flags may change few decisions, and is still no good."""


def migrate_check(
    perspective_log: Annotated[
        Path, typer.Option(help="CSV or JSON Lines of comments and their scores.", metavar="FILE")
    ],
    threshold: Annotated[float, typer.Option(min=0, max=1, help="The site's threshold on Perspective's scores.")] = 0.8,
    bundle: Annotated[
        str | None,
        typer.Option(
            help="A version or its first 8 or more digits, an alias, or a folder; the served alias if not given.",
            metavar="NAME",
        ),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column of the texts; text, comment_text, comment or body if not given.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of a label's scores, such as toxic=score; may be repeated. If not given, columns named "
            "TOXICITY, INSULT and so on, in any case, or Perspective's answer in attributeScores.",
            metavar="LABEL=COLUMN",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the scores against each other (.svg, .png or .pdf).", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a bundle with a site's own log of Perspective's scores.

    Says per attribute how the scores agree on Perspective's scale, which decisions would change at the site's
    threshold, and which threshold changes fewest. Bad rows are left out, each named on stderr by its line. Nothing is
    stored.
    """
    from cli.names import find_bundle
    from cli.output import check_output
    from cli.perspective_log import read_log
    from cli.registry import open_registry
    from cli.score import find_served
    from moderation.settings import ApiSettings, load

    settings = load(ApiSettings)
    columns = dict(_pair(given) for given in column or [])
    if plot is not None:
        check_output(plot, (".svg", ".png", ".pdf"), overwrite=True)
    log = read_log(perspective_log, text_column, columns)
    _say_bad(log)
    found = find_bundle(open_registry(), bundle) if bundle else find_served(settings, None, None)
    own = _scored(found, log, settings.threads, settings.backend)
    scores = _on_scale(found, log.texts, own)
    report = _report(found, log, dict(zip(found.manifest.label_names, own.T, strict=True)), scores, threshold)
    typer.echo(json.dumps(report, indent=2) if as_json else _page(report))
    if plot is not None:  # after the report, which a disk that refuses the picture must not cost
        from cli.migrate_plot import draw

        pairs = {label: (log.scores[label], scores[label]) for label in report["attributes"]}
        draw(plot, pairs, threshold, found.version)


def _pair(given: str) -> tuple[str, str]:
    label, separator, name = given.partition("=")
    label = {attribute: ours for ours, attribute in ATTRIBUTES.items()}.get(label, label)
    if not separator or label not in LABELS:
        raise InvalidInputError(f"--column {given!r}: expected LABEL=COLUMN with a label of {', '.join(LABELS)}")
    return label, name


def _say_bad(log: "PerspectiveLog") -> None:
    for said in log.bad[:MOST_BAD_ROWS]:
        typer.echo(f"left out: {said}", err=True)
    if len(log.bad) > MOST_BAD_ROWS:
        typer.echo(f"left out: {counted(len(log.bad) - MOST_BAD_ROWS, 'row')} more", err=True)


def _scored(bundle: "Bundle", log: "PerspectiveLog", threads: int, backend: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    from cli.bulk import TEXTS_PER_CALL
    from cli.score import progress
    from moderation.scoring.scorer import Scorer

    scorer, parts = Scorer.load(bundle, threads, backend), []
    with progress(len(log.texts)) as advance:
        for start in range(0, len(log.texts), TEXTS_PER_CALL):
            part = log.texts[start : start + TEXTS_PER_CALL]
            parts.append(scorer.score(part).scores)
            advance(len(part))
    return np.concatenate(parts)


def _on_scale(bundle: "Bundle", texts: "Sequence[str]", own: "np.ndarray[Any, Any]") -> dict[str, list[float]]:
    """Return each label's scores on Perspective's scale, or as they are where the bundle has none for it."""
    from moderation.perspective import PerspectiveScorer

    labels, known = bundle.manifest.label_names, PerspectiveScorer.load(bundle)
    rows = [dict(zip(labels, row, strict=True)) for row in own.tolist()]
    if known:
        rows = [{**row, **known.scores(text, row)} for text, row in zip(texts, rows, strict=True)]
    return {label: [row[label] for row in rows] for label in labels}


def _report(
    bundle: "Bundle",
    log: "PerspectiveLog",
    own: "Mapping[str, np.ndarray[Any, Any]]",
    scores: dict[str, list[float]],
    threshold: float,
) -> dict[str, Any]:
    import numpy as np

    from train.perspective.agreement import nearest_threshold

    attributes = {}
    for label in LABELS:
        theirs = np.array(log.scores.get(label, []))
        known = ~np.isnan(theirs)
        if known.sum() >= FEWEST:
            attributes[label] = _compared(np.array(scores[label])[known], theirs[known], threshold)
            if bundle.perspective and label in bundle.perspective.labels:
                plain = nearest_threshold(own[label][known], theirs[known] >= threshold)
                attributes[label]["fewest_changes_by_probability"] = _stated(plain)
    if not attributes:
        raise InvalidInputError(
            f"no attribute has scores of {FEWEST} comments; the log has {counted(len(log.texts), 'comment')}"
        )
    return {
        "version": bundle.version,
        "scale": bundle.perspective.id if bundle.perspective else None,
        "threshold": threshold,
        "rows": len(log.texts),
        "left_out": len(log.bad),
        "attributes": attributes,
    }


def _compared(ours: "np.ndarray[Any, Any]", theirs: "np.ndarray[Any, Any]", threshold: float) -> dict[str, Any]:
    from train.perspective.agreement import Nearest, agreement, nearest_threshold

    found = agreement(ours, theirs, (threshold,), RESAMPLES)
    at, nearest = found.at[threshold], nearest_threshold(ours, theirs >= threshold)
    newly = int(((ours >= threshold) & (theirs < threshold)).sum())
    no_longer = int(((ours < threshold) & (theirs >= threshold)).sum())
    if newly + no_longer <= nearest.added + nearest.lost:  # of equals the site's own
        nearest = Nearest(threshold, newly, no_longer)
    recalls = {threshold: _recall(at.theirs, no_longer), nearest.threshold: _recall(at.theirs, nearest.lost)}
    return {
        "rows": found.rows,
        **{name: figure.plain() for name, figure in (found.figures | at.figures).items()},
        "flagged_by_perspective": at.theirs,
        "flagged": at.ours,
        "newly_flagged": newly,
        "no_longer_flagged": no_longer,
        "fewest_changes": _stated(nearest),
        "warnings": [
            *(
                f"Perspective {what} {counted(count, 'comment')}: too few to choose a threshold by"
                for what, count in (("flags", at.theirs), ("lets pass", found.rows - at.theirs))
                if count < FEWEST_OF_EITHER
            ),
            *(
                f"at {each:.4g} only {recall:.0%} of what Perspective flags is flagged"
                for each, recall in recalls.items()
                if recall < LOW_RECALL
            ),
        ],
    }


def _stated(nearest: "Nearest") -> dict[str, Any]:
    return {
        "threshold": nearest.threshold,
        "newly_flagged": nearest.added,
        "no_longer_flagged": nearest.lost,
    }


def _recall(flagged: int, lost: int) -> float:
    return (flagged - lost) / flagged if flagged else 1.0


def _page(report: dict[str, Any]) -> str:
    scale = (
        f"on Perspective's scale ({report['scale']})" if report["scale"] else "as plain probabilities: it has no scale"
    )
    lines = [
        (
            f"{counted(report['rows'], 'comment')}, {counted(report['left_out'], 'row')} left out. "
            f"Version {report['version'][:12]}, {scale}."
        )
    ]
    for label, found in report["attributes"].items():
        plain = found.get("fewest_changes_by_probability")
        lines += [
            f"\n{ATTRIBUTES[label]} ({label}), {counted(found['rows'], 'comment')}",
            (
                f"  agreement        Spearman {_cell(found['spearman'])}, "
                f"mean absolute difference {_cell(found['mean_absolute_difference'])}"
            ),
            (
                f"  at {report['threshold']:<13g} Perspective flags {found['flagged_by_perspective']}, this bundle "
                f"{found['flagged']}: {found['newly_flagged']} newly, {found['no_longer_flagged']} no longer"
            ),
            (
                f"                   precision {_cell(found['precision'])}, recall {_cell(found['recall'])}, "
                f"F1 {_cell(found['f1'])}"
            ),
            f"  fewest changes   {_cut(found['fewest_changes'])}",
            *([f"  by probability   {_cut(plain)}, with scale=probability"] if plain else []),
            *(f"  warning          {warning}" for warning in found["warnings"]),
        ]
    return "\n".join(lines)


def _cut(nearest: dict[str, Any]) -> str:
    changes = f"{nearest['newly_flagged']} newly, {nearest['no_longer_flagged']} no longer"
    return f"threshold {nearest['threshold']:.4f}: {changes}"


def _cell(figure: dict[str, float | None]) -> str:
    if figure["value"] is None or figure["low"] is None or figure["high"] is None:
        return "–"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
