"""Bundles and gate reports fetched from elsewhere, and the last version that served well per alias.

Each appears by one rename, so several processes can share the folder. It knows no network.
"""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moderation.bundle import read_bundle
from moderation.errors import BundleError, RegistryError

KEPT_VERSIONS = 5
"""Versions kept besides those that an alias served last."""

logger = logging.getLogger(__name__)


class BundleCache:
    """A folder of verified bundles."""

    def __init__(self, path: Path) -> None:
        """Use ``path``, which is made with the first write."""
        self.path = path.resolve()
        self._versions = self.path / "versions"
        self._served = self.path / "served"
        self._reports = self.path / "reports"

    def find(self, version: str) -> Path | None:
        """Return the folder of ``version`` if it is there and whole; a damaged copy is removed."""
        path = self._versions / version
        if not path.is_dir():
            return None
        try:
            return read_bundle(path, expected_version=version).path
        except BundleError:
            shutil.rmtree(path, ignore_errors=True)
        return None

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a new empty folder, removed at the end if it is still there.

        Raises:
            RegistryError: the disk refuses.
        """
        try:
            self._versions.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.path, prefix=".fetch-"))
        except OSError as error:
            raise RegistryError(
                f"cannot write to cache {self.path}: {error.strerror}; check MODERATION_STATE_DIR"
            ) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, staged: Path, version: str) -> Path:
        """Take the bundle in ``staged`` in as ``version`` and return where it lies now.

        Raises:
            BundleError: it is damaged, or another version.
            RegistryError: the disk refuses.
        """
        found = read_bundle(staged).version
        if found != version:
            raise BundleError(f"what arrived as version {version[:12]} is version {found[:12]}")
        target = self._versions / version
        try:
            staged.chmod(0o755)  # mkdtemp's folders are private
            if not target.exists():
                staged.rename(target)
            self._prune(keep=version)
        except OSError as error:
            raise RegistryError(
                f"cannot write to cache {self.path}: {error.strerror}; check MODERATION_STATE_DIR"
            ) from error
        return target

    def find_report(self, digest: str) -> Path | None:
        """Return the folder of the gate report with ``digest`` if it is there."""
        path = self._reports / digest
        return path if path.is_dir() else None

    def add_report(self, staged: Path, digest: str) -> Path:
        """Take the gate report in ``staged`` in as ``digest`` and return where it lies now.

        Raises:
            RegistryError: the disk refuses.
        """
        target = self._reports / digest
        try:
            staged.chmod(0o755)  # mkdtemp's folders are private
            self._reports.mkdir(exist_ok=True)
            if not target.exists():
                staged.rename(target)
        except OSError as error:
            raise RegistryError(
                f"cannot write to cache {self.path}: {error.strerror}; check MODERATION_STATE_DIR"
            ) from error
        return target

    def remember(self, alias: str, version: str) -> None:
        """Note that ``version`` serves well as ``alias``; it does so as well where the disk refuses the note."""
        try:
            self._served.mkdir(parents=True, exist_ok=True)
            staging = self._served / f".{alias}.{os.getpid()}"
            staging.write_text(version + "\n", encoding="ascii")
            staging.replace(self._served / alias)
        except OSError as error:
            logger.warning("cannot note the last good version in %s: %s", self.path, error.strerror)

    def remembered(self, alias: str) -> str | None:
        """Return the version that served well as ``alias`` last."""
        try:
            return (self._served / alias).read_text(encoding="ascii").strip()
        except OSError:
            return None

    def _prune(self, keep: str) -> None:
        served = {self.remembered(path.name) for path in self._served.glob("[!.]*")}
        newest = sorted(self._versions.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        spare = [path for path in newest if path.name not in served | {keep}]
        for path in spare[KEPT_VERSIONS:]:
            shutil.rmtree(path, ignore_errors=True)
