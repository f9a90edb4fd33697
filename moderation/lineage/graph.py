"""Where a version comes from and what became of it, as a graph. Standard library only; knows no database.

Dataset → run → bundle → gate reports → periods under an alias → predictions → feedback → next dataset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from moderation.registry.registry import AliasEvent

Kind = Literal["dataset", "run", "bundle", "gate report", "period", "predictions", "feedback", "next dataset"]
SHORT = 12
"""Digits of a digest that are enough to tell versions apart by eye."""


@dataclass(frozen=True)
class Verdict:
    """What one gate report says of ``candidate``; ``against`` is None for a first promotion."""

    candidate: str
    created_at: datetime
    against: str | None
    passed: bool
    reasons: list[str]
    data_digest: str
    rules_digest: str


@dataclass(frozen=True)
class Use:
    """Predictions that a version answered, and the feedback on them."""

    predictions: int
    first_at: datetime | None
    last_at: datetime | None
    feedback: int
    agreed: int


@dataclass(frozen=True)
class Relative:
    """Another version, as the database knows it; ``provenance`` is its manifest's."""

    version: str
    name: str
    provenance: Mapping[str, object]


@dataclass(frozen=True)
class Facts:
    """What is known of one version; ``provenance`` is the manifest's, ``use`` None without a database.

    ``moves`` are those that took place (`moderation.registry.registry.happened`), oldest first per alias.
    ``others`` are the versions that can have been trained on judgements of its predictions.
    """

    version: str
    name: str
    provenance: Mapping[str, object]
    verdicts: Sequence[Verdict]
    moves: Sequence[AliasEvent]
    use: Use | None
    others: Sequence[Relative] = ()


@dataclass(frozen=True)
class Node:
    """One box; ``lines`` are its details, most telling first; ``leads_to`` is another version that it speaks of."""

    id: str
    kind: Kind
    title: str
    lines: tuple[str, ...]
    leads_to: str | None = None


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which every edge (from id, to id) points forward."""

    version: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, object]:
        """Return the graph as plain JSON values."""
        return asdict(self)

    def depths(self) -> dict[str, int]:
        """Return how many steps each node is from the beginning, by the longest way."""
        depth = {node.id: 0 for node in self.nodes}
        for node in self.nodes:
            for start, end in self.edges:
                if start == node.id:
                    depth[end] = max(depth[end], depth[start] + 1)
        return depth


@dataclass(frozen=True)
class Period:
    """A time in which an alias pointed to the version; ``end`` is None while it does."""

    move: AliasEvent
    end: datetime | None


def build(facts: Facts) -> Graph:
    """Return the graph of one version."""
    origin = [_dataset(facts.provenance), _run(facts.provenance), _bundle(facts)]
    reports = [_report(number, verdict) for number, verdict in enumerate(facts.verdicts)]
    found = periods(facts.version, facts.moves)
    served = [_period(number, period) for number, period in enumerate(found)]
    following = _next_datasets(facts)
    after = [_predictions(facts.use), _feedback(facts.use), *following]
    edges = [("dataset", "run"), ("run", "bundle"), *(("bundle", report.id) for report in reports)]
    for period, node in zip(found, served, strict=True):
        earlier = [n for n, verdict in enumerate(facts.verdicts) if verdict.created_at <= period.move.moved_at]
        edges.append((reports[earlier[-1]].id if earlier else "bundle", node.id))
    edges += [(node.id, "predictions") for node in served] or [("bundle", "predictions")]
    edges += [("predictions", "feedback"), *(("feedback", node.id) for node in following)]
    return Graph(facts.version, (*origin, *reports, *served, *after), tuple(edges))


def periods(version: str, moves: Sequence[AliasEvent]) -> list[Period]:
    """Return when each alias pointed to ``version``, oldest first; ``moves`` are in time order."""
    found = []
    for place, move in enumerate(moves):
        if move.version == version:
            later = [other for other in moves[place + 1 :] if other.alias == move.alias]
            found.append(Period(move, later[0].moved_at if later else None))
    return found


def _dataset(provenance: Mapping[str, object]) -> Node:
    config = provenance.get("config")
    data = config.get("data") if isinstance(config, Mapping) else None
    sources = data.get("sources") if isinstance(data, Mapping) else None
    described = [
        " ".join(str(source[key]) for key in ("layout", "path", "licence") if source.get(key))
        for source in (sources if isinstance(sources, list) else [])
        if isinstance(source, Mapping)
    ]
    judged = [
        f"{export.get('kind')} export {_short(export.get('sha256'))}: {export.get('rows')} rows, judged "
        f"{_day(export.get('first_at'))} to {_day(export.get('last_at'))}, "
        f"on {', '.join(map(_short, _versions(export)))}"
        for export in _exports(provenance)
    ]
    lines = (f"digest {_short(provenance.get('dataset_digest'))}", *(f"source {each}" for each in described), *judged)
    earlier = next((version for export in _exports(provenance) for version in _versions(export)), None)
    return Node("dataset", "dataset", str(provenance.get("dataset", "not recorded")), lines, earlier)


def _run(provenance: Mapping[str, object]) -> Node:
    config = provenance.get("config")
    name = config.get("name", "not recorded") if isinstance(config, Mapping) else "not recorded"
    dirty = " with uncommitted changes" if provenance.get("git_dirty") else ""
    lines = [
        f"commit {_short(provenance.get('git_commit'))}{dirty}",
        f"seed {provenance.get('seed', 'not recorded')}",
        f"trained {str(provenance.get('created_at', 'not recorded'))[:16].replace('T', ' ')}",
    ]
    if provenance.get("run_url"):
        lines.append(str(provenance["run_url"]))
    return Node("run", "run", f"config {name}", tuple(lines))


def _bundle(facts: Facts) -> Node:
    return Node("bundle", "bundle", facts.name, (f"version {_short(facts.version)}",))


def _report(number: int, verdict: Verdict) -> Node:
    against = f"against {_short(verdict.against)}" if verdict.against else "first promotion"
    lines = [f"{_time(verdict.created_at)}, {against}", f"data {_short(verdict.data_digest)}"]
    if not verdict.passed:
        lines.append(f"failed: {len(verdict.reasons)}, first {verdict.reasons[0]}" if verdict.reasons else "")
    return Node(
        f"report {number}", "gate report", "passed" if verdict.passed else "refused", tuple(lines), verdict.against
    )


def _period(number: int, period: Period) -> Node:
    end = _time(period.end) if period.end else "now"
    lines = (f"{_time(period.move.moved_at)} to {end}", f"by {period.move.moved_by}", period.move.reason)
    return Node(f"period {number}", "period", period.move.alias, lines)


def _predictions(use: Use | None) -> Node:
    if use is None:
        return Node("predictions", "predictions", "not known", ("no database",))
    if use.first_at is None or use.last_at is None:
        return Node("predictions", "predictions", "none", ())
    return Node(
        "predictions", "predictions", f"{use.predictions:,}", (f"{_time(use.first_at)} to {_time(use.last_at)}",)
    )


def _feedback(use: Use | None) -> Node:
    if use is None:
        return Node("feedback", "feedback", "not known", ("no database",))
    return Node("feedback", "feedback", f"{use.feedback:,}", (f"{use.agreed:,} agree",) if use.feedback else ())


def _next_datasets(facts: Facts) -> list[Node]:
    """Return a node for each dataset that holds judgements on the version's predictions."""
    lines: dict[str, list[str]] = {}
    titles: dict[str, tuple[str, str]] = {}
    for other in facts.others:
        used = [export for export in _exports(other.provenance) if facts.version in _versions(export)]
        if used:
            digest = str(other.provenance.get("dataset_digest"))
            titles[digest] = str(other.provenance.get("dataset", "not recorded")), other.version
            rows = sum(_versions(export)[facts.version] for export in used)
            known = lines.setdefault(digest, [f"digest {_short(digest)}", f"{rows:,} rows judged on this version"])
            known.append(f"trained {other.name} {_short(other.version)}")
    if not lines:
        return [Node("next dataset", "next dataset", "none yet", ())]
    return [
        Node(f"next dataset {number}", "next dataset", titles[digest][0], tuple(said), titles[digest][1])
        for number, (digest, said) in enumerate(lines.items())
    ]


def _exports(provenance: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the manifests of the exports that a dataset was made of (`moderation.exports`)."""
    found = provenance.get("exports")
    return [export for export in found if isinstance(export, Mapping)] if isinstance(found, list | tuple) else []


def _versions(export: Mapping[str, object]) -> Mapping[str, int]:
    found = export.get("versions")
    return found if isinstance(found, Mapping) else {}


def _short(digest: object) -> str:
    return str(digest)[:SHORT] if digest else "not recorded"


def _day(instant: object) -> str:
    return str(instant)[:10]


def _time(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
