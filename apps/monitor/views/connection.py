"""The database connection that the pages share."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.services.database import open_database


@st.cache_resource(max_entries=4, show_spinner=False, on_release=Engine.dispose)
def engine_for(database_url: str) -> Engine:
    """Return the engine of ``database_url``; one for all readers."""
    return open_database(database_url)
