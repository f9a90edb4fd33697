"""The monitor app as a server: Streamlit's, and one route of our own, which keeps a sign-in over a reload.

Started by ``python -m apps.monitor``. Streamlit's script cannot set a cookie, and JavaScript none that JavaScript
cannot read again: so the page hands the session's token to this route, which sets it
(docs/adr/0014-who-is-signed-in.md).
"""

import streamlit as st
from streamlit.starlette import App

from apps.monitor.services.cookie import routes
from moderation.settings import MonitorSettings, load

app = App("app.py", routes=routes(load(MonitorSettings), st.get_option("server.baseUrlPath")))
