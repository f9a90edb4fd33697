import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.lineage.drawing import dot, outline, svg
from moderation.lineage.graph import Facts, Graph, Relative, Use, Verdict, build, periods
from moderation.registry.registry import AliasEvent

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VERSION, OTHER = "a" * 64, "b" * 64
PROVENANCE = {
    "git_commit": "c" * 40,
    "git_dirty": True,
    "dataset": "train.csv",
    "dataset_digest": "d" * 64,
    "config": {"name": "starter", "data": {"sources": [{"layout": "table", "path": "x.csv", "licence": "CC0"}]}},
    "seed": 3,
    "run_url": "https://wandb.example/run",
    "created_at": "2026-03-01T09:30:00+00:00",
}


def move(version: str, hours: int, alias: str = "production", reason: str = "why") -> AliasEvent:
    return AliasEvent(alias, version, None, NOON + hours * HOUR, "ann", reason)


def facts(**changes: Any) -> Facts:
    verdict = Verdict(VERSION, NOON, OTHER, True, [], "e" * 64, "f" * 64)
    usual = {
        "version": VERSION,
        "name": "starter",
        "provenance": PROVENANCE,
        "verdicts": [verdict],
        "moves": [move(VERSION, 1), move(OTHER, 3), move(VERSION, 5)],
        "use": Use(1200, NOON, NOON + HOUR, 10, 7),
    }
    return Facts(**usual | changes)


def test_the_graph_goes_from_the_dataset_to_the_next_one() -> None:
    graph = build(facts())
    assert [node.kind for node in graph.nodes] == [
        *("dataset", "run", "bundle", "gate report", "period", "period"),
        *("predictions", "feedback", "next dataset"),
    ]
    assert ("bundle", "report 0") in graph.edges
    assert ("report 0", "period 0") in graph.edges
    assert ("period 1", "predictions") in graph.edges
    said = outline(graph)
    assert said.splitlines()[0] == "dataset: train.csv (digest dddddddddddd; source table x.csv CC0)"
    assert "commit cccccccccccc with uncommitted changes; seed 3; trained 2026-03-01 09:30; https://wandb" in said
    assert "period: production (2026-03-01 13:00 to 2026-03-01 15:00; by ann; why)" in said
    assert "period: production (2026-03-01 17:00 to now; by ann; why)" in said
    assert "predictions: 1,200" in said
    assert "feedback: 10 (7 agree)" in said


def test_a_period_before_every_report_hangs_on_the_bundle() -> None:
    graph = build(facts(moves=[move(VERSION, -1)]))
    assert ("bundle", "period 0") in graph.edges


def test_a_version_that_was_never_served_has_no_period_and_unknown_use_is_said() -> None:
    graph = build(facts(moves=[], verdicts=[], use=None))
    assert ("bundle", "predictions") in graph.edges
    assert "predictions: not known (no database)" in outline(graph)


def test_periods_end_with_the_next_move_of_the_same_alias() -> None:
    found = periods(VERSION, [move(VERSION, 0), move(OTHER, 1, "staging"), move(OTHER, 2), move(VERSION, 3, "staging")])
    assert [(each.move.alias, each.end) for each in found] == [("production", NOON + 2 * HOUR), ("staging", None)]


EXPORT = {
    "kind": "feedback",
    "sha256": "9" * 64,
    "rows": 30,
    "first_at": "2026-02-01T00:00:00Z",
    "last_at": "2026-02-27T00:00:00Z",
    "versions": {VERSION: 20, OTHER: 10},
}


def test_datasets_made_of_judgements_on_the_version_are_the_next_ones() -> None:
    trained = {"dataset": "train.csv, feedback.parquet", "dataset_digest": "1" * 64, "exports": [EXPORT]}
    unrelated = {"exports": [EXPORT | {"versions": {OTHER: 10}}]}
    others = [
        Relative("2" * 64, "second", trained),
        Relative("3" * 64, "third", trained),
        Relative("4" * 64, "fourth", unrelated),
        Relative("5" * 64, "fifth", {}),
    ]
    graph = build(facts(others=others))
    (following,) = [node for node in graph.nodes if node.kind == "next dataset"]
    assert following.title == "train.csv, feedback.parquet"
    assert following.lines == (
        *("digest 111111111111", "20 rows judged on this version"),
        *("trained second 222222222222", "trained third 333333333333"),
    )
    assert ("feedback", following.id) in graph.edges


def test_a_dataset_says_whose_predictions_were_judged() -> None:
    said = outline(build(facts(provenance=PROVENANCE | {"exports": [EXPORT]})))
    assert (
        "feedback export 999999999999: 30 rows, judged 2026-02-01 to 2026-02-27, on aaaaaaaaaaaa, bbbbbbbbbbbb" in said
    )


def test_a_manifest_that_states_little_still_has_a_graph() -> None:
    assert "not recorded" in outline(build(facts(provenance={})))


@given(count=st.integers(0, 6), served=st.integers(0, 6))
def test_every_edge_points_down(count: int, served: int) -> None:
    refused = Verdict(VERSION, NOON, None, False, ["toxic: worse than production"], "e" * 64, "f" * 64)
    graph = build(facts(verdicts=[refused] * count, moves=[move(VERSION, n) for n in range(served)]))
    depths = graph.depths()
    assert all(depths[start] < depths[end] for start, end in graph.edges)
    assert {node.id for node in graph.nodes} == set(depths)


HOSTILE = '<script>alert("1")</script> \\" & \n{x} %s'


@pytest.mark.parametrize("draw", [outline, dot, svg])
def test_what_people_wrote_is_never_code(draw: Any) -> None:
    graph = build(facts(name=HOSTILE, moves=[move(VERSION, 0, reason=HOSTILE)]))
    drawn = draw(graph)
    if draw is svg:
        root = ET.fromstring(drawn)
        assert not [element for element in root.iter() if element.tag.endswith("script")]
    if draw is dot:
        assert drawn.count("\n") == len(graph.nodes) + len(graph.edges) + 4


def test_the_picture_has_a_box_for_every_node_inside_its_frame() -> None:
    graph = build(facts(verdicts=[facts().verdicts[0]] * 4))
    root = ET.fromstring(svg(graph))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    frame, *boxes = [element for element in root.iter() if element.tag.endswith("rect")]
    assert (float(frame.get("width", 0)), float(frame.get("height", 0))) == (width, height)
    assert len(boxes) == len(graph.nodes)
    for box in boxes:
        left, top = float(box.get("x", 0)), float(box.get("y", 0))
        assert left >= 0
        assert top >= 0
        assert left + float(box.get("width", 0)) <= width
        assert top + float(box.get("height", 0)) <= height


def test_the_graph_is_plain_data() -> None:
    graph = build(facts())
    assert isinstance(graph, Graph)
    assert json.loads(json.dumps(graph.as_dict()))["edges"][0] == ["dataset", "run"]
