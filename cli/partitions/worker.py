"""Scores shards: what the local engine does in this process, and the Ray engine in every worker of a cluster."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from cli.bulk import TableScorer
from cli.locations import Location, storage_errors
from cli.partitions.columns import conform
from cli.partitions.parts import Output, Part, write_part
from cli.partitions.plan import How, InputFile, Plan, Shard, inspect
from cli.tables import read_span
from moderation.bundle import Bundle
from moderation.errors import InvalidInputError, ModerationError
from moderation.scoring.scorer import Scorer


@dataclass(frozen=True)
class Job:
    """A plan, where its parts go, and how a worker computes them."""

    plan: Plan
    output: Output
    threads: int


class Worker:
    """A loaded bundle that turns shards into parts."""

    def __init__(self, job: Job, bundle: Bundle) -> None:
        """Load the bundle.

        Raises:
            BundleError: it does not load, or its probes do not score here as stated.
        """
        self._job = job
        self._scorer = Scorer.load(bundle, job.threads, job.plan.how.backend)
        self.device = self._scorer.device

    def score(self, shards: Sequence[Shard], on_done: Callable[[int], object] = lambda _: None) -> Iterator[Part]:
        """Yield the part of each shard once it is written; meanwhile rows of the next are read and scored.

        ``on_done`` is told how many more rows are scored.

        Raises:
            InvalidInputError: the input changed or cannot be read, or the output cannot be written.
        """
        plan, how = self._job.plan, self._job.plan.how
        table = TableScorer(self._scorer, how.policy, how.text_column, how.prefix)
        schema = table.output_schema(plan.schema)
        scored = table.scored((chunk for shard in shards for chunk in self._rows(shard)), on_done)
        for shard in shards:
            rows = _first(scored, shard.span.num_rows)
            yield write_part(self._job.output, plan, shard, schema, rows, self._scorer.backend)

    def _rows(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        plan = self._job.plan
        file = plan.files[shard.file]
        with storage_errors(f"cannot read {file.location.name}"):
            state = file.location.state()
        if state != file.state:
            raise InvalidInputError(f"{file.location.name} changed since it was checked; run again with another output")
        for chunk in read_span(file.location, file.schema, shard.span):
            yield conform(chunk, plan.schema, file.name)


def _first(chunks: Iterator[pa.RecordBatch], num_rows: int) -> Iterator[pa.RecordBatch]:
    while num_rows:
        chunk = next(chunks)
        num_rows -= chunk.num_rows
        yield chunk


class LocalEngine:
    """The engine of this process: the shards in order, on all cores."""

    def inspected(self, files: Mapping[str, Location], how: How) -> Iterator[InputFile | ModerationError]:
        """Yield what `inspect` finds in each file, in order."""
        return (inspect(name, location, how) for name, location in files.items())

    def score(
        self, job: Job, bundle: Bundle, shards: Sequence[Shard], on_done: Callable[[int], object]
    ) -> Iterator[Part]:
        """Yield the parts of ``shards`` as they are written; ``on_done`` is told how many more rows are scored."""
        if shards:
            yield from Worker(job, bundle).score(shards, on_done)
