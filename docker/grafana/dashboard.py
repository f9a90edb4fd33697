"""Writes the dashboard that Grafana is provisioned with: ``python docker/grafana/dashboard.py``; never edit its JSON.

Every panel is a title, a unit of Grafana's and queries with their legends. Grafana's format:
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

import json
from itertools import count
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "provisioning" / "dashboards" / "moderation.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, COLUMNS = 8, 7, 3
Queries = dict[str, str]
"""Expressions by the legend of what each returns."""
Panel = tuple[str, str, Queries]

_FAILED = 'status=~"5..", status!="503"'


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Return the events per second, over all servers, of each ``by``."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{f'{{{where}}}' if where else ''}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """Return one sum as a share of another; where nothing was counted of the part, it is 0."""
    return f"({part} or vector(0)) / {whole}"


def quantiles(histogram: str, where: str = "") -> Queries:
    """Return the median and how long one in 20 and one in 100 takes or longer."""
    return {
        f"p{round(100 * q)}": f"histogram_quantile({q}, {rate(f'{histogram}_bucket', 'le', where)})"
        for q in (0.5, 0.95, 0.99)
    }


ROWS: dict[str, list[Panel]] = {
    "Now": [
        (
            "Alerts that fire",
            "none",
            {"{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"}) or vector(0)'},
        ),
        ("Servers that answer", "none", {"{{job}}": "sum by (job) (up)"}),
        (
            "Parts that are there (1) or away (0)",
            "none",
            {
                "database {{instance}}": "moderation_database_up",
                "registry {{instance}}": "moderation_registry_up",
                "outbox {{instance}}": "moderation_outbox_up",
                "candidate {{instance}}": "moderation_shadow_up",
            },
        ),
    ],
    "Requests": [
        ("Requests per second", "reqps", {"{{route}} {{status}}": rate("moderation_requests_total", "route, status")}),
        ("Time to the answer of /predict", "s", quantiles("moderation_request_seconds", 'route="/predict"')),
        (
            "Refused or failed",
            "percentunit",
            {
                "failed": share(rate("moderation_requests_total", where=_FAILED), rate("moderation_requests_total")),
                "no room (503)": share(
                    rate("moderation_requests_total", where='status="503"'), rate("moderation_requests_total")
                ),
            },
        ),
        (
            "Connections refused per second",
            "reqps",
            {"{{status}}": rate("moderation_refused_connections_total", "status")},
        ),
        ("Comments that wait", "none", {"{{instance}}": "moderation_waiting_texts"}),
        ("Age of the API keys", "s", {"{{instance}}": "moderation_keys_age_seconds"}),
    ],
    "Predictions": [
        ("Predictions per second", "none", {"{{decision}}": rate("moderation_predictions_total", "decision")}),
        (
            "Decisions",
            "percentunit",
            {
                "{{decision}}": f"{rate('moderation_predictions_total', 'decision')}"
                f" / ignoring (decision) group_left {rate('moderation_predictions_total')}"
            },
        ),
        (
            "From the cache",
            "percentunit",
            {"cached": share(rate("moderation_cached_predictions_total"), rate("moderation_predictions_total"))},
        ),
        ("Waiting for a core", "s", quantiles("moderation_queue_seconds")),
        ("Tokenising", "s", quantiles("moderation_tokenize_seconds")),
        ("Inference", "s", quantiles("moderation_inference_seconds")),
    ],
    "Model": [
        (
            "Versions that answer",
            "none",
            {"{{name}} {{version}} {{backend}}": "count by (name, version, backend) (moderation_model_info)"},
        ),
        (
            "Versions taken up and refused, last day",
            "none",
            {
                "taken up": "sum(increase(moderation_version_changes_total[1d]))",
                "refused": "sum(increase(moderation_refused_versions_total[1d]))",
            },
        ),
        (
            "The candidate's comments per second",
            "none",
            {
                "scored": rate("moderation_shadow_scored_total"),
                "left out": rate("moderation_shadow_dropped_total"),
                "failed": rate("moderation_shadow_failed_total"),
                "wait": "sum(moderation_shadow_waiting)",
            },
        ),
        ("Labels whose share has changed", "none", {"{{label}}": "max by (label) (moderation_drift_alarm)"}),
        ("Evidence of change (1: alarm)", "none", {"{{label}}": "max by (label) (moderation_drift_evidence_ratio)"}),
        ("Labels with enough to watch", "none", {"{{label}}": "max by (label) (moderation_drift_watched)"}),
    ],
    "Log": [
        ("Rows in the outbox", "none", {"{{instance}}": "moderation_outbox_rows"}),
        (
            "Outbox and disk, used",
            "percentunit",
            {
                "outbox {{instance}}": "moderation_outbox_rows / moderation_outbox_max_rows",
                "disk {{instance}}": "1 - moderation_state_free_bytes / moderation_state_size_bytes",
            },
        ),
        ("The oldest row waits", "s", {"{{instance}}": "moderation_outbox_oldest_seconds"}),
        ("Rows refused, last day", "none", {"{{instance}}": "increase(moderation_refused_rows_total[1d])"}),
        ("Jobs of the worker", "none", {"{{state}}": "max by (state) (moderation_jobs)"}),
        (
            "Worker",
            "s",
            {
                "since the last look {{instance}}": "time() - moderation_worker_looked_timestamp_seconds",
                "looks cut short, last hour {{instance}}": "increase(moderation_worker_failures_total[1h])",
            },
        ),
    ],
    "Processes": [
        ("Cores used", "none", {"{{job}} {{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"}),
        ("Memory", "bytes", {"{{job}} {{instance}}": "process_resident_memory_bytes"}),
        ("Open files, of the most", "percentunit", {"{{job}} {{instance}}": "process_open_fds / process_max_fds"}),
        ("Since the start", "s", {"{{job}} {{instance}}": "time() - process_start_time_seconds"}),
        ("Lateness of the event loop", "s", quantiles("moderation_loop_lag_seconds")),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    ids, top, panels = count(1), 0, []
    for row, members in ROWS.items():
        panels.append({"id": next(ids), "type": "row", "title": row, "collapsed": False, "panels": [],
                       "gridPos": {"h": 1, "w": WIDTH * COLUMNS, "x": 0, "y": top}})  # fmt: skip
        top += 1
        for place, (title, unit, queries) in enumerate(members):
            down, right = divmod(place, COLUMNS)
            at = {"h": HEIGHT, "w": WIDTH, "x": WIDTH * right, "y": top + HEIGHT * down}
            panels.append({"id": next(ids), "gridPos": at} | _panel(title, unit, queries))
        top += HEIGHT * -(-len(members) // COLUMNS)
    return {
        "uid": "moderation",
        "title": "Moderation",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"}]},
        "panels": panels,
    }


def _panel(title: str, unit: str, queries: Queries) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
        for number, (legend, expression) in enumerate(queries.items())
    ]
    return {
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
