"""The monitor app's page over a database of the test's own, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest
import streamlit as st
from streamlit import config
from streamlit.testing.v1 import AppTest

from tests.apps.pages import page


@pytest.fixture
def monitor(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page, not run yet."""
    monkeypatch.setenv("MODERATION_DATABASE_URL", database_url)
    config.set_option("server.address", "127.0.0.1")  # where nobody has to sign in
    yield page("monitor")
    config.set_option("server.address", None)
    st.cache_resource.clear()  # closes the page's connections
