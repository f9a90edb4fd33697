import pytest
from streamlit.testing.v1 import AppTest

from tests.apps.hostile import HOSTILE
from tests.apps.pages import parsed_texts


def problem_page(detail: str) -> None:
    from apps.ui.notice import show_problem
    from apps.ui.problem import Problem

    show_problem(Problem("It failed.", "Do `this`.", detail))


@pytest.mark.parametrize("detail", HOSTILE)
def test_detail_of_a_problem_is_plain_text(detail: str) -> None:
    at = AppTest.from_function(problem_page, args=(detail,)).run()
    assert at.error[0].value == "**It failed.** Do `this`."
    assert at.text[0].value == detail.strip()
    assert detail not in parsed_texts(at)
