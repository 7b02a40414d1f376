"""What a run of the command line does to its own process: age, BLAS threads, memory limit, alarm.

Nothing heavy is imported here: `use_threads` has to run before NumPy is loaded.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

LONGEST_START_S = 5.0
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class OutOfTime(BaseException):
    """The alarm rang.  No Exception, so that nothing between the alarm and the command line takes it for its own."""


def started() -> float:
    """When this process started, on the clock of time.monotonic.

    From the kernel's record where there is one (Linux, to a hundredth of a second); elsewhere the CPU time used so far
    stands for the age.  The record is that of the fork: a shell that waited before it became this process by `exec` has
    made it older than it is, so an age beyond all plausible start-up counts for nothing.
    """
    age = min(time.process_time(), LONGEST_START_S)
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        recorded = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        recorded = age  # not Linux
    return time.monotonic() - (max(age, recorded) if recorded <= LONGEST_START_S else age)


def use_threads(count: int) -> None:
    """Sets the number of BLAS threads; counts only before the first import of NumPy."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(count)


def limit_memory(limit: int) -> None:
    """Lets allocations fail beyond so many bytes of address space, where the system knows such a limit."""
    try:
        import resource
    except ImportError:
        return  # Windows: only the engine's own limit on its queue holds
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def alarm(seconds: float | None) -> Iterator[None]:
    """Raises OutOfTime inside the block once the seconds are over; None: never.

    It interrupts Python code wherever it stands, also what never looks at the clock; a call into a library ends first.
    Only the main thread of a Unix process can be interrupted; elsewhere the block runs on.
    """
    can_ring = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds is None or not can_ring:
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ring(signum: int, frame: FrameType | None) -> None:
    raise OutOfTime
