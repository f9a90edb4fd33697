import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from moderation.bundle import MANIFEST, ONNX_WEIGHTS, read_bundle
from moderation.errors import BundleError, NotFoundError, RegistryError
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import AliasEvent, Move, happened
from moderation.registry.starter import seed
from tests.bundles import build_tiny_bundle

ROOT = Path(__file__).parents[3]
MOVE = Move(by="test", reason="set up")


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "registry")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return build_tiny_bundle(tmp_path / "bundle")


def test_a_published_bundle_is_fetched_as_it_was(registry: LocalRegistry, bundle: Path) -> None:
    version = registry.publish(bundle)
    assert version == read_bundle(bundle).version
    assert read_bundle(registry.fetch(version)).version == version
    assert registry.fetch(version[:8]) == registry.fetch(version)


def test_publishing_again_changes_nothing(registry: LocalRegistry, bundle: Path) -> None:
    assert registry.publish(bundle) == registry.publish(bundle)
    assert len(registry.versions()) == 1


def test_versions_are_listed_in_the_order_they_came(registry: LocalRegistry, tmp_path: Path) -> None:
    bundles = [build_tiny_bundle(tmp_path / str(bias), bias=bias) for bias in (-1.0, -2.0, -3.0)]
    assert [registry.publish(bundle) for bundle in bundles] == registry.versions()


def test_an_alias_moves_and_an_unknown_one_names_the_known(
    registry: LocalRegistry, bundle: Path, tmp_path: Path
) -> None:
    first = registry.publish(bundle)
    second = registry.publish(build_tiny_bundle(tmp_path / "second", bias=-3.0))
    registry.point("production", first, MOVE)
    registry.point("production", second[:12], MOVE)
    assert registry.resolve("production") == second
    assert registry.aliases() == {"production": second}
    with pytest.raises(NotFoundError, match="it has: production"):
        registry.resolve("candidate")


@pytest.mark.parametrize("alias", ["", "../up", "UPPER", "a b", "1st", "a" * 65, ".hidden"])
def test_an_alias_that_is_no_name_is_refused(registry: LocalRegistry, bundle: Path, alias: str) -> None:
    version = registry.publish(bundle)
    with pytest.raises(RegistryError, match="no|not"):
        registry.point(alias, version, MOVE)


@pytest.mark.parametrize("version", ["0" * 64, "", "../../etc", "abc", "*"])
def test_an_unknown_version_is_refused(registry: LocalRegistry, bundle: Path, version: str) -> None:
    registry.publish(bundle)
    with pytest.raises(NotFoundError):
        registry.fetch(version)
    with pytest.raises(NotFoundError):
        registry.point("production", version, MOVE)


def test_a_corrupt_bundle_is_not_published(registry: LocalRegistry, bundle: Path) -> None:
    (bundle / ONNX_WEIGHTS).write_bytes(b"cut")
    with pytest.raises(BundleError):
        registry.publish(bundle)
    assert registry.versions() == []


def test_publishing_again_repairs_a_damaged_copy(registry: LocalRegistry, bundle: Path) -> None:
    version = registry.publish(bundle)
    with (registry.fetch(version) / ONNX_WEIGHTS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match="publish it again"):
        registry.fetch(version)
    assert registry.publish(bundle) == version
    assert read_bundle(registry.fetch(version)).version == version
    assert [path.name for path in registry.path.iterdir() if path.name.startswith(".publish")] == []


def test_a_manifest_that_was_edited_is_another_version_and_publishing_again_repairs_it(
    registry: LocalRegistry, bundle: Path
) -> None:
    version = registry.publish(bundle)
    manifest = registry.fetch(version) / MANIFEST
    manifest.write_text(manifest.read_text().replace('"threshold": 0.5', '"threshold": 0.9'))
    edited = read_bundle(manifest.parent).version  # whole in itself
    with pytest.raises(BundleError, match=f"is that of version {edited[:12]}, expected {version}; publish it again"):
        registry.fetch(version)
    assert registry.publish(bundle) == version
    assert read_bundle(registry.fetch(version)).version == version


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"half a version"])
def test_a_damaged_alias_is_named(registry: LocalRegistry, bundle: Path, content: bytes) -> None:
    registry.point("production", registry.publish(bundle), MOVE)
    (registry.path / "aliases" / "production").write_bytes(content)
    with pytest.raises(RegistryError, match="aliases/production names no version"):
        registry.resolve("production")


def test_the_next_move_mends_a_damaged_alias(registry: LocalRegistry, bundle: Path) -> None:
    version = registry.publish(bundle)
    registry.point("production", version, MOVE)
    (registry.path / "aliases" / "production").write_bytes(b"")
    assert registry.point("production", version, MOVE).previous is None
    assert registry.resolve("production") == version


def test_an_empty_registry_says_how_to_seed_it(registry: LocalRegistry) -> None:
    with pytest.raises(NotFoundError, match="moderation registry seed production"):
        registry.resolve("production")


def test_a_failed_copy_leaves_nothing_behind(registry: LocalRegistry, bundle: Path) -> None:
    (bundle / ONNX_WEIGHTS).rename(bundle.parent / "elsewhere")
    os.symlink(bundle.parent / "nowhere", bundle / ONNX_WEIGHTS)
    with pytest.raises((BundleError, OSError)):
        registry.publish(bundle)
    assert registry.versions() == []


def test_an_empty_registry_is_seeded_once(registry: LocalRegistry, bundle: Path, tmp_path: Path) -> None:
    version = seed(registry, "production", bundle)
    other = build_tiny_bundle(tmp_path / "other", bias=-3.0)
    assert seed(registry, "production", other) == version == registry.resolve("production")


def test_every_move_of_an_alias_is_kept(registry: LocalRegistry, bundle: Path, tmp_path: Path) -> None:
    assert registry.events("production") == []
    first = registry.publish(bundle)
    second = registry.publish(build_tiny_bundle(tmp_path / "second", bias=-3.0))
    begun = datetime.now(UTC)
    made = [
        registry.point("production", first, Move("ann", "first")),
        registry.point("candidate", second, Move("ann", "to try")),
        registry.point("production", second, Move("bo", "better: näher")),
    ]
    events = registry.events("production")
    assert events == [made[0], made[2]]
    assert [(event.previous, event.version, event.moved_by) for event in events] == [
        (None, first, "ann"),
        (first, second, "bo"),
    ]
    assert begun <= events[0].moved_at <= events[1].moved_at <= datetime.now(UTC)


def test_half_an_event_of_a_killed_writer_is_dropped_and_damage_is_named(registry: LocalRegistry, bundle: Path) -> None:
    event = registry.point("production", registry.publish(bundle), MOVE)
    path = registry.path / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"alias": "prod')
    assert registry.events("production") == [event]
    later = registry.point("production", event.version, MOVE)
    assert registry.events("production") == [event, later]
    path.write_bytes(b"damaged\n" + path.read_bytes())
    with pytest.raises(RegistryError, match=r"events\.jsonl: line 1 is no event"):
        registry.events("production")


@pytest.mark.parametrize("mark", ["\n", "\r", "\x85", "\u2028", "\u2029", "\udcff"])
def test_no_character_of_a_reason_cuts_its_event(registry: LocalRegistry, bundle: Path, mark: str) -> None:
    version = registry.publish(bundle)
    made = [registry.point("production", version, Move("ann", reason)) for reason in (f"first{mark}second", "later")]
    assert registry.events("production") == made


def test_an_event_whose_characters_were_written_raw_is_read(registry: LocalRegistry, bundle: Path) -> None:
    version = registry.publish(bundle)
    made = [registry.point("production", version, Move("ann", reason)) for reason in ("first\u2028", "later")]
    path = registry.path / "events.jsonl"
    path.write_text(path.read_text().replace("\\u2028", "\u2028"), encoding="utf-8")
    assert registry.events("production") == made


def test_a_move_that_was_recorded_happened_only_if_the_alias_went_on_from_there() -> None:
    def move(version: str, previous: str | None) -> AliasEvent:
        return AliasEvent("production", version, previous, datetime.now(UTC), "ann", "why")

    first, stopped, second, again = move("a", None), move("c", "a"), move("b", "a"), move("b", "b")
    moves = [first, stopped, second, again]
    assert happened(moves, "b") == [first, second, again]  # the alias was left where it was, on purpose
    assert happened([first, stopped], "a") == [first]
    assert happened([first], None) == []
    assert happened([first], "by hand") == [first]
    assert happened([], "by hand") == []


def test_reports_are_kept_in_their_order(registry: LocalRegistry, bundle: Path, tmp_path: Path) -> None:
    version = registry.publish(bundle)
    assert registry.reports(version) == []
    for number in range(2):
        report = tmp_path / f"report-{number}"
        report.mkdir()
        (report / "report.json").write_text(str(number))
        registry.keep_report(version[:12], report)
    assert [(kept / "report.json").read_text() for kept in registry.reports(version)] == ["0", "1"]
    with pytest.raises(NotFoundError):
        registry.keep_report("0" * 64, tmp_path / "report-0")


PUBLISH = """
import sys
from pathlib import Path
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
registry = LocalRegistry(Path(sys.argv[1]))
registry.point("production", registry.publish(Path(sys.argv[2])), Move("test", "race"))
"""


def test_processes_that_publish_at_once_leave_whole_versions(tmp_path: Path) -> None:
    bundles = [build_tiny_bundle(tmp_path / str(number), bias=-1.0 - number) for number in range(3)]
    processes = [
        subprocess.Popen([sys.executable, "-c", PUBLISH, tmp_path / "registry", bundle], cwd=ROOT)
        for bundle in bundles * 2
    ]
    assert [process.wait(100) for process in processes] == [0] * len(processes)
    registry = LocalRegistry(tmp_path / "registry")
    assert len(registry.versions()) == 3
    for version in registry.versions():
        assert read_bundle(registry.fetch(version)).version == version
    assert registry.resolve("production") in registry.versions()


MOVE_ONCE = """
import sys, time
from pathlib import Path
from moderation.errors import RegistryError
from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
registry, expected = LocalRegistry(Path(sys.argv[1])), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
try:
    registry.point("production", sys.argv[2], Move("test", "race"), expected_previous=expected)
except RegistryError as error:
    print(error)
    sys.exit(1)
"""


def test_of_two_processes_that_saw_the_same_version_one_moves_the_alias_and_the_other_is_told(
    registry: LocalRegistry, tmp_path: Path
) -> None:
    first, *rivals = [registry.publish(build_tiny_bundle(tmp_path / str(n), bias=-1.0 - n)) for n in range(3)]
    registry.point("production", first, MOVE)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MOVE_ONCE, registry.path, rival, first],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rival in rivals
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 1]
    winner = rivals[codes.index(0)]
    assert registry.resolve("production") == winner
    was_moved = f"production was moved from {first[:12]} to {winner[:12]} meanwhile; it stays there"
    assert said[codes.index(1)].startswith(was_moved)
    assert len(registry.events("production")) == 2


def test_an_alias_is_only_made_or_moved_from_where_it_was_seen(registry: LocalRegistry, bundle: Path) -> None:
    version = registry.publish(bundle)
    with pytest.raises(RegistryError, match="moved from 000000000000 to nothing meanwhile"):
        registry.point("production", version, MOVE, expected_previous="0" * 64)
    assert registry.aliases() == {}
    assert registry.point("production", version, MOVE, expected_previous=None).previous is None
    with pytest.raises(RegistryError, match=f"moved from nothing to {version[:12]} meanwhile"):
        registry.point("production", version, MOVE, expected_previous=None)
    assert registry.point("production", version, MOVE, expected_previous=version).previous == version


def test_a_path_that_cannot_be_written_is_one_clear_line(tmp_path: Path, bundle: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    blocked.chmod(stat.S_IRUSR)
    with pytest.raises(RegistryError, match="cannot write"):
        LocalRegistry(blocked / "registry").publish(bundle)
