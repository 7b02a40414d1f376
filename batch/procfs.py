"""What the kernel says about processes and memory (Linux; elsewhere the answers are 0 or None)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


def tree(pid: int) -> Iterator[int]:
    """A process and all its living descendants."""
    yield pid
    for child in children(pid):
        yield from tree(child)


def children(pid: int) -> Iterator[int]:
    """The processes that a process has started, or that have come to it when their parents ended."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                yield from map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii").split())


def variable(pid: int, name: str) -> str:
    """A variable of the environment that a program was started with; "" where there is none."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    mark = f"{name}=".encode()
    return next((entry[len(mark) :].decode(errors="replace") for entry in entries if entry.startswith(mark)), "")


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    return _statm(pid, 1)


def address_space(pid: int) -> int:
    """Bytes of address space of a process; 0 when it is gone."""
    return _statm(pid, 0)


def _statm(pid: int, column: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[column]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of the children it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) * TICK_S
    except (OSError, ValueError):
        return 0.0


def cores() -> int:
    """CPU cores that this process may use: its affinity, and the share of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    return count


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory, on the machine and in this process's control group;
    None when nothing counts them."""
    found = [_counted(Path("/proc/vmstat"))]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root, file = (GROUPS / "memory", "memory.oom_control") if controllers else (GROUPS, "memory.events")
            own = _counted(root / path.lstrip("/") / file)
            found.append(_counted(root / file) if own is None else own)  # a container sees its group as the root
    counts = [count for count in found if count is not None]
    return sum(counts) if counts else None


def _counted(path: Path) -> int | None:
    """The number on the line `oom_kill` of a file."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def available() -> int | None:
    """Bytes of memory that can be had without anything being swapped or killed; None when it is not known."""
    found: list[int] = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024)
    group = GROUPS
    with contextlib.suppress(OSError, ValueError):
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((group / "memory.current").read_text(encoding="ascii"))
            fields = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            found.append(int(limit) - used + int(fields.get("inactive_file", 0)))
    return max(0, min(found)) if found else None
