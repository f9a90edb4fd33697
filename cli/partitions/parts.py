"""The output: a folder of parquet files, one per shard, with the plan that they belong to and, at the end, a manifest.

A part has its name once it is whole, and holds the digest of its plan; so a run that goes on knows what is missing.
A folder belongs to the run that opened it last: an earlier one that still lives finds that out before it writes.
"""

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from cli.bulk import overlapped
from cli.locations import BLOCK_BYTES, Location, storage_errors
from cli.output import replaced_when_complete
from cli.partitions.plan import Plan, Shard
from moderation.errors import InvalidInputError

PLAN = "_plan.json"
OWNER = "_owner"
PART_NAME = re.compile(r"part-\d{8}\.parquet")
MANIFEST = "_manifest.json"
METADATA = b"moderation"
NAME_CHARS = 12
"""Of a version in a message."""
ROW_GROUP_BYTES = 16 << 20
READERS = 16
"""Parts of an earlier run that are looked at side by side: in object storage each takes a round trip."""
Watched = Callable[[Iterable[Any], int], Iterable[Any]]
"""Yields parts, of which there are so many, as they are, and may say how many are done."""


@dataclass(frozen=True)
class Part:
    """A written part: which rows of which file, and what was decided on them."""

    number: int
    file: str
    first_row: int
    rows: int
    without_text: int
    decisions: Mapping[str, int]
    backend: str
    size_bytes: int
    sha256: str


def part_name(number: int) -> str:
    """Return the name of a part; by name they are in the order of the rows."""
    return f"part-{number:08d}.parquet"


@dataclass(frozen=True)
class Output:
    """The folder of parts, as the run with the random id ``run`` holds it."""

    location: Location
    run: str

    def check_owner(self) -> None:
        """Check that no other run has opened the folder since.

        Raises:
            InvalidInputError: it belongs to another run, or is another folder on this machine.
        """
        owner = self.location.child(OWNER)
        with storage_errors(f"cannot read {owner.name}"):
            try:
                with owner.open() as file:
                    found = file.read().decode()
            except FileNotFoundError:
                found = ""
        if found != self.run:
            raise InvalidInputError(
                f"{owner.name} is not of this run: another one has taken over {self.location.name}, or it is not the "
                "same folder on every machine"
            )


def check_writable(output: Location) -> None:
    """Check that a folder of this machine can be made or written to: better known before hours of reading.

    Raises:
        InvalidInputError: the system refuses.
    """
    if output.is_local:
        folder = next(path for path in (Path(output.path), *Path(output.path).parents) if path.exists())
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise InvalidInputError(f"cannot write {output.name}: {folder} is not writable")


def open_output(output: Location, plan: Plan, overwrite: bool) -> Output:
    """Make the folder, or find that what is there belongs to this plan, and take it over from other runs.

    Raises:
        InvalidInputError: something else is there; with ``overwrite``, something that no run of this command wrote.
    """
    opened = Output(output, uuid4().hex)
    with storage_errors(f"cannot write {output.name}"):
        kind, stated = output.kind(), output.child(PLAN)
        if kind == fs.FileType.File:
            raise InvalidInputError(f"{output.name} is a file; expected a folder")
        earlier = _read_json(stated) if stated.kind() == fs.FileType.File else None
        names = output.names() if kind == fs.FileType.Directory else []
        for name in names:
            if earlier is None or not PART_NAME.fullmatch(name):
                raise InvalidInputError(f"{output.name} holds {name}, which is of no earlier run; give a new folder")
        if earlier is not None and earlier != plan.identity() and not overwrite:
            raise InvalidInputError(f"{output.name} holds {_difference(earlier, plan)}; give another, or --overwrite")
        output.filesystem.create_dir(output.path, recursive=True)
        output.child(OWNER).write(opened.run.encode())
        if overwrite and earlier is not None:
            _delete(output, MANIFEST, *names, PLAN)  # the plan last, so that this can be interrupted as well
        if overwrite or earlier is None:
            stated.write(json.dumps(plan.identity(), indent=1, sort_keys=True).encode())
    return opened


def _delete(output: Location, *names: str) -> None:
    for name in names:
        if output.child(name).kind() == fs.FileType.File:
            output.filesystem.delete_file(output.child(name).path)


def _read_json(location: Location) -> dict[str, object]:
    try:
        with location.open() as file:
            read: dict[str, object] = json.loads(file.read())
    except ValueError:
        raise InvalidInputError(f"{location.name} is damaged; give another output") from None
    return read


def _difference(earlier: Mapping[str, object], plan: Plan) -> str:
    """Say in what an earlier plan differs from the one of now."""
    for key, noun in (
        ("version", "version"),
        ("text_column", "column"),
        ("release", "release"),
        ("backend", "backend"),
    ):
        if (before := earlier.get(key)) != (now := getattr(plan.how, key)):
            return f"scores of {noun} {str(before)[:NAME_CHARS]}, not of {now[:NAME_CHARS]}"
    files = earlier.get("files")
    digests = {file["name"]: file["sha256"] for file in files} if isinstance(files, list) else {}
    for name, _ in sorted(digests.items() ^ {(file.name, file.sha256) for file in plan.files}):
        return f"scores of another input ({name} was added, changed or removed since)"
    return "scores by another policy or --prefix"


def finished_parts(output: Location, plan: Plan, watched: Watched) -> dict[int, Part]:
    """Return the parts of this plan that are there and whole, by number; all that are there are read."""
    with storage_errors(f"cannot read {output.name}"):
        there = set(output.names())
        shards = [shard for shard in plan.shards if part_name(shard.number) in there]
        found = overlapped(partial(_read_part, output, plan, plan.digest), shards, READERS)
        digests = _manifest_digests(output, plan)
        return {
            part.number: part
            for part in watched(found, len(shards))
            if part is not None and digests.get(part_name(part.number), part.sha256) == part.sha256
        }


def withdraw_manifest(output: Output) -> None:
    """Delete the manifest: parts that it names are to be written again.

    Raises:
        InvalidInputError: the disk or the storage refuses.
    """
    with storage_errors(f"cannot write {output.location.name}"):
        _delete(output.location, MANIFEST)


def _manifest_digests(output: Location, plan: Plan) -> dict[str, str]:
    """Return the digest of each part by its name, as far as an earlier run of this plan has stated them."""
    location = output.child(MANIFEST)
    if location.kind() != fs.FileType.File:
        return {}
    stated: dict[str, Any] = _read_json(location)
    return {part["name"]: part["sha256"] for part in stated["parts"]} if stated["plan"] == plan.digest else {}


def _read_part(output: Location, plan: Plan, digest: str, shard: Shard) -> Part | None:
    """Read a part to its end, which verifies its checksums; return None for one that must be written again."""
    location = output.child(part_name(shard.number))
    try:
        with location.open() as source:
            file = pq.ParquetFile(source, buffer_size=BLOCK_BYTES, pre_buffer=False, page_checksum_verification=True)
            footer = file.metadata
            for _ in file.iter_batches():
                pass
        stated = json.loads((footer.metadata or {}).get(METADATA, b"{}"))
    except (pa.ArrowException, OSError, ValueError):  # cut off, damaged inside, or not ours
        return None
    if stated.pop("plan", None) != digest or stated.pop("number") != shard.number:
        return None
    if footer.num_rows != shard.span.num_rows:
        return None
    return _part(plan, shard, stated, location.state()[0], location.sha256())


def _part(plan: Plan, shard: Shard, stated: Mapping[str, object], size_bytes: int, digest: str) -> Part:
    place = (shard.number, plan.files[shard.file].name, shard.span.first_row, shard.span.num_rows)
    return Part(*place, **stated, size_bytes=size_bytes, sha256=digest)  # type: ignore[arg-type]


def write_part(
    output: Output, plan: Plan, shard: Shard, schema: pa.Schema, chunks: Iterable[pa.RecordBatch], backend: str
) -> Part:
    """Write the scored rows of a shard, under the part's name once all are there.

    Raises:
        InvalidInputError: the disk or the storage refuses, or the output belongs to another run by now.
    """
    with _in_place(output.location.child(part_name(shard.number))) as path:
        decisions: Counter[str | None] = Counter()
        with closing(_GroupWriter(path, schema)) as writer:
            for chunk in chunks:
                writer.write(chunk)
                decisions.update(chunk.column(plan.how.prefix + "decision").to_pylist())
            without_text = decisions.pop(None, 0)
            stated = {"without_text": without_text, "decisions": dict(decisions), "backend": backend}
            writer.state({"plan": plan.digest, "number": shard.number, **stated})
        output.check_owner()  # before the file is opened: who took over deletes it
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        return _part(plan, shard, stated, path.stat().st_size, digest)


class _GroupWriter:
    """A parquet file whose rows reach the disk in groups of `ROW_GROUP_BYTES`."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, write_page_checksum=True)
        self._waiting: list[pa.RecordBatch] = []

    def write(self, chunk: pa.RecordBatch) -> None:
        self._waiting.append(chunk)
        if sum(each.nbytes for each in self._waiting) > ROW_GROUP_BYTES:
            self._flush()

    def state(self, stated: Mapping[str, object]) -> None:
        self._flush()
        self._writer.add_key_value_metadata({METADATA: json.dumps(stated, sort_keys=True)})

    def close(self) -> None:
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._waiting, schema=self._writer.schema))
        self._waiting = []


@contextmanager
def _in_place(location: Location) -> Iterator[Path]:
    """Yield a local file that comes to its place when all went well."""
    if location.is_local:
        with replaced_when_complete(Path(location.path)) as path:
            yield path
        return
    with (
        storage_errors(f"cannot write into the temporary folder {tempfile.gettempdir()}"),
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder) / "part"
        yield path
        with (
            storage_errors(f"cannot write {location.name}"),
            path.open("rb") as file,
            location.filesystem.open_output_stream(location.path) as stream,
        ):
            while block := file.read(BLOCK_BYTES):
                stream.write(block)


def write_manifest(output: Output, plan: Plan, parts: Mapping[int, Part], watched: Watched) -> dict[str, Any]:
    """Write down what the output holds, once every part of the plan was read back; return it.

    Raises:
        InvalidInputError: a part is not there as it was written, or another file or run is; or the disk refuses.
    """
    folder = output.location
    in_order = [parts[shard.number] for shard in plan.shards]
    decisions = sum((Counter(part.decisions) for part in in_order), Counter[str]())
    manifest = {
        **plan.identity(),
        "plan": plan.digest,
        "rows": sum(part.rows for part in in_order),
        "without_text": sum(part.without_text for part in in_order),
        "decisions": dict(sorted(decisions.items())),
        "backends": sorted({part.backend for part in in_order}),
        "parts": [{"name": part_name(part.number), **asdict(part)} for part in in_order],
        "digest": sha256("".join(part.sha256 for part in in_order).encode()).hexdigest(),
    }
    with storage_errors(f"cannot write {folder.name}"):
        _check_whole(output, in_order, watched)
        folder.child(MANIFEST).write(json.dumps(manifest, indent=1, sort_keys=True).encode())
        if folder.is_local:
            for left in Path(folder.path).glob(".part-*.partial"):  # of a run that was killed
                left.unlink(missing_ok=True)
        _delete(folder, OWNER)
    return manifest


def _check_whole(output: Output, parts: Sequence[Part], watched: Watched) -> None:
    """Check that the folder is this run's and holds these parts, byte for byte, and nothing else."""
    folder, expected = output.location, {part_name(part.number): part.sha256 for part in parts}
    there = set(folder.names())
    if odd := sorted(there ^ expected.keys()):
        fault = "is missing; run again" if odd[0] in expected else "is no part of it; move it away and run again"
        raise InvalidInputError(f"{folder.name} is not whole: {odd[0]} {fault}")
    digests = overlapped(lambda name: folder.child(name).sha256(), expected, READERS)
    for (name, stated), digest in zip(expected.items(), watched(digests, len(expected)), strict=True):
        if digest != stated:
            raise InvalidInputError(f"{folder.name} is not whole: {name} was changed since it was written; run again")
    output.check_owner()
