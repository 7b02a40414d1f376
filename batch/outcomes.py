"""From how a process ended to what is known about its instance."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from farkas.batch.records import DECIDED
from farkas.batch.tasks import OUT_OF_MEMORY, End, Outcome, last_line, printed

MANY = 5
LATE_S = 1.0  # after the timeout, before an answer counts as none
WORDS = (*DECIDED, "unknown", "timed-out", "unsupported", "error")
NO_MEMORY = ("MemoryError", "bad_alloc", "allocate memory", "out of memory", "failed to map segment")


def values(outcome: Outcome, folder: Path, timeout_s: float) -> dict[str, Any]:
    """verdict, reason, message ... of an attempt; never a verdict that the process has not returned in time."""
    used = {"wall_s": outcome.wall_s, "cpu_s": outcome.cpu_s, "peak_bytes": outcome.peak_bytes}
    found = outcome.result(folder)
    if found is None:
        return used | _ended(outcome, folder)
    if found.get("verdict") not in WORDS:
        return used | {"verdict": "error", "reason": "crash", "message": "the worker returned no verdict"}
    if found["verdict"] in DECIDED and outcome.wall_s > timeout_s + LATE_S:
        return used | {"verdict": "timed-out", "reason": "late", "message": f"{found['verdict']}, but too late"}
    return used | found


def _ended(outcome: Outcome, folder: Path) -> dict[str, Any]:
    errors = printed(folder, "stderr")
    match outcome.end:
        case End.WALL:
            return {"verdict": "timed-out", "reason": "killed", "message": "killed after the timeout"}
        case End.CPU:
            return {"verdict": "timed-out", "reason": "cpu", "message": "killed: more CPU time than its share"}
        case End.MEMORY:
            return {"verdict": "unknown", "reason": "memory", "message": "killed: more memory than allowed"}
        case End.EVICTED:
            return {"verdict": "unknown", "reason": "memory", "message": "killed: the machine ran out of memory"}
        case End.LOST:
            return {"verdict": "error", "reason": "lost", "message": "its parent process was killed"}
        case End.GONE:
            return {"verdict": "error", "reason": "lost", "message": f"its machine went away, {MANY} times"}
        case End.ITSELF:
            pass
    if outcome.code == OUT_OF_MEMORY or (outcome.code != 0 and any(word in errors for word in NO_MEMORY)):
        return {"verdict": "unknown", "reason": "memory", "message": f"out of memory: {last_line(errors)}"}
    if outcome.code == -signal.SIGKILL:
        message = "killed from outside, as the kernel does when memory runs out"
        return {"verdict": "unknown", "reason": "memory", "message": message}
    how = f"killed by {signal.Signals(-outcome.code).name}" if outcome.code < 0 else f"exit code {outcome.code}"
    message = ": ".join(filter(None, (how, last_line(errors))))
    return {"verdict": "error", "reason": "crash", "message": message}


def tries(outcome: Outcome, available: int | None) -> int:
    """How often an instance is tried that ended so: more than once where the end says something about the machine.

    available: bytes of memory that are free.  What was killed from outside while there was plenty of memory was not
    killed for its memory.
    """
    if outcome.end is End.ITSELF and outcome.code == -signal.SIGKILL:
        plenty = available is not None and 4 * outcome.peak_bytes < available
        return MANY if plenty else 2
    if outcome.end is End.GONE:
        return MANY
    return 2 if outcome.end in (End.EVICTED, End.LOST) else 1
