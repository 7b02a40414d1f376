"""What runs on the machines of a cluster: an actor with a zygote of its own, one task at a time.

The task gets a process of its own there as it does on the driver's machine, by the same code, and so the same limits.
The actor process itself runs no task: what an instance does to its process leaves the actor alone.  When the actor is
killed, its end of the zygote's socket closes, and everything that it has started is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farkas.batch import procfs
from farkas.batch.drivers import is_alive, this_driver
from farkas.batch.environment import code_digest, memory, processor
from farkas.batch.pool import Pool
from farkas.batch.ports import is_full
from farkas.batch.shipping import Copies, Parcel, collected, relocated
from farkas.batch.tasks import NO_ROOM, End, Outcome, Task

POLL_S = 1.0


@dataclass(frozen=True)
class About:
    """code: digest of the program there; node: which machine; memory_bytes: all of it."""

    code: str
    node: str
    processor: str
    memory_bytes: int | None
    available: int | None


@dataclass(frozen=True)
class Report:
    """outcome: None while the task runs; files: what came out, by name."""

    resident: int
    available: int | None
    outcome: Outcome | None = None
    files: dict[str, bytes] = field(default_factory=dict)


class Worker:
    """Answers every call within about a second, so that who calls knows whether it lives."""

    def __init__(self, *, warm: bool) -> None:
        self._scratch = _scratch()
        self._copies = Copies(self._scratch / "files")
        self._pool = Pool(warm=warm)
        self._pool.__enter__()

    def about(self) -> About:
        return About(code_digest(), _node(), processor(), memory(), procfs.available())

    def begin(self, text: str, parcels: Sequence[Parcel]) -> Report:
        """Starts a task; the report has an outcome only if it could not be started for want of room."""
        task = Task.from_json(json.loads(text))
        folder = self._scratch / "task"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            where = self._copies.bring(parcels, _fetch)
            self._pool.start(relocated(task, where, folder))
        except OSError as error:
            if not is_full(error):
                raise
            return Report(0, procfs.available(), Outcome(task.id, NO_ROOM, End.ITSELF, 0.0, 0.0, 0))
        return Report(0, procfs.available())

    def wait(self) -> Report:
        """How the task is, about a second later or when it has ended."""
        for outcome in self._pool.wait(POLL_S):
            return Report(0, procfs.available(), outcome, collected(outcome, self._scratch / "task"))
        return Report(sum(self._pool.resident.values()), procfs.available())

    def evict(self, task: str) -> None:
        self._pool.evict(task)

    def close(self) -> None:
        """Ends whatever runs, and leaves nothing behind."""
        self._pool.__exit__()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _fetch(data: Any) -> bytes:
    import ray

    found = ray.get(data)
    assert isinstance(found, bytes), f"a parcel holds {type(found).__name__}"
    return found


def _scratch() -> Path:
    """A folder for this process; those of workers that were killed are removed."""
    parent = Path(tempfile.gettempdir()) / f"farkas-workers-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    for place in parent.iterdir():
        if not is_alive(place.name.replace("-", ":", 2)):
            shutil.rmtree(place, ignore_errors=True)
    found = parent / this_driver().replace(":", "-")
    found.mkdir()
    return found
