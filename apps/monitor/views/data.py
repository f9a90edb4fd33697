"""The page of admins: what leaves the database, what is erased from it, and who did what."""

from datetime import timedelta
from typing import get_args

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.services.data import PAGE_ENTRIES, audit_frame, whole_days
from apps.monitor.views.guard import guarded
from apps.ui.notice import show_problem
from apps.ui.page import head
from apps.ui.problem import Problem
from apps.ui.table import show_table
from moderation import clock
from moderation.db.export import Kind
from moderation.errors import InvalidInputError, TooLargeError
from moderation.review.access import Session
from moderation.review.data import erase_predictions, export_archive
from moderation.review.history import Entry, audit_entries

_ARCHIVE, _BEFORE = "archive", "audit-pages"
IDS, IDS_LABEL = "erase-ids", "Prediction ids, one per line"
_WORDS: dict[Kind, str] = {
    "reviews": "Reviews (the designed sample, weighted)",
    "feedback": "Feedback with corrections",
}


@guarded
def data_view(engine: Engine, session: Session) -> None:
    """Let an admin export and erase, and show the audit log."""
    head("Data", "What people judged, as a data set to train on; erasing texts; and who did what.")
    export, erase, log = st.tabs(["Export", "Erase", "Audit log"], key="data-tab", on_change="rerun")
    with export:
        _export(engine, session)
    with erase:
        _erase(engine, session)
    if log.open:
        with log:
            _audit(engine, session)


def _export(engine: Engine, session: Session) -> None:
    today = clock.now().date()
    with st.form("export", width=520):
        kind: Kind = st.radio("What", list(get_args(Kind))[::-1], format_func=_WORDS.__getitem__, key="export-kind")
        chosen = st.date_input("Judged on (UTC days)", (today - timedelta(days=30), today), key="export-days")
        sent = st.form_submit_button("Prepare the file", type="primary", icon=":material/inventory_2:")
    if sent:
        st.session_state.pop(_ARCHIVE, None)
        if len(chosen) != 2:
            st.error("Choose the first and the last day.", icon=":material/error:")
            return
        start, end = whole_days(*chosen)
        try:
            with st.spinner("Reading what was judged …"):
                archive = export_archive(engine, session, kind, start, end, clock.now())
        except (InvalidInputError, TooLargeError) as error:
            show_problem(Problem("There is no file.", "Choose other days.", str(error)))
            return
        st.session_state[_ARCHIVE] = (archive, f"{kind}-{chosen[0]:%Y%m%d}-{chosen[1]:%Y%m%d}.zip")
    if _ARCHIVE in st.session_state:
        archive, name = st.session_state[_ARCHIVE]
        st.download_button(
            f"Download {name}",
            archive,
            file_name=name,
            mime="application/zip",
            on_click="ignore",
            icon=":material/download:",
        )
        st.caption(
            "JSON Lines and its manifest; unpack both into one folder and train on the file with layout `reviews`. "
            "The texts in it are as they were written."
        )


def _erase(engine: Engine, session: Session) -> None:
    st.caption(
        "Erases text, text hash and author of predictions, and the feedback on them. Scores and labels stay, for they "
        "are counted. This cannot be undone. `moderation erase --author` erases by author."
    )
    with st.form("erase", width=520, clear_on_submit=False):
        typed = st.text_area(IDS_LABEL, key=IDS, height=120)
        sure = st.checkbox("Erase these for good", key="erase-sure")
        sent = st.form_submit_button("Erase", icon=":material/delete_forever:")
    if not sent:
        return
    if not sure:
        st.error("Nothing is erased yet: tick that it is for good.", icon=":material/error:")
        return
    ids = [line for line in typed.splitlines() if line.strip()]
    try:
        erased = erase_predictions(engine, session, ids, clock.now())
    except InvalidInputError as error:
        show_problem(Problem("Nothing is erased.", "Correct the ids.", str(error)))
        return
    st.success(
        f"Erased: {erased.predictions} predictions, {erased.feedback} feedback. What arrives later under these ids is "
        "erased on arrival.",
        icon=":material/check:",
    )


def _audit(engine: Engine, session: Session) -> None:
    pages: list[Entry] = st.session_state.setdefault(_BEFORE, [])
    before = pages[-1] if pages else None
    entries = audit_entries(engine, session, clock.now(), before, PAGE_ENTRIES)
    with st.container(horizontal=True):
        st.button("Newest", disabled=not pages, on_click=pages.clear, icon=":material/first_page:")
        st.button("Newer", disabled=not pages, on_click=_back, args=(pages,), icon=":material/chevron_left:")
        full = len(entries) == PAGE_ENTRIES
        older = entries[-1:] if full else []
        st.button("Older", disabled=not full, on_click=pages.extend, args=(older,), icon=":material/chevron_right:")
    st.caption(f"Page {len(pages) + 1}; {PAGE_ENTRIES} entries a page, newest first.")
    time = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss")
    show_table(audit_frame(entries), "audit-log", {"Time (UTC)": time})


def _back(pages: list[Entry]) -> None:
    pages.pop()
