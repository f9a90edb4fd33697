"""What tests read off a page that `AppTest` ran."""

from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

APPS = Path(__file__).resolve().parents[2] / "apps"
# Generous: for a busy machine.
TIMEOUT_S = 90


def page(app: str) -> AppTest:
    return AppTest.from_file(APPS / app / "app.py", default_timeout=TIMEOUT_S)


def open_page(at: AppTest, name: str) -> AppTest:
    """Run the page that ``st.navigation`` has at the path ``name``; `AppTest.switch_page` takes files only."""
    at._page_hash = calc_hash(name)
    return at.run()


def parsed_texts(at: AppTest) -> str:
    """Everything on the page that the browser parses as Markdown."""
    kinds = (at.markdown, at.caption, at.title, at.header, at.subheader, at.error, at.warning, at.info, at.success)
    labels = [widget.label for kind in (at.button, at.selectbox, at.pills, at.metric) for widget in kind]
    return "\n".join([*(element.value for kind in kinds for element in kind), *labels])


def charts(at: AppTest) -> int:
    return len(at.get("vega_lite_chart"))
