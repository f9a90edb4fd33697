"""Another threshold, tried on the comments that are loaded: what would be decided otherwise."""

from collections import Counter

import pandas as pd
import streamlit as st

from apps.moderator.components.veil import veiled
from apps.moderator.services.job import ScoringJob
from apps.moderator.services.results import Change, ThresholdKind, changes, labels_of, version_most_used
from apps.ui.colors import label_words, short_version
from apps.ui.table import offer_csv

MOST_SHOWN_CHANGES = 200
_KINDS: dict[ThresholdKind, str] = {"review": "Send to review from", "remove": "Remove from"}
_NEVER_YET = 1.0


def show_what_if(job: ScoringJob) -> None:
    """Offer to move one threshold and list the comments whose decision changes; nothing is changed in the API."""
    with st.expander("What if a threshold were another?", icon=":material/tune:"):
        version = version_most_used(job)
        if version is None:
            st.info("Nothing is scored yet, or the thresholds of the version that scored are not known any more.")
            return
        label, kind = _choose(job)
        limit = getattr(job.thresholds(version)[label], kind)
        threshold = st.slider(
            f"{_KINDS[kind]} a score of",
            0.0,
            1.0,
            _NEVER_YET if limit is None else round(limit, 3),
            step=0.005,
            format="%.3f",
            key=f"threshold-{id(job)}-{label}-{kind}",
        )
        stands = "never" if limit is None else f"from {limit:.3f}"
        st.caption(f"Now: {stands}, by version {short_version(version)}. This tries it out here and changes nothing.")
        # The slider stands on a step near the threshold; left there, it means the threshold itself.
        untouched = threshold == (_NEVER_YET if limit is None else round(limit, 3))
        _show(len(job.rows), [] if untouched else changes(job, version, label, kind, threshold))


def _choose(job: ScoringJob) -> tuple[str, ThresholdKind]:
    left, right = st.columns(2)
    with left:
        label = st.selectbox("Label", labels_of(job.rows), format_func=label_words, key=f"what-label-{id(job)}")
    with right:
        kind = st.selectbox("Threshold", list(_KINDS), format_func=_KINDS.__getitem__, key=f"what-kind-{id(job)}")
    return label, kind


def _show(rows: int, found: list[Change]) -> None:
    moves = Counter(f"{change.before} → {change.after}" for change in found)
    said = "; ".join(f"{move}: {number:,}" for move, number in moves.most_common()) or "none"
    st.markdown(f"**{len(found):,} of {rows:,} decisions would change.** {said if found else ''}")
    if not found:
        return
    frame = pd.DataFrame(
        {
            "row": [change.row for change in found],
            "text": [change.text for change in found],
            "score": [change.score for change in found],
            "now": [change.before for change in found],
            "then": [change.after for change in found],
        }
    )
    listed = frame.head(MOST_SHOWN_CHANGES)
    if len(found) > len(listed):
        st.caption(f"The first {len(listed):,} are listed; the download has all.")
    number = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        listed.assign(text=listed["text"].map(veiled)),
        hide_index=True,
        column_config={"score": number},
        alt="Decisions that would change",
    )
    offer_csv(frame, "what-if")
