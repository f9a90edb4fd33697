import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from tests.train.data.files import distinct_rows, one_letter_off
from train.config import DataConfig, load
from train.data.__main__ import main
from train.data.card import assigned, dataset_card, digest, taken_as
from train.data.rows import load_rows


def frame(**changed: object) -> pd.DataFrame:
    rows = pd.DataFrame({"comment_text": ["one", "two"], "weight": [1.0, 2.466], "split": ["train", "test"]})
    return rows.assign(**dict.fromkeys(LABELS, 0.0)).assign(**changed)


def test_the_digest_of_hard_labels_is_that_of_zeros_and_ones() -> None:
    # The form that the digest in models/starter/manifest.json was made of.
    lines = ["one\x1f0\x1f0\x1f0\x1f0\x1f0\x1f0\x1f1.0\x1ftrain", "two\x1f0\x1f0\x1f0\x1f0\x1f0\x1f0\x1f2.466\x1ftest"]
    hashes = sorted(hashlib.sha256(line.encode()).hexdigest() for line in lines)
    assert digest(frame()) == hashlib.sha256("\n".join(hashes).encode()).hexdigest()


@pytest.mark.parametrize(
    "changed",
    [
        {"toxic": [0.0, 0.5]},
        {"toxic": [0.0, np.nan]},
        {"comment_text": ["one", "Two"]},
        {"weight": [1.0, 2.0]},
        {"split": ["train", "train"]},
    ],
)
def test_the_digest_changes_with_every_part_of_a_row(changed: dict[str, object]) -> None:
    assert digest(frame(**changed)) != digest(frame())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rows = distinct_rows()
    twins = rows.assign(id=rows["id"] + "x", comment_text=rows["comment_text"].map(one_letter_off))
    pd.concat([rows, twins]).to_csv(tmp_path / "rows.csv", index=False)
    source = {"layout": "table", "path": str(tmp_path / "rows.csv"), "licence": "our licence", "language": "en"}
    source["link"] = "https://example.org/rows"
    content = {
        "name": "tiny",
        "data": {
            "sources": [source],
            "near_duplicates": "keep",
            "split": {"test_share": 0.25, "validation_share": 0.25},
        },
        "model": {"encoder": "none"},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "tiny.yaml"


def test_the_card_counts_what_is_there(config: Path) -> None:
    data = load(config).data
    rows = load_rows(data)
    card = dataset_card(rows, data)
    assert card.digest == digest(rows)
    for split, counts in card.splits.items():
        part = rows[rows["split"] == split]
        assert counts.rows == len(part)
        assert {label: found.positives for label, found in counts.labels.items()} == part[list(LABELS)].sum().to_dict()
        assert counts.labels["toxic"].prevalence == pytest.approx(part["toxic"].mean())
    assert card.characters["100%"] == rows["comment_text"].str.len().max()
    assert card.words["50%"] == 12
    assert card.languages == {"en": 240}
    assert card.sources[0].files == {"rows.csv": hashlib.sha256((config.parent / "rows.csv").read_bytes()).hexdigest()}
    apart = rows.set_index("id")["split"]
    ids = distinct_rows()["id"]
    pairs = sum(apart[one] != apart[f"{one}x"] for one in ids)
    assert sum(count["near"] for count in card.overlap.values()) == pairs > 0


def test_prevalence_is_weighted_and_over_known_labels_only(tmp_path: Path) -> None:
    rows = distinct_rows().assign(worth=lambda table: 1 + 2 * table["toxic"])
    rows.to_parquet(tmp_path / "six.parquet")
    distinct_rows(60, seed=1)[["comment_text", "toxic"]].to_parquet(tmp_path / "one.parquet")
    columns = {"weight": "worth"}
    data = DataConfig.model_validate(
        {
            "sources": [
                {"layout": "table", "path": tmp_path / "six.parquet", "licence": "a", "columns": columns},
                {"layout": "table", "path": tmp_path / "one.parquet", "licence": "b", "columns": {"toxic": "toxic"}},
            ],
            "split": {"test_share": 0.25, "validation_share": 0.25},
        }
    )
    loaded = load_rows(data)
    train = loaded[loaded["split"] == "train"]
    insult = dataset_card(loaded, data).splits["train"].labels["insult"]
    known = train[train["insult"].notna()]
    assert insult.known == len(known) < len(train)
    assert insult.prevalence == pytest.approx((known["insult"] * known["weight"]).sum() / known["weight"].sum())


def test_a_card_of_rows_from_elsewhere_is_refused(config: Path) -> None:
    with pytest.raises(InvalidInputError, match="as load_rows returned them"):
        dataset_card(frame(), load(config).data)


def test_the_command_prints_the_card(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config), "--card"]) == 0
    printed = capsys.readouterr().out
    assert main([str(config), "--card", "json"]) == 0
    as_json = capsys.readouterr().out
    card = json.loads(as_json)
    assert f"digest `{card['digest']}`" in printed
    assert "| [rows.csv](https://example.org/rows) | table | 240 | none | it stands | our licence | rows" in printed
    assert distinct_rows()["comment_text"][0] not in printed + as_json


def test_the_command_ends_with_one_line_for_data_that_cannot_be_used(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = config.parent / "test.parquet"
    assert main([str(config), "--output", str(output), "--set", "data.near_duplicates=refuse"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert "texts stand in two splits" in errors[0]
    assert not output.exists()


def test_the_card_says_what_a_source_takes_and_gives(config: Path) -> None:
    taken = {"only": {"kind": ["a", 1]}, "part": [0.25, 1], "weight": 0.3, "split": "train", "labels": {"insult": 0.5}}
    source = {"layout": "table", "path": "b.csv", "licence": "CC0", "columns": {"id": "n", "toxic": "share"}} | taken
    sources = [source, {"layout": "jigsaw", "path": "b", "licence": "CC0"}]
    given = DataConfig.model_validate({"sources": sources, "taught": {"b.csv": {"part": [0, 0.4], "weight": 2}}})
    first, second = (assigned(source, given.taught) for source in given.sources)
    assert first == {"columns": {"toxic": "share"}, "taught": {"part": [0.0, 0.4], "weight": 2.0}} | taken
    said = "columns toxic share; labels insult 0.5; only kind a or 1; part 0.25 to 1; weight 0.3; split train; "
    said += "taught part 0 to 0.4, weight 2"
    assert taken_as(first) == said
    assert second == {}
