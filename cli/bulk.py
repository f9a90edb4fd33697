"""Adds scores and decisions to the rows of a table, a chunk at a time."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moderation.errors import InvalidInputError
from moderation.perspective_scale import ATTRIBUTES, PerspectiveScale
from moderation.policy import Policy
from moderation.scoring.scorer import Scored, Scorer
from moderation.text import normalize

TEXTS_PER_CALL = 64
"""Enough to keep all cores busy, few enough that progress is seen."""
TEXTS_PER_GPU_CALL = 1024


def check_text_column(schema: pa.Schema, name: str) -> None:
    """Check that a table has texts in the column ``name``.

    Raises:
        InvalidInputError: no such column, or it holds something else.
    """
    if name not in schema.names:
        hint = "; its separator must be a comma" if len(schema.names) == 1 and {*";\t|"} & {*schema.names[0]} else ""
        raise InvalidInputError(
            f"no column {name!r}; the input has {', '.join(map(repr, schema.names)) or 'none'}{hint}"
        )
    stated = schema.field(name).type
    kind = stated.value_type if pa.types.is_dictionary(stated) else stated
    if kind not in (pa.string(), pa.large_string(), pa.string_view(), pa.null()):
        raise InvalidInputError(f"column {name!r} holds {stated}, expected text")


class TableScorer:
    """Scores one text column; ``decisions`` counts what was decided, ``without_text`` the rows with nothing to read."""

    def __init__(
        self,
        scorer: Scorer,
        policy: Policy,
        text_column: str,
        prefix: str = "",
        scale: PerspectiveScale | None = None,
    ) -> None:
        """Name the new columns with ``prefix`` in front; ``scale`` adds one per attribute of Perspective's."""
        self.version = scorer.bundle.version
        self.decisions: Counter[str] = Counter()
        self.without_text = 0
        self._scorer = scorer
        self._policy = policy
        self._text_column = text_column
        self._scale = scale
        self._new_fields = [
            *(pa.field(prefix + label, pa.float32()) for label in scorer.labels),
            *(pa.field(prefix + ATTRIBUTES[label], pa.float64()) for label in (scale.labels if scale else ())),
            pa.field(prefix + "decision", pa.string()),
            pa.field(prefix + "reasons", pa.string()),
            pa.field(prefix + "version", pa.string()),
            pa.field(prefix + "tokens_read", pa.int64()),
            pa.field(prefix + "truncated", pa.bool_()),
        ]

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return ``schema`` with the new columns at its end.

        Raises:
            InvalidInputError: a new column has the name of an old one.
        """
        if taken := [field.name for field in self._new_fields if field.name in schema.names]:
            raise InvalidInputError(
                f"the input already has columns named {', '.join(taken)}; give the new ones a prefix, such as "
                "--prefix score_"
            )
        return pa.schema([*schema, *self._new_fields])

    def add_scores(self, chunk: pa.RecordBatch, on_done: Callable[[int], object]) -> pa.RecordBatch:
        """Return ``chunk`` with the new columns; ``on_done`` is told how many more rows are done."""
        texts: list[str] = [text or "" for text in chunk.column(self._text_column).to_pylist()]
        rows = [row for row, text in enumerate(texts) if normalize(text)]
        scored: list[Scored] = []
        per_call = TEXTS_PER_GPU_CALL if self._scorer.call_tokens else TEXTS_PER_CALL
        for start in range(0, len(rows), per_call):
            part = rows[start : start + per_call]
            scored.append(self._scorer.score([texts[row] for row in part]))
            on_done(len(part))
        self.without_text += len(texts) - len(rows)
        on_done(len(texts) - len(rows))
        place_of_row: list[int | None] = [None] * len(texts)
        for place, row in enumerate(rows):
            place_of_row[row] = place
        places = pa.array(place_of_row, pa.int64())
        new_columns = [column.take(places) for column in self._columns(scored)]  # no place: null
        return pa.RecordBatch.from_arrays([*chunk.columns, *new_columns], schema=self.output_schema(chunk.schema))

    def _columns(self, scored: list[Scored]) -> list[pa.Array]:
        labels = self._scorer.labels
        scores = np.concatenate([part.scores for part in scored] or [np.empty((0, len(labels)), np.float32)])
        truncated = [bool(cut) for part in scored for cut in part.truncated]
        decided = [
            self._policy.decide(dict(zip(labels, row, strict=True)), cut)
            for row, cut in zip(scores.tolist(), truncated, strict=True)
        ]
        self.decisions.update(verdict.decision for verdict in decided)
        values = [
            *scores.T,
            *self._mapped(scores),
            [verdict.decision for verdict in decided],
            [", ".join(verdict.reasons) for verdict in decided],
            [self.version] * len(decided),
            [tokens for part in scored for tokens in part.tokens_read],
            truncated,
        ]
        return [pa.array(column, field.type) for column, field in zip(values, self._new_fields, strict=True)]

    def _mapped(self, scores: npt.NDArray[np.float32]) -> list[list[float]]:
        """Return each attribute's column of scores on Perspective's scale."""
        columns = dict(zip(self._scorer.labels, scores.T.tolist(), strict=True))
        scale = self._scale
        return (
            [[scale.to_perspective(label, each) for each in columns[label]] for label in scale.labels] if scale else []
        )
