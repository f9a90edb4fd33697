"""The description of these routes that Google's API libraries read first, in the format of their Discovery service."""

from typing import Any

from serve.compat.paths import BATCH

_STRING = {"type": "string"}
_NUMBER = {"type": "number", "format": "float"}
_BOOLEAN = {"type": "boolean"}


def _list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _message(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _map_to(message: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"$ref": message}}


def _ref(message: str) -> dict[str, Any]:
    return {"$ref": message}


_SCHEMAS: dict[str, dict[str, Any]] = {
    "TextEntry": _message(
        text=_STRING, type={"type": "string", "enum": ["TEXT_TYPE_UNSPECIFIED", "PLAIN_TEXT", "HTML"]}
    ),
    "ArticleAndParentComment": _message(article=_ref("TextEntry"), parentComment=_ref("TextEntry")),
    "Context": _message(entries=_list_of(_ref("TextEntry")), articleAndParentComment=_ref("ArticleAndParentComment")),
    "AttributeParameters": _message(
        scoreType={"type": "string", "enum": ["SCORE_TYPE_UNSPECIFIED", "PROBABILITY"]}, scoreThreshold=_NUMBER
    ),
    "Score": _message(value=_NUMBER, type=_STRING),
    "SpanScore": _message(
        begin={"type": "integer", "format": "int32"}, end={"type": "integer", "format": "int32"}, score=_ref("Score")
    ),
    "AttributeScores": _message(summaryScore=_ref("Score"), spanScores=_list_of(_ref("SpanScore"))),
    "AnalyzeCommentRequest": _message(
        comment=_ref("TextEntry"),
        context=_ref("Context"),
        requestedAttributes=_map_to("AttributeParameters"),
        languages=_list_of(_STRING),
        doNotStore=_BOOLEAN,
        spanAnnotations=_BOOLEAN,
        dropUnsupportedAttributes=_BOOLEAN,
        clientToken=_STRING,
        sessionId=_STRING,
        communityId=_STRING,
    ),
    "AnalyzeCommentResponse": _message(
        attributeScores=_map_to("AttributeScores"),
        languages=_list_of(_STRING),
        detectedLanguages=_list_of(_STRING),
        clientToken=_STRING,
    ),
    "SuggestCommentScoreRequest": _message(
        comment=_ref("TextEntry"),
        context=_ref("Context"),
        attributeScores=_map_to("AttributeScores"),
        languages=_list_of(_STRING),
        communityId=_STRING,
        sessionId=_STRING,
        clientToken=_STRING,
    ),
    "SuggestCommentScoreResponse": _message(
        detectedLanguages=_list_of(_STRING), requestedLanguages=_list_of(_STRING), clientToken=_STRING
    ),
}


def _query(description: str, **more: object) -> dict[str, Any]:
    return {"type": "string", "location": "query", "description": description, **more}


_PARAMETERS = {
    "key": _query("API key."),
    "alt": _query("Data format for response.", default="json", enum=["json"]),
    "fields": _query("Taken and ignored."),
    "quotaUser": _query("Taken and ignored."),
    "prettyPrint": {"type": "boolean", "location": "query", "default": "true", "description": "Taken and ignored."},
    "$.xgafv": _query("Taken and ignored.", enum=["1", "2"]),
    "scale": _query("On what scale scores are answered.", enum=["perspective", "probability"]),
}


def _method(name: str, request: str, response: str, description: str) -> dict[str, Any]:
    return {
        "id": f"commentanalyzer.comments.{name}",
        "path": f"v1alpha1/comments:{name}",
        "flatPath": f"v1alpha1/comments:{name}",
        "httpMethod": "POST",
        "parameters": {},
        "parameterOrder": [],
        "request": _ref(request),
        "response": _ref(response),
        "description": description,
    }


_METHODS = {
    "analyze": _method(
        "analyze", "AnalyzeCommentRequest", "AnalyzeCommentResponse", "Scores a comment by the attributes asked for."
    ),
    "suggestscore": _method(
        "suggestscore",
        "SuggestCommentScoreRequest",
        "SuggestCommentScoreResponse",
        "Takes the scores that a caller thinks right, as feedback for a person to look at.",
    ),
}


def document(base_url: str) -> dict[str, Any]:
    """Return the description of the API at ``base_url``, with or without a slash at its end."""
    root_url = base_url.rstrip("/") + "/"
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "canonicalName": "Comment Analyzer",
        "version": "v1alpha1",
        "revision": "1",
        "title": "Comment moderation, in the shape of the Perspective API",
        "description": "Scores comments for toxicity.",
        "protocol": "rest",
        "rootUrl": root_url,
        "baseUrl": root_url,
        "basePath": "",
        "servicePath": "",
        "batchPath": BATCH.removeprefix("/"),
        "parameters": _PARAMETERS,
        "resources": {"comments": {"methods": _METHODS}},
        "schemas": {name: {"id": name} | schema for name, schema in _SCHEMAS.items()},
    }
