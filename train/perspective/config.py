"""The part of a config that says where Perspective's own scores lie."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from train.config_types import HashRange, Label


class PerspectiveSource(BaseModel):
    """A CSV, JSON Lines, JSON or parquet file of comments with Perspective's scores in [0, 1]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    text_column: str = "comment_text"
    part: Annotated[
        HashRange | None,
        Field(description="Only texts whose hash lies from the one share to the other; training may use others."),
    ] = None
    scores: Annotated[dict[Label, str], Field(min_length=1, description="Column of each of our labels.")]


class PerspectiveConfig(BaseModel):
    """What Perspective's scores are learned from: half of each file of ``sources``; the other half tests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: Annotated[tuple[PerspectiveSource, ...], Field(min_length=1)]
    words: Annotated[
        tuple[PerspectiveSource, ...],
        Field(description="More scored comments, for what single words say: training may have seen them."),
    ] = ()
