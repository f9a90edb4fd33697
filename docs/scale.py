"""Writes the tables of docs/scale.md: ``python docs/scale.py``. What was measured is named so, the rest is arithmetic.

Prices that docs/aws.md uses are read from docker/aws/prices.yaml, where their sources stand; others are below.
"""

import sys
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
RATES = (1, 10, 100, 1_000, 10_000)
"""Comments per second, all day."""
MEASURED = {
    "API, 8 clients": (226.0, "| API | 124 (47) | 226 (114) |"),
    "bytes of table": (693.0, "693 + 169"),
    "bytes of indexes": (169.0, "693 + 169"),
    "bytes of a roll-up": (1_875.0 + 213.0, "1,875 + 213"),
}
"""Figures of docs/EXPERIMENTS.md, each with what stands there; the API with the first starter."""
WRITERS = {
    1: (147, 13_546),
    2: (245, 10_943),
    10: (948, 3_912),
    66: (4_556, 1_475),
    250: (9_477, 1_154),
    1_000: (15_449, 1_069),
}
"""Of eight writers into one database, by rows per insert: predictions/s, bytes of write-ahead log each; there too."""
WITHOUT_AMX = (1 / 3, "int8 is a third as fast as on those with AMX")
"""Of the API's rate on a processor without AMX or AVX-512, where it was not measured; there too."""
BUSY = 0.6
"""Share of what a server can do that a plan counts on; the rest is for peaks and for one that died."""
LINGER_S = 0.5
"""`serve.shipper.LINGER_S`"""
VERSIONS_AND_ROUTES = 2
KEPT_DAYS = {1: 365, 10: 365, 100: 90, 1_000: 30, 10_000: 7}
CLASSES = {
    1: "db.t4g.medium",
    10: "db.t4g.medium",
    100: "db.m6g.large",
    1_000: "db.r6g.xlarge",
    10_000: "db.r6g.2xlarge",
}
"""A choice, not computed: memory for the indexes of the newest day."""
REPLICAS = {1: 0, 10: 0, 100: 0, 1_000: 1, 10_000: 1}
"""For the monitor, per database."""
SERVER = "c7i.large"
"""Two vCPUs with AMX, as where the API was measured."""
CLASS_PRICES = {"db.t4g.medium": 0.065, "db.m6g.large": 0.159, "db.r6g.xlarge": 0.45, "db.r6g.2xlarge": 0.90}
SERVER_PRICE = 0.08925
HOURS, DAY_S, MONTH_S = 730, 86_400, 730 * 3_600
REQUEST_BYTES = 2_000
"""Of request and answer together, heads included: a guess."""


def servers(rate: int, speed: float = 1.0) -> int:
    """Return how many API servers answer ``rate`` comments per second; ``speed`` is theirs over the measured one's."""
    return max(2, ceil(rate / (MEASURED["API, 8 clients"][0] * speed * BUSY)))


def databases(rate: int) -> int:
    """Return among how many databases the traffic is divided."""
    return ceil(rate / (WRITERS[250][0] * BUSY))


def inserts_per_s(rate: int) -> float:
    """Return the inserts into one database: as often as its servers ship, or as often as it takes them."""
    most = WRITERS[66][0] / 66 * BUSY
    return min(rate / databases(rate), servers(rate) / databases(rate) / LINGER_S, most)


def rows_per_insert(rate: int) -> float:
    """Return how many predictions one insert holds."""
    return rate / databases(rate) / inserts_per_s(rate)


def log_bytes(rate: int) -> float:
    """Return the write-ahead log per prediction: between two sizes measured so much per row and so much per insert."""
    share, each = zip(*sorted((1 / rows, written) for rows, (_, written) in WRITERS.items()), strict=True)
    return float(np.interp(1 / rows_per_insert(rate), share, each))


def row_bytes() -> float:
    """Return what a prediction takes in the database, a comment of 390 letters in it."""
    return MEASURED["bytes of table"][0] + MEASURED["bytes of indexes"][0]


def stored_gb(rate: int) -> float:
    """Return the size of the predictions that are kept, in all databases."""
    return rate * DAY_S * KEPT_DAYS[rate] * row_bytes() / 1e9


def sizes() -> str:
    """Return the table of rows, bytes and servers."""
    rollups_gb = 365 * (1_440 + 24 + 1) * VERSIONS_AND_ROUTES * MEASURED["bytes of a roll-up"][0] / 1e9
    rows: dict[str, list[str]] = {
        "API servers, two vCPUs with AMX each": [f"{servers(rate):,}" for rate in RATES],
        "the same without AMX": [f"{servers(rate, WITHOUT_AMX[0]):,}" for rate in RATES],
        "databases": [str(databases(rate)) for rate in RATES],
        "millions of predictions a day": [f"{rate * DAY_S / 1e6:,.2f}" for rate in RATES],
        "days that they are kept (chosen)": [str(KEPT_DAYS[rate]) for rate in RATES],
        "millions of rows kept": [f"{rate * DAY_S * KEPT_DAYS[rate] / 1e6:,.0f}" for rate in RATES],
        "GB of them": [f"{stored_gb(rate):,.0f}" for rate in RATES],
        "GB of roll-ups a year, of each database": [f"{rollups_gb:.1f}" for _ in RATES],
        "inserts/s into each database": [f"{inserts_per_s(rate):.0f}" for rate in RATES],
        "rows per insert": [f"{rows_per_insert(rate):.3g}" for rate in RATES],
        "GB of write-ahead log a day": [f"{rate * DAY_S * log_bytes(rate) / 1e9:,.1f}" for rate in RATES],
        "MB/s written, of each database": [f"{_written_mb(rate):,.2f}" for rate in RATES],
        "writes/s of its disk": [f"{_writes(rate):,.0f}" for rate in RATES],
        "MB/s through the load balancer": [f"{rate * REQUEST_BYTES / 1e6:,.2f}" for rate in RATES],
    }
    return _table("comments per second", rows)


def _written_mb(rate: int) -> float:
    """Each row goes to the log once and, at the next checkpoint, to its pages once."""
    return rate / databases(rate) * (log_bytes(rate) + row_bytes()) / 1e6


def _writes(rate: int) -> float:
    """A sync of the log per insert, and pages of 8 kB, which are full: rows come in the order of their keys."""
    return inserts_per_s(rate) + rate / databases(rate) * row_bytes() / 8_192


def costs() -> str:
    """Return the table of dollars a month."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker/aws/prices.yaml").read_text(encoding="utf-8"))
    hour, month = ({name: it["price"] for name, it in found[unit].items()} for unit in ("hour", "month"))
    balancer, unit = hour["load balancer"] * HOURS, hour["load balancer capacity unit"] * HOURS
    parts = {
        "API servers *": [servers(rate) * SERVER_PRICE * HOURS for rate in RATES],
        "PostgreSQL with a standby *": [2 * databases(rate) * CLASS_PRICES[CLASSES[rate]] * HOURS for rate in RATES],
        "its disks": [_disk_gb(rate) * month["PostgreSQL GB with standby"] for rate in RATES],
        "read replicas *": [_replica(rate, month["PostgreSQL GB (gp3)"]) for rate in RATES],
        "load balancer *": [balancer + _units(rate) * unit for rate in RATES],
    }
    totals = [sum(column) for column in zip(*parts.values(), strict=True)]
    rows = {"database class (chosen)": [CLASSES[rate] for rate in RATES]}
    rows |= {name: [f"{cell:,.0f}" for cell in cells] for name, cells in parts.items()}
    rows["**together**"] = [f"**{total:,.0f}**" for total in totals]
    per_million = [total / (rate * MONTH_S / 1e6) for rate, total in zip(RATES, totals, strict=True)]
    rows["of a million comments"] = [f"{each:,.2f}" for each in per_million]
    return _table("US dollars a month at … comments per second", rows)


def _disk_gb(rate: int) -> float:
    """A third more than the rows, for roll-ups, reviews and what vacuum has not given back; 20 at least."""
    return max(20.0 * databases(rate), stored_gb(rate) * 4 / 3)


def _replica(rate: int, per_gb: float) -> float:
    return REPLICAS[rate] * (databases(rate) * CLASS_PRICES[CLASSES[rate]] * HOURS + _disk_gb(rate) * per_gb)


def _units(rate: int) -> float:
    """A capacity unit is a gigabyte an hour."""
    return max(0.3, rate * REQUEST_BYTES * 3_600 / 1e9)


def _table(first: str, rows: dict[str, list[str]]) -> str:
    head = [f"| {first} | {' | '.join(f'{rate:,}' for rate in RATES)} |", f"|---|{'---|' * len(RATES)}"]
    return "\n".join([*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


if __name__ == "__main__":
    sys.stdout.write(f"{sizes()}\n\n{costs()}\n")
