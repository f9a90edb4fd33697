import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moderation.errors import InvalidInputError, OverloadedError, TooLargeError
from moderation.text import normalize
from serve.limits import BodyLimit, check_texts

# Characters that vanish, join, reorder or blank out what stands beside them.
TRICKY = st.text(
    st.sampled_from("aZ0\u200b\u200d\ufe0f\u202e\u202c\u0301\u0338\u3164\u2800\ufffc\ufeff\ud800 \n\x00👩🏽語"),
    max_size=12,
)


@settings(max_examples=60, deadline=None)  # each with an event loop of its own
@given(TRICKY | st.text())
@example("a\u202e")
def test_a_text_is_refused_exactly_when_normalising_leaves_nothing(text: str) -> None:
    if normalize(text):
        asyncio.run(check_texts({"field": text}, max_bytes=1_000))
    else:
        with pytest.raises(InvalidInputError, match=r"^field is empty"):
            asyncio.run(check_texts({"field": text}, max_bytes=1_000))


@given(st.text(st.sampled_from("aé語😀\ud800"), min_size=1, max_size=20), st.integers(1, 40))
def test_the_limit_is_in_bytes_of_utf8(text: str, limit: int) -> None:
    if len(text.encode(errors="surrogatepass")) <= limit:
        asyncio.run(check_texts({"field": text}, limit))
    else:
        with pytest.raises(TooLargeError, match=f"^field is longer than {limit} bytes"):
            asyncio.run(check_texts({"field": text}, limit))


def test_all_bodies_together_are_bounded_and_room_comes_back() -> None:
    async def scenario() -> None:
        leave, answered = asyncio.Event(), []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            answered.append((await receive())["body"])
            await leave.wait()

        limit = BodyLimit(app, max_bytes=6, timeout_s=20, max_held_bytes=10)

        async def ask(*chunks: bytes) -> None:
            left = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
            left[-1]["more_body"] = False

            async def receive() -> Any:
                return left.pop(0) if left else await asyncio.Event().wait()

            await limit({"type": "http", "headers": []}, receive, lambda message: asyncio.sleep(0))

        held = asyncio.create_task(ask(b"abc", b"def"))
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError, match="10 bytes"):
            await ask(b"ghi", b"jk")
        small = asyncio.create_task(ask(b"ghij"))
        await asyncio.sleep(0.05)
        with pytest.raises(OverloadedError):
            await ask(b"k")
        leave.set()
        await asyncio.gather(held, small)
        await ask(b"lmnopq")
        assert answered == [b"abcdef", b"ghij", b"lmnopq"]

    asyncio.run(scenario())
