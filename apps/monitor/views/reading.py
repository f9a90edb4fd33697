"""Which database the pages of figures read, and what the sidebar says of it."""

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.services.replica import LATE, committed_until, knows, open_replica, why_not
from moderation import clock
from moderation.errors import ModerationError
from moderation.review.access import Session
from moderation.settings import MonitorSettings

_LOOK_S = 10


def engine_to_read(primary: Engine, settings: MonitorSettings, session: Session) -> Engine:
    """Return the read replica where one is set and can be used, else ``primary``.

    Raises:
        ConfigurationError: its URL cannot be read.
    """
    url = settings.read_database_url and settings.read_database_url.get_secret_value()
    if not url:
        return primary
    replica = _replica(url)
    with st.sidebar:
        try:
            problem = _why_not(url, primary, replica)
            known = not problem and knows(replica, session, clock.now())
        except ModerationError as error:  # it has gone since it was looked at last
            _why_not.clear()
            problem, known = str(error), False
        if problem:
            st.warning("Figures are read from the primary database: the read replica cannot be used.")
            st.text(problem)
            return primary
        if not known:
            st.caption("Figures are read from the primary database until the read replica knows this sign-in.")
            return primary
        st.fragment(_show_age, run_every=_LOOK_S)(primary, replica)
    return replica


@st.cache_resource(max_entries=4, show_spinner=False, on_release=Engine.dispose)
def _replica(url: str) -> Engine:
    return open_replica(url)


# One that is away costs seconds to find out, which not every click shall take.
@st.cache_data(max_entries=4, ttl=_LOOK_S, show_spinner=False)
def _why_not(url: str, _primary: Engine, _replica: Engine) -> str | None:  # noqa: ARG001 - it is the cache's key
    return why_not(_primary, _replica)


def _show_age(primary: Engine, replica: Engine) -> None:
    try:
        until, behind = committed_until(primary, replica)
    except ModerationError as error:
        st.warning("The read replica does not answer any more: reload this page to read from the primary database.")
        st.text(str(error))
        return
    if not behind:
        st.caption("Figures are read from the read replica, which is up to date.")
        return
    show = st.warning if behind > LATE else st.caption
    show(
        f"Figures are read from the read replica: what was committed until {until:%Y-%m-%d %H:%M:%S} UTC, "
        f"{behind.total_seconds():,.0f} s ago."
    )
