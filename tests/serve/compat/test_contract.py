"""The wire contract of the Perspective API: each line of it is a case."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from moderation.db.models import Feedback, Prediction
from serve.compat.perspective.attributes import LABEL_OF, UNSCORABLE
from tests.serve.compat.asking import ANALYZE, ERROR, SUGGEST, analyze, body, refused, score, send
from tests.serve.server import Server, wait_until

TEXT = "You are disgusting."
EMPTY = (400, "Comment must be non-empty.", "INVALID_ARGUMENT", "COMMENT_EMPTY")
TOO_LONG = (400, "Comment text too long.", "INVALID_ARGUMENT", "COMMENT_TOO_LONG")
NO_ATTRIBUTES = (400, "Missing requested_attributes", "INVALID_ARGUMENT", "NO_REQUESTED_ATTRIBUTES")
PLAIN_ONLY = (400, "Currently, only 'PLAIN_TEXT' comments are supported", "INVALID_ARGUMENT", "INVALID_REQUEST")
UNREADABLE = (400, "Invalid JSON payload received.", "INVALID_ARGUMENT", "INVALID_REQUEST")
LANGUAGE = "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"


def unknown(name: str) -> tuple[int, str, str, str]:
    return 400, f"Unknown requested attribute: {name}", "INVALID_ARGUMENT", "INVALID_REQUEST"


def unsupported(name: str, languages: str) -> tuple[int, str, str, str]:
    return 400, f"Attribute {name} does not support request languages: {languages}", "INVALID_ARGUMENT", LANGUAGE


def invalid(where: str) -> tuple[int, str, str, str]:
    return 400, f"Invalid value at '{where}'", "INVALID_ARGUMENT", "INVALID_REQUEST"


TAKEN: dict[str, Any] = {
    "plain text": body() | {"comment": {"text": TEXT, "type": "PLAIN_TEXT"}},
    "no type": body() | {"comment": {"text": TEXT, "type": "TEXT_TYPE_UNSPECIFIED"}},
    "a score type": body() | {"requestedAttributes": {"TOXICITY": {"scoreType": "PROBABILITY"}}},
    "an attribute that is null": body() | {"requestedAttributes": {"TOXICITY": None}},
    "a language as a word": body(languages="en"),
    "a language that is none": body(languages=["", ""]),
    "a language as an empty word": body(languages=""),
    "a long token": body(clientToken="x" * 20_000, sessionId="s" * 20_000),
    "a long thread before": body(
        context={"entries": [{"text": f"before {n}", "type": "PLAIN_TEXT"} for n in range(2_000)]}
    ),
    "a regional language": body(languages=["en-GB"]),
    "no languages": body(languages=[]),
    "context entries": body(context={"entries": [{"text": "before", "type": "PLAIN_TEXT"}]}),
    "an article": body(context={"articleAndParentComment": {"article": {"text": "a"}, "parentComment": {}}}),
    "all the rest": body(doNotStore=True, clientToken="t", sessionId="s", communityId="c", spanAnnotations=False),
    "names as in Python": {"comment": {"text": TEXT}, "requested_attributes": {"TOXICITY": {"score_type": None}}},
    "unquoted keys": f'{{comment: {{text: "{TEXT}"}}, languages: ["en"], requestedAttributes: {{TOXICITY:{{}}}} }}',
    "a field that nobody knows": body(somethingElse={"x": 1}),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(body()).encode(),
}

REFUSED: dict[str, tuple[Any, tuple[int, str, str, str]]] = {
    "no body": ("", EMPTY),
    "blanks for a body": ("  \n", EMPTY),
    "an empty object": ({}, EMPTY),
    "no comment": ({"requestedAttributes": {"TOXICITY": {}}}, EMPTY),
    "a comment that is null": (body() | {"comment": None}, EMPTY),
    "a text that is null": (body(None), EMPTY),
    "an empty text": (body(""), EMPTY),
    "a blank text": (body(" \n\t"), EMPTY),
    "a text that nobody sees": (body("\u200b\u200d"), EMPTY),
    "one byte too much": (body("x" * 20_481), TOO_LONG),
    "multi-byte text, too long by one": (body("é" * 10_240 + "x"), TOO_LONG),
    "emoji, too long": (body("😀" * 5_121), TOO_LONG),
    "a text beyond all bounds": (body("x" * 900_000), TOO_LONG),
    "no attributes": ({"comment": {"text": TEXT}}, NO_ATTRIBUTES),
    "no attribute": (body() | {"requestedAttributes": {}}, NO_ATTRIBUTES),
    "attributes that are null": (body() | {"requestedAttributes": None}, NO_ATTRIBUTES),
    "HTML": (body() | {"comment": {"text": TEXT, "type": "HTML"}}, PLAIN_ONLY),
    "a name that never was": (body(TEXT, "TOXICITY", "KINDNESS"), unknown("KINDNESS")),
    "a name in lower case": (body(TEXT, "toxicity"), unknown("toxicity")),
    "a version that is none": (body(TEXT, "TOXICITY@latest"), unknown("TOXICITY@latest")),
    "a version that nobody has": (body(TEXT, "TOXICITY@deadbeef"), unknown("TOXICITY@deadbeef")),
    "another score type": (
        body() | {"requestedAttributes": {"TOXICITY": {"scoreType": "RANK"}}},
        (
            400,
            "Requested score type RANK is not supported by attribute TOXICITY",
            "INVALID_ARGUMENT",
            "INVALID_REQUEST",
        ),
    ),
    "a named language": (body(languages=["it"]), unsupported("TOXICITY", "it")),
    "one of two named languages": (body(languages=["en", "it"]), unsupported("TOXICITY", "it")),
    "only what cannot be scored": (body("Good morning to all of you here", "SPAM"), unsupported("SPAM", "en")),
    "no JSON": ("comment=hello", UNREADABLE),
    "not UTF-8": (b'{"comment": {"text": "\xff"}}', UNREADABLE),
    "too deep": ("[" * 50_000, UNREADABLE),
    "too deep without quotes": ("{a:" * 5_000, UNREADABLE),
    "no number": (
        '{comment: {text: "a"}, requestedAttributes: {TOXICITY: {scoreThreshold: Infinity}}}',
        UNREADABLE,
    ),
    "a list": (
        "[]",
        (400, "Invalid JSON payload received. Expected an object.", "INVALID_ARGUMENT", "INVALID_REQUEST"),
    ),
    "a text that is a number": (body(7), invalid("comment.text")),
    "languages that are numbers": (body(languages=[1]), invalid("languages.0")),
    "a flag that is none": (body(doNotStore="perhaps"), invalid("doNotStore")),
    "a threshold that is none": (
        body() | {"requestedAttributes": {"TOXICITY": {"scoreThreshold": "high"}}},
        invalid("requestedAttributes.scoreThreshold"),
    ),
    "a body of items without end": (
        body(context=[{}] * 50_000),
        (
            400,
            "the body has more than 10256 items; at most 10000 are taken in a list",
            "INVALID_ARGUMENT",
            "INVALID_REQUEST",
        ),
    ),
    "a body over its limit": (
        body(context="x" * 1_000_000),
        (400, "the body is larger than 1000000 bytes", "INVALID_ARGUMENT", "INVALID_REQUEST"),
    ),
    "attributes without end": (
        body(TEXT, *(f"A{n}" for n in range(101))),
        (400, "101 attributes are requested; at most 100 are taken", "INVALID_ARGUMENT", "INVALID_REQUEST"),
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_clients_send_is_taken(server: Server, case: str) -> None:
    response = send(server, TAKEN[case])
    assert response.status_code == 200, response.text
    assert response.json()["attributeScores"]["TOXICITY"]["summaryScore"] == {
        "value": score(server, TEXT, "toxic"),
        "type": "PROBABILITY",
    }


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_refused_as_there(server: Server, case: str) -> None:
    content, expected = REFUSED[case]
    response = send(server, content)
    assert refused(response) == expected
    assert response.json()["error"]["details"][0]["@type"] == ERROR
    assert TEXT not in response.text


@pytest.mark.parametrize("content_type", [None, "application/json;charset=utf-8", "text/plain", "application/x-json"])
def test_any_content_type_will_do(server: Server, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert send(server, body(), headers=headers).status_code == 200


@pytest.mark.parametrize("query", ["alt=json", "prettyPrint=false&fields=x&quotaUser=u", "$.xgafv=2", "%zz", "a=1&a=2"])
def test_parameters_that_nobody_knows_are_ignored(server: Server, query: str) -> None:
    assert send(server, body(), f"{ANALYZE}?{query}").status_code == 200


@pytest.mark.parametrize("text", ["x" * 20_480, "é" * 10_240, "😀" * 5_120])
def test_as_many_bytes_as_there_are_taken(server: Server, text: str) -> None:
    assert send(server, body(text)).status_code == 200


def test_a_comment_that_is_not_read_to_its_end_is_said_to_be(server: Server) -> None:
    whole, cut = (
        send(server, body(" ".join(["word"] * count))) for count in (10, 200)
    )  # the tiny bundle reads 64 tokens
    assert "x-moderation-truncated" not in whole.headers
    assert cut.headers["x-moderation-truncated"] == "true"


def test_the_answer_has_the_shape_and_the_order_of_theirs(server: Server) -> None:
    response = send(server, body(TEXT, "TOXICITY", "INSULT", languages=["en"], clientToken="mine"))
    answer = response.json()
    assert list(answer) == ["attributeScores", "languages", "detectedLanguages", "clientToken"]
    assert list(answer["attributeScores"]) == ["TOXICITY", "INSULT"]
    assert answer["attributeScores"]["INSULT"] == {
        "spanScores": [
            {"begin": 0, "end": 19, "score": (value := {"value": 0.8807970881462097, "type": "PROBABILITY"})}
        ],
        "summaryScore": value,
    }
    assert (answer["languages"], answer["clientToken"]) == (["en"], "mine")
    assert response.headers["content-type"] == "application/json; charset=UTF-8"


def test_without_a_named_language_the_detected_one_stands_for_it(server: Server) -> None:
    answer = analyze(server, "This is a perfectly ordinary English sentence about the weather.")
    assert (answer["languages"], answer["detectedLanguages"]) == (["en"], ["en"])
    assert "clientToken" not in answer


@pytest.mark.parametrize("text", ["ok", "lol no way", "nope"])
def test_a_short_text_is_in_the_language_that_the_bundle_was_trained_for(server: Server, text: str) -> None:
    answer = analyze(server, text)
    assert (answer["languages"], answer["detectedLanguages"]) == (["en"], ["en"])
    said = {"comment": {"text": text}, "attributeScores": {"TOXICITY": {"summaryScore": {"value": 1}}}}
    assert send(server, said, SUGGEST).json()["detectedLanguages"] == ["en"]


@pytest.mark.parametrize(("text", "tag"), [("да", "und-Cyrl"), ("😀", "und-Zyyy")])
def test_another_script_is_not_taken_for_it(server: Server, text: str, tag: str) -> None:
    assert analyze(server, text)["detectedLanguages"] == [tag]


@pytest.mark.parametrize("text", ["Questa è una bella giornata e il sole splende", "ok", "😀", "12345", "是的"])
def test_nobody_is_refused_for_what_a_detector_guesses(server: Server, text: str) -> None:
    assert analyze(server, text)["detectedLanguages"]


@pytest.mark.parametrize("name", [*LABEL_OF, "TOXICITY@6", "INSULT@1", "SEVERE_TOXICITY_EXPERIMENTAL@2"])
def test_names_come_back_as_they_were_asked(server: Server, name: str) -> None:
    scores = analyze(server, TEXT, name)["attributeScores"]
    assert {key: value["summaryScore"]["value"] for key, value in scores.items()} == {
        name: score(server, TEXT, LABEL_OF[name.partition("@")[0]])
    }


@pytest.mark.parametrize("name", [*sorted(UNSCORABLE), "SPAM@1"])
def test_what_cannot_be_scored_is_left_out_and_said_to_be(server: Server, name: str) -> None:
    response = send(server, body(TEXT, name, "TOXICITY"))
    assert list(response.json()["attributeScores"]) == ["TOXICITY"]
    assert response.headers["x-moderation-unsupported-attributes"] == name


def test_dropping_leaves_out_what_a_named_language_forbids(server: Server) -> None:
    response = send(server, body(TEXT, languages=["it"], dropUnsupportedAttributes=True))
    assert response.status_code == 200
    assert "attributeScores" not in response.json()
    assert response.json()["languages"] == ["it"]
    assert response.headers["x-moderation-unsupported-attributes"] == "TOXICITY"


@pytest.mark.parametrize(("requested", "field"), [(["it", "de"], "requestedLanguages"), (None, "detectedLanguages")])
def test_a_refused_language_is_said_in_the_details(server: Server, requested: list[str] | None, field: str) -> None:
    text = "Good morning to all of you here"
    response = send(server, body(text, "SPAM", languages=requested))
    assert response.json()["error"]["details"][0]["languageNotSupportedByAttributeError"] == {
        "attribute": "SPAM",
        field: requested or ["en"],
    }


def test_below_its_threshold_an_attribute_is_left_out(server: Server) -> None:
    some = send(
        server,
        body() | {"requestedAttributes": {"TOXICITY": {"scoreThreshold": 0.9}, "THREAT": {"scoreThreshold": 0.9}}},
    )
    assert list(some.json()["attributeScores"]) == ["TOXICITY"]
    none = send(server, body() | {"requestedAttributes": {"THREAT": {"scoreThreshold": 0.9}}})
    assert "attributeScores" not in none.json()


def test_every_answer_says_by_what_it_was_made(server: Server) -> None:
    version = server.model.served.version
    answers = [send(server, body()), send(server, ""), send(server, suggestion(), SUGGEST), discovery(server)]
    for response in answers:
        assert response.headers["x-moderation-version"] == version
        assert response.headers["x-moderation-bundle-digest"] == f"sha256:{version}"
        assert response.headers["x-moderation-calibration"] == f"probability-{server.model.calibration}"
    assert len(server.model.calibration) == 12


def suggestion(**fields: Any) -> dict[str, Any]:
    return {"comment": {"text": TEXT}, "attributeScores": {"TOXICITY": {"summaryScore": {"value": 1}}}} | fields


SUGGESTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing more": (suggestion(), {"detectedLanguages": ["en"]}),
    "as Coral does": (
        suggestion(communityId="story", clientToken="comment:1"),
        {"clientToken": "comment:1", "detectedLanguages": ["en"]},
    ),
    "with languages": (
        suggestion(languages=["en"], sessionId="s", context={"entries": []}),
        {"detectedLanguages": ["en"], "requestedLanguages": ["en"]},
    ),
}
SUGGESTED_WRONG: dict[str, tuple[Any, tuple[int, str, str, str]]] = {
    "no comment": ({"attributeScores": {"TOXICITY": {"summaryScore": {"value": 1}}}}, EMPTY),
    "no scores": ({"comment": {"text": TEXT}, "attributeScores": {}}, NO_ATTRIBUTES),
    "a name that never was": (suggestion(attributeScores={"X": {"summaryScore": {"value": 1}}}), unknown("X")),
    "a token without end": (suggestion(clientToken="x" * 1_025), invalid("clientToken")),
    "a session without end": (suggestion(sessionId="x" * 1_025), invalid("sessionId")),
    "a score that is none": (
        suggestion(attributeScores={"TOXICITY": {"summaryScore": {"value": 1.5}}}),
        invalid("attributeScores.summaryScore.value"),
    ),
    "no score": (suggestion(attributeScores={"TOXICITY": {}}), invalid("attributeScores.summaryScore")),
}


@pytest.mark.parametrize("case", SUGGESTED)
def test_a_suggestion_is_answered_as_there(server: Server, case: str) -> None:
    content, expected = SUGGESTED[case]
    response = send(server, content, SUGGEST)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer.pop("detectedLanguages")
    assert answer == {name: value for name, value in expected.items() if name != "detectedLanguages"}


@pytest.mark.parametrize(("value", "agrees"), [(1, True), (0.5, True), (0.4, False), (0, False)])
def test_a_suggestion_becomes_feedback_with_its_origin(server: Server, value: float, agrees: bool) -> None:
    scores = {"TOXICITY@6": {"summaryScore": {"value": value}}, "SPAM": {"summaryScore": {"value": 1}}}
    said = suggestion(attributeScores=scores, communityId="story", clientToken="comment:1")
    response = send(server, said, SUGGEST, headers={"X-Request-Id": f"suggests-{value}"})
    assert response.headers["x-moderation-unsupported-attributes"] == "SPAM"

    def found() -> list[Any]:
        same = Feedback.prediction_id == Prediction.id
        query = select(Feedback.agree, Feedback.labels, Feedback.origin, Prediction.text, Prediction.route).join(
            Prediction, same
        )
        with server.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query.where(Feedback.request_id == f"suggests-{value}"))]

    wait_until(found)
    origin = {"community_id": "story", "client_token": "comment:1", "suggested": {"TOXICITY@6": value}}
    assert found() == [(agrees, None, origin, TEXT, SUGGEST)]


def test_suggestions_are_no_predictions_in_the_metrics(server: Server) -> None:
    def predictions() -> list[str]:
        return [
            line for line in server.http.get("/metrics").text.splitlines() if "moderation_predictions_total" in line
        ]

    before = predictions()
    assert send(server, suggestion(), SUGGEST).status_code == 200
    assert predictions() == before


@pytest.mark.parametrize("case", SUGGESTED_WRONG)
def test_a_wrong_suggestion_is_refused(server: Server, case: str) -> None:
    content, expected = SUGGESTED_WRONG[case]
    assert refused(send(server, content, SUGGEST)) == expected


def discovery(server: Server, **options: Any) -> httpx.Response:
    return server.http.get("/$discovery/rest?version=v1alpha1", **options)


def test_the_description_leads_back_to_this_server(server: Server) -> None:
    document = discovery(server).json()
    assert (document["rootUrl"], document["batchPath"]) == (f"{server.url}/", "batch")
    assert (document["name"], document["version"]) == ("commentanalyzer", "v1alpha1")
    methods = document["resources"]["comments"]["methods"]
    assert {name: method["path"] for name, method in methods.items()} == {
        "analyze": "v1alpha1/comments:analyze",
        "suggestscore": "v1alpha1/comments:suggestscore",
    }
    asked = {method["request"]["$ref"] for method in methods.values()}
    assert asked <= set(document["schemas"])
    assert server.http.get("/$discovery/rest?version=v2").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", ANALYZE, 405, "UNIMPLEMENTED"),
        ("PUT", SUGGEST, 405, "UNIMPLEMENTED"),
        ("POST", "/v1alpha1/comments:delete", 404, "NOT_FOUND"),
        ("GET", "/batch", 405, "UNIMPLEMENTED"),
        ("GET", "/$discovery/elsewhere", 404, "NOT_FOUND"),
    ],
)
def test_what_is_not_there_is_said_in_their_shape(
    server: Server, method: str, path: str, status: int, name: str
) -> None:
    error = server.http.request(method, path).json()["error"]
    assert (error["code"], error["status"]) == (status, name)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (ANALYZE, "POST"),
        (SUGGEST, "POST"),
        ("/batch", "POST"),
        ("/$discovery/rest", "GET"),
        ("/v1/moderations", "POST"),
    ],
)
def test_options_are_answered_everywhere(server: Server, path: str, methods: str) -> None:
    response = server.http.options(path)
    assert (response.status_code, response.headers["allow"]) == (204, f"{methods}, OPTIONS")
