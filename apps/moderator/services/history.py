"""What one moderator did since the page was opened: kept in this process's memory, gone with the page."""

import sys
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from apps.ui.spreadsheet import write_csv
from moderation import clock
from moderation.contracts import Prediction

MOST_ENTRIES, MOST_BYTES = 1_000, 16 << 20
"""The oldest go beyond either."""
_ENTRY_BYTES = 3_000
"""Of an entry beside its text: a prediction and a verdict."""
_HEADER = (
    *(
        "at",
        "kind",
        "text",
        "decision",
        "reasons",
        "verdict",
        "labels",
        "receipt",
        "prediction_id",
        "version",
        "scores",
    ),
)

Kind = Literal["comment", "many comments"]


@dataclass(frozen=True)
class Verdict:
    """What the moderator said, the labels as they should be where that was said, and the receipt for it."""

    agree: bool
    receipt: str
    labels: Mapping[str, bool] | None = None

    @property
    def words(self) -> str:
        """The verdict in a word."""
        return "agree" if self.agree else "disagree"


@dataclass(frozen=True)
class Entry:
    """One comment with what was said of it, or one job over many comments, called by its file's name.

    ``counts`` are the job's own, which go on as it does; the comments themselves are not held here.
    """

    at: datetime
    text: str
    prediction: Prediction | None = None
    verdict: Verdict | None = None
    counts: Counter[str] | None = None

    @property
    def kind(self) -> Kind:
        """What this is."""
        return "comment" if self.counts is None else "many comments"

    @property
    def decision(self) -> str:
        """The decision, or how many comments got which."""
        if self.counts is not None:
            counts = sorted(self.counts.items())
            return ", ".join(f"{number:,} {outcome}" for outcome, number in counts) or "none scored"
        return self.prediction.decision if self.prediction else ""


class History:
    """The newest entries of one session; used by every run of its page."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """About how much memory the entries take."""
        return self._size_bytes

    @property
    def entries(self) -> list[Entry]:
        """Everything kept, newest first."""
        with self._lock:
            return list(reversed(self._entries))

    def note_comment(self, text: str, prediction: Prediction) -> None:
        """Note a comment that was scored."""
        self._note(Entry(clock.now(), text, prediction))

    def note_job(self, name: str, counts: Counter[str]) -> None:
        """Note many comments that are being scored; their ``counts`` are read when the history is."""
        self._note(Entry(clock.now(), name, counts=counts))

    def note_verdict(self, prediction_id: str, verdict: Verdict) -> None:
        """Note what was said of a comment that is still in the history."""
        with self._lock:
            for place, entry in enumerate(self._entries):
                if entry.prediction is not None and entry.prediction.id == prediction_id:
                    self._entries[place] = replace(entry, verdict=verdict)

    def _note(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)
            self._size_bytes += _size_of(entry)
            while len(self._entries) > MOST_ENTRIES or (self._size_bytes > MOST_BYTES and len(self._entries) > 1):
                self._size_bytes -= _size_of(self._entries.popleft())

    def download(self) -> bytes:
        """Return everything kept as CSV, newest first, no cell of which starts a formula."""
        return write_csv(_HEADER, map(_cells, self.entries))


def _size_of(entry: Entry) -> int:
    return _ENTRY_BYTES + sys.getsizeof(entry.text)


def _cells(entry: Entry) -> list[str]:
    prediction, verdict = entry.prediction, entry.verdict
    labels = verdict.labels if verdict else None
    return [
        entry.at.isoformat(timespec="seconds"),
        entry.kind,
        entry.text,
        entry.decision,
        " ".join(prediction.reasons) if prediction else "",
        verdict.words if verdict else "",
        " ".join(label for label, fits in labels.items() if fits) if labels else "",
        verdict.receipt if verdict else "",
        prediction.id if prediction else "",
        prediction.version if prediction else "",
        " ".join(f"{label}={score:.6f}" for label, score in prediction.scores.items()) if prediction else "",
    ]
