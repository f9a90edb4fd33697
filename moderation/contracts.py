"""The JSON that crosses HTTP, shared by the server and its client.

Scores are calibrated probabilities in [0, 1], one per label. Texts are checked for emptiness and
size by the server, which knows its limits; here only the shape is stated.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from moderation.policy import Decision

Text = Annotated[str, Field(description="The comment, as its author wrote it.")]
Scores = Annotated[dict[str, float], Field(description="Probability in [0, 1] for each label.")]


class Request(BaseModel):
    """Base of what callers send: an unknown field is an error, so that a misspelt one is not lost in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """Base of what the server sends: clients ignore fields that a newer server adds."""

    model_config = ConfigDict(extra="ignore", frozen=True)


DoNotStore = Annotated[bool, Field(description="True: nothing of the text or of its author is stored.")]
AuthorId = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=256)] | None,
    Field(description="Who wrote it, by whatever name the caller uses, so that it can be erased by author."),
]


class PredictRequest(Request):
    """One comment to score."""

    comment_text: Text
    do_not_store: DoNotStore = False
    author_id: AuthorId = None
    explain: Annotated[
        bool,
        Field(
            description="True: say which words drive the scores. Each costs one more comment of the quota, 64 at most."
        ),
    ] = False

    model_config = ConfigDict(json_schema_extra={"examples": [{"comment_text": "You are disgusting."}]})


class BatchRequest(Request):
    """Several comments to score; the answer keeps their order. What else is said holds for all of them."""

    comment_texts: list[Text]
    do_not_store: DoNotStore = False
    author_id: AuthorId = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"comment_texts": ["You are disgusting.", "Thank you, that helps."]}]}
    )


class ExplainedSpan(Answer):
    """A word of the comment, or neighbouring words of a long one, and what it adds to the scores."""

    start: Annotated[int, Field(ge=0, description="Its first code point in the text as received.")]
    end: Annotated[int, Field(ge=0, description="The first code point behind it.")]
    contributions: Annotated[
        dict[str, float],
        Field(description="Per label, what it adds to the log-odds of the score, in the comment and alone, the mean."),
    ]
    drives: Annotated[
        list[str], Field(description="Labels to which it adds much: what a reader is to be shown as their cause.")
    ] = []


class Prediction(Answer):
    """What was answered for one comment."""

    id: Annotated[str, Field(description="Names this prediction in feedback and in the log.")]
    scores: Scores
    decision: Decision
    reasons: Annotated[
        list[str],
        Field(description="Labels that caused the decision, highest score first; 'truncated' if its end was not read."),
    ]
    version: Annotated[str, Field(description="Content address of the bundle that scored it.")]
    tokens_read: Annotated[int, Field(ge=0, description="Tokens that the model read.")]
    truncated: Annotated[bool, Field(description="True if the text was longer than the model reads.")]
    explanation: Annotated[
        list[ExplainedSpan] | None, Field(description="In the order of the text; only where `explain` asked for it.")
    ] = None


class BatchPrediction(Answer):
    """One prediction per comment, in the order of the request."""

    predictions: list[Prediction]


class FeedbackRequest(Request):
    """A caller's or moderator's verdict on an answered prediction."""

    prediction_id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    agree: Annotated[bool, Field(description="Whether the prediction is right: its decision and its labels.")]
    labels: Annotated[
        dict[str, bool] | None,
        Field(description="The labels as they should be; only those that are sure, and none against agree: true."),
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prediction_id": "01934f6e-9d2a-7c51-9f5e-2b1d3c4a5e6f", "agree": False, "labels": {"insult": True}}
            ]
        }
    )


class FeedbackReceipt(Answer):
    """Where the feedback was recorded."""

    id: str


class ServedVersion(Answer):
    """What this server scores with, and from which scores it decides."""

    version: str
    name: str
    alias: str
    labels: list[str]
    thresholds: Annotated[
        dict[str, dict[str, float | None]],
        Field(description="Per label the scores from which it is sent to review and removed; null: never."),
    ]
    max_tokens: int
    normalizer_version: str
    backend: str
    device: Annotated[str, Field(description="Where the model is computed: cpu or cuda.")] = "cpu"


class ErrorBody(Answer):
    """The body of every error answer."""

    code: str
    message: str
    request_id: str
