"""What store and driver take from the system, as arguments, so that tests can make it fail: clocks and files."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
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

    def append(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        """This at the end of a file, in one piece; sync: also after a loss of power."""

    def sync(self, path: Path) -> None:
        """What was appended to a file is there also after a loss of power."""


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

    def append(self, path: Path, data: bytes, *, sync: bool = True) -> None:
        """One write at the end (O_APPEND), so that two processes never mix their lines; a part of one is taken back
        where files can be locked, so that tries on a full disk do not fill what is left of it."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            is_locked = _lock(descriptor)
            before = os.fstat(descriptor).st_size
            written = os.write(descriptor, data)
            if written < len(data):  # the disk is full: what is there is no line, and its checksum says so
                if is_locked:
                    os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Keeps other writers of a file away until it is closed, if the system can."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except (ImportError, OSError):
        return False
    return True


def free_bytes(path: Path) -> int | None:
    """The room on the disk of a folder, or of the next one above it that is there; None when it is not known."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def is_full(error: Exception) -> bool:
    """Whether a write failed for want of space."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return "disk is full" in str(error) or "disk I/O error" in str(error)


def is_passing(error: Exception) -> bool:
    """Whether a later try may go better: there is no room, or another process holds the lock of the database."""
    return is_full(error) or (isinstance(error, sqlite3.OperationalError) and "locked" in str(error))
