"""A table of data with its download."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from apps.ui.spreadsheet import write_csv


def show_table(frame: pd.DataFrame, name: str, columns: Mapping[str, Any] | None = None) -> None:
    """Show ``frame``, and offer it as ``name``.csv, no cell of which starts a formula in a spreadsheet.

    ``columns`` are Streamlit's column configurations by column.
    """
    st.dataframe(frame, hide_index=True, column_config=dict(columns or {}), alt=name.replace("-", " "))
    offer_csv(frame, name)


def offer_csv(frame: pd.DataFrame, name: str) -> None:
    """Offer ``frame`` as ``name``.csv, no cell of which starts a formula in a spreadsheet; what is missing is empty."""
    st.download_button(
        "Download as CSV",
        lambda: as_csv(frame),
        file_name=f"{name}.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
        key=f"csv-{name}",
    )


def as_csv(frame: pd.DataFrame) -> bytes:
    """Return ``frame`` as CSV; times are ISO 8601."""
    rows = ([_cell(value) for value in row] for row in frame.itertuples(index=False, name=None))
    return write_csv(map(str, frame.columns), rows)


def _cell(value: Any) -> str:  # noqa: ANN401 - whatever a frame holds
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
