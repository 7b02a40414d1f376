"""What store and driver take from the system, as arguments, so that tests can make it fail: clocks and files."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """now: seconds since 1970, for people, may step; monotonic: for durations, never steps."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class Disk(Protocol):
    """Files that are there as a whole or not at all."""

    def create(self, path: Path, data: bytes) -> None:
        """A file with this content, also after a loss of power; what stood there is replaced."""

    def append(self, path: Path, data: bytes) -> None:
        """This at the end of a file, in one piece, also after a loss of power."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemDisk:
    """The machine's files."""

    def create(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with place.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            place.replace(path)
        finally:
            place.unlink(missing_ok=True)

    def append(self, path: Path, data: bytes) -> None:
        """One write at the end (O_APPEND), so that two processes never mix their lines; a part of one is taken back."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(descriptor, data)
            if written < len(data):  # the disk is full: what is there is no line, and its checksum says so
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_full(error: Exception) -> bool:
    """Whether a write failed for want of space."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return "disk is full" in str(error) or "disk I/O error" in str(error)
