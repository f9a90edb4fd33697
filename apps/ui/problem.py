"""What went wrong, in the words of a page: built by services, shown by `apps.ui.notice`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A failure and the way out of it.

    ``title`` and ``advice`` are our own words and may hold Markdown; ``detail`` comes from elsewhere
    (an API's message, a file's column names) and is only ever shown as plain text.
    """

    title: str
    advice: str
    detail: str = ""
