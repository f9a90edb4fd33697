"""`moderation score` into a folder: plan, what is missing, an engine, the manifest."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from tqdm import tqdm

from cli.bulk import extended, new_fields
from cli.locations import Location
from cli.partitions.parts import Part, check_writable, finished_parts, open_output, withdraw_manifest, write_manifest
from cli.partitions.plan import How, InputFile, Shard, find_files, make_plan
from cli.partitions.ray_engine import RayEngine, ray_cluster
from cli.partitions.worker import Job, LocalEngine
from moderation.bundle import Bundle
from moderation.errors import InvalidInputError, ModerationError
from moderation.policy_file import read_policy
from moderation.settings import ApiSettings

LINE_S = 60.0
"""Between two lines of progress in a log."""


class Engine(Protocol):
    """What inspects files and scores shards, here or on many machines."""

    def inspected(self, files: Mapping[str, Location], how: How) -> Iterator[InputFile | ModerationError]:
        """Yield what `inspect` finds in each file, in order."""

    def score(
        self, job: Job, bundle: Bundle, shards: Sequence[Shard], on_done: Callable[[int], object]
    ) -> Iterator[Part]:
        """Yield the parts of ``shards`` as they are written; ``on_done`` is told how many more rows are done."""


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    source: Location
    output: Location
    text_column: str
    prefix: str
    overwrite: bool
    engine: str
    address: str | None
    workers: int


def score_folder(request: Request, bundle: Bundle, settings: ApiSettings) -> dict[str, Any]:
    """Write the parts that are missing, and the manifest of all; return the manifest.

    Raises:
        InvalidInputError: an input that cannot be read, or an output that is not this run's or cannot be written.
    """
    policy = read_policy(settings.policy_path, bundle.manifest.thresholds)
    how = How(bundle.version, request.text_column, request.prefix, policy, settings.backend)
    source, output = request.source, request.output
    if output.is_in(source):
        raise InvalidInputError(f"{output.name} lies in the input; give another output")
    check_writable(output)
    files = find_files(source)
    with ExitStack() as stack:
        engine: Engine = LocalEngine()
        if request.engine == "ray":
            engine = RayEngine(stack.enter_context(ray_cluster(request.address)), request.workers)
        inspected = engine.inspected(files, how)
        plan = make_plan(how, _bar("check", len(files), " files", inspected))
        extended(plan.schema, new_fields(bundle.manifest.label_names, request.prefix))
        opened = open_output(output, plan, request.overwrite)
        parts = finished_parts(output, plan, _verified)
        missing = [shard for shard in plan.shards if shard.number not in parts]
        if missing:
            withdraw_manifest(opened)
        job = Job(plan, opened, settings.threads)
        before = sum(part.rows for part in parts.values())
        with _bar("score", plan.num_rows, " texts", initial=before) as bar:
            parts |= {part.number: part for part in engine.score(job, bundle, missing, bar.update)}
    return write_manifest(opened, plan, parts, _verified)


def _verified(parts: Iterable[Any], count: int) -> Iterable[Any]:
    return _bar("verify", count, " parts", parts) if count else parts


def _bar(doing: str, total: int, unit: str, items: Iterable[Any] = (), initial: int = 0) -> "tqdm[Any]":
    """Return a bar with rate and time left, or where there is no terminal, what says so in a line a minute.

    ``initial`` is done and not in the rate.
    """
    line = "{desc}: {n_fmt} of {total_fmt}{unit}, {rate_fmt}, {remaining} left\n"
    every_s, form = (0.2, None) if sys.stderr.isatty() else (LINE_S, line)
    return tqdm(
        items,
        doing,
        total,
        unit=unit,
        initial=initial,
        mininterval=every_s,
        maxinterval=max(10.0, every_s),
        bar_format=form,
    )
