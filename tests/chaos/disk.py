"""A disk that can be filled and freed again while a process writes to it, or made read-only."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE_MIB = 16
BALLAST = "ballast"
NOBODY = 65_534


class SmallDisk:
    """A file system of its own where root can mount one, else a bound on the size of the process's files."""

    def __init__(self, folder: Path, mounted: bool) -> None:
        self._folder = folder
        self._mounted = mounted

    def fill(self, pid: int) -> None:
        if not self._mounted:
            largest = max(path.stat().st_size for path in self._folder.iterdir())
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
            return
        with (self._folder / BALLAST).open("wb", buffering=0) as file:
            for size in (2**16, 2**12, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:  # full, but for less than this
                    continue

    def free(self, pid: int) -> None:
        if self._mounted:
            (self._folder / BALLAST).unlink()
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def set_writable(self, writable: bool) -> None:
        """Mount it read-only, or the other way round; no file on it may be open."""
        if self._mounted:
            if not _run("mount", "-o", f"remount,{'rw' if writable else 'ro'}", str(self._folder)):
                raise OSError(f"cannot remount {self._folder}")
            return
        if os.getuid() == 0:  # root that may not mount can write everywhere, whatever the modes say
            os.seteuid(0 if writable else NOBODY)
            return
        for path in (self._folder, *self._folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o700 if writable else 0o500)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Yield a small disk at ``folder``."""
    folder.mkdir()
    mounted = os.geteuid() == 0 and _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder))
    try:
        yield SmallDisk(folder, mounted)
    finally:
        if mounted:
            _run("umount", "--lazy", str(folder))


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
