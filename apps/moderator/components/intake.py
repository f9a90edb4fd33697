"""How many comments come in: pasted, or from a file; then which column of it holds them."""

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from apps.moderator.components.veil import veiled
from apps.moderator.services.history import History
from apps.moderator.services.loaded import PASTED, Loaded, Room
from apps.moderator.services.reading import MOST_ROWS, read_file, read_lines, sheets_of
from apps.moderator.services.table import header_may_be_a_comment, likely_text_column
from apps.ui.notice import show_problem
from apps.ui.problem import Problem
from moderation.errors import InvalidInputError, OverloadedError

MOST_UPLOAD_MB = 50
LOADED, PASTE = "loaded", "pasted_comments"
"""Keys of the session."""
_LONGEST_NAME = 60
"""Characters shown of what may be a comment and no name."""
_UPLOADS = "uploads"
_UNREADABLE = "unreadable"


def loaded_comments(history: History) -> Loaded | None:
    """Return what is loaded; while nothing is, offer to paste or upload."""
    loaded: Loaded | None = st.session_state.get(LOADED)
    if loaded is None:
        _offer_paste(history)
        _offer_upload(history)
        return None
    rows = len(loaded.table.rows)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"{loaded.name}: {rows:,} row{'s' if rows > 1 else ''}")
        st.button(
            "Load others",
            icon=":material/close:",
            on_click=_drop,
            disabled=loaded.running_job() is not None,
            help="Closes these comments; download what you need of them first.",
        )
    for note in loaded.table.notes:
        st.warning(note, icon=":material/info:")
    return loaded


def choose_column(loaded: Loaded) -> int | None:
    """Return the position of the column with the comments; ask when there are several."""
    header = loaded.table.header
    if len(header) == 1:
        if header_may_be_a_comment(loaded.table):  # it is not scored, and would be lost unseen
            name = veiled(header[0])
            st.text(f"Column with the comments: {name[:_LONGEST_NAME]}{'…' if len(name) > _LONGEST_NAME else ''}")
            st.caption("If that is a comment, put a line with `comment_text` above it and load the file again.")
        return 0
    return st.selectbox(
        "Column with the comments",
        range(len(header)),
        index=likely_text_column(loaded.table),
        format_func=lambda position: header[position] or f"(column {position + 1}, without a name)",
        placeholder="Choose a column",
        key=f"column-{id(loaded)}",
        disabled=loaded.running_job() is not None,
    )


def _offer_paste(history: History) -> None:
    with st.form("paste", border=False):
        text = st.text_area("Comments, one per line", key=PASTE, height=140, placeholder="Paste comments here")
        if st.form_submit_button("Score these", icon=":material/speed:"):
            try:
                loaded = Loaded(PASTED, read_lines(text), history)
                _room().take(loaded)
                loaded.start(0)
            except InvalidInputError as error:
                show_problem(Problem("There is nothing to score.", "Paste one comment per line.", str(error)))
            except OverloadedError as error:
                show_problem(_no_room(error))
            else:
                _open(loaded)


def _offer_upload(history: History) -> None:
    uploaded = st.file_uploader(
        "Or a file: CSV, Excel or JSON Lines",
        type=["csv", "tsv", "txt", "xlsx", "jsonl", "ndjson"],
        max_upload_size=MOST_UPLOAD_MB,
        key=f"upload-{st.session_state.get(_UPLOADS, 0)}",
        help=f"One comment per row, column names first; up to {MOST_UPLOAD_MB} MB and {MOST_ROWS:,} rows. CSV in UTF-8 "
        "or Windows-1252, UTF-16 with a BOM, separated by comma, semicolon, tab or bar; of Excel one sheet.",
    )
    if uploaded is None:
        st.info(
            "You get your rows back with the scores, the decision and the model version in columns behind yours.",
            icon=":material/upload_file:",
        )
        return
    sheets = _sheets(uploaded.file_id, uploaded)
    sheet = None
    if len(sheets) > 1:
        sheet = st.selectbox(
            "Sheet with the comments", sheets, index=None, placeholder="Choose a sheet", key=f"sheet-{uploaded.file_id}"
        )
        if sheet is None:
            return
    # A file that cannot be read is not read again at each run of the page.
    tried = uploaded.file_id, sheet
    failed, problem = st.session_state.get(_UNREADABLE, (None, None))
    if failed != tried:
        found = _read(uploaded, sheet, history)
        if isinstance(found, Loaded):
            _open(found)
        st.session_state[_UNREADABLE] = (tried, problem := found)
    show_problem(problem)


@st.cache_data(max_entries=100, show_spinner=False)
def _sheets(file_id: str, _uploaded: UploadedFile) -> tuple[str, ...]:  # noqa: ARG001 - it is the cache's key
    try:
        return sheets_of(_uploaded.name, _uploaded.getvalue())
    except InvalidInputError:  # reading it says why
        return ()


def _read(uploaded: UploadedFile, sheet: str | None, history: History) -> Loaded | Problem:
    """Return what was uploaded, or why that cannot be."""
    name = uploaded.name if sheet is None else f"{uploaded.name.rpartition('.')[0]} ({sheet}).xlsx"
    try:
        loaded = Loaded(name, read_file(uploaded.name, uploaded.getvalue(), sheet), history)
        _room().take(loaded)
    except InvalidInputError as error:
        return Problem("This file cannot be read.", "Correct it and upload it again.", str(error))
    except OverloadedError as error:
        return _no_room(error)
    return loaded


def _open(loaded: Loaded) -> None:
    """Keep what was read, let go of the upload's bytes, and draw the page anew."""
    st.session_state[LOADED] = loaded
    st.session_state[_UPLOADS] = st.session_state.get(_UPLOADS, 0) + 1
    st.rerun()


def _no_room(error: OverloadedError) -> Problem:
    advice = "Upload them again later, or score the file with `moderation score`, which holds a few rows at a time."
    return Problem("There is no room for these comments now.", advice, str(error))


@st.cache_resource(show_spinner=False)
def _room() -> Room:
    return Room()


def _drop() -> None:
    st.session_state[LOADED] = None
