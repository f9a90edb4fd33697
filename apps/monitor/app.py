"""The monitor app: what the API answered, how fast, and what people said to it, read from the database only.

Start it from the repository root with the root on PYTHONPATH:
``PYTHONPATH=. streamlit run apps/monitor/app.py``.
"""

from apps.monitor.components.controls import LINEAGE, choose_page
from apps.monitor.views.dashboard import dashboard_view
from apps.monitor.views.lineage import lineage_view
from apps.ui.page import begin, settings_or_stop
from moderation.settings import MonitorSettings


def main() -> None:
    """Draw the page."""
    begin("Moderation monitor", "What the API answered, how fast, and what people said to it.", "📈")
    database_url = settings_or_stop(MonitorSettings).resolved_database_url()
    if choose_page() == LINEAGE:
        lineage_view(database_url)
    else:
        dashboard_view(database_url)


main()
