"""Files as bytes: reading, writing whole or not at all, and errors that begin with the file's path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farkas.ir.errors import FarkasError

FilePath = str | os.PathLike[str]


class UnreadableFile(FarkasError):
    """A file is missing, a directory, or may not be read."""


class Unsupported(FarkasError):
    """The file is right, but this kind of network or property is not handled yet."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file's path in front of the message of a FarkasError raised inside."""
    try:
        yield
    except FarkasError as error:
        error.args = (f"{path}: {error}",)
        raise


def read_bytes(path: Path) -> bytes:
    """The file's bytes; raises UnreadableFile (without the path, which `naming` adds)."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableFile("there is no such file") from error
    except IsADirectoryError as error:
        raise UnreadableFile("this is a directory; a file is wanted") from error
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; raises UnreadableFile."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        if not path.parent.is_dir():
            raise UnreadableFile(f"{path}: there is no folder {path.parent}; make it first") from error
        part.unlink(missing_ok=True)
        raise UnreadableFile(f"{path}: cannot be written: {error.strerror}") from error
