"""Draws docs/img/system.svg, the picture of the system: ``python docs/img/system.py``; never edit the SVG."""

from html import escape
from pathlib import Path

TARGET = Path(__file__).with_suffix(".svg")
WIDTH, HEIGHT = 960, 470
BOX_W, BOX_H = 168, 56
PEOPLE, OURS, STORE = "#fff4d6", "#e4eefc", "#e6f4e8"

# Name: centre, fill, lines.
BOXES: dict[str, tuple[int, int, str, tuple[str, str]]] = {
    "data": (95, 70, STORE, ("dataset", "Jigsaw, yours, reviews")),
    "train": (335, 70, OURS, ("train", "fine-tune, calibrate, int8")),
    "registry": (600, 70, STORE, ("registry", "folder or W&B")),
    "gate": (855, 70, OURS, ("gate", "compares with production")),
    "callers": (95, 235, PEOPLE, ("callers", "your site")),
    "api": (600, 235, OURS, ("API", "scores, decides, logs")),
    "moderator": (335, 235, OURS, ("moderator app", "score, agree, disagree")),
    "prometheus": (855, 235, OURS, ("Prometheus", "Grafana, alerts")),
    "monitor": (335, 400, OURS, ("monitor app", "figures, human review")),
    "database": (600, 400, STORE, ("database", "PostgreSQL or SQLite")),
    "worker": (855, 400, OURS, ("worker", "draws samples, back-tests")),
}
# From, to, label: straight lines between the middles of two sides.
ARROWS = [
    ("data", "train", ""), ("train", "registry", "bundle"), ("gate", "registry", "alias"),
    ("registry", "api", "alias production"), ("moderator", "api", "HTTP"), ("api", "database", "outbox"),
    ("database", "monitor", ""), ("worker", "database", ""), ("api", "prometheus", "/metrics"),
]  # fmt: skip
# Bent ones: points, label and where it stands.
BENT = [
    (((95, 207), (95, 160), (545, 160), (545, 207)), "comment text → scores, decision", (330, 152)),
    (((251, 400), (215, 400), (215, 118), (95, 118), (95, 98)), "reviews as a dataset", (150, 330)),
]


def side(name: str, towards: str) -> tuple[float, float]:
    """Return the middle of the side of box ``name`` that faces ``towards``."""
    (x, y, *_), (other_x, other_y, *_) = BOXES[name], BOXES[towards]
    if y == other_y:
        return x + (BOX_W / 2 if other_x > x else -BOX_W / 2), y
    return x, y + (BOX_H / 2 if other_y > y else -BOX_H / 2)


def text(x: float, y: float, words: str, size: int = 12, weight: str = "normal") -> str:
    """Return words centred on a point."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}">{escape(words)}</text>'


def box(x: int, y: int, fill: str, lines: tuple[str, str]) -> str:
    """Return a box with its name and what it does."""
    rect = f'<rect x="{x - BOX_W / 2:g}" y="{y - BOX_H / 2:g}" width="{BOX_W}" height="{BOX_H}" rx="8" fill="{fill}"/>'
    return rect + text(x, y - 4, lines[0], 14, "bold") + text(x, y + 15, lines[1], 11)


def draw() -> str:
    """Return the picture as SVG."""
    lines = []
    for start, end, label in ARROWS:
        (x1, y1), (x2, y2) = side(start, end), side(end, start)
        lines.append(f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}"/>')
        beside = 46 if x1 == x2 else 0
        if label:
            lines.append(text((x1 + x2) / 2 + beside, (y1 + y2) / 2 - (0 if beside else 6), label, 11))
    for points, label, at in BENT:
        lines.append(f'<path d="M{"L".join(f"{x:g} {y:g}" for x, y in points)}"/>' + text(*at, label, 11))
    style = (
        "<style>text{font-family:sans-serif;text-anchor:middle;fill:#1f2933}rect{stroke:#52606d}"
        "path{fill:none;stroke:#52606d;stroke-width:1.5;marker-end:url(#head)}</style>"
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<polygon points="0,0 8,4 0,8" fill="#52606d"/></marker>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" style="stroke:none" fill="#ffffff"/>'
    )
    drawn = "\n".join([style, *lines, *(box(*values) for values in BOXES.values())])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>The parts of the system and what moves between them</title>\n{drawn}\n</svg>\n"
    )


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
