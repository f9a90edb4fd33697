"""Hands a fresh session's token to the server, which keeps it in a cookie for the next page load, or lets go of it."""

import streamlit as st

from apps.monitor.services.cookie import path

_JS = """
export default function ({ data }) {
  // Without the cookie a reload asks to sign in, and no more is lost.
  fetch(data.path, { method: data.token ? "POST" : "DELETE", body: data.token }).catch(() => {});
}
"""
_keeper = st.components.v2.component("session_keeper", js=_JS)


def keep_signed_in(token: str) -> None:
    """Keep ``token`` in this browser."""
    _keep(token)


def keep_nobody() -> None:
    """Let this browser forget the token that it keeps."""
    _keep(None)


def _keep(token: str | None) -> None:
    _keeper(data={"token": token, "path": path(st.get_option("server.baseUrlPath"))}, key="session-keeper")
