"""Clients that cannot run in tests: what their sources send, byte for byte, and what they read of the answer."""

import json

import pytest

from tests.serve.compat.asking import ANALYZE, SUGGEST, score, send
from tests.serve.server import Server

TEXT = "You are disgusting."
JSON = {"Content-Type": "application/json"}
# coralproject/talk, server/src/core/server/services/perspective/perspective.ts
CORAL = (
    '{"comment":{"text":"You are disgusting."},"doNotStore":true,"requestedAttributes":{"TOXICITY":{}},'
    '"languages":["en"]}'
)
CORAL_SUGGESTION = (
    '{"comment":{"text":"You are disgusting."},"context":{"entries":[{"text":"{\\"url\\":\\"https://example.org/story?'
    'commentID=5d1c\\",\\"reply_to_id_Coral_comment_id\\":\\"77aa\\",\\"Coral_comment_id\\":\\"5d1c\\"}"}]},'
    '"attributeScores":{"TOXICITY":{"summaryScore":{"value":1}}},"languages":["en"],'
    '"communityId":"Coral:https://comments.example.org","clientToken":"comment:5d1c"}'
)
# discourse/discourse-perspective-api, lib/discourse_perspective.rb
DISCOURSE = (
    '{"comment":{"text":"You are disgusting."},"doNotStore":true,"sessionId":"https://forum.example.org_42",'
    '"requestedAttributes":{"TOXICITY":{"scoreType":"PROBABILITY"}}}'
)
# favstats/peRspective, R/prsp_score.R; jsonlite writes one language as a bare string
PERSPECTIVE_R = (
    '{"comment":{"text":"You are disgusting. Thank you."},"spanAnnotations":%s,'
    '"requestedAttributes":{"TOXICITY":{},"INSULT":{}},"doNotStore":false,"languages":"en"}'
)


def test_coral_reads_the_summary_of_the_model_that_it_asked_for(server: Server) -> None:
    answer = send(server, CORAL, f"{ANALYZE}?key=site", headers=JSON)
    assert answer.status_code == 200
    assert answer.json()["attributeScores"]["TOXICITY"]["summaryScore"]["value"] == score(server, TEXT, "toxic")


def test_coral_sends_what_a_moderator_decided(server: Server) -> None:
    answer = send(server, CORAL_SUGGESTION, f"{SUGGEST}?key=site", headers=JSON)
    assert answer.status_code == 200
    assert answer.json()["clientToken"] == "comment:5d1c"


def test_discourse_reads_the_summary_of_any_attribute(server: Server) -> None:
    headers = JSON | {"Accept": "*/*", "User-Agent": "Discourse/3.5.0"}
    answer = send(server, DISCOURSE, f"{ANALYZE}?key=site", headers=headers)
    ((_, scores),) = answer.json()["attributeScores"].items()
    assert scores["summaryScore"]["value"] == score(server, TEXT, "toxic")


def test_discourse_cuts_a_post_at_twenty_kilobytes(server: Server) -> None:
    longest = json.loads(DISCOURSE) | {"comment": {"text": "ü" * (20 * 1024 // 2)}}
    assert send(server, json.dumps(longest, ensure_ascii=False), headers=JSON).status_code == 200


@pytest.mark.parametrize(("sentences", "spans"), [("false", [(0, 30)]), ("true", [(0, 19), (20, 30)])])
def test_r_reads_the_spans_of_the_first_element(server: Server, sentences: str, spans: list[tuple[int, int]]) -> None:
    answer = send(server, PERSPECTIVE_R % sentences, f"{ANALYZE}?key=site", headers=JSON)
    first = next(iter(answer.json().values()))
    for attribute in ("TOXICITY", "INSULT"):
        found = [(span["begin"], span["end"]) for span in first[attribute]["spanScores"]]
        assert found == spans
        assert all(0 <= span["score"]["value"] <= 1 for span in first[attribute]["spanScores"])
