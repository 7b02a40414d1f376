"""From how a process ended to what is known about its instance."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from farkas.batch.records import DECIDED
from farkas.batch.tasks import OUT_OF_MEMORY, End, Outcome, last_line, printed

MANY = 10  # tries of what went away with its machine or its parent
OFTEN = 50  # of what somebody kills, for reasons that are not its own
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
        case End.KERNEL:
            return {"verdict": "unknown", "reason": "memory", "message": "killed from outside while memory was short"}
        case End.OUTSIDE:
            message = f"killed from outside {OFTEN} times, with memory to spare"
            return {"verdict": "error", "reason": "lost", "message": message}
        case End.LOST:
            return {"verdict": "error", "reason": "lost", "message": f"its parent process was killed, {MANY} times"}
        case End.GONE:
            return {"verdict": "error", "reason": "lost", "message": f"its machine went away, {MANY} times"}
        case End.ITSELF | End.REFUSED:
            pass
    if outcome.code == OUT_OF_MEMORY or (outcome.code != 0 and any(word in errors for word in NO_MEMORY)):
        return {"verdict": "unknown", "reason": "memory", "message": f"out of memory: {last_line(errors)}"}
    how = f"killed by {signal.Signals(-outcome.code).name}" if outcome.code < 0 else f"exit code {outcome.code}"
    message = ": ".join(filter(None, (how, last_line(errors))))
    return {"verdict": "error", "reason": "crash", "message": message}


def tries(end: End) -> int:
    """How often an instance is tried that ends so: more than once where the end says something about the machine or
    about somebody who kills, and nothing about the instance."""
    match end:
        case End.OUTSIDE:
            return OFTEN
        case End.LOST | End.GONE:
            return MANY
        case End.EVICTED | End.KERNEL:
            return 2
        case _:
            return 1
