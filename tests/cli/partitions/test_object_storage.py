"""Input and output in S3, as moto plays it over HTTP."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler

from cli.locations import Location
from cli.partitions.parts import MANIFEST
from cli.tables import CHUNK_ROWS, Span, open_table, read_span
from moderation.errors import InvalidInputError
from tests.cli.partitions.conftest import ScoreFolder, one_node


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server with an empty bucket named ``comments``."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="comments")
    yield f"http://{host}:{port}"
    server.stop()


def test_a_folder_in_s3_is_scored_into_another_and_gone_on_with(
    score: ScoreFolder, source: Path, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = boto3.client("s3", endpoint_url=bucket, region_name="us-east-1")
    for path in source.rglob("*.*"):
        s3.upload_file(str(path), "comments", f"in/{path.relative_to(source)}")
    query = f"?scheme=http&region=us-east-1&endpoint_override={urlsplit(bucket).netloc}"
    here, there = f"s3://comments/in{query}", f"s3://comments/out{query}"
    local, first = score(source, tmp_path / "out"), score(here, there)
    assert first == local
    s3.delete_object(Bucket="comments", Key="out/part-00000003.parquet")
    s3.put_object(Bucket="comments", Key="out/part-00000004.parquet", Body=b"PAR1 cut off")
    assert score(here, there) == first
    output = Location.find(there)
    for part in (tmp_path / "out").glob("part-*"):
        with output.child(part.name).open() as file:
            assert pq.read_table(file).equals(pq.read_table(part))
    with pytest.raises(InvalidInputError, match="cannot write s3://nowhere/out"):
        score(here, f"s3://nowhere/out{query}")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(InvalidInputError, match="cannot write into the temporary folder /nowhere: No such file"):
        score(here, f"s3://comments/out2{query}")


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data copies its own settings
def test_ray_scores_from_s3_into_s3(score: ScoreFolder, source: Path, tmp_path: Path, bucket: str) -> None:
    s3 = boto3.client("s3", endpoint_url=bucket, region_name="us-east-1")
    for path in source.rglob("*.*"):
        s3.upload_file(str(path), "comments", f"in/{path.relative_to(source)}")
    query = f"?scheme=http&region=us-east-1&endpoint_override={urlsplit(bucket).netloc}"
    with one_node() as address:  # with the credentials of ``bucket`` in its environment
        score(f"s3://comments/in{query}", f"s3://comments/out{query}", engine="ray", address=address)
    score(source, tmp_path / "out")
    output = Location.find(f"s3://comments/out{query}")
    assert {name: output.child(name).sha256() for name in (*output.names(), MANIFEST)} == {
        path.name: Location.find(path).sha256()
        for path in (tmp_path / "out").iterdir()
        if path.name.startswith("part-") or path.name == MANIFEST
    }


@pytest.mark.parametrize(("name", "line"), [("a.csv", "{number},hello\n"), ("a.jsonl", '{{"id": {number}}}\n')])
def test_text_is_read_in_large_blocks(name: str, line: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "id,text\n" * name.endswith("csv") + "".join(line.format(number=number) for number in range(50_000))
    boto3.client("s3", endpoint_url=bucket, region_name="us-east-1").put_object(
        Bucket="comments", Key=name, Body=content.encode()
    )
    place = Location.find(
        f"s3://comments/{name}?scheme=http&region=us-east-1&endpoint_override={urlsplit(bucket).netloc}"
    )
    asked: list[str] = []
    monkeypatch.setattr(WSGIRequestHandler, "log_request", lambda self, *_: asked.append(f"{self.command} {self.path}"))
    table = open_table(place)
    list(read_span(place, table.schema, Span(CHUNK_ROWS, table.num_rows - CHUNK_ROWS, table.offsets[1])))
    reads = [each for each in asked if each.startswith(f"GET /comments/{name}")]
    assert 2 <= len(reads) <= 8, len(reads)  # of half a megabyte and more, by 8 KiB: above 140
