"""Folders scored into partitioned parquet: every row once, in order, and what is missing after a crash."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.locations import Location
from cli.partitions.parts import MANIFEST, OWNER, Part, open_output
from cli.partitions.plan import How, InputFile, Shard, inspect, make_plan
from cli.partitions.worker import Job, LocalEngine, Worker
from moderation.bundle import Bundle, read_bundle
from moderation.errors import InvalidInputError, NotFoundError
from moderation.labels import LABELS
from moderation.policy import Policy
from moderation.release import VERSION
from moderation.scoring.scorer import Scorer
from tests.bundles import build_tiny_bundle
from tests.cli.conftest import ROOT, Moderation
from tests.cli.partitions.conftest import ScoreFolder, contents, read_rows, rows_of, text_of, write_parquet


def test_every_row_is_scored_once_as_it_is_alone_and_in_order(
    score: ScoreFolder, source: Path, bundle: Path, tmp_path: Path
) -> None:
    manifest = score(source, tmp_path / "out")
    found = read_rows(tmp_path / "out")
    assert found["id"] == [f"{number:06d}" for number in range(7500)]
    without = [number for number in range(7500) if text_of(number) is None]
    assert [number for number, decision in enumerate(found["decision"]) if decision is None] == without
    texts = [
        text if number >= 2500 else text.replace(" ", "\né ") for number in range(7500) if (text := text_of(number))
    ]
    alone = Scorer.load(read_bundle(bundle), threads=1).score(texts).scores
    scores = np.array([[row for row in found[label] if row is not None] for label in LABELS], dtype=np.float32).T
    np.testing.assert_array_equal(scores, alone)

    assert (manifest["rows"], manifest["without_text"]) == (7500, len(without))
    assert sum(manifest["decisions"].values()) == 7500 - len(without)
    assert [file["name"] for file in manifest["files"]] == ["a.csv", "b.jsonl", "deep/c.parquet"]
    assert [(part["file"], part["first_row"], part["rows"]) for part in manifest["parts"]] == [
        (name, first, rows)
        for name in ("a.csv", "b.jsonl", "deep/c.parquet")
        for first, rows in ((0, 1024), (1024, 1024), (2048, 452))
    ]
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == manifest


def test_a_run_after_a_crash_writes_what_is_missing_and_nothing_else(
    score: ScoreFolder, source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    score(source, output)
    whole = contents(output)
    (output / MANIFEST).unlink()
    (output / "part-00000002.parquet").unlink()
    (output / "part-00000004.parquet").write_bytes(whole["part-00000004.parquet"][:-100])  # cut off
    shutil.copy(output / "part-00000001.parquet", output / "part-00000005.parquet")  # of other rows
    (output / ".part-00000006.parquet.0.partial").write_bytes(b"left by a killed process")
    times = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    score(source, output)
    assert contents(output) == whole
    written = {path.name for path in output.iterdir() if times.get(path.name) != path.stat().st_mtime_ns}
    assert written == {MANIFEST, *(f"part-0000000{number}.parquet" for number in (2, 4, 5))}


def test_a_part_that_was_damaged_inside_is_written_again(score: ScoreFolder, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    score(source, output)
    whole = contents(output)
    name = "part-00000003.parquet"
    flipped, zeroed = bytearray(whole[name]), bytearray(whole[name])
    flipped[4] ^= 1  # in the header of a page, which no checksum covers: only the manifest knows
    zeroed[5000:7800] = bytes(2800)
    (output / name).write_bytes(flipped)
    score(source, output)
    assert contents(output) == whole
    (output / name).write_bytes(zeroed)
    (output / MANIFEST).unlink()
    score(source, output)
    assert contents(output) == whole


def test_an_output_is_written_anew_where_that_is_asked_for(score: ScoreFolder, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    score(source, output)
    whole, before = contents(output), {path: path.stat().st_mtime_ns for path in output.iterdir()}
    score(source, output, overwrite=True)
    assert contents(output) == whole
    assert all(path.stat().st_mtime_ns > before[path] for path in output.iterdir())


@pytest.mark.parametrize(
    ("sent", "code", "said"), [(signal.SIGKILL, -9, ""), (signal.SIGINT, 130, "stopped; the same command goes on")]
)
def test_a_run_that_was_ended_goes_on_where_it_was(
    bundle: Path, tmp_path: Path, environment: dict[str, str], moderation: Moderation, sent: int, code: int, said: str
) -> None:
    write_parquet(tmp_path / "in.parquet", rows_of(0, 40_000))
    output = tmp_path / "out"
    command = ("score", tmp_path / "in.parquet", "--text-column", "text", "--output", output, "--bundle", bundle)
    # Tests that run in the background ignore the signal, and what they start would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *map(str, command)], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    while not (output / "part-00000000.parquet").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(sent)
    assert said in process.communicate()[1]
    assert process.returncode == code
    assert not (output / MANIFEST).exists()
    first = (output / "part-00000000.parquet").stat().st_mtime_ns
    done = moderation(*command)
    assert done.returncode == 0, done.stderr
    assert "800 rows without text have no scores" in done.stdout
    assert (output / "part-00000000.parquet").stat().st_mtime_ns == first
    assert read_rows(output)["id"] == [f"{number:06d}" for number in range(40_000)]


@pytest.fixture
def after_three_parts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Make the next run do something once it has written its third part."""

    def make(act: Callable[[], object]) -> None:
        scored = LocalEngine.score

        def score(
            self: LocalEngine, job: Job, bundle: Bundle, shards: Sequence[Shard], on_done: Callable[[int], object]
        ) -> Iterator[Part]:
            for number, part in enumerate(scored(self, job, bundle, shards, on_done)):
                yield part
                if number == 2:
                    monkeypatch.undo()
                    act()

        monkeypatch.setattr(LocalEngine, "score", score)

    return make


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda out: (out / "part-00000000.parquet").unlink(), r"part-00000000\.parquet is missing; run again"),
        (
            lambda out: shutil.copy(out / "part-00000001.parquet", out / "part-00000000.parquet"),
            r"part-00000000\.parquet was changed since it was written; run again",
        ),
        (
            lambda out: shutil.copy(out / "part-00000001.parquet", out / "part-00000099.parquet"),
            r"part-00000099\.parquet is no part of it",
        ),
    ],
)
def test_an_output_that_loses_or_gains_parts_during_the_run_gets_no_manifest(
    score: ScoreFolder,
    source: Path,
    tmp_path: Path,
    after_three_parts: Callable[[Callable[[], object]], None],
    harm: Callable[[Path], object],
    message: str,
) -> None:
    output = tmp_path / "out"
    after_three_parts(lambda: harm(output))
    with pytest.raises(InvalidInputError, match=message):
        score(source, output)
    assert not (output / MANIFEST).exists()
    (output / "part-00000099.parquet").unlink(missing_ok=True)
    score(source, output)
    assert read_rows(output)["id"] == [f"{number:06d}" for number in range(7500)]


@pytest.mark.parametrize("options", [{"prefix": "p_", "overwrite": True}, {}])
def test_a_run_ends_once_another_one_has_taken_its_output_over(
    score: ScoreFolder,
    source: Path,
    tmp_path: Path,
    after_three_parts: Callable[[Callable[[], object]], None],
    options: dict[str, object],
) -> None:
    output = tmp_path / "out"
    after_three_parts(lambda: score(source, output, **options))
    with pytest.raises(InvalidInputError, match="another one has taken over"):
        score(source, output)
    score(source, tmp_path / "alone", **{**options, "overwrite": False})
    assert contents(output) == contents(tmp_path / "alone")


def test_an_output_of_another_version_or_input_is_refused_unless_it_is_to_be_replaced(
    score: ScoreFolder, source: Path, tmp_path: Path
) -> None:
    output, other = tmp_path / "out", build_tiny_bundle(tmp_path / "other", bias=-3.0)
    first = score(source, output)
    before = contents(output)
    with pytest.raises(InvalidInputError, match=f"scores of version {first['version'][:12]}, not of"):
        score(source, output, other)
    with pytest.raises(InvalidInputError, match="scores by another policy or --prefix"):
        score(source, output, prefix="x_")
    with pytest.raises(InvalidInputError, match="scores of backend auto, not of fp32"):
        score(source, output, backend="fp32")
    plan = json.loads((output / "_plan.json").read_text())
    (output / "_plan.json").write_text(json.dumps({**plan, "release": "0.0.9"}))
    with pytest.raises(InvalidInputError, match=f"scores of release 0.0.9, not of {VERSION}"):
        score(source, output)
    (output / "_plan.json").write_bytes(before["_plan.json"])
    (source / "b.jsonl").write_text('{"id": "1", "text": "hello"}\n')
    with pytest.raises(InvalidInputError, match=r"another input \(b.jsonl was added, changed or removed since\)"):
        score(source, output)
    assert contents(output) == before
    again = score(source, output, other, overwrite=True)
    assert again["version"] == read_bundle(other).version
    assert set(read_rows(output)["version"]) == {again["version"], None}
    assert len(read_rows(output)["id"]) == again["rows"] == 5001


def test_a_folder_of_something_else_is_never_written_to(score: ScoreFolder, source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(InvalidInputError, match=r"holds precious\.txt, which is of no earlier run"):
            score(source, tmp_path / "mine", overwrite=overwrite)
    score(source, tmp_path / "out")
    for name in ("part-00000000 (copy).parquet", "part-list.txt"):
        (tmp_path / "out" / name).write_text("keep")
        for overwrite in (False, True):
            with pytest.raises(InvalidInputError, match=r"holds part-.*, which is of no earlier run"):
                score(source, tmp_path / "out", overwrite=overwrite)
        (tmp_path / "out" / name).unlink()
    (tmp_path / "folders" / "part").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="holds part, which is of no earlier run"):
        score(source, tmp_path / "folders")
    with pytest.raises(InvalidInputError, match="/ holds .*, which is of no earlier run"):
        score(source, "/")
    (tmp_path / "link").symlink_to(source)
    for inside in (source / "out", source.parent / "x" / ".." / source.name / "out", tmp_path / "link" / "out"):
        with pytest.raises(InvalidInputError, match="lies in the input"):
            score(source, inside)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious.txt"]


def test_a_file_that_cannot_be_read_among_many_stops_before_anything_is_written(
    score: ScoreFolder, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(100):
        write_parquet(source / f"{number:04d}.parquet", rows_of(number, 50))
    damaged = bytearray((source / "0042.parquet").read_bytes())
    damaged[4:400] = bytes(396)  # its footer is whole
    (source / "0042.parquet").write_bytes(damaged)
    (source / "0077.parquet").write_text("secret")
    with pytest.raises(
        InvalidInputError,
        match=r"^2 of 100 files cannot be scored: .*0042\.parquet, rows 1 to 50 .*; .*0077\.parquet is not",
    ) as raised:
        score(source, tmp_path / "out")
    assert "secret" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": "text\nhello\n", "b.csv.gz": "x"}, r"holds b\.csv\.gz; expected only \.csv, \.jsonl, \.parquet"),
        ({"_SUCCESS": ""}, r"holds no \.csv"),
        ({"a.csv": "text\nhello\n", "b.csv": "body\nhello\n"}, r"no column 'text'; .*b\.csv has 'body'"),
        (
            {"a.csv": "text,n\nhello,1\n", "b.jsonl": '{"text": "x", "n": 1}\n'},
            r"'n' holds int64 in b\.jsonl and string in a\.csv",
        ),
        ({"a.csv": "text\nhello\n", "b.csv": "text,n\nhello\n"}, r"b\.csv, line 2: 1 field, the header has 2"),
        ({"a.csv": "text,toxic\nhello,1\n"}, "already has columns named toxic"),
        ({"a.jsonl": '{"text": "hi", "m": {}}\n'}, r"parquet cannot hold the input's columns \(.*'m'"),
        (
            {"a.jsonl": '{"text": "hi", "n": 9007199254740993}\n', "b.jsonl": '{"text": "hi", "n": 0.5}\n'},
            r"column 'n' of a\.jsonl holds a value that does not fit double",
        ),
        ({"a.jsonl": "", "b.jsonl": "\n"}, "no column 'text'; the input has none"),
    ],
)
def test_files_that_do_not_go_together_are_said_before_anything_is_written(
    score: ScoreFolder, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        score(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(NotFoundError, match="neither a file nor a folder"):
        score(tmp_path / "none", tmp_path / "out")


def test_a_column_that_a_file_lacks_is_null_and_numbers_are_widened(score: ScoreFolder, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "hello", "n": 1}\n{"text": null, "n": 2}\n')
    (tmp_path / "in" / "b.jsonl").write_text('{"text": "bye", "n": 0.5, "tag": "x"}\n')
    (tmp_path / "in" / "c.jsonl").write_text('{"tag": "y", "text": "bye"}\n')
    (tmp_path / "in" / "empty.jsonl").touch()
    score(tmp_path / "in", tmp_path / "out")
    found = read_rows(tmp_path / "out")
    assert found["n"] == [1.0, 2.0, 0.5, None]
    assert found["tag"] == [None, None, "x", "y"]
    assert found["decision"] == ["allow", None, "allow", "allow"]


def test_an_input_without_rows_gives_a_part_without_rows(score: ScoreFolder, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n")
    assert score(tmp_path / "in.csv", tmp_path / "out")["rows"] == 0
    assert read_rows(tmp_path / "out")["decision"] == []


def test_a_disk_that_is_full_is_said_and_the_rest_is_written_once_there_is_room(
    score: ScoreFolder, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".part-00000000.parquet.full.partial").symlink_to("/dev/full")  # ENOSPC, by the kernel
    with monkeypatch.context() as patched:
        patched.setattr("cli.output.uuid4", lambda: SimpleNamespace(hex="full"))
        with pytest.raises(
            InvalidInputError, match=r"cannot write .*part-00000000\.parquet: .*No space left on device"
        ):
            score(source, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"_plan.json", OWNER}
    assert score(source, tmp_path / "out")["rows"] == 7500


def job_of(path: Path, bundle: Bundle, output: Path) -> Job:
    rules = {"labels": {name: {"review": "bundle", "remove": "never"} for name in LABELS}}
    how = How(bundle.version, "text", "", Policy.from_mapping(rules, bundle.manifest.thresholds), backend="int8")
    checked = inspect(path.name, Location.find(path), how)
    assert isinstance(checked, InputFile)
    plan = make_plan(how, [checked])
    return Job(plan, open_output(Location.find(output), plan, overwrite=False), 1)


def test_a_file_that_changes_after_it_was_checked_is_said(bundle: Path, tmp_path: Path) -> None:
    path, loaded = tmp_path / "in.csv", read_bundle(bundle)
    path.write_text("text\n" + "hello\n" * 10)
    job = job_of(path, loaded, tmp_path / "out")
    path.write_text("text\n" + "howdy\n" * 10)
    with pytest.raises(InvalidInputError, match=r"in\.csv changed since it was checked"):
        list(LocalEngine().score(job, loaded, job.plan.shards, lambda _: None))


def test_the_next_shard_is_read_before_the_part_of_one_is_written(bundle: Path, tmp_path: Path) -> None:
    class Noting(Worker):
        def _rows(self, shard: Shard) -> Iterator[pa.RecordBatch]:
            read.append(shard.number)
            return super()._rows(shard)

    read: list[int] = []
    loaded = read_bundle(bundle)
    write_parquet(tmp_path / "in.parquet", rows_of(0, 5000))
    job = job_of(tmp_path / "in.parquet", loaded, tmp_path / "out")
    parts = Noting(job, loaded).score(job.plan.shards)
    assert next(parts).rows == 1024
    assert read[:2] == [0, 1]
    assert [part.rows for part in parts] == [1024, 1024, 1024, 904]
    assert read == [0, 1, 2, 3, 4]


def test_a_folder_is_for_folders_urls_and_ray_alone(moderation: Moderation, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nhello\n")
    options = ("--text-column", "text", "--bundle", bundle, "--output")
    done = moderation("score", tmp_path / "in.csv", *options, tmp_path / "out.csv", "--engine", "ray")
    assert (done.returncode, "is one file, for one local input without Ray" in done.stderr) == (1, True)
    done = moderation("score", tmp_path / "in.csv", *options, tmp_path / "out", "--workers", "2")
    assert (done.returncode, "--address and --workers need --engine ray" in done.stderr) == (2, True)
    done = moderation("score", "s3://user:secret@bucket/in.csv", *options, tmp_path / "out")
    assert (done.returncode, "must not hold a password" in done.stderr, "secret" in done.stderr) == (1, True, False)


def test_progress_is_lines_where_there_is_no_terminal(
    score: ScoreFolder, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lines() -> list[str]:
        return [line.strip() for line in capsys.readouterr().err.splitlines() if line.strip()]

    score(source, tmp_path / "out")
    check, checked, begun, scored, verify, verified = lines()  # of each, the first and the last: a line a minute
    assert (check.split(",")[0], checked.split(",")[0]) == ("check: 0 of 3 files", "check: 3 of 3 files")
    assert (begun.split(",")[0], scored.split(",")[0]) == ("score: 0 of 7500 texts", "score: 7500 of 7500 texts")
    assert re.search(r"texts/s, 00:00 left$", scored)
    assert (verify.split(",")[0], verified.split(",")[0]) == ("verify: 0 of 9 parts", "verify: 9 of 9 parts")
    (tmp_path / "out" / "part-00000003.parquet").unlink()
    score(source, tmp_path / "out")
    said = [line.split(",")[0] for line in lines()]
    assert said[2:4] == ["verify: 0 of 8 parts", "verify: 8 of 8 parts"]
    assert said[-1] == "verify: 9 of 9 parts"


def test_wide_rows_are_written_in_several_row_groups(score: ScoreFolder, tmp_path: Path) -> None:
    rows = pa.table({"text": ["hello"] * 600, "blob": ["x" * 60_000 + str(number) for number in range(600)]})
    pq.write_table(rows, tmp_path / "in.parquet")
    score(tmp_path / "in.parquet", tmp_path / "out")
    part = pq.ParquetFile(tmp_path / "out" / "part-00000000.parquet")
    assert part.metadata.num_row_groups > 1
    assert part.read().column("blob").to_pylist() == rows.column("blob").to_pylist()


def test_an_output_that_cannot_be_written_is_known_before_the_input_is_read(score: ScoreFolder, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.parquet").write_text("no parquet")
    with pytest.raises(InvalidInputError, match=r"cannot write /proc/self/a/b: /proc/self is not writable"):
        score(tmp_path / "in", "/proc/self/a/b")
