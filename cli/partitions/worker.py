"""Scores shards: what the local engine does in this process, and the Ray engine in every worker of a cluster."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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

    def score(self, shard: Shard, on_done: Callable[[int], object] = lambda _: None) -> Part:
        """Read the rows of a shard, score them and write its part; ``on_done`` is told how many more rows are done.

        Raises:
            InvalidInputError: the input changed or cannot be read, or the output cannot be written.
        """
        plan, how = self._job.plan, self._job.plan.how
        file = plan.files[shard.file]
        with storage_errors(f"cannot read {file.location.name}"):
            state = file.location.state()
        if state != file.state:
            raise InvalidInputError(f"{file.location.name} changed since it was checked; run again with another output")
        table = TableScorer(self._scorer, how.policy, how.text_column, how.prefix)
        rows = (conform(chunk, plan.schema, file.name) for chunk in read_span(file.location, file.schema, shard.span))
        scored = table.scored(rows, on_done)
        return write_part(self._job.output, plan, shard, table, scored, self._scorer.backend)


class LocalEngine:
    """The engine of this process: one shard after the other, on all cores."""

    def inspected(self, files: Mapping[str, Location], how: How) -> Iterator[InputFile | ModerationError]:
        """Yield what `inspect` finds in each file, in order."""
        return (inspect(name, location, how) for name, location in files.items())

    def score(
        self, job: Job, bundle: Bundle, shards: Sequence[Shard], on_done: Callable[[int], object]
    ) -> Iterator[Part]:
        """Yield the parts of ``shards`` as they are written; ``on_done`` is told how many more rows are scored."""
        if shards:
            worker = Worker(job, bundle)
            for shard in shards:
                yield worker.score(shard, on_done)
