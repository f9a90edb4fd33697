"""Adds scores and decisions to the rows of a table, a chunk at a time."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from moderation.errors import InvalidInputError
from moderation.perspective import PerspectiveScorer
from moderation.perspective_scale import ATTRIBUTES
from moderation.policy import Policy
from moderation.scoring.scorer import Scored, Scorer
from moderation.scoring.tokens import TextTokens
from moderation.text import normalize

TEXTS_PER_CALL = 256
"""Enough to keep all cores busy, few enough that progress is seen."""
TEXTS_PER_GPU_CALL = 1024
PARTS_AHEAD = 2
"""Of each stage: what waits for the next one."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def check_text_column(schema: pa.Schema, name: str, table: str = "the input") -> None:
    """Check that a ``table`` has texts in the column ``name``.

    Raises:
        InvalidInputError: no such column, or it holds something else.
    """
    if name not in schema.names:
        hint = "; its separator must be a comma" if len(schema.names) == 1 and {*";\t|"} & {*schema.names[0]} else ""
        raise InvalidInputError(f"no column {name!r}; {table} has {', '.join(map(repr, schema.names)) or 'none'}{hint}")
    stated = schema.field(name).type
    kind = stated.value_type if pa.types.is_dictionary(stated) else stated
    if kind not in (pa.string(), pa.large_string(), pa.string_view(), pa.null()):
        raise InvalidInputError(f"column {name!r} holds {stated} in {table}, expected text")


def new_fields(labels: Sequence[str], prefix: str = "", attributes: Sequence[str] = ()) -> list[pa.Field]:
    """Return the columns that scoring adds, named with ``prefix`` in front; ``attributes`` are of `ATTRIBUTES`."""
    return [
        *(pa.field(prefix + label, pa.float32()) for label in labels),
        *(pa.field(prefix + attribute, pa.float64()) for attribute in attributes),
        pa.field(prefix + "decision", pa.string()),
        pa.field(prefix + "reasons", pa.string()),
        pa.field(prefix + "version", pa.string()),
        pa.field(prefix + "tokens_read", pa.int64()),
        pa.field(prefix + "truncated", pa.bool_()),
    ]


def extended(schema: pa.Schema, fields: Sequence[pa.Field]) -> pa.Schema:
    """Return ``schema`` with ``fields`` at its end.

    Raises:
        InvalidInputError: one of them has the name of an old column.
    """
    if taken := [field.name for field in fields if field.name in schema.names]:
        raise InvalidInputError(
            f"the input already has columns named {', '.join(taken)}; give the new ones a prefix, such as "
            "--prefix score_"
        )
    return pa.schema([*schema, *fields])


def overlapped(function: Callable[[Item], Result], items: Iterable[Item], threads: int = 1) -> Iterator[Result]:
    """Yield the result for each item, in order, computed by ``threads`` while the caller works on earlier ones."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads + PARTS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Part:
    """Rows of a table, and of those with a text the numbers, texts and tokens, longest text first."""

    chunk: pa.RecordBatch
    rows: Sequence[int]
    texts: Sequence[str]
    tokens: Sequence[TextTokens]


class TableScorer:
    """Scores one text column; ``decisions`` counts what was decided, ``without_text`` the rows with nothing to read."""

    def __init__(
        self,
        scorer: Scorer,
        policy: Policy,
        text_column: str,
        prefix: str = "",
        perspective: PerspectiveScorer | None = None,
    ) -> None:
        """Name the new columns with ``prefix`` in front; ``perspective`` adds one per attribute of Perspective's."""
        self.version = scorer.bundle.version
        self.decisions: Counter[str] = Counter()
        self.without_text = 0
        self._scorer = scorer
        self._policy = policy
        self._text_column = text_column
        self._perspective = perspective
        self._mapped = perspective.scale.labels if perspective else ()
        self._new_fields = new_fields(scorer.labels, prefix, [ATTRIBUTES[label] for label in self._mapped])

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return ``schema`` with the new columns at its end.

        Raises:
            InvalidInputError: a new column has the name of an old one.
        """
        return extended(schema, self._new_fields)

    def scored(
        self, chunks: Iterable[pa.RecordBatch], on_done: Callable[[int], object] = lambda _: None
    ) -> Iterator[pa.RecordBatch]:
        """Yield ``chunks`` in order, in parts, with the new columns; ``on_done`` is told how many more rows are done.

        While one part is scored, later ones are read and tokenised, and earlier ones are written by the caller.
        """
        per_call = TEXTS_PER_GPU_CALL if self._scorer.call_tokens else TEXTS_PER_CALL
        parts = (chunk.slice(row, per_call) for chunk in chunks for row in range(0, chunk.num_rows, per_call))
        calls = 2 if self._scorer.call_tokens else 1  # a GPU is sent the next call while it computes one
        for part, scored in overlapped(self._infer, overlapped(self._tokenize, parts), calls):
            on_done(part.chunk.num_rows)
            yield self._with_columns(part, scored)

    def _tokenize(self, chunk: pa.RecordBatch) -> _Part:
        texts = [normalize(text or "") for text in chunk.column(self._text_column).to_pylist()]
        rows = [row for row, text in enumerate(texts) if text]
        tokens = self._scorer.tokenize_normalized([texts[row] for row in rows])
        # The longest first: so all cores are busy until nearly the same moment.
        order = sorted(range(len(rows)), key=lambda number: -tokens[number].cost_tokens)
        rows, tokens = [rows[number] for number in order], [tokens[number] for number in order]
        return _Part(chunk, rows, [texts[row] for row in rows], tokens)

    def _infer(self, part: _Part) -> tuple[_Part, Scored]:
        return part, self._scorer.infer(part.tokens)

    def _with_columns(self, part: _Part, scored: Scored) -> pa.RecordBatch:
        chunk = part.chunk
        self.without_text += chunk.num_rows - len(part.rows)
        places = np.full(chunk.num_rows, -1)
        places[part.rows] = np.arange(len(part.rows))
        found = pa.array(places, mask=places < 0)  # no place: null
        new = [column.take(found) for column in self._columns(part.texts, scored)]
        return pa.RecordBatch.from_arrays([*chunk.columns, *new], schema=self.output_schema(chunk.schema))

    def _columns(self, texts: Sequence[str], scored: Scored) -> list[pa.Array]:
        truncated = scored.truncated.tolist()
        rows = [dict(zip(self._scorer.labels, row, strict=True)) for row in scored.scores.tolist()]
        decided = [self._policy.decide(row, cut) for row, cut in zip(rows, truncated, strict=True)]
        known = self._perspective
        mapped = [known.scores(text, row) for text, row in zip(texts, rows, strict=True)] if known else []
        self.decisions.update(verdict.decision for verdict in decided)
        values = [
            *scored.scores.T,
            *([found[label] for found in mapped] for label in self._mapped),
            [verdict.decision for verdict in decided],
            [", ".join(verdict.reasons) for verdict in decided],
            [self.version] * len(decided),
            scored.tokens_read,
            truncated,
        ]
        return [pa.array(column, field.type) for column, field in zip(values, self._new_fields, strict=True)]
