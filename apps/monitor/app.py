"""The monitor app: what the API answered, how fast, and what people say of it, read from the database only.

Start it from the repository root: ``python -m apps.monitor``; what follows goes to Streamlit.
"""

from collections.abc import Callable
from functools import partial

import streamlit as st
from sqlalchemy import Engine
from streamlit.navigation.page import StreamlitPage

from apps.monitor.services.database import check_database, explain
from apps.monitor.views.backtest import backtest_view
from apps.monitor.views.connection import engine_for
from apps.monitor.views.dashboard import dashboard_view
from apps.monitor.views.data import IDS, IDS_LABEL, data_view
from apps.monitor.views.drift import drift_view
from apps.monitor.views.lineage import lineage_view
from apps.monitor.views.quality import quality_view
from apps.monitor.views.reading import engine_to_read
from apps.monitor.views.review import adjudication_view, review_view
from apps.monitor.views.reviewers import reviewers_view
from apps.monitor.views.shadow import shadow_view
from apps.monitor.views.sign_in import forget_where_signed_out, offer_sign_out, show_who, signed_in
from apps.ui.memory import remember
from apps.ui.notice import show_problem
from apps.ui.page import settings_or_stop
from moderation.errors import ModerationError
from moderation.review.access import ROLES, Session
from moderation.settings import MonitorSettings

View = Callable[[Engine, Session], None]
_REMEMBERED = (
    *("range", "refresh", "part_percentile", "only_judged", "people-", "data-tab", "export-", IDS, "shadow_range"),
    *("weeks", "quality_", "figure", "beside", "compare", "back_range", "sample_size", "threshold"),
)


def main() -> None:
    """Let whoever looks sign in, and draw the page that they chose."""
    st.set_page_config(page_title="Moderation monitor", page_icon="📈", layout="wide")
    settings = settings_or_stop(MonitorSettings)
    forget_where_signed_out()  # before anything that can fail
    try:
        engine = engine_for(settings.resolved_database_url())
        check_database(engine)
        # Known before it is known who looks, so that signing in leads to the page that was asked for.
        st.navigation(_pages(engine, None), position="hidden")
        session = signed_in(engine, settings)
        reader = engine_to_read(engine, settings, session)
    except ModerationError as error:
        show_problem(explain(error))
        st.button("Try again", icon=":material/refresh:")
        offer_sign_out()
        return
    page = st.navigation(_pages(engine, session, reader))
    show_who(engine, session)
    remember((session.reviewer, page.url_path), _REMEMBERED, {IDS_LABEL: IDS})
    page.run()


def _pages(engine: Engine, session: Session | None, reader: Engine | None = None) -> dict[str, list[StreamlitPage]]:
    """Return the pages by group; without a session: of all, which nobody sees.

    A page takes ``(engine, session)``, and begins with `apps.ui.page.head`. Those that write nothing, nor show at once
    what another has written, get the ``reader``.
    """
    reader = reader or engine

    def page(view: View, title: str, icon: str, default: bool = False, of: Engine = reader) -> StreamlitPage:
        name = title.lower().replace(" ", "-")
        run = partial(view, of, session) if session else st.stop
        return st.Page(run, title=title, icon=f":material/{icon}:", url_path=name, default=default)

    rank = len(ROLES) if session is None else ROLES.index(session.role)
    may_review, may_all = (rank >= ROLES.index(least) for least in ("reviewer", "admin"))
    groups = {
        "Traffic": [page(dashboard_view, "Overview", "monitoring", default=True)],
        "People": [
            page(review_view, "Review queue", "rate_review", of=engine),
            page(adjudication_view, "Adjudication", "balance", of=engine),
            page(reviewers_view, "Reviewers", "groups"),
        ],
        "Model": [
            page(quality_view, "Live quality", "verified"),
            page(partial(backtest_view, reader=reader), "Back-test", "tune", of=engine),
            page(drift_view, "Drift", "trending_up"),
            page(shadow_view, "Shadow", "compare"),
            page(lineage_view, "Lineage", "account_tree"),
        ],
        "Data": [page(data_view, "Data", "database", of=engine)],
    }
    # Only so that nobody is offered what the database would refuse.
    hidden = [] if may_all else ["Data"] if may_review else ["Data", "People"]
    return {name: pages for name, pages in groups.items() if name not in hidden}


main()
