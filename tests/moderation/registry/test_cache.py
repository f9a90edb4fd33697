from pathlib import Path

import pytest

from moderation.bundle import read_bundle
from moderation.errors import BundleError, RegistryError
from moderation.registry.cache import KEPT_VERSIONS, BundleCache
from tests.bundles import build_tiny_bundle


def add(cache: BundleCache, bias: float) -> str:
    with cache.staging() as staging:
        version = read_bundle(build_tiny_bundle(staging, bias=bias)).version
        cache.add(staging, version)
    return version


def test_a_version_is_found_where_it_was_added(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache")
    version = add(cache, -4.0)
    path = cache.find(version)
    assert path is not None
    assert read_bundle(path).version == version
    assert cache.find("0" * 64) is None
    assert list(cache.path.glob(".*")) == []


def test_another_version_than_was_asked_for_is_not_taken(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache")
    with (
        cache.staging() as staging,
        pytest.raises(BundleError, match="as version 000000000000 is"),
    ):
        cache.add(build_tiny_bundle(staging), "0" * 64)
    assert cache.find("0" * 64) is None


def test_a_damaged_copy_is_removed(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache")
    version = add(cache, -4.0)
    (cache.path / "versions" / version / "README.md").unlink()
    assert cache.find(version) is None
    assert not (cache.path / "versions" / version).exists()


def test_old_versions_go_but_not_the_one_that_served_last(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache")
    served = add(cache, -4.0)
    cache.remember("production", served)
    others = [add(cache, -5.0 - number) for number in range(KEPT_VERSIONS + 2)]
    assert cache.remembered("production") == served
    assert cache.find(served) is not None
    assert cache.find(others[-1]) is not None
    assert cache.find(others[0]) is None


def test_a_report_appears_at_once_and_not_file_by_file(tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache")
    assert cache.find_report("digest") is None
    for text in ("first", "of a process that was slower"):
        with cache.staging() as staging:
            (staging / "report.json").write_text(text)
            path = cache.add_report(staging, "digest")
    assert cache.find_report("digest") == path
    assert (path / "report.json").read_text() == "first"
    assert path.stat().st_mode & 0o777 == 0o755
    with cache.staging() as staging:
        staged = staging.stat().st_ino
        assert cache.add_report(staging, "other").stat().st_ino == staged  # the folder itself, not a copy


def test_what_never_served_is_not_remembered(tmp_path: Path) -> None:
    assert BundleCache(tmp_path / "cache").remembered("production") is None


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = BundleCache(tmp_path / "file" / "cache")
    with pytest.raises(RegistryError, match="cannot write to cache .*: Not a directory"), cache.staging():
        pass
    whole = BundleCache(tmp_path / "whole")
    with whole.staging() as staging:
        (whole.path / "reports").write_text("")
        with pytest.raises(RegistryError, match="cannot write to cache .*: File exists"):
            whole.add_report(staging, "digest")


def test_a_disk_that_refuses_the_note_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache = BundleCache(tmp_path / "file" / "cache")
    cache.remember("production", "0" * 64)
    assert cache.remembered("production") is None
    assert "Not a directory" in caplog.text
