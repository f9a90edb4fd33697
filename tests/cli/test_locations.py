"""Names of files and folders: nothing is left out unsaid, nothing comes twice, and no secret is repeated."""

import os
from pathlib import Path

import pytest

from cli.locations import Location
from cli.partitions.plan import find_files
from moderation.errors import InvalidInputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("b.csv", "a.csv", "deep/c.csv", "_d.csv"):
        (tmp_path / "in" / name).touch()
    return tmp_path / "in"


def test_files_are_in_order_and_those_left_out_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".cache").mkdir()
    (folder / ".cache" / "e.jsonl").touch()
    (folder / "_SUCCESS").touch()
    (folder / "_link").symlink_to("nowhere")
    assert list(find_files(Location.find(folder))) == ["a.csv", "b.csv", "deep/c.csv"]
    assert capsys.readouterr().err.startswith("Ignored 2 files below names that begin with _ or .")


def test_a_folder_of_elsewhere_is_read_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "linked").symlink_to(folder)
    assert list(find_files(Location.find(tmp_path / "top"))) == ["linked/a.csv", "linked/b.csv", "linked/deep/c.csv"]


@pytest.mark.parametrize(
    ("name", "target"), [("loop", "."), ("deep/up", ".."), ("same", "deep"), ("z.csv", "a.csv"), ("_up", ".")]
)
def test_what_comes_twice_by_a_link_is_refused(folder: Path, name: str, target: str) -> None:
    (folder / name).symlink_to(target)
    with pytest.raises(InvalidInputError, match="which comes twice, by a link"):
        Location.find(folder).files()


def test_what_is_no_file_is_refused(folder: Path) -> None:
    (folder / "gone.csv").symlink_to("nowhere")
    with pytest.raises(InvalidInputError, match=r"gone\.csv is neither a file nor a folder"):
        Location.find(folder).files()
    (folder / "gone.csv").unlink()
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(InvalidInputError, match=r"pipe\.csv is neither a file nor a folder"):
        Location.find(folder).files()


def test_a_name_that_is_not_utf8_is_refused(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.csv")).touch()
    with pytest.raises(InvalidInputError, match=r"udcff\.csv': the name is not UTF-8") as raised:
        Location.find(folder).files()
    str(raised.value).encode()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://AKIA:SECRET@bucket/in", "must not hold a password"),
        ("s3://AKIA:abc/SECRET@bucket/in", "must not hold a password"),
        ("s3://bucket/in?endpoint_override=http://me:SECRET@host", "must not hold a password"),
        ("abfs://box@account.dfs.core.windows.net/in?account_key=SECRET", "option 'account_key' of a URL is not known"),
        ("s3://AKIA:a?b/SECRET@bucket/in", "must not hold a password"),
        ("s3://bucket/SECRET comments/", "a space is written %20"),
        ("s3://[SECRET", "cannot open the URL of scheme 's3'"),
        ("s3://AKIA:SECRET", "cannot open the URL of scheme 's3'"),
        ("nothing://SECRET/in", "cannot open the URL of scheme 'nothing'"),
        ("s3://bucket/in?region=SECRET&scheme=odd", "cannot open the URL of scheme 's3'"),
    ],
)
def test_a_url_that_cannot_be_opened_is_not_repeated(url: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as raised:
        Location.find(url)
    assert "SECRET" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_options_of_a_url_are_no_part_of_its_name() -> None:
    place = Location.find("s3://bucket/out/?region=eu-west-1&endpoint_override=localhost:9")
    assert (place.name, place.path) == ("s3://bucket/out/", "bucket/out")
    assert (place.child("a").name, place.child("a").path) == ("s3://bucket/out/a", "bucket/out/a")


def test_names_below_a_bucket_may_hold_what_a_password_stands_between() -> None:
    name = "s3://bucket/2024-01-01T10:00/user@x%20y.csv"
    place = Location.find(f"{name}?region=us-east-1")
    assert (place.name, place.path) == (name, "bucket/2024-01-01T10:00/user@x y.csv")


def test_the_root_is_the_root() -> None:
    assert Location.find("/").path == "/"
    assert Location.find("/").child("tmp").path == "/tmp"
