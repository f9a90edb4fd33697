"""An input of three formats, and folders scored in this process."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.locations import Location
from cli.partitions.run import Request, score_folder
from moderation.bundle import read_bundle
from moderation.settings import ApiSettings

ScoreFolder = Callable[..., dict[str, Any]]
WORDS = ("thank", "you", "idiot", "kill", "vermin", "damn", "page", "disgusting")


def text_of(number: int) -> str | None:
    """A comment whose scores hang on its number; every fiftieth row has none."""
    return None if number % 50 == 7 else " ".join(WORDS[number // 8**place % 8] for place in range(1 + number % 4))


def rows_of(first: int, count: int) -> list[dict[str, Any]]:
    return [{"id": f"{number:06d}", "text": text_of(number)} for number in range(first, first + count)]


def write_parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, **options)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rows 0 to 7,499 in a folder of a CSV with quoted line ends, JSON Lines, and parquet with small row groups."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    with (folder / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["id", "text"])  # lines end in CR LF
        writer.writeheader()
        writer.writerows({**row, "text": row["text"] and row["text"].replace(" ", "\né ")} for row in rows_of(0, 2500))
    with (folder / "b.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n\n" for row in rows_of(2500, 2500))
    write_parquet(folder / "deep" / "c.parquet", rows_of(5000, 2500), row_group_size=700)
    (folder / "_SUCCESS").touch()
    return folder


@pytest.fixture
def score(bundle: Path, tmp_path: Path) -> ScoreFolder:
    """Score a folder into another, ``score(source, output, engine="ray", address=…)``."""

    def run(
        source: Path | str, output: Path | str, bundle_dir: Path = bundle, backend: Any = "auto", **options: Any
    ) -> dict[str, Any]:
        asked = {
            "text_column": "text",
            "prefix": "",
            "overwrite": False,
            "engine": "local",
            "address": None,
            "workers": 0,
        }
        request = Request(Location.find(source), Location.find(output), **{**asked, **options})
        return score_folder(
            request, read_bundle(bundle_dir), ApiSettings(state_dir=tmp_path / "state", backend=backend)
        )

    return run


@contextmanager
def one_node() -> Iterator[str]:
    """A Ray cluster of one node with two cores, whose processes have this one's environment; its address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_rows(output: Path) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = pq.read_table(output).to_pydict()
    return columns
