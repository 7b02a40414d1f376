"""The unit of work: a task says what one process does and what it may use; an outcome says how it ended.

Both are plain data that go through a socket as JSON (or anywhere else, pickled).  Results pass through the task's own
folder: `result.json`, put there whole by a rename, and `stdout` and `stderr`.  A result counts only if the process that
wrote it ended by itself with exit code 0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

RESULT = "result.json"
PYTHON = "{python}"  # as the first word of a command: the interpreter that runs the worker
FAILED, OUT_OF_MEMORY, NO_ROOM = 70, 71, 72  # exit codes of a worker whose function raised


class End(StrEnum):
    """Who ended a process: itself; a limit; the driver; the kernel, or somebody else, while memory was short; somebody
    while it was not; whatever took the parent of all workers along; or whatever took the machine.  Refused: it was
    never begun."""

    ITSELF = ""
    WALL = "wall"
    CPU = "cpu"
    MEMORY = "memory"
    EVICTED = "evicted"
    KERNEL = "kernel"
    OUTSIDE = "outside"
    LOST = "lost"
    GONE = "gone"
    REFUSED = "refused"


@dataclass(frozen=True)
class Limits:
    """Of the process with all that it starts: wall clock, CPU time, resident memory; None: no limit."""

    wall_s: float
    cpu_s: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Task:
    """function: `module:name`, called with `arguments` and the folder, returns what `result.json` gets; or else
    command: words of a program that is run instead.  reads: the files that it reads; where they are not (on another
    machine) they are brought, and the words that name them, alone or as NAME=PATH, name the copies."""

    id: str
    folder: str
    limits: Limits
    function: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The command as it is run here."""
        return tuple(sys.executable if word == PYTHON else word for word in self.command)

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Task:
        words = {name: tuple(values.get(name, ())) for name in ("command", "reads")}
        return cls(**{**values, "limits": Limits(**values["limits"]), **words})


@dataclass(frozen=True)
class Outcome:
    """code: exit code, negative for a signal; cpu_s, peak_bytes: the kernel's count, of the process and the children it
    waited for; peak_bytes includes what all workers share."""

    id: str
    code: int
    end: End
    wall_s: float
    cpu_s: float
    peak_bytes: int

    def result(self, folder: Path) -> dict[str, Any] | None:
        """What the function returned, if it did and nothing ended it."""
        if self.end is not End.ITSELF or self.code != 0:
            return None
        try:
            found = json.loads((folder / RESULT).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def printed(folder: Path, stream: str, limit: int = 65536) -> str:
    """The last bytes of `stdout` or `stderr` of a task."""
    try:
        with (folder / stream).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - limit))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
