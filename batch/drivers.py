"""Which process drives a run, and whether it still lives.

A process is named by its id, the kernel's time of its start and the boot of the machine: an id that was given to
another process since, or a machine that was started again, is not taken for the living.
"""

from __future__ import annotations

import os
from pathlib import Path


def this_driver() -> str:
    """The name of this process."""
    pid = os.getpid()
    return f"{pid}:{start_of(pid)}:{_boot()}"


def is_alive(driver: str) -> bool:
    """Whether the process of that name runs on this machine."""
    pid, start, boot = driver.split(":", 2)
    if boot != _boot():
        return False
    if start:
        return start_of(int(pid)) == start
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def start_of(pid: int) -> str:
    """The kernel's time of its start; "" where there is no such process or no such record (not Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
