"""Keeps files from being lost that are dropped while the page runs anew.

To upload a file, the browser asks the server for an address and waits for the answer without end. Streamlit (1.67)
empties the queue to the browser when a run begins, but for a few kinds of messages, and that answer is none of them: it
is lost if the run begins before it was sent. Then nothing is uploaded, and nobody is told. A run begins shortly after
the page is loaded (`apps.ui.memory`) and whenever a tab is opened.
"""

from functools import wraps

from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

_ANSWER = "file_urls_response"


def keep_answers_to_uploads() -> None:
    """Let the answers stay in the queue of every session from now on; once is enough."""
    empty = ForwardMsgQueue.clear
    if hasattr(empty, "__wrapped__"):
        return

    @wraps(empty)
    def clear(
        queue: ForwardMsgQueue, retain_lifecycle_msgs: bool = False, fragment_ids_this_run: list[str] | None = None
    ) -> None:
        held = queue._queue if retain_lifecycle_msgs else []  # noqa: SLF001 - no other way in
        answers = [message for message in held if message.WhichOneof("type") == _ANSWER]
        empty(queue, retain_lifecycle_msgs, fragment_ids_this_run)
        queue._queue += [message for message in answers if message not in queue._queue]  # noqa: SLF001

    ForwardMsgQueue.clear = clear  # type: ignore[method-assign, assignment]
