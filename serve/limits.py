"""What is refused at the door: bodies too large, too slow or compressed, payloads too long, texts too long or empty.

Nothing here depends on the model; how many texts may wait is the batcher's to know.
"""

import asyncio
import re
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderation.errors import InvalidInputError, OverloadedError, TooLargeError
from moderation.text import normalize
from serve.errors import EncodedError, SlowBodyError

MAX_HELD_BYTES = 256 * 2**20
"""All bodies together that are being read or answered; a single one of the largest size always fits."""

_SURELY_VISIBLE = re.compile("[0-9A-Za-z]")


class BodyLimit:
    """ASGI middleware: reads the body within bounds of size and time, and cancels what its caller has left.

    The app inside gets the body whole, and is cancelled when the connection closes before the answer.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        """Bound bodies to ``max_bytes`` and the time that they take to arrive to ``timeout_s``.

        All that are held at a time are bounded to ``max_held_bytes``.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._max_held_bytes = max(max_held_bytes, max_bytes)
        self._held_bytes = 0
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if Headers(scope=scope).get("content-encoding", "identity").lower() != "identity":
            raise EncodedError("send the body as it is: Content-Encoding is not read")  # a bomb is not even unpacked
        chunks: list[bytes] = []
        try:
            if await self._read(scope, receive, chunks):
                chunks[:] = [b"".join(chunks)]  # in place of its parts, so that it is not held twice
                await _serve_until_left(self._app, scope, receive, send, chunks[0])
        finally:
            self._held_bytes -= sum(map(len, chunks))

    async def _read(self, scope: Scope, receive: Receive, chunks: list[bytes]) -> bool:
        """Read the body into ``chunks``, and return whether its caller is still there."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._read_chunks(scope, receive, chunks)
        except TimeoutError:
            raise SlowBodyError(f"the body did not arrive within {self._timeout_s:g} s") from None

    async def _read_chunks(self, scope: Scope, receive: Receive, chunks: list[bytes]) -> bool:
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise self._too_large()
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            self._held_bytes += len(chunks[-1])
            if size > self._max_bytes:
                raise self._too_large()
            if self._held_bytes > self._max_held_bytes:
                raise OverloadedError(f"bodies of more than {self._max_held_bytes} bytes are held; try again later")
            if not message.get("more_body", False):
                return True

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._max_bytes} bytes")


async def _serve_until_left(app: ASGIApp, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
    left = asyncio.ensure_future(_disconnect(receive))
    unread = [body]

    async def receive_again() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await asyncio.shield(left)

    answer = asyncio.ensure_future(app(scope, receive_again, send))
    try:
        await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            await asyncio.wait((answer,))
        if not answer.cancelled():
            answer.result()  # raises what the app raised
    finally:
        answer.cancel()
        left.cancel()


async def _disconnect(receive: Receive) -> Message:
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message


async def check_texts(texts: Mapping[str, str], max_bytes: int) -> None:
    """Refuse texts that cannot be scored; ``texts`` maps the field as callers know it to its text.

    Raises:
        TooLargeError: more than ``max_bytes`` of UTF-8.
        InvalidInputError: nothing that a reader could see.
    """
    doubtful = {}
    for field, text in texts.items():
        # A character is 1 to 4 bytes, so most texts need not be encoded to be measured.
        if 4 * len(text) > max_bytes and len(text.encode(errors="surrogatepass")) > max_bytes:
            raise TooLargeError(f"{field} is longer than {max_bytes} bytes")
        if not _SURELY_VISIBLE.search(text):
            doubtful[field] = text
    # Normalising can take milliseconds, so it stays off the event loop, and texts with a plain letter skip it.
    if doubtful:
        await asyncio.to_thread(_refuse_empty, doubtful)


def _refuse_empty(texts: Mapping[str, str]) -> None:
    for field, text in texts.items():
        if not normalize(text):
            raise InvalidInputError(f"{field} is empty or holds nothing visible")
