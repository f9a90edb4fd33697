"""Batches of Google's libraries: parts that are read whatever they hold, and answers that each part's sender finds."""

import email
import json
import time
from concurrent.futures import ThreadPoolExecutor
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.compat.perspective import batch
from serve.errors import PerspectiveError
from tests.serve.compat.asking import ANALYZE, body, refused, score, send
from tests.serve.server import Server

TYPE = "multipart/mixed; boundary=edge"
GOOD = json.dumps(body())


def part(
    content: str = GOOD, name: str | None = "<1>", path: str = f"{ANALYZE}?key=K&alt=json", end: str = "\r\n"
) -> str:
    head = ["--edge", "Content-Type: application/http", *([f"Content-ID: {name}"] if name is not None else []), ""]
    return end.join([*head, f"POST {path} HTTP/1.1", "Content-Type: application/json", "", content, ""])


def answered(
    server: Server, content: str | bytes, content_type: str = TYPE
) -> list[tuple[str | None, int, dict[str, object]]]:
    """Return name, status and JSON of each answer, as Python's own parser of mails reads them."""
    response = send(server, content, "/batch", headers={"Content-Type": content_type})
    assert response.status_code == 200, response.text
    whole = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode() + response.content
    found = []
    for each in email.message_from_bytes(whole).get_payload():
        assert isinstance(each, Message)
        assert each.get_content_type() == "application/http"
        raw = each.get_payload(decode=True)
        assert isinstance(raw, bytes)
        status, _, rest = raw.partition(b"\r\n")
        name = each.get("Content-ID")
        found.append(
            (None if name is None else str(name), int(status.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2]))
        )
    return found


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_every_part_gets_its_answer_in_order(server: Server, end: str) -> None:
    texts = [f"You are disgusting number {n}" for n in range(100)]
    content = "".join(part(json.dumps(body(text)), f"<{n}>", end=end) for n, text in enumerate(texts)) + "--edge--"
    found = answered(server, content)
    assert [name for name, _, _ in found] == [f"<response-{n}>" for n in range(100)]
    assert {status for _, status, _ in found} == {200}
    expected = score(server, texts[42], "toxic")
    assert found[42][2]["attributeScores"]["TOXICITY"]["summaryScore"]["value"] == expected  # type: ignore[index]


BAD: dict[str, tuple[str, int]] = {
    "no HTTP": ("--edge\r\nContent-ID: <bad>\r\n\r\nhello\r\n", 400),
    "nothing": ("--edge\r\n\r\n", 400),
    "no JSON": (part("{", "<bad>"), 400),
    "an empty text": (part(json.dumps(body("")), "<bad>"), 400),
    "another path": (part(path="/v1alpha1/comments:delete"), 404),
    "a path of ours": (part(path="/admin/reload"), 404),
    "a batch in a batch": (part(path="/batch"), 404),
    "another method": (part().replace("POST", "GET"), 405),
    "a compressed body": (
        part().replace("POST", "POST").replace("\r\n\r\n{", "\r\nContent-Encoding: gzip\r\n\r\n{"),
        400,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_part_harms_no_other(server: Server, case: str) -> None:
    bad, status = BAD[case]
    found = answered(server, f"{part(name='<a>')}{bad}{part(name='<b>')}--edge--")
    assert [each[1] for each in found] == [200, status, 200]
    assert found[1][2]["error"]["code"] == status  # type: ignore[index]


HEADS = {
    "lines": b"a:b\n" * 2_000_000,
    "folds": b"a:b\n" + b" \n" * 4_000_000,
    "one line": b"x" * 8_000_000,
    "carriage returns": b"a:b\r" * 2_000_000,
}


@pytest.mark.parametrize("case", HEADS)
@pytest.mark.parametrize("before", [b"", b"\r\nPOST /batch HTTP/1.1\r\n"])
def test_a_head_without_end_is_refused_at_once(case: str, before: bytes) -> None:
    content = b"--edge\r\n" + before + HEADS[case] + b"\r\n\r\n{}\r\n--edge--"
    started = time.process_time()
    (found,) = batch.read(TYPE, content)
    assert time.process_time() - started < 1
    assert found.request is None


def test_heads_as_large_as_may_be_are_read_in_time() -> None:
    lines = "".join(f"a{n}: {'b' * 640}\r\n" for n in range(batch.MAX_HEAD_LINES - 1))
    content = part().replace("Content-Type: application/json\r\n", lines) * batch.MAX_PARTS + "--edge--"
    started = time.process_time()
    found = batch.read(TYPE, content.encode())
    assert time.process_time() - started < 2
    assert [len(each.request.headers) for each in found if each.request] == [batch.MAX_HEAD_LINES - 1] * batch.MAX_PARTS


def test_others_are_answered_while_a_batch_is_read(server: Server) -> None:
    lines = "a:b\r\n" * (batch.MAX_HEAD_LINES - 1)
    heavy = f"--edge\r\n\r\nPOST /x HTTP/1.1\r\n{lines}\r\n" * batch.MAX_PARTS + "--edge--"
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(answered, server, heavy)
        assert server.http.get("/health").elapsed.total_seconds() < 1
        assert {each[1] for each in reading.result()} == {404}


NAMES = {
    "of google-api-python-client": ("<0f1e + 12>", "<response-0f1e + 12>"),
    "folded": ("<0f1e +\r\n " + "x" * 90 + ">", "<response-0f1e + " + "x" * 90 + ">"),
    "quoted text": ("<0f + you%20are%0Aall%20%F0%9F%98%80>", "<response-0f + you%20are%0Aall%20%F0%9F%98%80>"),
    "very long": (f"<{'long ' * 2_000}>", f"<response-{'long ' * 2_000}>"),
    "cut by a raw line": ("<a b\nc>", "<response-a b>"),
    "brackets": ("<a>b<c>", "<response-a>b<c>"),
    "no brackets": ("7", "<response-7>"),
    "none": (None, None),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_come_back_untouched(server: Server, case: str) -> None:
    sent, expected = NAMES[case]
    ((name, status, _),) = answered(server, part(name=sent) + "--edge--")
    assert (name, status) == (expected, 200)


def test_raw_emoji_in_a_name_come_back_as_they_were(server: Server) -> None:
    response = send(server, (part(name="<😀 ü>") + "--edge--").encode(), "/batch", headers={"Content-Type": TYPE})
    assert "\r\nContent-ID: <response-😀 ü>\r\n".encode() in response.content


@pytest.mark.parametrize("line", ["\r\n", "\n", "\r"])
def test_a_name_with_raw_lines_writes_no_answer_of_its_own(server: Server, line: str) -> None:
    forged = f'<x{line}{line}HTTP/1.1 200 OK{line}{line}{{"attributeScores": {{}}}}>'
    found = answered(server, part(name=forged) + part(name="<b>") + "--edge--")
    assert len(found) == 2
    assert found[0][2] != {"attributeScores": {}}
    assert found[1][:2] == ("<response-b>", 200)


WRONG = {
    "no part": ("--edge--", TYPE, "The batch is empty; expected 1 to 100 parts"),
    "nothing": ("", TYPE, "The batch is empty; expected 1 to 100 parts"),
    "too many": (part() * 101 + "--edge--", TYPE, "The batch has more than 100 parts"),
    "no end, too many": ("--edge\n" * 100_000, TYPE, "The batch has more than 100 parts"),
    "no boundary": (part(), "multipart/mixed", "A batch is sent as Content-Type: multipart/mixed; boundary=…"),
    "a form": (
        part(),
        "multipart/form-data; boundary=edge",
        "A batch is sent as Content-Type: multipart/mixed; boundary=…",
    ),
    "JSON": ("{}", "application/json", "A batch is sent as Content-Type: multipart/mixed; boundary=…"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_batch_is_refused(server: Server, case: str) -> None:
    content, content_type, message = WRONG[case]
    found = refused(send(server, content, "/batch", headers={"Content-Type": content_type}))
    assert found == (400, message, "INVALID_ARGUMENT", "INVALID_REQUEST")


def test_a_batch_that_is_cut_short_is_read_as_far_as_it_goes(server: Server) -> None:
    assert [each[1] for each in answered(server, part() + part().rstrip())] == [200, 200]


def test_a_batch_can_name_whole_addresses(server: Server) -> None:
    ((_, status, _),) = answered(
        server, part(path=f"https://commentanalyzer.googleapis.com{ANALYZE}?key=K") + "--edge--"
    )
    assert status == 200


def test_batches_side_by_side_do_not_mix(server: Server) -> None:
    def ask(word: str) -> set[str | None]:
        content = "".join(part(name=f"<{word}{n}>") for n in range(20)) + "--edge--"
        return {name for name, _, _ in answered(server, content)}

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, "abcd"))
    assert found == [{f"<response-{word}{n}>" for n in range(20)} for word in "abcd"]


@given(st.text(alphabet="-edg\r\n :<>PA😀", max_size=300).map(str.encode) | st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(content: bytes) -> None:
    try:
        parts = batch.read(TYPE, content)
    except PerspectiveError:
        return
    assert 1 <= len(parts) <= batch.MAX_PARTS
    _, written = batch.write(parts, [batch.Answer(200, [], b"{}")] * len(parts))
    assert written.count(b"HTTP/1.1 200 OK\r\n") == len(parts)
    assert not [each for each in parts if b"\r" in each.content_id or b"\n" in each.content_id]
