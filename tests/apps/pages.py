"""What tests read off a page that `AppTest` ran."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

APPS = Path(__file__).resolve().parents[2] / "apps"
# Generous: for a busy machine.
TIMEOUT_S = 90


def page(app: str) -> AppTest:
    return AppTest.from_file(APPS / app / "app.py", default_timeout=TIMEOUT_S)


def parsed_texts(at: AppTest) -> str:
    """Everything on the page that the browser parses as Markdown."""
    kinds = (at.markdown, at.caption, at.title, at.header, at.subheader, at.error, at.warning, at.info, at.success)
    labels = [widget.label for kind in (at.button, at.selectbox, at.pills, at.metric) for widget in kind]
    return "\n".join([*(element.value for kind in kinds for element in kind), *labels])


def charts(at: AppTest) -> int:
    return len(at.get("vega_lite_chart"))
