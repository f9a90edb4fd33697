"""A site's own log of comments with Perspective's scores, read row by row; a bad row is noted with its line."""

import csv
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.output import counted
from cli.tables import not_utf8
from moderation.errors import InvalidInputError, NotFoundError
from moderation.perspective_scale import ATTRIBUTES
from moderation.text import normalize

SUFFIXES = (".csv", ".jsonl")
TEXT_COLUMNS = ("text", "comment_text", "comment", "body")
ANSWER = "attributeScores"
"""Of Perspective's own answer: where a log keeps it whole, the scores are read from it."""


@dataclass
class PerspectiveLog:
    """Comments, and per label Perspective's scores in [0, 1], NaN where a row has none; ``bad``: what was left out."""

    texts: list[str] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)


def read_log(path: Path, text_column: str | None, columns: Mapping[str, str]) -> PerspectiveLog:
    """Read a CSV or JSON Lines file; ``columns`` names the score column of labels whose name does not say it.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: another suffix, no column with texts or with scores, or no good row.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} is not a file")
    if path.suffix not in SUFFIXES:
        raise InvalidInputError(f"{path} ends in {path.suffix!r}; expected {', '.join(SUFFIXES)}")
    try:
        rows = list(_csv_rows(path) if path.suffix == ".csv" else _json_rows(path))
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except csv.Error as error:
        raise InvalidInputError(f"{path} cannot be read as {path.suffix} ({error})") from None
    # Of all rows: lines of JSON may differ in their names.
    names = list(dict.fromkeys(name for _, row in rows if not isinstance(row, str) for name in row))
    log, chosen = PerspectiveLog(), _Columns.choose(path, names, text_column, columns) if names else None
    for line, row in rows:
        if chosen is None or isinstance(row, str):
            log.bad.append(f"line {line}: {row}")
        else:
            _take(log, line, row, chosen)
    if not log.texts:
        first = f", the first: {log.bad[0]}" if log.bad else ""
        raise InvalidInputError(f"{path} has no row that can be used ({len(log.bad)} bad{first})")
    return log


@dataclass(frozen=True)
class _Columns:
    text: tuple[str, ...]
    scores: Mapping[str, tuple[str, ...]]
    """By label; of several the first counts that a row has. A row with none has them in Perspective's answer."""

    @classmethod
    def choose(cls, path: Path, names: Sequence[str], text: str | None, given: Mapping[str, str]) -> "_Columns":
        """Find the columns by what was asked for, else by their usual names."""
        found = tuple(name for name in ((text,) if text else TEXT_COLUMNS) if name in names)
        if not found:
            raise InvalidInputError(
                f"{path} has no column {text or ' or '.join(TEXT_COLUMNS)}; it has {', '.join(map(repr, names))}; "
                "give --text-column"
            )
        if missing := [name for name in given.values() if name not in names]:
            raise InvalidInputError(f"{path} has no column {missing[0]!r}, which --column names")
        usual = {label: tuple(each for each in names if each.partition("@")[0].upper() == name)
                 for label, name in ATTRIBUTES.items()}  # fmt: skip
        scores = {label: each for label, each in usual.items() if each} | {label: (given[label],) for label in given}
        if not scores and ANSWER not in names:
            raise InvalidInputError(
                f"{path} has no column named {', '.join(ATTRIBUTES.values())}, nor {ANSWER}; "
                "name one, such as --column toxic=score"
            )
        return cls(found, scores)


def _take(log: PerspectiveLog, line: int, row: Mapping[str, Any], columns: _Columns) -> None:
    text = _first(row, columns.text)
    if not isinstance(text, str) or not normalize(text):
        log.bad.append(f"line {line}: no text in column {' or '.join(map(repr, columns.text))}")
        return
    try:
        scores = _scores(row, columns)
    except InvalidInputError as error:
        log.bad.append(f"line {line}: {error}")
        return
    for label, score in scores.items():
        log.scores.setdefault(label, [math.nan] * len(log.texts)).append(score)
    log.texts.append(text)
    for known in log.scores.values():
        known.extend([math.nan] * (len(log.texts) - len(known)))


def _scores(row: Mapping[str, Any], columns: _Columns) -> dict[str, float]:
    raw = {label: _first(row, names) for label, names in columns.scores.items()}
    if all(value is None for value in raw.values()) and ANSWER in row:
        raw = _answered(row[ANSWER])
    found = {label: _score(label, value) for label, value in raw.items() if value is not None}
    if not found:
        raise InvalidInputError("no score of Perspective's")
    return found


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:  # noqa: ANN401 - whatever a file holds
    """Return the first of these columns that the row fills; None: it fills none."""
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _answered(answer: object) -> dict[str, object]:
    """Return the summary scores of Perspective's answer, by label; a CSV holds it as the text of its JSON."""
    if isinstance(answer, str):
        try:
            answer = json.loads(answer)
        except (ValueError, RecursionError):
            raise InvalidInputError(f"{ANSWER} is no JSON") from None
    if not isinstance(answer, Mapping):
        raise InvalidInputError(f"{ANSWER} is no object")
    named = {str(name).partition("@")[0]: value for name, value in answer.items()}
    try:
        return {label: named[name]["summaryScore"]["value"] for label, name in ATTRIBUTES.items() if name in named}
    except (KeyError, TypeError):
        raise InvalidInputError(f"{ANSWER} without summaryScore.value") from None


def _score(label: str, value: Any) -> float:  # noqa: ANN401 - whatever a file holds
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= 1:  # never true of NaN
        raise InvalidInputError(f"the score of {ATTRIBUTES[label]} is no number in [0, 1]")
    return score


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield the line each row begins in, with the row or what is wrong with it."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            if row:
                fits = len(row) == len(header)
                right = dict(zip(header, row, strict=True)) if fits else ""
                yield line, right or f"{counted(len(row), 'field')}, the header has {len(header)}"


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, content in enumerate(file, start=1):
            if content.strip():
                try:
                    row = json.loads(content)
                except (ValueError, RecursionError):
                    yield line, "not JSON"
                    continue
                yield line, row if isinstance(row, dict) else "expected a JSON object"
