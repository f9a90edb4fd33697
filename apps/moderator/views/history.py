"""The page of what was done since the app was opened."""

import pandas as pd
import streamlit as st

from apps.moderator.components.veil import veiled
from apps.moderator.services.history import MOST_ENTRIES, History


def history_view(history: History) -> None:
    """Draw the session's comments and verdicts, newest first, with their download."""
    entries = history.entries
    if not entries:
        st.info("What you score and say here is listed until you close the tab.", icon=":material/history:")
        return
    st.download_button(
        "Download the history",
        history.download,
        file_name="moderation-history.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        help="As CSV, with the texts; a cell that a spreadsheet could run as a formula gets a quote in front.",
    )
    st.caption(f"Newest first, in UTC; the last {MOST_ENTRIES:,} are kept until you close the tab.")
    frame = pd.DataFrame(
        {
            "at": [entry.at for entry in entries],
            "what": [entry.text if entry.kind == "many comments" else veiled(entry.text) for entry in entries],
            "decision": [entry.decision for entry in entries],
            "you": [entry.verdict.words if entry.verdict else "" for entry in entries],
            "prediction": [entry.prediction.id if entry.prediction else "" for entry in entries],
        }
    )
    at = st.column_config.DatetimeColumn("at", format="YYYY-MM-DD HH:mm:ss", timezone="UTC")
    st.dataframe(frame, hide_index=True, column_config={"at": at}, alt="History of this session")
