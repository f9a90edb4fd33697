"""Clients that cannot run here: what their sources send, byte for byte, and what they read of the answer."""

import json

import httpx
import pytest

from tests.clients.conftest import TEXT, Service

CORAL = (
    '{"comment":{"text":"You are disgusting."},"doNotStore":true,"requestedAttributes":{"TOXICITY":{}},'
    '"languages":["en"]}'
)
CORAL_SUGGESTION = json.dumps(
    {
        "comment": {"text": TEXT},
        "context": {
            "entries": [
                {
                    "text": '{"url":"https://example.org/story?commentID=5d1c","reply_to_id_Coral_comment_id":"77aa",'
                    '"Coral_comment_id":"5d1c"}'
                }
            ]
        },
        "attributeScores": {"TOXICITY": {"summaryScore": {"value": 1}}},
        "languages": ["en"],
        "communityId": "Coral:https://comments.example.org",
        "clientToken": "comment:5d1c",
    },
    separators=(",", ":"),
)
DISCOURSE = (
    '{"comment":{"text":"You are disgusting."},"doNotStore":true,"sessionId":"https://forum.example.org_42",'
    '"requestedAttributes":{"TOXICITY":{"scoreType":"PROBABILITY"}}}'
)
PERSPECTIVE_R = (
    '{"comment":{"text":"You are disgusting."},"spanAnnotations":false,'
    '"requestedAttributes":{"TOXICITY":{},"INSULT":{}},"doNotStore":false,"languages":"en"}'
)


def _send(service: Service, call: str, body: str, **headers: str) -> httpx.Response:
    url = f"{service.url}/v1alpha1/comments:{call}"
    return httpx.post(url, params={"key": service.key}, content=body.encode(), headers=headers, trust_env=False)


def test_coral_asks_for_a_score(service: Service) -> None:
    # coralproject/talk, server/src/core/server/services/perspective/perspective.ts
    answer = _send(service, "analyze", CORAL, **{"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["attributeScores"]["TOXICITY"]["summaryScore"]["value"] == service.score()


def test_coral_sends_what_a_moderator_decided(service: Service) -> None:
    answer = _send(service, "suggestscore", CORAL_SUGGESTION, **{"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["clientToken"] == "comment:5d1c"


def test_discourse_takes_the_first_summary(service: Service) -> None:
    # discourse/discourse-perspective-api, lib/discourse_perspective.rb
    headers = {"Accept": "*/*", "Content-Type": "application/json", "User-Agent": "Discourse/3.5.0"}
    answer = _send(service, "analyze", DISCOURSE, **headers)
    ((_, scores),) = answer.json()["attributeScores"].items()
    assert scores["summaryScore"]["value"] == service.score()


def test_discourse_cuts_a_post_at_twenty_kilobytes(service: Service) -> None:
    body = json.dumps(json.loads(DISCOURSE) | {"comment": {"text": "ü" * 10_240}}, ensure_ascii=False)
    assert _send(service, "analyze", body).status_code == 200


@pytest.mark.parametrize("attribute", ["TOXICITY", "INSULT"])
def test_r_reads_the_first_element(service: Service, attribute: str) -> None:
    # favstats/peRspective, R/prsp_score.R
    answer = _send(service, "analyze", PERSPECTIVE_R, **{"Content-Type": "application/json"})
    first = next(iter(answer.json().values()))
    assert [span["score"]["value"] for span in first[attribute]["spanScores"]] == [service.score(attribute=attribute)]
