"""The moderator app: one comment or a file of comments, scored by the API and judged by a person.

Start it from the repository root with the root on PYTHONPATH:
``PYTHONPATH=. streamlit run apps/moderator/app.py``.
"""

import streamlit as st

from apps.moderator.views.comment import comment_view
from apps.moderator.views.file import file_view
from apps.ui.page import begin, settings_or_stop, stop_for
from moderation.client import ModerationClient
from moderation.errors import ConfigurationError
from moderation.settings import ModeratorSettings

TIMEOUT_S = 15.0
# A batch of the longest texts takes a slow machine several seconds.
BATCH_TIMEOUT_S = 60.0


def main() -> None:
    """Draw the page, then go on with a file that is being scored."""
    begin("Comment moderation", "Score comments, see why, and say where the model is wrong.", "🛡️")
    settings = settings_or_stop(ModeratorSettings)
    api_url = settings.api_url
    api_key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        client = ModerationClient(api_url, timeout_s=TIMEOUT_S, api_key=api_key)
    except ConfigurationError as error:
        stop_for(error)
    one, many = st.tabs(["One comment", "A file of comments"])
    with one, client:
        comment_view(client, api_url)
    with many:
        progress = file_view(api_url)
    # Last, so that both tabs stand and can be used meanwhile.
    if progress is not None:
        with ModerationClient(api_url, timeout_s=BATCH_TIMEOUT_S, api_key=api_key) as patient_client:
            progress.carry_on(patient_client)


main()
