"""A command run in a process of its own, with a wall-clock limit, and what it used."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Measured:
    """code: exit code, negative for a signal; peak_mb: peak resident memory in 2^20 bytes; killed: at the limit."""

    code: int
    out: str
    err: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    killed: bool


def measure(command: Sequence[str], environment: Mapping[str, str], folder: str, limit_s: float) -> Measured:
    """Runs the command and kills it, with all that it started, after so many seconds of wall clock.

    CPU time and memory are the kernel's count for the process and its ended children (wait4).  Linux starts the count
    of memory at what this process has in use, so this one has to stay small.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, env=dict(environment),
            start_new_session=True,
        )  # fmt: skip
        killed = threading.Event()
        timer = threading.Timer(limit_s, _kill, (process.pid, killed))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _kill(process.pid, killed)
            raise
        finally:
            timer.cancel()
        wall = time.monotonic() - start
        process.returncode = code = os.waitstatus_to_exitcode(status)
        printed, complained = _text(out), _text(err)
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(code, printed, complained, wall, cpu, usage.ru_maxrss / 1024, killed.is_set())


def _kill(pid: int, killed: threading.Event) -> None:
    killed.set()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", errors="replace")
