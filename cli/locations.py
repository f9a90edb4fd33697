"""Files and folders on this machine or in object storage: paths, and the URLs that Arrow opens (s3://, gs://, abfs://).

Knows no format. Credentials come from the environment, as the storage's own tools read them.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl

import pyarrow as pa
from pyarrow import fs

from cli.output import replaced_when_complete
from moderation.errors import InvalidInputError

BLOCK_BYTES = 1 << 20
IGNORED = ("_", ".")
"""How names begin that are no data, as for Arrow, Spark and pandas."""
OPTIONS = {"scheme", "endpoint_override", "region", "force_virtual_addressing", "project_id", "retry_limit_seconds"}
OPTIONS |= {"enable_tls", "blob_storage_authority", "dfs_storage_authority"}
"""Of a URL; none of them is a secret."""


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
            InvalidInputError: a URL that Arrow does not know, or one with a password or another secret in it.
        """
        text = str(name)
        if "://" not in text:
            return cls(text, fs.LocalFileSystem(), str(Path(text).absolute()))
        scheme, rest = text.split("://", maxsplit=1)
        shown, _, query = text.partition("?")
        host, _, _ = rest.partition("/")
        # Not only where a parser sees one: a secret may hold slashes. Below a bucket, names may hold both signs.
        if "@" in query or (":" in host and "@" in rest.partition(":")[2]):
            raise InvalidInputError("a URL must not hold a password; give credentials in the environment")
        try:
            if unknown := sorted(dict(parse_qsl(query, keep_blank_values=True)).keys() - OPTIONS):
                raise InvalidInputError(
                    f"option {unknown[0]!r} of a URL is not known; expected {', '.join(sorted(OPTIONS))} (credentials "
                    "come from the environment)"
                )
            filesystem, path = fs.FileSystem.from_uri(text)
        except (pa.ArrowException, OSError, ValueError):  # their messages repeat the URL
            space = "; a space is written %20" if " " in text else ""
            raise InvalidInputError(
                f"cannot open the URL of scheme {scheme!r}; expected s3://, gs:// or abfs://, a bucket and a path"
                f"{space}"
            ) from None
        return cls(shown, filesystem, path.rstrip("/") or "/")

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
        return Location(f"{self.name.rstrip('/')}/{relative}", self.filesystem, f"{self.path.rstrip('/')}/{relative}")

    def is_in(self, folder: "Location") -> bool:
        """Return whether this is ``folder`` or below it, whatever links and ``..`` their paths hold."""
        if self.filesystem != folder.filesystem:
            return False
        here, there = (Path(each.path).resolve() if self.is_local else Path(each.path) for each in (self, folder))
        return here.is_relative_to(there)

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

    def files(self) -> list[str]:
        """Return the files below this folder by their relative names, in order, those that are no data among them.

        Raises:
            InvalidInputError: data that is no file, such as a broken link, comes twice by a link, or has no UTF-8 name.
        """
        if self.is_local:
            return sorted(_local_files(self.path))
        base = self.path.rstrip("/") + "/"
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=True))
        return sorted(info.path.removeprefix(base) for info in found if info.type == fs.FileType.File)

    def names(self) -> list[str]:
        """Return the names of what is in this folder itself and is data, in order."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path))
        return sorted(info.base_name for info in found if is_data(info.base_name))


def is_data(relative: str) -> bool:
    """Return whether neither the file nor a folder of it has a name that `IGNORED` names."""
    return not any(part.startswith(IGNORED) for part in relative.split("/"))


def _local_files(top: str) -> Iterator[str]:
    """Yield as `Location.files`, by a walk that sees links: Arrow's goes round in their loops."""
    seen: set[Path] = set()
    for folder, _, names in os.walk(top, onerror=_raise, followlinks=True):
        _check_entry(Path(folder), seen)
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(top).as_posix()
            if is_data(relative):
                _check_entry(path, seen)
            yield relative


def _check_entry(path: Path, seen: set[Path]) -> None:
    """Check a file or folder that is not among those ``seen``, and add it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{str(path)!r}: the name is not UTF-8; rename it") from None
    if not (path.is_file() or path.is_dir()):
        raise InvalidInputError(f"{path} is neither a file nor a folder, or a link to nowhere")
    real = path.resolve()
    if real in seen:
        raise InvalidInputError(f"{path} is {real}, which comes twice, by a link")
    seen.add(real)


def _raise(error: OSError) -> None:
    raise error


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
