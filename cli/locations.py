"""Files and folders on this machine or in object storage: paths, and the URLs that Arrow opens (s3://, gs://, abfs://).

Knows no format. Credentials come from the environment, as the storage's own tools read them.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from cli.output import replaced_when_complete
from moderation.errors import InvalidInputError

BLOCK_BYTES = 1 << 20
IGNORED = ("_", ".")
"""How names begin that are no data, as for Arrow, Spark and pandas."""


@dataclass(frozen=True)
class Location:
    """A place by the ``name`` that messages use, in a file system."""

    name: str
    filesystem: fs.FileSystem
    path: str

    @classmethod
    def find(cls, name: str | Path) -> "Location":
        """Return the place of a path or URL; nothing needs to be there.

        Raises:
            InvalidInputError: a URL that Arrow does not know, or one with a password in it.
        """
        text = str(name)
        if "://" not in text:
            return cls(text, fs.LocalFileSystem(), str(Path(text).absolute()))
        if urlsplit(text).password:
            raise InvalidInputError("a URL must not hold a password; give credentials in the environment")
        try:
            filesystem, path = fs.FileSystem.from_uri(text)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InvalidInputError(f"cannot open {text}: {error}") from None
        return cls(text, filesystem, path)

    @property
    def suffix(self) -> str:
        """The end of the name, with its dot."""
        return PurePosixPath(self.path).suffix

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's file system."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, relative: str) -> "Location":
        """Return what is below this folder."""
        name, query, parameters = self.name.partition("?")
        return Location(
            f"{name.rstrip('/')}/{relative}{query}{parameters}", self.filesystem, f"{self.path.rstrip('/')}/{relative}"
        )

    def kind(self) -> fs.FileType:
        """Return whether a file, a folder or nothing is there."""
        return self.filesystem.get_file_info(self.path).type

    def state(self) -> tuple[int, int]:
        """Return the size of the file in bytes, and when it was changed, in nanoseconds."""
        info = self.filesystem.get_file_info(self.path)
        return int(info.size or 0), int(info.mtime_ns or 0)

    def open(self) -> pa.NativeFile:
        """Open the file for reading from any place."""
        return self.filesystem.open_input_file(self.path)

    def sha256(self) -> str:
        """Return the digest of the file."""
        digest = hashlib.sha256()
        with self.open() as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def write(self, content: bytes) -> None:
        """Replace the file by ``content``; where it is interrupted, the old file stays."""
        if not self.is_local:
            with self.filesystem.open_output_stream(self.path) as stream:
                stream.write(content)
            return
        with replaced_when_complete(Path(self.path)) as partial:
            partial.write_bytes(content)

    def files(self) -> Iterator[str]:
        """Yield the files below this folder by their relative names, in order, but for what `IGNORED` says."""
        base = self.path.rstrip("/") + "/"
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=True))
        for relative in sorted(info.path.removeprefix(base) for info in found if info.type == fs.FileType.File):
            if not any(part.startswith(IGNORED) for part in relative.split("/")):
                yield relative


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Say what the disk or the storage refuses in one line that begins with ``doing``.

    Raises:
        InvalidInputError: it refused.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise InvalidInputError(f"{doing}: {reason}") from None
