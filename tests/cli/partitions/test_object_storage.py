"""Input and output in S3, as moto plays it over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from cli.locations import Location
from moderation.errors import InvalidInputError
from tests.cli.partitions.conftest import ScoreFolder


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
    score: ScoreFolder, source: Path, tmp_path: Path, bucket: str
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
