"""A registry in a directory: ``versions/<sha256>/`` and ``aliases/<name>``.

A version appears by one rename and an alias changes by one rename, so readers never see half of
either; writers take a file lock. It must lie on one file system, and knows nothing of other machines.
"""

import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from moderation.bundle import read_bundle
from moderation.errors import NotFoundError, RegistryError
from moderation.registry.registry import check_alias, match_version

LOCK_TIMEOUT_S = 60.0


class LocalRegistry:
    """Implements `moderation.registry.registry.Registry`; readers need no lock."""

    def __init__(self, path: Path) -> None:
        """Use ``path``, which is made with the first write."""
        self.path = path.resolve()
        self._versions = self.path / "versions"
        self._aliases = self.path / "aliases"

    def publish(self, directory: Path) -> str:
        """Verify the bundle in ``directory`` and keep a copy; publishing it again changes nothing.

        Raises:
            BundleError: the directory is no valid bundle; the registry is unchanged.
            RegistryError: another writer holds the lock, or the disk refuses the copy.
        """
        version = read_bundle(directory).version
        with self._lock():
            target = self._versions / version
            if target.exists():
                return version
            staging = Path(tempfile.mkdtemp(dir=self.path, prefix=".publish-"))
            try:
                shutil.copytree(directory, staging / version)
                read_bundle(staging / version)  # what was copied is what will be served
                os.utime(staging / version)  # its age in the registry, not that of the source
                _sync_tree(staging / version)
                (staging / version).rename(target)
                _sync(self._versions)
            except OSError as error:
                raise RegistryError(f"cannot write to registry {self.path}: {error.strerror}") from error
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return version

    def resolve(self, alias: str) -> str:
        """Return the version that ``alias`` points to.

        Raises:
            NotFoundError: no such alias; the message names those that exist.
        """
        try:
            return (self._aliases / check_alias(alias)).read_text(encoding="ascii").strip()
        except OSError:
            known = ", ".join(self.aliases()) or "none"
            raise NotFoundError(
                f"registry {self.path} has no alias {alias!r} (it has: {known}); "
                f"set one with `moderation registry point {alias} VERSION`"
            ) from None

    def fetch(self, version: str) -> Path:
        """Return the directory of ``version``, or of the one version that starts with it.

        Raises:
            NotFoundError: no published version matches.
        """
        return self._versions / match_version(version, self.versions())

    def point(self, alias: str, version: str) -> None:
        """Make ``alias`` point to ``version`` (or the one version that starts with it), atomically.

        Raises:
            NotFoundError: no published version matches.
            RegistryError: an alias that is no valid name, or another writer holds the lock.
        """
        check_alias(alias)
        with self._lock():
            complete = match_version(version, self.versions())
            self._aliases.mkdir(exist_ok=True)
            staging = self._aliases / f".{alias}"
            with staging.open("w", encoding="ascii") as file:
                file.write(complete + "\n")
                file.flush()
                os.fsync(file.fileno())
            staging.replace(self._aliases / alias)
            _sync(self._aliases)

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

    def _lock(self) -> "_Lock":
        try:
            self._versions.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(f"cannot write to registry {self.path}: {error.strerror}") from error
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
        return self


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
