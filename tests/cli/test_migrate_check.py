"""`moderation migrate-check` on real logs with a real bundle."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.migrate_check import _compared
from cli.perspective_log import read_log
from moderation.bundle import read_bundle
from moderation.errors import InvalidInputError, NotFoundError
from moderation.labels import LABELS
from moderation.perspective import PerspectiveScorer
from moderation.scoring.scorer import Scorer
from tests.cli.conftest import Moderation
from tests.cli.scaled import build_scaled_bundle

SECRET = "disgusting idiot"
TEXTS = [f"{words} {number}" for number in range(10) for words in ("thank you", "damn", SECRET)]


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    return build_scaled_bundle(tmp_path / "scaled")


def scored(bundle: Path) -> list[dict[str, float]]:
    rows = Scorer.load(read_bundle(bundle)).score(TEXTS).scores.tolist()
    return [dict(zip(LABELS, row, strict=True)) for row in rows]


def served(bundle: Path, label: str) -> list[float]:
    scorer = PerspectiveScorer.load(read_bundle(bundle))
    assert scorer is not None
    return [scorer.scores(text, own)[label] for text, own in zip(TEXTS, scored(bundle), strict=True)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_log_that_agrees_changes_nothing_and_one_that_was_moved_says_what(
    moderation: Moderation, scaled: Path, tmp_path: Path, suffix: str
) -> None:
    toxic, insult = served(scaled, "toxic"), served(scaled, "insult")
    rows = [
        {"text": text, "TOXICITY": score, "insult": max(0.0, other - 0.1)}
        for text, score, other in zip(TEXTS, toxic, insult, strict=True)
    ]
    log = write(tmp_path / f"log{suffix}", rows)
    options = ("--bundle", scaled, "--threshold", "0.95", "--plot", tmp_path / "plot.svg", "--json")
    done = moderation("migrate-check", "--perspective-log", log, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["left_out"], list(report["attributes"])) == (30, 0, ["toxic", "insult"])
    same, moved = report["attributes"]["toxic"], report["attributes"]["insult"]
    assert same["mean_absolute_difference"]["value"] == pytest.approx(0, abs=1e-9)
    assert same["spearman"]["value"] == pytest.approx(1)
    assert (same["newly_flagged"], same["no_longer_flagged"]) == (0, 0)
    assert moved["newly_flagged"] == sum(score >= 0.95 > score - 0.1 for score in insult) > 0
    fewest = moved["fewest_changes"]
    assert (fewest["newly_flagged"], fewest["no_longer_flagged"]) == (0, 0)
    assert fewest["threshold"] > max(score for score in insult if score - 0.1 < 0.95)
    plain = np.array([own["insult"] for own in scored(scaled)])
    theirs = np.array([max(0.0, other - 0.1) for other in insult]) >= 0.95
    by_probability = moved["fewest_changes_by_probability"]
    flagged = plain >= by_probability["threshold"]
    assert by_probability["newly_flagged"] == (flagged & ~theirs).sum()
    assert by_probability["no_longer_flagged"] == (~flagged & theirs).sum()
    every = [((plain >= cut) != theirs).sum() for cut in [*plain, 1.0]]
    assert by_probability["newly_flagged"] + by_probability["no_longer_flagged"] == min(every)
    drawn = (tmp_path / "plot.svg").read_text()
    assert "no longer flagged" in drawn
    assert report["version"][:12] in drawn
    assert f"{moved['newly_flagged']} newly, 0 no longer" in drawn


def test_a_place_that_cannot_be_written_is_said_before_the_work(moderation: Moderation, tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", [{"text": "a", "TOXICITY": 0.5}])
    done = moderation("migrate-check", "--perspective-log", log, "--plot", tmp_path / "none" / "x.svg")
    assert done.stderr == f"error: folder {tmp_path}/none of the output does not exist\n"


def test_of_equal_thresholds_the_sites_own_wins_and_one_that_flags_little_is_warned_of() -> None:
    scores = np.linspace(0, 0.7, 60)
    same = _compared(scores, scores, 0.5)
    assert same["fewest_changes"] == {"threshold": 0.5, "newly_flagged": 0, "no_longer_flagged": 0}
    assert same["warnings"] == []
    theirs = np.where(np.arange(60) % 3 == 0, 0.9, 0.1)  # which scores have nothing to do with
    unlike = _compared(scores, theirs, 0.8)
    assert unlike["fewest_changes"]["threshold"] == 0.8
    assert unlike["warnings"] == ["at 0.8 only 0% of what Perspective flags is flagged"]


@pytest.mark.parametrize(
    ("flagged", "said"), [(0, "flags 0 comments"), (9, "flags 9 comments"), (59, "lets pass 1 comment")]
)
def test_a_log_of_removals_or_of_none_is_warned_of(flagged: int, said: str) -> None:
    scores = np.linspace(0, 1, 60)
    found = _compared(scores, np.where(np.arange(60) >= 60 - flagged, 0.9, 0.1), 0.8)
    assert f"Perspective {said}: too few to choose a threshold by" in found["warnings"]


def test_the_report_for_people_says_the_same_and_progress_stays_off_it(
    moderation: Moderation, scaled: Path, tmp_path: Path
) -> None:
    rows = [{"body": text, "score": score} for text, score in zip(TEXTS, served(scaled, "toxic"), strict=True)]
    log = write(tmp_path / "log.csv", [*rows, {"body": SECRET, "score": "high"}])
    done = moderation("migrate-check", "--perspective-log", log, "--column", "TOXICITY=score", "--bundle", scaled)
    assert done.returncode == 0, done.stderr
    plain = moderation("migrate-check", "--perspective-log", log, "--column", "TOXICITY=score")
    assert "as plain probabilities: it has no scale" in plain.stdout, plain.stderr  # the served bundle
    assert done.stdout.startswith("30 comments, 1 row left out.")
    assert "at 0.8 " in done.stdout
    assert "Spearman 1.000" in done.stdout
    assert "line 32: the score of TOXICITY is no number in [0, 1]" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_every_bad_row_is_named_by_its_line_and_never_by_its_text(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": "two\nlines", "TOXICITY": 0.5}),
        "",
        f'{{"text": "{SECRET}", ',
        json.dumps([SECRET]),
        json.dumps({"text": " \u200b", "TOXICITY": 0.5}),
        json.dumps({"text": SECRET, "TOXICITY": 1.5}),
        json.dumps({"text": SECRET, "TOXICITY": True}),
        json.dumps({"text": SECRET}),
        json.dumps({"text": "right", "TOXICITY": "0.25"}),
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    found = read_log(tmp_path / "log.jsonl", None, {})
    assert found.scores == {"toxic": [0.5, 0.25]}
    assert found.bad == [
        "line 3: not JSON",
        "line 4: expected a JSON object",
        "line 5: no text in column 'text'",
        "line 6: the score of TOXICITY is no number in [0, 1]",
        "line 7: the score of TOXICITY is no number in [0, 1]",
        "line 8: no score of Perspective's",
    ]


def test_a_line_of_a_csv_is_where_its_row_begins(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        'comment,TOXICITY@6,THREAT,TOXICITY@5\n"one\ntwo",0.5,,1\n\nthree,0.1,0.2\n"four\nfive",nan,0.5,1\nsix,0.7,0.9,1\n'
    )
    found = read_log(path, None, {})
    assert found.texts == ["one\ntwo", "six"]
    assert found.scores["toxic"] == [0.5, 0.7]
    assert math.isnan(found.scores["threat"][0])
    assert found.scores["threat"][1] == 0.9
    assert found.bad == [
        "line 5: 3 fields, the header has 4",
        "line 6: the score of TOXICITY is no number in [0, 1]",
    ]


def test_perspectives_own_answers_are_read(tmp_path: Path) -> None:
    answer = {"TOXICITY@6": {"summaryScore": {"value": 0.25}}, "SPAM": {"summaryScore": {"value": 0.5}}}
    rows = [{"text": "a", "attributeScores": answer}, {"text": "b", "attributeScores": {"TOXICITY": {}}}]
    found = read_log(write(tmp_path / "log.jsonl", rows), None, {})
    assert found.scores == {"toxic": [0.25]}
    assert found.bad == ["line 2: attributeScores without summaryScore.value"]
    rows = [{**row, "attributeScores": json.dumps(row["attributeScores"])} for row in rows]
    in_csv = read_log(write(tmp_path / "log.csv", [*rows, {"text": "c", "attributeScores": "{"}]), None, {})
    assert in_csv.scores == found.scores
    assert in_csv.bad == ["line 3: attributeScores without summaryScore.value", "line 4: attributeScores is no JSON"]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("note,TOXICITY\na,0.5\n", {}, r"has no column text or comment_text.*; it has 'note', 'TOXICITY'; give"),
        ("text,score\na,0.5\n", {}, "such as --column toxic=score"),
        ("text,score\na,0.5\n", {"toxic": "other"}, "no column 'other'"),
        ("text,TOXICITY\n,0.5\n", {}, r"no row that can be used \(1 bad, the first: line 2"),
        ("", {}, r"no row that can be used \(0 bad\)"),
        (b"text,TOXICITY\n\xff,0.5\n", {}, "line 2: not UTF-8"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused(
    tmp_path: Path, content: str | bytes, options: dict[str, str], said: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidInputError, match=said):
        read_log(path, None, options)


def test_another_suffix_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not a file"):
        read_log(tmp_path / "none.csv", None, {})
    (tmp_path / "log.txt").write_text("x")
    with pytest.raises(InvalidInputError, match=r"'\.txt'; expected \.csv, \.jsonl"):
        read_log(tmp_path / "log.txt", None, {})


def test_lines_of_json_may_differ_in_their_names(tmp_path: Path) -> None:
    rows = [
        {"comment": "one", "TOXICITY": 0.1},
        {"text": "two", "TOXICITY@6": 0.2, "INSULT": 0.3},
        {"text": "three", "TOXICITY": None, "TOXICITY@6": 0.4},
        {"text": "four", "attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.5}}}},
        {"text": "five"},
        {"note": "six", "TOXICITY": 0.6},
    ]
    log = read_log(write(tmp_path / "log.jsonl", rows), None, {})
    assert log.texts == ["one", "two", "three", "four"]
    assert log.scores["toxic"] == [0.1, 0.2, 0.4, 0.5]
    assert [None if math.isnan(each) else each for each in log.scores["insult"]] == [None, 0.3, None, None]
    assert [each.partition(":")[0] for each in log.bad] == ["line 5", "line 6"]
