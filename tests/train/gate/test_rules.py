"""Rules and frozen data: what does not fit is one clear line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moderation.errors import ConfigurationError, InvalidInputError, NotFoundError
from moderation.labels import LABELS
from moderation.settings import GateSettings
from tests.train.gate.exam import make_frozen, make_rules
from train.gate.frozen import read_frozen
from train.gate.rules import DataRules, read_rules


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_frozen(tmp_path / "frozen.parquet")


def test_the_shipped_rules_fit_and_state_the_limits_that_are_promised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # rules and cases are found from any folder
    rules = read_rules(GateSettings().gate_rules_path)
    assert (rules.behaviour.minimum_functionality, rules.behaviour.invariance) == (0.95, 0.90)
    assert rules.comparison.margin("average_precision", "threat") == 0.25
    assert rules.comparison.margin("average_precision", "identity_hate") == 0.12
    assert len(rules.digest()) == 64


def test_the_digest_changes_with_rules_and_cases_and_not_with_where_they_lie(tmp_path: Path) -> None:
    first = read_rules(make_rules(tmp_path)).digest()
    (tmp_path / "elsewhere").mkdir()
    assert read_rules(make_rules(tmp_path / "elsewhere")).digest() == first
    assert read_rules(make_rules(tmp_path, floors={"roc_auc": 0.71})).digest() != first
    rules = read_rules(make_rules(tmp_path))
    (tmp_path / "cases" / "all.yaml").write_text("[]")
    assert rules.digest() != first


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("min_positives", "min_positve", r"unknown key data\.min_positve; did you mean min_positives\?"),
        ("roc_auc: 0.7", "roc_auc: 7", r"floors\.roc_auc: Input should be less than or equal to 1"),
        ("default: 0.05", "toxic: 0.05", "has neither a default nor a margin for identity_hate, insult"),
        ("floors:", "floors: [", "is not YAML"),
    ],
)
def test_rules_that_do_not_fit_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = make_rules(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigurationError, match=message):
        read_rules(path)


def test_no_rules_and_no_cases_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_rules(tmp_path / "none.yaml")
    rules = read_rules(make_rules(tmp_path, behaviour={"cases": str(tmp_path / "none")}))
    with pytest.raises(ConfigurationError, match=r"no \.yaml file in"):
        rules.digest()


def test_data_keep_their_digest_in_any_order_of_rows(tmp_path: Path, data: Path) -> None:
    rules = DataRules()
    first = read_frozen(data, rules)
    pd.read_parquet(data).sample(frac=1, random_state=0).to_parquet(tmp_path / "shuffled.parquet")
    assert read_frozen(tmp_path / "shuffled.parquet", rules).digest == first.digest
    assert read_frozen(data, DataRules(digest=first.digest)).digest == first.digest
    with pytest.raises(InvalidInputError, match=f"has digest {first.digest}; the rules state 000"):
        read_frozen(data, DataRules(digest="0" * 64))


def test_fractions_become_labels_and_null_stays_unknown(tmp_path: Path, data: Path) -> None:
    table = pd.read_parquet(data).astype({"true_toxic": float})
    table.loc[:2, "true_toxic"] = [0.5, 0.49, np.nan]
    table.to_parquet(data)
    np.testing.assert_array_equal(read_frozen(data, DataRules()).truth[:3, 0], [1, 0, np.nan])


def test_a_label_that_the_data_do_not_know_needs_no_positives(data: Path) -> None:
    known = pd.read_parquet(data).astype({"true_insult": float, "true_toxic": float})
    known.assign(true_insult=np.nan).to_parquet(data)
    found = read_frozen(data, DataRules())
    assert set(LABELS) - set(found.labels) == {"insult"}
    assert set(found.positives) == set(found.labels)
    known.assign(**{f"true_{label}": np.nan for label in LABELS}).to_parquet(data)
    with pytest.raises(InvalidInputError, match="says of no row whether it has a label"):
        read_frozen(data, DataRules())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("true_threat", 0, "too few positive rows to judge: threat 0; expected at least 20 each"),
        ("true_threat", 1, "has no negative row for threat"),
        ("true_toxic", 2, r"true_\* of 1500 rows, the first row 0, is not in \[0, 1\]"),
        ("true_toxic", "yes", "must hold numbers"),
        ("weight", 0, "weight of 1500 rows, the first row 0, is not above 0"),
        ("comment_text", "  ", "comment_text of 1500 rows, the first row 0, is not a text"),
    ],
)
def test_data_that_cannot_be_judged_by_are_named(data: Path, column: str, value: object, message: str) -> None:
    table = pd.read_parquet(data)
    table[column] = [value] * len(table)
    table.to_parquet(data)
    with pytest.raises(InvalidInputError, match=message):
        read_frozen(data, DataRules())


def test_missing_columns_and_files_are_named(tmp_path: Path, data: Path) -> None:
    pd.read_parquet(data).rename(columns={"true_insult": "insult"}).to_parquet(data)
    with pytest.raises(InvalidInputError, match="has no column true_insult; it has id, comment_text"):
        read_frozen(data, DataRules())
    (tmp_path / "bad.parquet").write_text("bad")
    with pytest.raises(InvalidInputError, match="cannot be read as parquet"):
        read_frozen(tmp_path / "bad.parquet", DataRules())
    with pytest.raises(NotFoundError, match=r"none\.parquet is not there; make it with"):
        read_frozen(tmp_path / "none.parquet", DataRules())
    assert set(LABELS) == {column.removeprefix("true_") for column in pd.read_parquet(data) if "true" in column} | {
        "insult"
    }
