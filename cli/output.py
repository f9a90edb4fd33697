"""Files that a command writes: whole or not at all, and never over another one unasked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from moderation.disk import sync
from moderation.errors import InvalidInputError


def check_output(output: Path, suffixes: tuple[str, ...], overwrite: bool) -> None:
    """Refuse a file that cannot or must not be written.

    Raises:
        InvalidInputError: another suffix, no such folder, or it exists and ``overwrite`` is not set.
    """
    if output.suffix not in suffixes:
        raise InvalidInputError(f"{output} ends in {output.suffix!r}; expected {', '.join(suffixes)}")
    if not output.parent.is_dir():
        raise InvalidInputError(f"folder {output.parent} of the output does not exist")
    if output.exists() and not overwrite:
        raise InvalidInputError(f"{output} exists; give --overwrite to replace it")


def counted(count: int, noun: str) -> str:
    """Return ``1 row`` or ``2 rows``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@contextmanager
def replaced_when_complete(output: Path) -> Iterator[Path]:
    """Yield a name beside ``output`` that takes its place if all goes well, and else is removed.

    Raises:
        InvalidInputError: the disk refuses.
    """
    partial = output.with_name(f".{output.name}.{uuid4().hex}.partial")
    try:
        yield partial
        sync(partial)  # else a machine that loses power can keep the name and lose the content
        partial.replace(output)
        sync(output.parent)
    except OSError as error:
        raise InvalidInputError(f"cannot write {output}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
