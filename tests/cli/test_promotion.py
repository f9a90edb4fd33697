"""gate, promote, rollback, compare and lineage as processes, over a registry and a database of the test's own."""

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from filelock import FileLock
from sqlalchemy import Engine

from cli.history import standing
from moderation.bundle import MANIFEST, ONNX_WEIGHTS, read_bundle
from moderation.db.database import connect
from moderation.db.promotion import known_versions, moves, verdicts
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import AliasEvent, Move
from tests.bundles import BIAS, WORDS, build_tiny_bundle
from tests.cli.conftest import ROOT, Moderation
from tests.cli.scaled import build_scaled_bundle
from tests.cli.system import wait_for
from tests.moderation.db.records import NOON
from tests.train.gate.exam import FORGETFUL, METRICS, make_frozen, make_rules

pytestmark = pytest.mark.timeout(300)


class Bench(NamedTuple):
    """Frozen data and rules in force, and three published bundles; production does not know "idiot" and "vermin"."""

    rules: Path
    data: Path
    production: str
    sibling: str
    better: str
    registry: LocalRegistry


@pytest.fixture
def bench(state_dir: Path, environment: dict[str, str], tmp_path: Path) -> Bench:
    registry = LocalRegistry(state_dir / "registry")
    folders = [
        build_tiny_bundle(tmp_path / "production", words=FORGETFUL, metrics=METRICS),
        build_tiny_bundle(tmp_path / "sibling", words=FORGETFUL, bias=BIAS + 0.02, metrics=METRICS),
        build_tiny_bundle(tmp_path / "better", words=WORDS, metrics=METRICS),
    ]
    production, sibling, better = map(registry.publish, folders)
    registry.point("production", production, Move("test", "set up"))
    (state_dir / "gate").mkdir()
    data, rules = make_frozen(state_dir / "gate" / "test.parquet", 1200), make_rules(tmp_path)
    environment["MODERATION_GATE_RULES_PATH"] = str(rules)
    return Bench(rules, data, production, sibling, better, registry)


@pytest.fixture
def database(state_dir: Path, moderation: Moderation) -> Engine:
    assert moderation("migrate").returncode == 0
    return connect(f"sqlite:///{state_dir / 'moderation.db'}")


def one_line(done: object) -> str:
    stderr: str = done.stderr  # type: ignore[attr-defined]
    line = stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in stderr
    return line


def test_a_better_bundle_is_promoted_a_worse_one_refused_and_a_rollback_goes_back(
    moderation: Moderation, bench: Bench, database: Engine
) -> None:
    refusal = moderation("promote", bench.better)
    assert refusal.returncode == 1
    assert "it has no gate report; run `moderation gate" in one_line(refusal)

    done = moderation("gate", bench.better[:12])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed." in done.stdout
    assert moderation("promote", bench.better[:12]).stdout.startswith(f"production -> {bench.better}\n")
    assert bench.registry.resolve("production") == bench.better

    # What was production is now a candidate that forgot words.
    done = moderation("gate", bench.production)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "- insult: ROC-AUC" in done.stdout
    assert "worse than production" in done.stdout
    refusal = moderation("promote", bench.production)
    assert "the gate refused it" in one_line(refusal)
    assert bench.registry.resolve("production") == bench.better

    done = moderation("compare", bench.better, bench.production, "--all")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["version", bench.better[:12], bench.production[:12]] in lines
    assert ["toxic", "roc_auc", *("0.9000", "(0.8000", "to", "0.9500)") * 2] in lines
    assert f"{bench.production[:12]} against {bench.better[:12]} refused for" in done.stdout

    done = moderation("rollback", "--reason", "users complain")
    assert done.stdout.startswith(f"production -> {bench.production}\n")
    assert bench.registry.resolve("production") == bench.production

    events = bench.registry.events("production")
    reasons = [event.reason for event in events]
    report = json.loads(newest(bench, bench.better))
    assert reasons[-2].startswith("gate report of")
    assert reasons[-2].endswith(f"(rules {report['rules_digest'][:12]}, data {report['data']['digest'][:12]})")
    assert reasons[-1] == "rollback: users complain"
    assert [move for move in moves(database) if move.alias == "production"] == events
    assert [verdict.passed for verdict in verdicts(database, bench.better)] == [True]
    (verdict,) = verdicts(database, bench.production)
    assert not verdict.passed
    assert any("insult: ROC-AUC" in reason for reason in verdict.reasons)
    assert {each.version for each in known_versions(database)} == {bench.better, bench.production}
    assert all(each.provenance for each in known_versions(database))


def test_a_report_counts_for_one_candidate_production_rules_and_data_only(
    moderation: Moderation, bench: Bench, tmp_path: Path
) -> None:
    done = moderation("gate", bench.better)
    assert done.returncode == 0, done.stdout + done.stderr

    other = make_frozen(tmp_path / "other.parquet", 1200, seed=1)
    refusal = moderation("promote", bench.better, MODERATION_GATE_DATA_PATH=str(other))
    assert "made on other data (test.parquet, digest" in one_line(refusal)

    (tmp_path / "strict").mkdir()
    strict = make_rules(tmp_path / "strict", floors={"roc_auc": 0.71})
    refusal = moderation("promote", bench.better, MODERATION_GATE_RULES_PATH=str(strict))
    assert "made with other rules or cases" in one_line(refusal)

    (kept,) = bench.registry.reports(bench.better)
    bench.registry.keep_report(bench.sibling, kept)
    refusal = moderation("promote", bench.sibling)
    assert f"on another candidate, {bench.better[:12]}" in one_line(refusal)

    bench.registry.point("production", bench.sibling, Move("test", "meanwhile"))
    refusal = moderation("promote", bench.better)
    assert f"against {bench.production[:12]}, and now {bench.sibling[:12]} is served" in one_line(refusal)
    refusal = moderation("promote", bench.better, "--alias", "canary")
    assert f"run `MODERATION_ALIAS=canary moderation gate {bench.better[:12]}`" in one_line(refusal)

    (kept / "report.json").write_text("{}")
    assert "is no gate report" in one_line(moderation("promote", bench.better))
    assert bench.registry.resolve("production") == bench.sibling


@pytest.mark.full
def test_rules_and_data_that_the_caller_brings_are_for_trying_out_and_promote_nothing(
    moderation: Moderation, bench: Bench, tmp_path: Path
) -> None:
    bench.registry.point("production", bench.better, Move("test", "a better one is served"))
    assert moderation("gate", bench.production).returncode == 3
    (tmp_path / "lax").mkdir()
    lax = make_rules(
        tmp_path / "lax",
        comparison={"margins": {key: {"default": 9.0} for key in ("roc_auc", "average_precision", "brier_skill")}},
        behaviour=dict.fromkeys(("minimum_functionality", "invariance", "direction"), 0.0),
        floors={"roc_auc": 0.0, "brier_skill": -9.0},
        calibration={"slope": [0.01, 100.0]},
        identity={"rate_gap": 1.0, "calibration_gap": 1.0},
    )
    done = moderation("gate", bench.production, "--rules", lax)
    assert done.returncode == 0, done.stdout + done.stderr
    refusal = moderation("promote", bench.production)
    assert "the gate refused it" in one_line(refusal)
    assert moderation("promote", bench.production, "--rules", lax).returncode == 2  # no such option

    easy = tmp_path / "easy.parquet"
    pd.read_parquet(bench.data).assign(true_insult=None).to_parquet(easy)
    done = moderation("gate", bench.sibling, "--data", easy)
    assert "Not judged:\n- insult: no row of the data says whether it has it\n" in done.stdout
    assert "made on other data (easy.parquet" in one_line(moderation("promote", bench.sibling))
    stated = make_rules(tmp_path, data={"digest": json.loads(newest(bench, bench.sibling))["data"]["digest"]})
    assert "the rules state" in one_line(moderation("gate", bench.sibling, "--rules", stated))
    assert bench.registry.resolve("production") == bench.better


def test_a_version_that_was_promoted_stays_the_measure_after_a_weaker_one(moderation: Moderation, bench: Bench) -> None:
    assert moderation("gate", bench.better).returncode == 0
    for version, reason in ((bench.better, "it passed"), (bench.production, "override: the better one is too slow")):
        bench.registry.point("production", version, Move("test", reason))
    done = moderation("gate", bench.sibling)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "  FAIL  against the best" in done.stdout
    assert "- insult: ROC-AUC is 0." in done.stdout
    assert f"{bench.better[:12]}, which was promoted, has" in done.stdout
    assert "worse than production" not in done.stdout

    for version in (bench.better, bench.production):  # two rollbacks: the better one no longer stands
        bench.registry.point("production", version, Move("test", "rollback"))
    done = moderation("gate", bench.sibling)
    assert "against production" in done.stdout
    assert "against the best" not in done.stdout


def test_of_two_promotions_at_once_one_is_refused_and_nothing_moves_twice(
    bench: Bench, environment: dict[str, str]
) -> None:
    def promote(version: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "cli", "promote", version, "--override", "race"]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    before = len(bench.registry.events("production"))
    with FileLock(bench.registry.path / ".lock"):  # until both have seen what is served
        processes = [promote(bench.better), promote(bench.sibling)]
        # What loads a bundle's weights has looked at the alias before.
        wait_for(lambda: all("onnxruntime" in Path(f"/proc/{p.pid}/maps").read_text() for p in processes), 60)
        assert [process.poll() for process in processes] == [None, None]
    said = [process.communicate(timeout=60)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 1], said
    winner = (bench.better, bench.sibling)[codes.index(0)]
    message = said[codes.index(1)].splitlines()[-1]
    moved = f"production was moved from {bench.production[:12]} to {winner[:12]} meanwhile"
    assert message.startswith(f"error: {moved}")
    assert bench.registry.resolve("production") == winner
    assert len(bench.registry.events("production")) == before + 1


def newest(bench: Bench, version: str) -> str:
    return (bench.registry.reports(version)[-1] / "report.json").read_text()


def test_a_newer_refusal_ends_what_an_older_pass_allowed(moderation: Moderation, bench: Bench, tmp_path: Path) -> None:
    assert moderation("gate", bench.better).returncode == 0
    (kept,) = bench.registry.reports(bench.better)
    newer = tmp_path / "newer"
    shutil.copytree(kept, newer)
    report = json.loads((newer / "report.json").read_text())
    (newer / "report.json").write_text(json.dumps(report | {"passed": False, "reasons": ["too slow today"]}))
    bench.registry.keep_report(bench.better, newer)
    refusal = moderation("promote", bench.better)
    assert refusal.returncode == 1
    assert "the gate refused it: too slow today" in one_line(refusal)
    assert bench.registry.resolve("production") == bench.production


def test_an_override_is_recorded_and_needs_a_reason(moderation: Moderation, bench: Bench) -> None:
    assert "--override needs a reason" in one_line(moderation("promote", bench.better, "--override", " "))
    assert moderation("promote", bench.better, "--override", "outage").returncode == 0
    event = bench.registry.events("production")[-1]
    assert (event.version, event.previous, event.reason) == (bench.better, bench.production, "override: outage")


def test_a_scale_that_would_be_lost_is_warned_of(moderation: Moderation, bench: Bench, tmp_path: Path) -> None:
    scaled = bench.registry.publish(build_scaled_bundle(tmp_path / "scaled"))
    to_it = moderation("promote", scaled, "--override", "x")
    assert "warning" not in to_it.stderr
    gated = moderation("gate", bench.better)
    (kept,) = bench.registry.reports(bench.better)
    for said in (gated.stdout, (kept / "report.html").read_text()):
        assert "no scale to Perspective" in said
    away = moderation("promote", bench.better, "--override", "x")
    assert away.returncode == 0
    assert away.stderr.startswith("warning: the candidate has no scale to Perspective's scores for TOXICITY, INSULT, ")


def test_the_served_alias_is_not_moved_by_hand(moderation: Moderation, bench: Bench) -> None:
    refusal = moderation("registry", "point", "production", bench.better)
    assert refusal.returncode == 1
    assert "'production' is what the API serves: run `moderation promote" in one_line(refusal)
    other = moderation("registry", "point", "production", bench.better, MODERATION_ALIAS="elsewhere")
    assert other.returncode == 1
    assert moderation("registry", "point", "staging", bench.better).returncode == 0
    assert bench.registry.aliases() == {"production": bench.production, "staging": bench.better}


def test_weights_that_were_damaged_in_the_registry_are_never_promoted(moderation: Moderation, bench: Bench) -> None:
    (bench.registry.fetch(bench.better) / ONNX_WEIGHTS).write_bytes(b"cut")
    for command in (("promote", bench.better, "--override", "x"), ("gate", bench.better)):
        assert "is not the file that the manifest states" in one_line(moderation(*command))
    assert bench.registry.resolve("production") == bench.production
    assert bench.registry.reports(bench.better) == []


def test_a_manifest_that_was_edited_in_the_registry_is_never_promoted(moderation: Moderation, bench: Bench) -> None:
    manifest = bench.registry.fetch(bench.better) / MANIFEST
    manifest.write_text(manifest.read_text().replace('"threshold": 0.5', '"threshold": 0.9'))
    for command in (("promote", bench.better, "--override", "x"), ("gate", bench.better)):
        assert f"expected {bench.better}; publish it again" in one_line(moderation(*command))
    assert bench.registry.resolve("production") == bench.production


def test_bad_calls_of_the_gate_are_one_line_and_change_nothing(
    moderation: Moderation, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    calls = {
        ("none-such",): "'none-such' is not 8 to 64 hexadecimal digits, no alias (there are: production)",
        (
            bench.better,
            "--against",
            "staging",
        ): "--against: version 'staging' is not 8 to 64 hexadecimal digits, no alias (there are: production)",
        (bench.better, "--data", str(tmp_path / "none.parquet")): "none.parquet is not there; make it with `python",
        (bench.better, "--report", str(tmp_path / "file" / "x")): "cannot write the report into",
    }
    for arguments, message in calls.items():
        done = moderation("gate", *arguments)
        assert done.returncode == 1
        assert message in one_line(done)
    assert "cannot read" in one_line(moderation("gate", bench.better, "--rules", tmp_path / "none.yaml"))
    assert bench.registry.reports(bench.better) == []


def test_a_first_promotion_is_judged_without_a_comparison_and_a_folder_is_published(
    moderation: Moderation, bench: Bench, tmp_path: Path
) -> None:
    empty = LocalRegistry(tmp_path / "empty")
    where = {"MODERATION_REGISTRY_DIR": str(empty.path)}
    done = moderation("gate", tmp_path / "better", **where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "against nothing" in done.stdout
    assert empty.versions() == [bench.better]
    assert moderation("promote", bench.better, **where).returncode == 0
    assert empty.resolve("production") == bench.better
    refusal = moderation("rollback", **where)
    assert f"there is no version before {bench.better[:12]} under 'production'" in one_line(refusal)


def test_a_database_that_is_behind_stops_no_promotion(
    moderation: Moderation, bench: Bench, environment: dict[str, str], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    done = moderation("promote", bench.better, "--override", "x", MODERATION_DATABASE_URL=url)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: not yet in the database")
    assert "run `moderation migrate`" in done.stderr
    assert moderation("migrate", MODERATION_DATABASE_URL=url).returncode == 0
    assert moderation("rollback", MODERATION_DATABASE_URL=url).returncode == 0
    assert len(moves(connect(url))) == len(bench.registry.events("production"))


def test_a_move_that_was_recorded_and_never_happened_is_in_no_history(
    moderation: Moderation, bench: Bench, database: Engine
) -> None:
    def record_only(version: str) -> None:
        alias = bench.registry.path / "aliases" / "production"
        before = alias.read_text()
        bench.registry.point("production", version, Move("test", "stopped after the record"))
        alias.write_text(before)

    record_only(bench.sibling)
    assert moderation("promote", bench.better, "--override", "x").returncode == 0
    assert [move.version for move in moves(database)[-2:]] == [bench.production, bench.better]
    record_only(bench.sibling)
    assert "period" not in moderation("lineage", bench.sibling).stdout
    assert " to now; by " in moderation("lineage", bench.better).stdout
    assert moderation("rollback").returncode == 0
    assert moves(database)[-1].version == bench.registry.resolve("production") == bench.production


def test_lineage_is_drawn_in_every_format(moderation: Moderation, bench: Bench, database: Engine) -> None:
    drawn = {}
    for style in ("text", "dot", "svg", "json"):
        done = moderation("lineage", "production", "--format", style)
        assert done.returncode == 0, done.stderr
        assert bench.production[:12] in done.stdout
        drawn[style] = done.stdout
    assert drawn["text"].splitlines()[0] == "dataset: none (digest 000000000000)"
    assert "      period: production" in drawn["text"]
    assert "predictions: none" in drawn["text"]
    assert drawn["dot"].startswith("digraph")
    assert ET.fromstring(drawn["svg"]).tag.endswith("svg")
    assert json.loads(drawn["json"])["version"] == bench.production


def moves_to(*steps: tuple[str, str]) -> list[AliasEvent]:
    """Return the events of an alias that goes from nothing through ``steps`` of version and reason."""
    previous = [None, *(version for version, _ in steps)]
    return [
        AliasEvent("production", version, before, NOON, "ann", reason)
        for (version, reason), before in zip(steps, previous, strict=False)
    ]


GATE, BACK = "gate report passed", "rollback: why"


@pytest.mark.parametrize(
    ("steps", "versions"),
    [
        ([("a", GATE)], ["a"]),
        ([("a", GATE), ("b", GATE)], ["a", "b"]),
        ([("a", GATE), ("b", GATE), ("c", GATE), ("b", BACK)], ["a", "b"]),
        ([("a", GATE), ("b", GATE), ("c", GATE), ("b", BACK), ("a", "rollback")], ["a"]),
        ([("a", GATE), ("b", GATE), ("a", GATE)], ["a", "b", "a"]),  # promoted again, not rolled back
        ([("a", GATE), ("b", GATE), ("a", BACK), ("c", GATE)], ["a", "c"]),
        ([("a", GATE), ("b", GATE), ("b", GATE)], ["a", "b"]),
    ],
)
def test_what_stands_is_what_was_promoted_and_not_rolled_back(
    steps: list[tuple[str, str]], versions: list[str]
) -> None:
    assert standing(moves_to(*steps), steps[-1][0]) == versions


def test_lineage_without_the_database_is_drawn_of_the_rest(moderation: Moderation, bench: Bench) -> None:
    done = moderation("lineage", bench.better, MODERATION_DATABASE_URL="postgresql://u:secret@127.0.0.1:1/none")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: without what the database knows: cannot use database ")
    assert "secret" not in done.stderr
    assert bench.better[:12] in done.stdout


def test_a_move_that_was_recorded_and_never_happened_does_not_stand() -> None:
    a, b, c = moves_to(("a", GATE), ("b", GATE), ("c", GATE))
    assert standing([a, b, c], "b") == ["a", "b"]  # the last one
    d = AliasEvent("production", "d", "b", NOON, "ann", GATE)
    assert standing([a, b, c, d], "d") == ["a", "b", "d"]  # one in the middle
    assert standing([a], "z") == ["a", "z"]


def test_a_move_by_hand_that_left_no_record_stands() -> None:
    a, b = moves_to(("a", GATE), ("b", GATE))
    after = AliasEvent("production", "d", "hand", NOON, "ann", GATE)
    assert standing([a, b, after], "d") == ["a", "b", "hand", "d"]
    assert standing([a, b], "hand") == ["a", "b", "hand"]
    assert standing([], "hand") == ["hand"]


def test_the_fixture_bundles_are_what_they_say(bench: Bench) -> None:
    names = {read_bundle(bench.registry.fetch(v)).version for v in (bench.production, bench.sibling, bench.better)}
    assert len(names) == 3


NOT_WITH_TRAINING = ("sqlalchemy", "alembic", "fastapi", "streamlit")
"""What requirements/train.txt does not install."""


def test_where_models_are_trained_promote_needs_no_database_packages(
    bench: Bench, state_dir: Path, environment: dict[str, str]
) -> None:
    absent = "".join(f"sys.modules[{name!r}] = None; " for name in NOT_WITH_TRAINING)
    source = f"import sys; {absent}from cli.main import main; main()"

    def there(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", source, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    promoted = there("promote", bench.better, "--override", "a try")
    assert (promoted.returncode, promoted.stderr) == (0, "")
    assert there("lineage", bench.better).returncode == 0
    assert bench.registry.resolve("production") == bench.better

    (state_dir / "moderation.db").touch()
    lost = there("keys", "list")
    assert lost.returncode == 1
    assert lost.stderr == "error: sqlalchemy is not installed: run `make install`, to train `make install-train` too\n"
