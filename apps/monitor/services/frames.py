"""Snapshots as data frames, one per chart or table. Times are UTC; a bucket spans ``at`` to ``until``."""

import pandas as pd

from apps.monitor.services.estimates import COLUMNS, cells
from apps.monitor.services.snapshot import Snapshot
from apps.ui.colors import label_words, short_version
from moderation.db.queries import LoggedPrediction

NOT_STORED = "(not stored)"
FAILURE_KINDS = ("fault (5xx)", "no room (503)", "over quota (429)", "caller left (499)", "refused (4xx)")
_PARTS = {"queue": "waiting", "tokenize": "tokenising", "inference": "inference"}


def volume_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Predictions per bucket."""
    rows = [(each.at, each.at + snapshot.time_range.bucket, each.predictions) for each in snapshot.traffic]
    return pd.DataFrame(rows, columns=["at", "until", "predictions"])


def latency_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Latency percentiles per bucket, one row per percentile; None where nothing was answered, so that lines break."""
    rows = [
        (each.at, percentile, getattr(each.latency, f"{percentile}_ms", None))
        for each in snapshot.traffic
        for percentile in ("p50", "p95", "p99")
    ]
    return pd.DataFrame(rows, columns=["at", "percentile", "latency_ms"])


def parts_frame(snapshot: Snapshot, percentile: str) -> pd.DataFrame:
    """One percentile (``p50``, ``p95`` or ``p99``) of the latency's parts per bucket; None where none was measured."""
    rows = [
        (each.at, _PARTS[part], getattr(found, f"{percentile}_ms", None))
        for each in snapshot.traffic
        for part, found in each.parts.items()
    ]
    return pd.DataFrame(rows, columns=["at", "part", "latency_ms"])


def cache_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Share of each bucket's predictions, in [0, 1], that came from the cache; empty buckets have no row."""
    rows = [
        (each.at, each.at + snapshot.time_range.bucket, each.cached, each.predictions, each.cached / each.predictions)
        for each in snapshot.traffic
        if each.predictions
    ]
    return pd.DataFrame(rows, columns=["at", "until", "cached", "predictions", "share"])


def failures_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Requests per bucket that were refused or failed, by kind; buckets without any have no row."""
    rows = [
        (each.at, each.at + snapshot.time_range.bucket, failure_kind(status), status, number)
        for each in snapshot.failures
        for status, number in sorted(each.statuses.items())
    ]
    return pd.DataFrame(rows, columns=["at", "until", "kind", "status", "requests"])


def failure_kind(status: int) -> str:
    """Return what a status from 400 on means, one of `FAILURE_KINDS`."""
    fault, room, quota, left, refused = FAILURE_KINDS
    return {503: room, 429: quota, 499: left}.get(status, fault if status >= 500 else refused)


def periods_frame(snapshot: Snapshot) -> pd.DataFrame:
    """When each alias pointed to which version, within the range; ``began``: the period began inside of it."""
    rows = []
    names = {each.version: each.record.name for each in snapshot.versions if each.record}
    for alias in sorted({move.alias for move in snapshot.moves}):
        mine = [move for move in snapshot.moves if move.alias == alias]
        ends = [move.moved_at for move in mine[1:]] + [snapshot.end]
        for move, end in zip(mine, ends, strict=True):
            if end > snapshot.start and move.moved_at < snapshot.end:
                called = f"{names.get(move.version, '')} {short_version(move.version)}".strip()
                inside = move.moved_at >= snapshot.start
                rows.append((alias, called, max(move.moved_at, snapshot.start), end, inside))
    return pd.DataFrame(rows, columns=["alias", "version", "at", "until", "began"])


def decisions_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Predictions per bucket and decision."""
    rows = [
        (each.at, each.at + snapshot.time_range.bucket, decision, count)
        for each in snapshot.traffic
        for decision, count in each.decisions.items()
    ]
    return pd.DataFrame(rows, columns=["at", "until", "decision", "predictions"])


def classes_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Share of the bucket's predictions, in [0, 1], that have each class; empty buckets have no row."""
    rows = [
        (each.at, each.at + snapshot.time_range.bucket, label_words(label), count, each.classified)
        for each in snapshot.traffic
        for label, count in each.classes.items()
        if each.classified
    ]
    frame = pd.DataFrame(rows, columns=["at", "until", "label", "predicted", "predictions"])
    return frame.assign(share=frame["predicted"] / frame["predictions"])


def corrections_frame(snapshot: Snapshot) -> pd.DataFrame:
    """Corrections per label and kind."""
    rows = [
        (label_words(each.label), kind, count, each.judged)
        for each in snapshot.feedback.labels
        for kind, count in (("missed", each.missed), ("false alarm", each.false_alarms))
    ]
    return pd.DataFrame(rows, columns=["label", "kind", "corrections", "judged"])


def agreement_frame(snapshot: Snapshot) -> pd.DataFrame:
    """The share of feedback that agrees, with its interval, one row."""
    return pd.DataFrame([("feedback", *cells(snapshot.agreement))], columns=["of", *COLUMNS])


def newest_frame(logged: list[LoggedPrediction], texts: bool) -> pd.DataFrame:
    """One row per prediction, with the newest feedback on it in words; with a column of ``texts`` or without."""
    frame = pd.DataFrame(
        [
            {
                "Time (UTC)": each.prediction.created_at,
                "Comment": NOT_STORED if each.prediction.text is None else each.prediction.text,
                "Decision": each.prediction.decision,
                "Because of": ", ".join(map(label_words, each.prediction.reasons)),
                "Feedback": _verdict(each),
                "Corrected labels": _corrected_labels(each),
                "Latency (ms)": each.prediction.latency_ms,
                "Tokens": each.prediction.tokens_read,
                "Cut": each.prediction.truncated,
                "Client": each.prediction.client,
                "Route": each.prediction.route,
                "Version": short_version(each.prediction.version),
                "Prediction": each.prediction.id,
            }
            for each in logged
        ]
    )
    return frame if texts else frame.drop(columns="Comment")


def versions_frame(snapshot: Snapshot) -> pd.DataFrame:
    """One row per version that answered in the range."""
    return pd.DataFrame(
        [
            {
                "Name": each.record.name if each.record else "(not recorded)",
                "Predictions": each.predictions,
                "First answer (UTC)": each.first_at,
                "Last answer (UTC)": each.last_at,
                "First seen (UTC)": each.record.first_seen_at if each.record else None,
                "Version": each.version,
            }
            for each in snapshot.versions
        ]
    )


def _verdict(logged: LoggedPrediction) -> str:
    if logged.feedback is None:
        return ""
    if logged.feedback.origin is not None:
        return "suggests the same" if logged.feedback.agree else "suggests otherwise"
    return "agrees" if logged.feedback.agree else "disagrees"


def _corrected_labels(logged: LoggedPrediction) -> str:
    if logged.feedback is None or logged.feedback.labels is None:
        return ""
    fitting = [label_words(label) for label, fits in logged.feedback.labels.items() if fits]
    return ", ".join(fitting) or "none of them"
