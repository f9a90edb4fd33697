"""The committed rules and dashboard, as what they ask for."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker" / "prometheus"
DASHBOARD = ROOT / "docker" / "grafana" / "provisioning" / "dashboards" / "moderation.json"
_METRIC = re.compile(r"\b((?:moderation|process)_[a-z_]+)\b")


def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return found


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups() for rule in group["rules"]}


def dashboard_expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def metrics_in(expression: str) -> set[str]:
    return set(_METRIC.findall(expression))
