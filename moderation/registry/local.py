"""A registry in a directory: ``versions/<sha256>/``, ``aliases/<name>``, ``events.jsonl`` and ``reports/``.

A version appears by one rename and an alias changes by one rename, so readers never see half of
either; writers take a file lock. It must lie on one file system, and knows nothing of other machines.
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from moderation import clock
from moderation.bundle import read_bundle
from moderation.disk import sync
from moderation.errors import BundleError, NotFoundError, RegistryError
from moderation.registry.registry import (
    ANYTHING,
    AliasEvent,
    Move,
    check_alias,
    check_unmoved,
    is_version,
    match_version,
)

LOCK_TIMEOUT_S = 60.0


class LocalRegistry:
    """Implements `moderation.registry.registry.Registry`; readers need no lock."""

    def __init__(self, path: Path) -> None:
        """Use ``path``, which is made with the first write."""
        self.path = path.resolve()
        self._versions = self.path / "versions"
        self._aliases = self.path / "aliases"
        self._events = self.path / "events.jsonl"
        self._reports = self.path / "reports"

    def publish(self, directory: Path) -> str:
        """Verify the bundle in ``directory`` and keep a copy; publishing it again repairs a copy that was damaged.

        Raises:
            BundleError: the directory is no valid bundle; the registry is unchanged.
            RegistryError: another writer holds the lock, or the disk refuses the copy.
        """
        version = read_bundle(directory).version
        with self._lock():
            target = self._versions / version
            if _is_intact(target):
                return version
            staging = self._staging("publish")
            try:
                shutil.copytree(directory, staging / version)
                read_bundle(staging / version, expected_version=version)  # what was copied is what will be served
                os.utime(staging / version)  # its age in the registry, not that of the source
                _sync_tree(staging / version)
                if target.exists():
                    target.rename(staging / "damaged")
                (staging / version).rename(target)
                sync(self._versions)
            except OSError as error:
                raise _refused(self.path, error) from error
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return version

    def resolve(self, alias: str) -> str:
        """Return the version that ``alias`` points to.

        Raises:
            NotFoundError: no such alias; the message names those that exist.
            RegistryError: the alias is damaged.
        """
        path = self._aliases / check_alias(alias)
        try:
            version = path.read_text(encoding="ascii").strip()
        except OSError:
            known = ", ".join(self.aliases()) or "none"
            advice = f"set one with `moderation promote VERSION --alias {alias}`"
            if not self.versions():
                advice = f"run `moderation registry seed {alias}`, or name another registry by MODERATION_REGISTRY_DIR"
            raise NotFoundError(f"registry {self.path} has no alias {alias!r} (it has: {known}); {advice}") from None
        except UnicodeDecodeError:
            version = ""
        if not is_version(version):
            raise RegistryError(f"{path} names no version; delete the file and set the alias anew")
        return version

    def fetch(self, version: str) -> Path:
        """Return the directory of ``version``, or of the one version that starts with it.

        Raises:
            NotFoundError: no published version matches.
            BundleError: it is damaged.
        """
        found = match_version(version, self.versions())
        return read_bundle(self._versions / found, expected_version=found).path

    def point(self, alias: str, version: str, move: Move, expected_previous: str | None = ANYTHING) -> AliasEvent:
        """Make ``alias`` point to ``version`` (or the one version that starts with it), atomically; keep the event.

        Raises:
            NotFoundError: no published version matches.
            RegistryError: an alias that is no valid name or does not point to ``expected_previous``, or another writer
                holds the lock.
        """
        check_alias(alias)
        with self._lock():
            previous = self._pointed(alias)
            check_unmoved(alias, expected_previous, previous)
            event = AliasEvent(
                alias=alias,
                version=match_version(version, self.versions()),
                previous=previous,
                moved_at=clock.now(),
                moved_by=move.by,
                reason=move.reason,
            )
            try:
                # The event first: a crash between the two leaves a move that was recorded but did not happen, which
                # the alias itself shows, and never one that happened unrecorded.
                _append(self._events, _event_line(event))
                self._aliases.mkdir(exist_ok=True)
                staging = self._aliases / f".{alias}"
                with staging.open("w", encoding="ascii") as file:
                    file.write(event.version + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                staging.replace(self._aliases / alias)
                sync(self._aliases)
            except OSError as error:
                raise _refused(self.path, error) from error
        return event

    def versions(self) -> list[str]:
        """Return every published version, oldest first."""
        if not self._versions.is_dir():
            return []
        return [path.name for path in sorted(self._versions.iterdir(), key=lambda path: path.stat().st_mtime_ns)]

    def aliases(self) -> dict[str, str]:
        """Return every alias with its version, by name."""
        if not self._aliases.is_dir():
            return {}
        names = sorted(path.name for path in self._aliases.iterdir() if not path.name.startswith("."))
        return {name: self.resolve(name) for name in names}

    def events(self, alias: str) -> list[AliasEvent]:
        """Return the moves of ``alias``, oldest first.

        Raises:
            RegistryError: the file of events is damaged; the message names the line.
        """
        if not self._events.exists():
            return []
        events = []
        lines = self._events.read_bytes().splitlines()  # of text, it would cut at U+2028 and the like as well
        for number, line in enumerate(lines, start=1):
            try:
                event = _parse_event(line)
            except (ValueError, TypeError, KeyError) as error:
                if number == len(lines):  # half of a line: its writer was killed before the alias moved
                    break
                raise RegistryError(f"{self._events}: line {number} is no event") from error
            events.append(event)
        return [event for event in events if event.alias == alias]

    def keep_report(self, version: str, directory: Path) -> None:
        """Keep a copy of the gate report in ``directory``.

        Raises:
            NotFoundError: no published version matches.
            RegistryError: the disk refuses the copy, or another writer holds the lock.
        """
        with self._lock():
            folder = self._reports / match_version(version, self.versions())
            staging = self._staging("report")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copytree(directory, staging, dirs_exist_ok=True)
                staging.chmod(0o755)  # mkdtemp's folders are private
                staging.rename(folder / f"{len(list(folder.iterdir())) + 1:04d}")
                sync(folder)
            except OSError as error:
                raise _refused(self.path, error) from error
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def reports(self, version: str) -> list[Path]:
        """Return the directories of the gate reports on ``version``, oldest first.

        Raises:
            NotFoundError: no published version matches.
        """
        folder = self._reports / match_version(version, self.versions())
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def _pointed(self, alias: str) -> str | None:
        """Return what ``alias`` points to, None if nothing or if it is damaged, which the next move mends."""
        try:
            return self.resolve(alias)
        except (NotFoundError, RegistryError):
            return None

    def _staging(self, purpose: str) -> Path:
        try:
            return Path(tempfile.mkdtemp(dir=self.path, prefix=f".{purpose}-"))
        except OSError as error:
            raise _refused(self.path, error) from error

    def _lock(self) -> "_Lock":
        try:
            self._versions.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(self.path, error) from error
        return _Lock(self.path / ".lock")


class _Lock(FileLock):
    """A file lock whose timeout is an error of ours."""

    def __enter__(self) -> "_Lock":
        try:
            self.acquire(timeout=LOCK_TIMEOUT_S)
        except Timeout:
            raise RegistryError(
                f"another process has held {self.lock_file} for {LOCK_TIMEOUT_S:.0f} s; try again when it is done"
            ) from None
        except OSError as error:
            raise _refused(Path(self.lock_file).parent, error) from error
        return self


def _refused(path: Path, error: OSError) -> RegistryError:
    return RegistryError(
        f"cannot write to registry {path}: {error.strerror}; check MODERATION_STATE_DIR and MODERATION_REGISTRY_DIR"
    )


def _is_intact(bundle: Path) -> bool:
    try:
        read_bundle(bundle, expected_version=bundle.name)
    except BundleError:
        return False
    return True


def _event_line(event: AliasEvent) -> str:
    return json.dumps(asdict(event) | {"moved_at": event.moved_at.isoformat()})


def _parse_event(line: bytes) -> AliasEvent:
    raw = json.loads(line)
    return AliasEvent(**(raw | {"moved_at": datetime.fromisoformat(raw["moved_at"])}))


def _append(path: Path, line: str) -> None:
    """Add a line, after what a killed writer may have left of its own was cut off."""
    with path.open("ab+") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.write((line + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        sync(path)
    sync(directory)
