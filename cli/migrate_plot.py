"""Scores of a bundle against Perspective's, drawn: one panel per attribute, with the site's threshold as lines."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from moderation.errors import InvalidInputError
from moderation.perspective_scale import ATTRIBUTES

# Colours of Okabe and Ito, Color Universal Design (2008), by (Perspective flags, the bundle flags).
GREY = "#999999"
KINDS = {
    (False, False): ("flagged by neither", GREY, "o"),
    (True, True): ("flagged by both", "#0072B2", "o"),
    (False, True): ("newly flagged", "#D55E00", "^"),
    (True, False): ("no longer flagged", "#009E73", "v"),
}
# Above: the label of the axis stands below.
LEGEND = {"loc": "outside upper center", "ncols": 2, "frameon": False, "fontsize": "small", "markerscale": 2}


def draw(
    path: Path, scores: Mapping[str, tuple[Sequence[float], Sequence[float]]], threshold: float, version: str
) -> None:
    """Write a plot of each label's pair (Perspective's scores, ours), both (N,), in the format of ``path``'s suffix.

    Comments whose Perspective score is NaN are not drawn.

    Raises:
        InvalidInputError: the disk refuses.
    """
    columns = min(3, len(scores))
    rows = -(-len(scores) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(scores) :]:
        axes.set_axis_off()
    for axes, (label, (theirs, ours)) in zip(grid, scores.items(), strict=False):
        known = [(one, other) for one, other in zip(theirs, ours, strict=True) if not math.isnan(one)]
        counts = []
        for flags, (name, colour, marker) in KINDS.items():
            points = [pair for pair in known if tuple(score >= threshold for score in pair) == flags]
            counts.append(len(points))
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.scatter(x, y, s=12, c=colour, marker=marker, label=name, alpha=0.5, linewidths=0, rasterized=True)
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        axes.axvline(threshold, color="black", lw=0.8)
        axes.axhline(threshold, color="black", lw=0.8)
        axes.set(title=f"{ATTRIBUTES[label]}\n{counts[2]} newly, {counts[3]} no longer", xlim=(0, 1), ylim=(0, 1))
    figure.supxlabel("Perspective")
    figure.supylabel(f"version {version[:12]}")
    figure.legend(*grid[0].get_legend_handles_labels(), **LEGEND)
    try:
        with mpl.rc_context({"svg.fonttype": "none"}):
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}") from error
