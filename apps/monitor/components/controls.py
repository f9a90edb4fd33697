"""What the reader chooses."""

import streamlit as st

from apps.monitor.services.snapshot import TIME_RANGES, TimeRange

_REFRESH_S: dict[str, int | None] = {"Off": None, "10 s": 10, "1 min": 60, "5 min": 300}


def choose_time_range() -> TimeRange:
    """Return how far back to look."""
    by_name = {each.name: each for each in TIME_RANGES}
    chosen = st.segmented_control("Look back", list(by_name), default=TIME_RANGES[0].name, required=True, key="range")
    return by_name[chosen]


def choose_refresh_s() -> int | None:
    """Return after how many seconds the page reads the database again; None: only when asked."""
    chosen = st.segmented_control(
        "Refresh every",
        list(_REFRESH_S),
        default="1 min",
        required=True,
        key="refresh",
        help="How often this page reads the database by itself.",
    )
    return _REFRESH_S[chosen]
