"""Hands a fresh session's token to the server, which keeps it in a cookie for the next page load."""

import streamlit as st

from apps.monitor.services.cookie import path

_JS = """
export default function ({ data }) {
  // Without the cookie a reload asks to sign in, and no more is lost.
  fetch(data.path, { method: "POST", body: data.token }).catch(() => {});
}
"""
_keeper = st.components.v2.component("session_keeper", js=_JS)


def keep_signed_in(token: str) -> None:
    """Keep ``token`` in this browser."""
    _keeper(data={"token": token, "path": path(st.get_option("server.baseUrlPath"))}, key="session-keeper")
