import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moderation.errors import InvalidInputError, TooLargeError
from moderation.text import normalize
from serve.limits import check_texts

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
