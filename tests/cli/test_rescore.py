"""`moderation rescore` in a process of its own, against what a server answered over HTTP."""

import csv
import json
import random
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from moderation.bundle import read_bundle
from moderation.labels import LABELS
from moderation.perspective import PerspectiveScorer
from moderation.perspective_scale import ATTRIBUTES
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from moderation.registry.starter import STARTER_DIR
from tests.cli.conftest import Moderation
from tests.cli.scaled import build_scaled_bundle
from tests.serve.compat.asking import body
from tests.serve.process import environment as server_environment
from tests.serve.process import running

TEXTS = [
    "You are disgusting.",
    "Thank you, friend.",
    "Ünïcode 😀 kill the vermin",
    "damn " * 400,
    "a source  or   two\n\n" * 400 + "idiot",  # pieces are cut of what is read: without the gaps
    "\u200b " * 2600 + "You are disgusting.",
    *(f"the source of section {number} is {'idiot ' * (number % 4)}gone" for number in range(20)),
]


def write(path: Path, texts: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text"])
        writer.writerows([text] for text in texts)
    return path


def test_the_scores_are_those_that_a_server_answered_in_any_batch_bit_for_bit(
    moderation: Moderation, state_dir: Path, tmp_path: Path
) -> None:
    assert moderation("migrate").returncode == 0
    registry = LocalRegistry(state_dir / "registry")
    before, version = registry.resolve("production"), registry.publish(STARTER_DIR)
    registry.point("production", version, Move("test", "the real model"))
    with (
        running(server_environment(state_dir), tmp_path / "errors.txt") as (url, _),
        httpx.Client(trust_env=False) as http,
    ):
        alone = [http.post(f"{url}/predict", json={"comment_text": text}).json() for text in TEXTS[:6]]
        plain = http.post(f"{url}/v1/moderations", json={"input": "a"}).headers["x-moderation-calibration"]
        analyzed = [
            http.post(f"{url}/v1alpha1/comments:analyze", json=body(text, *ATTRIBUTES.values())) for text in TEXTS
        ]
        mapped = analyzed[0].headers["x-moderation-calibration"]
        on_scale = [
            {name: found["summaryScore"]["value"] for name, found in each.json()["attributeScores"].items()}
            for each in analyzed
        ]
        sizes = (1, 7, len(TEXTS))
        batches = [
            http.post(f"{url}/predict/batch", json={"comment_texts": TEXTS[start : start + size]}).json()["predictions"]
            for size in sizes
            for start in range(0, len(TEXTS), size)
        ]
    answered = [dict(each["scores"]) for batch in batches for each in batch]
    assert answered[: len(TEXTS)] == answered[len(TEXTS) : 2 * len(TEXTS)] == answered[2 * len(TEXTS) :]
    assert [each["scores"] for each in alone] == answered[:6]

    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    source = write(tmp_path / "in.csv", [TEXTS[place] for place in order])
    # Another version is served meanwhile; another process, and each text in another company.
    registry.point("production", before, Move("test", "rolled back"))
    done = moderation("rescore", source, "--version", version[:10], "--out", tmp_path / "out.jsonl", "--perspective")
    assert done.returncode == 0, done.stderr
    header, *rows = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert [{label: row[label] for label in LABELS} for row in rows] == [answered[place] for place in order]
    assert [{name: row[name] for name in on_scale[0]} for row in rows] == [on_scale[place] for place in order]
    assert {row["version"] for row in rows} == {version} == {header["provenance"]["version"]}
    calibration, scale = header["provenance"]["calibration"], header["provenance"]["perspective_scale"]
    assert (plain, mapped) == (f"probability-{calibration}", f"probability-{calibration}+perspective-{scale}")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_head_of_the_output_says_what_scored(moderation: Moderation, tmp_path: Path, suffix: str) -> None:
    bundle, output = build_scaled_bundle(tmp_path / "scaled"), tmp_path / f"out{suffix}"
    source = write(tmp_path / "in.csv", TEXTS[:3])
    done = moderation("rescore", source, "--version", bundle, "--out", output, "--perspective")
    assert done.returncode == 0, done.stderr
    if suffix == ".parquet":
        table = pq.read_table(output)
        header, rows = json.loads(table.schema.metadata[b"provenance"]), table.to_pylist()
    else:
        with output.open(newline="") as file:
            first = file.readline()
            header = json.loads(first.removeprefix("# ")) if suffix == ".csv" else json.loads(first)["provenance"]
            rows = list(csv.DictReader(file)) if suffix == ".csv" else [json.loads(line) for line in file]
    assert set(header) == {
        "version", "name", "weights", "calibration", "perspective_scale", "backend", "device", "code"
    }  # fmt: skip
    assert (header["name"], header["backend"], header["device"]) == ("scaled", "int8", "cpu")
    assert len(header["code"]["git_commit"]) == 40
    assert [row["text"] for row in rows] == TEXTS[:3]
    own = {label: float(rows[0][label]) for label in LABELS}
    scorer = PerspectiveScorer.load(read_bundle(bundle))
    assert scorer is not None
    assert {name: float(rows[0][name]) for name in ("TOXICITY", "INSULT")} == {
        ATTRIBUTES[label]: pytest.approx(score, rel=1e-6) for label, score in scorer.scores(TEXTS[0], own).items()
    }


def test_the_output_lies_beside_the_input_and_a_scale_that_is_not_there_is_said(
    moderation: Moderation, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.csv", TEXTS[:2])
    done = moderation("rescore", source, "--version", "production", "--perspective")
    assert done.returncode == 1
    assert "has no scale to Perspective's scores" in done.stderr
    assert moderation("rescore", source, "--version", "production").returncode == 0
    assert (tmp_path / "in.rescored.csv").exists()
    done = moderation("rescore", source, "--version", "ffff", "--overwrite")
    assert done.returncode == 1
    assert "ffff" in done.stderr
