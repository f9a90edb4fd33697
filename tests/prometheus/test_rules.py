"""Each alert fires where it should and not a step before: `promtool test rules` on series written out here."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.debian import binary
from tests.prometheus.rules import FOLDER, ROOT, alerts

PROMTOOL = ("promtool", "prometheus")
API = 'instance="a", job="api"'
WORKER = 'instance="w", job="worker"'
UP = {f"up{{{API}}}": "1x95", f"up{{{WORKER}}}": "1x95"}
"""Without these, servers count as away."""
AT = "90m"


@dataclass(frozen=True)
class Case:
    """Values (promtool's notation, one a minute) with which an alert fires at `AT`, and with which it just does not."""

    fires: dict[str, str]
    quiet: dict[str, str]
    summary: str
    labels: dict[str, str] = field(default_factory=lambda: {"instance": "a", "job": "api"})


def api(metric: str, values: str, *more: str) -> dict[str, str]:
    return {f"{metric}{{{', '.join((API, *more))}}}": values}


def answers(status: str, values: str, route: str = "/predict") -> dict[str, str]:
    return api("moderation_requests_total", values, f'route="{route}"', f'status="{status}"')


def slow(below_a_second: int) -> dict[str, str]:
    """Of 1,000 answers a minute, so many take no more than a second, the others up to two."""
    bucket, route = "moderation_request_seconds_bucket", 'route="/predict"'
    return api(bucket, f"0+{below_a_second}x95", route, 'le="1.0"') | api(
        bucket, "0+1000x95", route, 'le="2.0"') | api(bucket, "0+1000x95", route, 'le="+Inf"')  # fmt: skip


ALONE: dict[str, str] = {}
REFUSED = "moderation_refused_connections_total"
CASES = {
    "ApiAway": Case({f"up{{{API}}}": "1x87 0x5"}, {f"up{{{API}}}": "1x88 0x5"}, "No answer from the API a."),
    "ApiRestarts": Case(
        api("process_start_time_seconds", "0x80 1x2 2x2 3x9"),
        api("process_start_time_seconds", "0x80 1x2 2x9"),
        "The API a began anew 3 times in 15 minutes.",
    ),
    "SlowAnswers": Case(
        slow(985), slow(990), "Every hundredth prediction takes 1.333s or longer; expected is 1 s.", ALONE
    ),
    "FailedAnswers": Case(
        answers("200", "0+98x95") | answers("500", "0+2x95") | answers("503", "0+0x95"),
        answers("200", "0+96x95") | answers("500", "0+1x95") | answers("503", "0+3x95"),
        "2% of the requests failed; expected are less than 1 %.",
        ALONE,
    ),
    "Overloaded": Case(
        answers("200", "0+90x95") | api(REFUSED, "0+10x95", 'status="503"'),
        answers("200", "0+95x95") | answers("503", "0+3x95") | api(REFUSED, "0+2x95", 'status="503"'),
        "10% of the callers are sent away with 503.",
        ALONE,
    ),
    "NoPredictions": Case(
        api("moderation_predictions_total", "0+30x50 1500x45"),
        api("moderation_predictions_total", "0+15x50 750x45"),
        "Nobody was answered for half an hour.",
        ALONE,
    ),
    "KeysOld": Case(
        api("moderation_keys_age_seconds", "0+60x95"),
        api("moderation_keys_age_seconds", "0+40x95"),
        "a last read the API keys 1h 30m 0s ago.",
    ),
    "DatabaseAway": Case(
        api("moderation_database_up", "1x87 0x9"),
        api("moderation_database_up", "1x88 0x9"),
        "a does not reach the database; predictions wait in its outbox.",
    ),
    "OutboxBehind": Case(
        api("moderation_outbox_oldest_seconds", "0x70 0+60x20"),
        api("moderation_outbox_oldest_seconds", "0x85 400x3 20x9"),
        "Rows wait in the outbox of a since 19m 0s.",
    ),
    "OutboxFills": Case(
        api("moderation_outbox_rows", "60x95") | api("moderation_outbox_max_rows", "100x95"),
        api("moderation_outbox_rows", "50x95") | api("moderation_outbox_max_rows", "100x95"),
        "The outbox of a is 60% full; when it is full, nothing is answered.",
    ),
    "OutboxBroken": Case(
        api("moderation_outbox_up", "1x88 0x9"),
        api("moderation_outbox_up", "1x89 0x9"),
        "a cannot write its outbox and answers nothing.",
    ),
    "RowsRefused": Case(
        api("moderation_refused_rows_total", "0x60 2x40"),
        api("moderation_refused_rows_total", "0x20 2x80"),
        "The database refused rows of a; they are set aside in its outbox.",
    ),
    "DiskFills": Case(
        api("moderation_state_free_bytes", "9x95") | api("moderation_state_size_bytes", "100x95"),
        api("moderation_state_free_bytes", "10x95") | api("moderation_state_size_bytes", "100x95"),
        "9% of the disk with the outbox of a are free.",
    ),
    "RegistryAway": Case(
        api("moderation_registry_up", "1x79 0x15"),
        api("moderation_registry_up", "1x80 0x15"),
        "a serves on, but not what the alias points to.",
    ),
    "VersionRefused": Case(
        api("moderation_refused_versions_total", "0x60 1x40"),
        api("moderation_refused_versions_total", "0x20 1x80"),
        "a refused a version that is not fit to serve.",
    ),
    "CandidateAway": Case(
        api("moderation_shadow_up", "1x29 0x66"), api("moderation_shadow_up", "1x30 0x66"), "a scores no candidate."
    ),
    "CandidateFails": Case(
        api("moderation_shadow_failed_total", "0x80 7+7x15"),
        api("moderation_shadow_failed_total", "0x60 7x35"),
        "The candidate failed on 70 comments in 15 minutes.",
    ),
    "CandidateLeftOut": Case(
        api("moderation_shadow_dropped_total", "0+6x95") | api("moderation_shadow_scored_total", "0+4x95"),
        api("moderation_shadow_dropped_total", "0+5x95") | api("moderation_shadow_scored_total", "0+5x95"),
        "The candidate had no time for 60% of its comments.",
        ALONE,
    ),
    "WorkerAway": Case(
        {f"up{{{WORKER}}}": "1x79 0x15"},
        {f"up{{{WORKER}}}": "1x80 0x15"},
        "No answer from the worker w: no review sample, no jobs, no word of drift.",
        {"instance": "w", "job": "worker"},
    ),
    "WorkerFails": Case(
        {f"moderation_worker_failures_total{{{WORKER}}}": "0x80 1+1x15"},
        {f"moderation_worker_failures_total{{{WORKER}}}": "0x80 1x15"},
        "The database cut the worker w short again and again.",
        {"instance": "w", "job": "worker"},
    ),
    "Drift": Case(
        {f'moderation_drift_alarm{{{WORKER}, label="threat"}}': "1x95"},
        {f'moderation_drift_alarm{{{WORKER}, label="threat"}}': "0x95"},
        "The share of comments predicted threat has changed for good.",
        {"label": "threat"},
    ),
}  # fmt: skip


def promtool(folder: Path, tests: list[dict[str, Any]]) -> "subprocess.CompletedProcess[str]":
    """Run these tests of the committed rules."""
    document = {"rule_files": [str(FOLDER / "alerts.yml")], "evaluation_interval": "1m", "tests": tests}
    path = folder / "tests.yml"
    path.write_text(yaml.safe_dump(document))
    return subprocess.run(
        [binary(*PROMTOOL), "test", "rules", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def promtool_test(name: str, values: dict[str, str], expected: list[dict[str, Any]]) -> dict[str, Any]:
    series = [{"series": metric, "values": _repeated(written)} for metric, written in (UP | values).items()]
    return {"interval": "1m", "input_series": series,
            "alert_rule_test": [{"eval_time": AT, "alertname": name, "exp_alerts": expected}]}  # fmt: skip


def _repeated(written: str) -> str:
    """Write `1x3`, four times one, as this Prometheus reads it: `1+0x3`."""
    return re.sub(r"(?<![+\d])(\d+)x", r"\1+0x", written)


def firing(name: str) -> dict[str, Any]:
    rule, case = alerts()[name], CASES[name]
    annotations = {"summary": case.summary, "runbook": rule["annotations"]["runbook"]}
    return promtool_test(name, case.fires, [
        {"exp_labels": rule["labels"] | case.labels, "exp_annotations": annotations}])  # fmt: skip


def test_every_alert_has_a_case() -> None:
    assert list(CASES) == list(alerts())


def test_each_alert_fires_and_says_so(tmp_path: Path) -> None:
    done = promtool(tmp_path, [firing(name) for name in CASES])
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_fires_a_step_before(tmp_path: Path) -> None:
    done = promtool(tmp_path, [promtool_test(name, case.quiet, []) for name, case in CASES.items()])
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_stays_quiet_is_found(tmp_path: Path) -> None:
    test = firing("Drift") | {"input_series": []}
    assert "FAILED" in promtool(tmp_path, [test]).stderr


def test_prometheus_reads_its_files() -> None:
    for name in ("prometheus.yml", "remote-write.example.yml"):
        done = subprocess.run(
            [binary(*PROMTOOL), "check", "config", name],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", list(CASES))
def test_the_runbook_says_what_to_do(name: str) -> None:
    path, _, anchor = alerts()[name]["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor == name.lower()
    assert name in headings
