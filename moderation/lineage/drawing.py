"""A lineage graph as an outline, as DOT and as SVG; the last without any drawing library."""

import textwrap
from collections.abc import Mapping
from html import escape

from moderation.lineage.graph import Graph, Node

# Okabe and Ito's palette (Color Universal Design, 2008), lightened; every box also names its kind.
FILL = {
    "dataset": "#DDEFE8",
    "run": "#DDEAF4",
    "bundle": "#BFDCEF",
    "gate report": "#FBEBCB",
    "period": "#DDEAF4",
    "predictions": "#EEEEEE",
    "feedback": "#F3E3EC",
    "next dataset": "#DDEFE8",
}
_WIDTH, _GAP_X, _GAP_Y, _LINE, _PAD = 250, 24, 36, 17, 10
_LETTERS = 34
_MOST_LINES = 6
_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
  role="img" font-family="sans-serif" font-size="13">
<title>{title}</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#444"/></marker></defs>
<rect width="{width}" height="{height}" fill="#fff"/>"""


def outline(graph: Graph) -> str:
    """Return one line per node, indented by its depth."""
    depths = graph.depths()
    lines = []
    for node in graph.nodes:
        details = "; ".join(filter(None, node.lines))
        lines.append(f"{'  ' * depths[node.id]}{node.kind}: {node.title}" + (f" ({details})" if details else ""))
    return "\n".join(lines)


def dot(graph: Graph, links: Mapping[str, str] | None = None) -> str:
    """Return the graph in Graphviz's language; ``links`` are the pages of other versions."""
    nodes = [
        f"  {_quoted(node.id)} [label={_quoted(chr(10).join(_words(node)))}, fillcolor={_quoted(FILL[node.kind])}, "
        f"tooltip={_quoted(node.kind)}{_link((links or {}).get(node.leads_to or ''))}];"
        for node in graph.nodes
    ]
    edges = [f"  {_quoted(start)} -> {_quoted(end)};" for start, end in graph.edges]
    head = 'digraph lineage {\n  rankdir=TB;\n  node [shape=box, style="rounded,filled", fontname="sans-serif"];'
    return "\n".join([head, *nodes, *edges, "}"]) + "\n"


def svg(graph: Graph) -> str:
    """Return a picture: one row of boxes per depth."""
    rows: dict[int, list[Node]] = {}
    for node in graph.nodes:
        rows.setdefault(graph.depths()[node.id], []).append(node)
    width = max(map(len, rows.values())) * (_WIDTH + _GAP_X) + _GAP_X
    boxes: dict[str, tuple[float, float, float]] = {}  # left, top, height
    shapes, top = [], float(_GAP_Y)
    for depth in sorted(rows):
        left = (width - len(rows[depth]) * (_WIDTH + _GAP_X) + _GAP_X) / 2
        tallest = max(2 * _PAD + _LINE * len(_words(node)) for node in rows[depth])
        for place, node in enumerate(rows[depth]):
            boxes[node.id] = (left + place * (_WIDTH + _GAP_X), top, tallest)
            shapes.append(_box(node, *boxes[node.id]))
        top += tallest + _GAP_Y
    lines = [_arrow(boxes[start], boxes[end]) for start, end in graph.edges]
    head = _HEAD.format(width=width, height=f"{top:.0f}", title=escape(f"Lineage of {graph.version}"))
    return "\n".join([head, *lines, *shapes, "</svg>\n"])


def _words(node: Node) -> list[str]:
    """Return the text of a box, wrapped and cut to a few lines."""
    wrapped = [part for line in (node.title, *node.lines) for part in textwrap.wrap(line, _LETTERS)]
    if len(wrapped) > _MOST_LINES:
        wrapped = [*wrapped[: _MOST_LINES - 1], "…"]
    return [node.kind, *wrapped]


def _box(node: Node, left: float, top: float, height: float) -> str:
    first, *others = _words(node)
    text = "".join(
        f'<tspan x="{left + _PAD:.0f}" y="{top + _PAD + _LINE * (number + 0.8):.0f}"'
        f' font-weight="{700 if number == 1 else 400}">{escape(line)}</tspan>'
        for number, line in enumerate([first, *others])
    )
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{_WIDTH}" height="{height:.0f}" rx="8" fill="{FILL[node.kind]}" '
        f'stroke="#444"/><text fill="#111">{text}</text>'
    )


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    x1, y1, x2, y2 = start[0] + _WIDTH / 2, start[1] + start[2], end[0] + _WIDTH / 2, end[1]
    middle = (y1 + y2) / 2
    return (
        f'<path d="M{x1:.0f} {y1:.0f}C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}" fill="none" '
        'stroke="#444" marker-end="url(#tip)"/>'
    )


def _link(address: str | None) -> str:
    return f', URL={_quoted(address)}, target="_self", fontcolor="#0B5394", penwidth=2' if address else ""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
