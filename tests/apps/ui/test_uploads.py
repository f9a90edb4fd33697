from collections.abc import Callable

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

from apps.ui.uploads import keep_answers_to_uploads


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Streamlit's own way of emptying a queue, which the test gives back."""
    own = getattr(ForwardMsgQueue.clear, "__wrapped__", ForwardMsgQueue.clear)
    monkeypatch.setattr(ForwardMsgQueue, "clear", own)
    return own


def queue() -> ForwardMsgQueue:
    """A queue with the answer to an upload, part of a page, and the end of a run."""
    found = ForwardMsgQueue()
    for kind in ("answer", "delta", "finished"):
        message = ForwardMsg()
        if kind == "answer":
            message.file_urls_response.response_id = "upload"
        elif kind == "delta":
            message.delta.new_element.empty.SetInParent()
        else:
            message.script_finished = ForwardMsg.ScriptFinishedStatus.FINISHED_SUCCESSFULLY
        found.enqueue(message)
    return found


def kinds(left: ForwardMsgQueue) -> list[str | None]:
    return [message.WhichOneof("type") for message in left.flush()]


def test_streamlit_itself_loses_the_answer(plain: Callable[..., None]) -> None:
    # Once this fails, Streamlit has mended it, and `apps.ui.uploads` can go.
    left = queue()
    left.clear(retain_lifecycle_msgs=True)
    assert kinds(left) == ["script_finished"]


def test_the_answer_to_an_upload_outlives_the_start_of_a_run(plain: Callable[..., None]) -> None:
    keep_answers_to_uploads()
    keep_answers_to_uploads()
    left = queue()
    left.clear(retain_lifecycle_msgs=True)
    assert kinds(left) == ["script_finished", "file_urls_response"]
    left = queue()
    left.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=["fragment"])
    assert kinds(left).count("file_urls_response") == 1


def test_a_queue_that_is_to_be_empty_is(plain: Callable[..., None]) -> None:
    keep_answers_to_uploads()
    left = queue()
    left.clear()
    assert kinds(left) == []
