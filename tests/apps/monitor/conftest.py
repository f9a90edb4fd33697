"""The monitor app's page over a database of the test's own, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.apps.pages import page


@pytest.fixture
def monitor(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page, not run yet."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", database_url)
    yield page("monitor")
    st.cache_resource.clear()  # closes the page's connections
