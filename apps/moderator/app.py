"""The moderator app: one comment or many, scored by the API and judged by a person.

Start it from the repository root with the root on PYTHONPATH:
``PYTHONPATH=. streamlit run apps/moderator/app.py``.
"""

import streamlit as st

from apps.moderator.components.intake import LOADED, PASTE
from apps.moderator.components.veil import SHOWN, offer_texts
from apps.moderator.services.comment import CommentDesk
from apps.moderator.services.history import History
from apps.moderator.views.comment import comment_view
from apps.moderator.views.history import history_view
from apps.moderator.views.many import many_view
from apps.ui.memory import remember
from apps.ui.page import begin, settings_or_stop, stop_for
from apps.ui.uploads import keep_answers_to_uploads
from moderation.client import ModerationClient
from moderation.errors import ConfigurationError
from moderation.settings import ModeratorSettings

# An answer comes before the API's own deadline, 30 s, or with it.
TIMEOUT_S = 35.0
# A batch of the longest texts takes a slow machine several seconds.
BATCH_TIMEOUT_S = 60.0
_REMEMBERED = (
    "history",
    "desk",
    LOADED,
    SHOWN,
    "tab",
    "column-",
    "words-",
    "decisions-",
    "labels-",
    "sort-",
    "what-",
    "threshold-",
)


def main() -> None:
    """Draw the page, then go on with comments that are being scored."""
    begin("Comment moderation", "Score comments, see why, and say where the model is wrong.", "🛡️")
    keep_answers_to_uploads()
    settings = settings_or_stop(ModeratorSettings)
    api_url = settings.api_url
    api_key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        client = ModerationClient(api_url, timeout_s=TIMEOUT_S, api_key=api_key)
    except ConfigurationError as error:
        stop_for(error)
    remember(("", ""), _REMEMBERED, {"Comment": "comment_text", "Comments, one per line": PASTE})
    history: History = st.session_state.setdefault("history", History())
    desk: CommentDesk = st.session_state.setdefault("desk", CommentDesk(history))
    offer_texts()
    # Which tab is open is asked for, so that the keys of one do nothing in another.
    one, many, past = st.tabs(["One comment", "Many comments", "History"], key="tab", on_change="rerun")
    with one, client:
        comment_view(client, api_url, desk, with_keys=bool(one.open))
    with many:
        progress = many_view(api_url, history)
    with past:
        history_view(history)
    # Last, so that all tabs stand and can be used meanwhile.
    if progress is not None:
        with ModerationClient(api_url, timeout_s=BATCH_TIMEOUT_S, api_key=api_key) as patient_client:
            progress.carry_on(patient_client)


main()
