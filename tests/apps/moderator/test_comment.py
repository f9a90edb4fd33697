import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from apps.moderator.services.comment import CommentDesk, LabelScore, decision_words, score_comment
from apps.moderator.services.history import History
from moderation.errors import (
    DeadlineError,
    ModerationError,
    OverloadedError,
    OverQuotaError,
    TooLargeError,
    UnavailableError,
)
from tests.apps.moderator.fakes import FakeClient, prediction_of


class Switch:
    """Refuses while it is off."""

    def __init__(self) -> None:
        self.off = False

    def __call__(self, texts: Sequence[str]) -> None:
        if self.off:
            raise UnavailableError("nobody there")


def test_scores_lie_beside_the_thresholds_of_their_version() -> None:
    scored = score_comment(FakeClient(), "hello")
    assert scored.label_scores[0] == LabelScore("toxic", 0.7, 0.5, 0.95)
    assert scored.predicted_labels == ["toxic"]
    assert scored.thresholds_known


def test_thresholds_of_another_version_are_not_shown() -> None:
    scored = score_comment(FakeClient(served="b" * 64), "hello")
    assert not scored.thresholds_known
    assert scored.label_scores[0] == LabelScore("toxic", 0.7, None, None)
    assert scored.predicted_labels == ["toxic"]  # the reason of the decision


def test_threshold_is_reached_at_equality_and_none_is_never_reached() -> None:
    assert LabelScore("a", 0.5, 0.5, 0.9).reached == "review"
    assert LabelScore("a", 0.9, 0.5, 0.9).reached == "remove"
    assert LabelScore("a", 1.0, None, None).reached == "below"
    assert LabelScore("a", 0.95, None, 0.9).reached == "remove"


def test_decision_is_said_in_words_with_its_causes() -> None:
    scored = score_comment(FakeClient(), "hello")
    assert decision_words(scored) == "Goes to a person because of toxic (0.700, threshold 0.500)."


def test_a_text_that_was_not_read_to_its_end_is_said_so_in_words() -> None:
    scored = score_comment(FakeClient(), "hello")
    cut = scored.prediction.model_copy(update={"reasons": ["toxic", "truncated"]})
    scored = replace(scored, prediction=cut, thresholds_known=False)
    assert decision_words(scored) == (
        "Goes to a person because of toxic (0.700, threshold 0.500), its length: the model has not read it to its end."
    )
    assert scored.predicted_labels == ["toxic"]


def test_verdict_is_sent_once_even_when_two_runs_send_it_at_the_same_time() -> None:
    client, desk = FakeClient(), CommentDesk(History())
    desk.score(client, "hello")
    scored = desk.scored
    assert scored is not None
    client.release.clear()
    runs = [threading.Thread(target=desk.judge, args=(client, scored, True)) for _ in range(2)]
    for run in runs:
        run.start()
    assert client.entered.wait(10)
    client.release.set()
    for run in runs:
        run.join(10)
    assert client.verdicts == [("id-hello", True, None)]
    assert desk.verdict is not None
    assert desk.verdict.receipt == "receipt-1"


def test_failed_verdict_keeps_the_comment_and_can_be_sent_again() -> None:
    switch = Switch()
    client, desk = FakeClient(refuse=switch), CommentDesk(History())
    desk.score(client, "hello")
    scored = desk.scored
    assert scored is not None
    desk.dispute("toxic")
    switch.off = True
    desk.judge(client, scored, False)
    assert isinstance(desk.error, UnavailableError)
    assert desk.scored is scored
    switch.off = False
    desk.judge(client, scored, False)
    assert desk.error is None
    assert client.verdicts == [("id-hello", False, {"toxic": False, "severe_toxic": False, "insult": False})]


def test_verdict_on_a_comment_that_was_replaced_is_not_sent() -> None:
    client, desk = FakeClient(), CommentDesk(History())
    desk.score(client, "first")
    first = desk.scored
    assert first is not None
    desk.score(client, "second")
    desk.judge(client, first, True)
    assert client.verdicts == []


def test_failed_scoring_leaves_no_result_of_an_earlier_text() -> None:
    switch = Switch()
    client, desk = FakeClient(refuse=switch), CommentDesk(History())
    desk.score(client, "first")
    switch.off = True
    desk.score(client, "second")
    assert desk.scored is None
    assert prediction_of("first").id not in str(desk.error)


@pytest.mark.parametrize("error", [OverQuotaError, OverloadedError, TooLargeError, DeadlineError])
def test_comment_is_scored_without_words_where_they_are_too_much(error: type[ModerationError]) -> None:
    client = FakeClient()
    client.refuse_words = error("no room for words")
    scored = score_comment(client, "hello")
    assert scored.prediction == prediction_of("hello")
    assert scored.unexplained is client.refuse_words


def test_words_are_left_out_only_when_not_asked_for() -> None:
    assert score_comment(FakeClient(), "hello").prediction.explanation is not None
    without = score_comment(FakeClient(), "hello", explain=False)
    assert without.prediction.explanation is None
    assert without.unexplained is None


def test_labels_leave_as_found_but_for_those_disputed() -> None:
    client, desk = FakeClient(), CommentDesk(History())
    desk.score(client, "hello")
    assert desk.scored is not None
    for label in ("toxic", "insult", "severe_toxic", "severe_toxic"):  # the last one back again
        desk.dispute(label)
    desk.judge(client, desk.scored, False)
    assert client.verdicts == [("id-hello", False, {"toxic": False, "severe_toxic": False, "insult": True})]


def test_receipt_says_what_was_sent_whatever_is_clicked_on_its_way() -> None:
    def clicked_while_it_was_sent() -> None:
        import threading

        from apps.moderator.components.feedback import ask_for_verdict
        from apps.moderator.services.comment import CommentDesk
        from apps.moderator.services.history import History
        from tests.apps.moderator.fakes import FakeClient

        client, desk = FakeClient(), CommentDesk(History())
        desk.score(client, "hello")
        scored = desk.scored
        desk.dispute("toxic")
        client.release.clear()
        runs = [threading.Thread(target=desk.judge, args=(client, scored, False))]
        runs[0].start()
        client.entered.wait(10)
        runs += [threading.Thread(target=desk.dispute, args=(label,)) for label in ("toxic", "insult")]
        for run in runs[1:]:
            run.start()
        client.release.set()
        for run in runs:
            run.join(10)
        ask_for_verdict(client, desk, scored, with_keys=False)

    at = AppTest.from_function(clicked_while_it_was_sent).run()
    assert not at.exception
    assert at.success[0].value == "Thank you. It is recorded that you disagree on toxic."


def test_nothing_is_disputed_once_a_verdict_was_sent() -> None:
    client, desk = FakeClient(), CommentDesk(History())
    desk.score(client, "hello")
    assert desk.scored is not None
    desk.judge(client, desk.scored, True)
    desk.dispute("toxic")
    assert desk.disputed == frozenset()


def test_next_comment_has_nothing_disputed() -> None:
    client, desk = FakeClient(), CommentDesk(History())
    desk.score(client, "first")
    desk.dispute("toxic")
    desk.score(client, "second")
    assert desk.disputed == frozenset()


def test_history_holds_each_comment_with_what_was_said_of_it() -> None:
    client, history = FakeClient(), History()
    desk = CommentDesk(history)
    for text in ("first", "second"):
        desk.score(client, text)
    assert desk.scored is not None
    desk.judge(client, desk.scored, True)
    newest, oldest = history.entries
    assert (newest.text, newest.verdict and newest.verdict.words) == ("second", "agree")
    assert (oldest.text, oldest.verdict) == ("first", None)
