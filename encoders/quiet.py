"""Lines that a native library prints although it was told to be silent, kept from standard output and error.

HiGHS 1.12 prints a line of its own on standard output when it repairs an incumbent
(https://github.com/ERGO-Code/HiGHS/issues/2783), and standard output is for machines.  While a solver works, the file
descriptor is a temporary file; what is not the known line is passed on afterwards, so that nothing else is lost.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def without_lines(descriptor: int, known: Sequence[bytes]) -> Iterator[None]:
    """Drop lines that contain one of the known texts from what is written to a descriptor meanwhile.

    In the main thread alone, for a descriptor belongs to the whole process; elsewhere nothing is dropped.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        saved = os.dup(descriptor)
    except OSError:  # closed: there is nobody to disturb
        yield
        return
    with tempfile.TemporaryFile() as held:
        _flush()
        os.dup2(held.fileno(), descriptor)
        try:
            yield
        finally:
            _flush()
            os.dup2(saved, descriptor)
            os.close(saved)
            held.seek(0)
            kept = b"".join(line for line in held if not any(text in line for text in known))
            _write(descriptor, kept)


def _flush() -> None:
    """Empty the buffers of Python and of the C library, so that each byte goes where it was meant to."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
