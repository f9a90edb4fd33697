"""Writes the table of costs in docs/aws.md: `python docker/aws/costs.py`. Prices and their sources are in prices.yaml.

Traffic, CPU credits, backups beyond the disk's size, the bucket and taxes are not in it.
"""

from dataclasses import dataclass
from typing import Any

import yaml
from environment import HERE, LAYERS
from stacks import read_template

HOURS = 730
"""In a month, on average."""
WORKER_MINUTES = 1.5
"""How long one run of the worker is taken to be charged: AWS charges from the download on, a minute at least."""


@dataclass(frozen=True)
class Setup:
    """One deployment: how many of what that the templates do not fix."""

    about: str
    instances: tuple[tuple[str, int], ...]
    database: str
    database_disk: str
    database_gib: int
    zones: int
    nat: int
    capacity_units: float
    log_gb: float


SMALLEST = Setup(
    "one instance each, one zone",
    (("t3.small", 3),),
    "db.t4g.micro",
    "PostgreSQL GB (gp3)",
    20,
    zones=1,
    nat=0,
    capacity_units=0.3,
    log_gb=1,
)
TYPICAL = Setup(
    "two API servers, two zones, sign-in at a provider",
    (("c6i.large", 2), ("t3.medium", 2)),
    "db.t4g.medium with standby",
    "PostgreSQL GB with standby",
    100,
    zones=2,
    nat=2,
    capacity_units=1.5,
    log_gb=5,
)
API_INSTANCES = {SMALLEST: 1, TYPICAL: 2}
SYSTEM_GB, OUTBOX_GB = 16, 20
"""Volumes of an instance (service.yaml); the second is the API's."""


def count(kind: str, templates: tuple[str, ...] = LAYERS) -> int:
    """Return how many resources of a type one deployment of the templates makes."""
    found = [it for name in templates for it in read_template(HERE / f"{name}.yaml")["Resources"].values()]
    return sum(it["Type"] == kind and it["Properties"].get("VpcEndpointType") != "Gateway" for it in found)


def parts(setup: Setup) -> dict[str, list[tuple[float, str]]]:
    """Return the rows of the table, each with what is bought: how much, and under which name of prices.yaml."""
    instances = sum(number for _, number in setup.instances)
    alarms, figures = "AWS::CloudWatch::Alarm", "AWS::Logs::MetricFilter"
    balancers = count("AWS::ElasticLoadBalancingV2::LoadBalancer")
    runs_h = 30.4 * 24 * 6 * WORKER_MINUTES / 60
    disks = SYSTEM_GB * instances + OUTBOX_GB * API_INSTANCES[setup]
    return {
        "instances": [(number, kind) for kind, number in setup.instances],
        "volumes": [(disks, "volume GB (gp3)")],
        "PostgreSQL": [(1, setup.database), (setup.database_gib, setup.database_disk)],
        "load balancers": [(balancers, "load balancer"), (setup.capacity_units, "load balancer capacity unit")],
        "endpoints": [(count("AWS::EC2::VPCEndpoint") * setup.zones, "endpoint in a zone")],
        "NAT gateways": [(setup.nat, "NAT gateway")],
        "public addresses": [(2 + setup.nat, "public address")],
        "tasks (worker every ten minutes)": [(runs_h / HOURS, "task core"), (2 * runs_h / HOURS, "task GB")],
        "secrets": [(count("AWS::SecretsManager::Secret"), "secret")],
        # The service's template is deployed three times; what is the API's alone counts three times too.
        "alarms and figures": [
            (count(alarms) + 3 * count(alarms, ("service",)), "alarm"),
            (count(figures) + 3 * count(figures, ("service",)), "figure"),
        ],
        "logs, images, registry": [(setup.log_gb, "log GB"), (20, "image GB"), (1, "registry GB (EFS)")],
    }


def table() -> str:
    """Return the table, in Markdown; a row with a price that nobody looked up has a star."""
    prices: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "prices.yaml").read_text(encoding="utf-8"))
    per_month = {name: it["price"] * HOURS for name, it in prices["hour"].items()}
    per_month |= {name: it["price"] for name, it in prices["month"].items()}
    seen = {name for kind in prices.values() for name, it in kind.items() if "seen" in it}
    lines = ["| US dollars a month | smallest (the defaults) | typical |", "|---|---|---|"]
    lines.append(f"| what | {SMALLEST.about} | {TYPICAL.about} |")
    totals = [0.0, 0.0]
    rows = [parts(SMALLEST), parts(TYPICAL)]
    for name in rows[0]:
        cells = [sum(number * per_month[what] for number, what in row[name]) for row in rows]
        totals = [total + cell for total, cell in zip(totals, cells, strict=True)]
        star = "" if {what for row in rows for _, what in row[name]} <= seen else " *"
        lines.append(f"| {name}{star} | {cells[0]:.0f} | {cells[1]:.0f} |")
    lines.append(f"| **together** | **{totals[0]:.0f}** | **{totals[1]:.0f}** |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
