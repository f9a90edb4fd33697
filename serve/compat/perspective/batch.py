"""``multipart/mixed`` batches of Google's API libraries: each part is an HTTP request, each answer too.

Nothing of a part is trusted to be well-formed: what cannot be read becomes that part's own 400. The names of parts come
back as they came, folded ones on one line. A raw line break ends a name: it could write headers, and with them another
answer.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from http import HTTPStatus
from itertools import pairwise

from serve.errors import PerspectiveError

MAX_PARTS = 100
"""Google's own limit."""
MAX_HEAD_BYTES = 65_536
MAX_HEAD_LINES = 100
"""Of a part's head and of its request's. Larger ones are not parsed: 8 MB of header lines took 10 s."""

_BLANK_LINE = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_FOLD = re.compile(rb"[\r\n]+")
_REQUEST_LINE = re.compile(
    rb"\s*(?P<method>[A-Z]{1,10}) (?:https?://[^/?#\s]*)?(?P<path>/[^?#\s]*)(\?(?P<query>[^#\s]*))?(#\S*)? HTTP/[0-9.]+"
)
_ID = re.compile(rb"<?(.*?)>?", re.DOTALL)


@dataclass(frozen=True)
class Request:
    """The HTTP request in a part."""

    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True)
class Part:
    """A part: its name as its sender wrote it, empty if it has none, and its request, None where that is none."""

    content_id: bytes
    request: Request | None


@dataclass(frozen=True)
class Answer:
    """The HTTP answer in a part."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


def read(content_type: str, body: bytes) -> list[Part]:
    """Return the parts of a batch, in order.

    Raises:
        PerspectiveError: no ``multipart/mixed`` with a boundary, no parts, or more than `MAX_PARTS`.
    """
    outer = Message()
    outer["Content-Type"] = content_type
    boundary = outer.get_boundary()
    if outer.get_content_type() != "multipart/mixed" or not boundary:
        raise PerspectiveError("A batch is sent as Content-Type: multipart/mixed; boundary=…")
    line = re.compile(
        rb"(?:\A|\r?\n)--" + re.escape(boundary.encode("latin-1", "replace")) + rb"(--)?[ \t]*(?=\r?\n|\Z)"
    )
    starts = []
    for delimiter in line.finditer(body):
        starts.append((delimiter.start(), delimiter.end()))
        if delimiter[1] or len(starts) > MAX_PARTS + 1:
            break
    else:
        starts.append((len(body), len(body)))  # cut short, or without a last line: taken as it is
    if len(starts) < 2:
        raise PerspectiveError("The batch is empty; expected 1 to 100 parts")
    if len(starts) > MAX_PARTS + 1:
        raise PerspectiveError(f"The batch has more than {MAX_PARTS} parts")
    return [_part(body[end:start]) for (_, end), (start, _) in pairwise(starts)]


def write(parts: Sequence[Part], answers: Sequence[Answer]) -> tuple[str, bytes]:
    """Return the Content-Type and the body that answer ``parts``, in order."""
    boundary = f"batch_{secrets.token_urlsafe(24)}"
    lines: list[bytes] = []
    for part, answer in zip(parts, answers, strict=True):
        lines += [b"--" + boundary.encode(), b"Content-Type: application/http"]
        if part.content_id:
            lines.append(b"Content-ID: <response-" + part.content_id + b">")
        status = HTTPStatus(answer.status)
        lines += [b"", f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [name + b": " + value for name, value in answer.headers]
        lines += [b"", answer.body]
    return f"multipart/mixed; boundary={boundary}", b"\r\n".join([*lines, b"--" + boundary.encode() + b"--", b""])


def _part(raw: bytes) -> Part:
    raw = raw.removeprefix(b"\r").removeprefix(b"\n")
    head, content = _halves(raw)
    if _too_large(head):
        return Part(b"", None)
    names = [value for name, value in _headers(head) if name == b"content-id"]
    found = _ID.fullmatch(names[0]) if names else None
    return Part(found[1] if found else b"", _request(content))


def _request(content: bytes) -> Request | None:
    head, body = _halves(content.lstrip(b"\r\n"))
    if _too_large(head):
        return None
    first, _, rest = head.partition(b"\n")
    line = _REQUEST_LINE.fullmatch(first.rstrip(b"\r"))
    if line is None:
        return None
    return Request(line["method"].decode(), line["path"], line["query"] or b"", _headers(rest), body)


def _halves(raw: bytes) -> tuple[bytes, bytes]:
    """Return what stands before and behind the first empty line."""
    blank = _BLANK_LINE.search(raw)
    return (raw, b"") if blank is None else (raw[: blank.start()], raw[blank.end() :])


def _too_large(head: bytes) -> bool:
    return len(head) > MAX_HEAD_BYTES or len(head.splitlines()) > MAX_HEAD_LINES


def _headers(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return names in lower case and values on one line, as they were written."""
    parsed = BytesHeaderParser().parsebytes(head)
    return [
        (name.lower().encode("latin-1", "replace"), _FOLD.sub(b"", value.encode("ascii", "surrogateescape")).strip())
        for name, value in parsed.raw_items()
    ]
