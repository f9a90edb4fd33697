"""Scores of a bundle against Perspective's, drawn: one panel per attribute, with the site's threshold as lines."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from moderation.errors import InvalidInputError
from moderation.perspective_scale import ATTRIBUTES

# Okabe and Ito, Color Universal Design (2008): both flag, only one does, neither.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#999999"


def draw(path: Path, scores: Mapping[str, tuple[Sequence[float], Sequence[float]]], threshold: float) -> None:
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
        flags = [(one >= threshold) + (other >= threshold) for one, other in known]
        colours = [(GREY, VERMILION, BLUE)[count] for count in flags]
        axes.scatter(*zip(*known, strict=True), s=6, c=colours, alpha=0.5, linewidths=0, rasterized=True)
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        axes.axvline(threshold, color="black", lw=0.8)
        axes.axhline(threshold, color="black", lw=0.8)
        axes.set(title=f"{ATTRIBUTES[label]}: {flags.count(1)} change", xlim=(0, 1), ylim=(0, 1))
    figure.supxlabel("Perspective")
    figure.supylabel("this bundle")
    try:
        with mpl.rc_context({"svg.fonttype": "none"}):
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}") from error
