"""Sign-in: by an identity provider where one is configured, else by name and password, else nobody has to.

What a session may do is decided by the database at each call; this page only finds out whose it is.
"""

from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components.keeper import keep_nobody, keep_signed_in
from apps.monitor.services.cookie import kept_token
from apps.monitor.services.identity import identity_of
from apps.ui.page import head
from moderation import clock
from moderation.errors import ForbiddenError, ModerationError, OverQuotaError, UnauthorizedError
from moderation.review import access
from moderation.review.access import LOCAL, Session
from moderation.settings import MonitorSettings

SESSION = "session"
"""Key of the session in Streamlit's state, which lasts until the page is reloaded."""
_WHY = "why_signed_out"
_TO_KEEP = "session_to_keep"
_FORGOTTEN = "forgotten"
"""What the browser kept when the page was loaded counts no more."""
_SIGNED_OUT = "signed_out"
"""Somebody signed out here, and nobody has signed in since."""


def forget_where_signed_out() -> None:
    """Take the token from the browser after a sign-out: with the database away, it would open the session again."""
    if st.session_state.get(_SIGNED_OUT):
        keep_nobody()


def signed_in(engine: Engine, settings: MonitorSettings) -> Session:
    """Return the session of whoever looks at the page, as it is at this moment; else ask them to sign in and stop.

    Raises:
        UnavailableError: the database went away.
    """
    now = clock.now()
    if token := _known_token():
        try:
            return access.resume(engine, token, now)
        except (UnauthorizedError, ForbiddenError) as error:
            end_session(error)
    if settings.signs_in_by_provider:
        session = _by_provider(engine, settings, now)
    else:
        session = _local(engine, now) or _by_password(engine, now)
    st.session_state.pop(_WHY, None)
    st.session_state[SESSION] = session
    return session


def end_session(error: ModerationError) -> None:
    """Forget a session that the database refuses, and say so on the sign-in page that comes next."""
    st.session_state.pop(SESSION, None)
    st.session_state[_FORGOTTEN] = True
    st.session_state[_WHY] = str(error)


def _known_token() -> str | None:
    """Return the token of this page's session, else the one that the browser kept from before the page was loaded."""
    known: Session | None = st.session_state.get(SESSION)
    if known is not None:
        return known.token
    return None if st.session_state.get(_FORGOTTEN) else kept_token(st.context.cookies)


def show_who(engine: Engine, session: Session) -> None:
    """Say beside the pages who is signed in, and let them sign out."""
    with st.sidebar:
        if session.reviewer == LOCAL:
            st.caption(
                "You are signed in as the local admin: this page answers this machine alone, and there are no "
                "accounts. `moderation reviewers add` makes the first one."
            )
            return
        st.caption(f"Signed in as **{session.reviewer}**, {session.role}")
        st.button("Sign out", icon=":material/logout:", on_click=_sign_out, args=(engine, session))
        if token := st.session_state.get(_TO_KEEP):
            keep_signed_in(token)


def offer_sign_out() -> None:
    """Let whoever was signed in leave while the database is away, which ends the session in its time."""
    known: Session | None = st.session_state.get(SESSION)
    if _known_token() and (known is None or known.reviewer != LOCAL):
        st.button("Sign out", icon=":material/logout:", on_click=_forget)


def _local(engine: Engine, now: datetime) -> Session | None:
    if not _is_local():
        return None
    try:
        return access.local_session(engine, now)
    except ForbiddenError:
        return None  # there are accounts


def _is_local() -> bool:
    """Return whether only this machine can ask for the page, and no proxy asks on behalf of others."""
    address = st.get_option("server.address")
    try:
        loopback = address == "localhost" or ip_address(address or "").is_loopback
    except ValueError:
        loopback = False
    return loopback and not any(name in st.context.headers for name in ("Forwarded", "X-Forwarded-For"))


def _by_provider(engine: Engine, settings: MonitorSettings, now: datetime) -> Session:
    refused = ""
    if st.user.get("is_logged_in"):
        try:
            return access.session_for_identity(engine, identity_of(st.user, settings.oidc_trust_email), now)
        except (UnauthorizedError, ForbiddenError) as error:
            refused = str(error)
    _begin_form()
    if refused and _WHY not in st.session_state:
        st.error("You cannot come in like this.", icon=":material/block:")
        st.text(refused)
    st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login)
    if st.user.get("is_logged_in"):
        st.button("Sign in as somebody else", on_click=st.logout)
    return st.stop()


def _by_password(engine: Engine, now: datetime) -> Session:
    _begin_form()
    with st.form("sign-in", width=420):
        name = st.text_input("Name", autocomplete="username")
        password = st.text_input("Password", type="password", autocomplete="current-password")
        sent = st.form_submit_button("Sign in", type="primary")
    if sent:
        try:
            session = access.sign_in(engine, name, password, now)
        except (UnauthorizedError, OverQuotaError) as error:
            st.error(str(error), icon=":material/error:")
        else:
            for name in (_WHY, _SIGNED_OUT):
                st.session_state.pop(name, None)
            st.session_state[SESSION] = session
            st.session_state[_TO_KEEP] = session.token
            st.rerun()
    st.caption("Accounts are made by `moderation reviewers add NAME --role reviewer`.")
    st.stop()


def _begin_form() -> None:
    head("Sign in", "The monitor shows what people wrote, so it asks who looks.")
    if why := st.session_state.get(_WHY):
        st.info("What you had chosen is kept as your draft.", icon=":material/info:")
        st.text(why)


def _sign_out(engine: Engine, session: Session) -> None:
    with suppress(ModerationError):  # forgotten here all the same; the database ends it in its time
        access.sign_out(engine, session, clock.now())
    _forget()


def _forget() -> None:
    st.session_state.clear()
    st.session_state[_FORGOTTEN] = st.session_state[_SIGNED_OUT] = True
    if st.user.get("is_logged_in"):
        st.logout()
