"""Where tasks run: what the driver asks of whoever runs them, and this machine as the simplest answer.

A place is a machine.  The driver decides what begins where (farkas.batch.schedule, for each place by itself); workers
take a task, keep its limits and tell how it ended.  They keep nothing else, so that any of them may go away at any
time: the outcome of what it ran is then an end that is not its own, and the driver begins that task again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from farkas.batch import procfs
from farkas.batch.pool import Pool
from farkas.batch.tasks import Outcome, Task

HERE = "here"
RESERVE = 0.05  # of the memory stays free


@dataclass(frozen=True)
class Place:
    """cores: tasks at a time; budget: bytes that they may need together; available: bytes that are free now;
    reserve: when less than this is free, the largest task has to go; None: not known; processor: "" for the driver's
    own machine."""

    name: str
    cores: int
    budget: int | None
    available: int | None
    reserve: int
    processor: str = ""


class Workers(Protocol):
    """Use as a context; leaving it ends whatever still runs."""

    @property
    def resident(self) -> Mapping[str, int]:
        """Bytes of the tasks that run, as far as they are known."""
        ...

    def places(self) -> Sequence[Place]:
        """The machines that are there now."""
        ...

    def start(self, task: Task, place: str) -> None:
        """Begins a task; its outcome comes from `wait`."""

    def evict(self, task: str) -> None:
        """Ends a running task; its outcome says `evicted`."""

    def ready(self) -> bool:
        """Whether `wait` has something to say at once."""
        ...

    def wait(self, timeout_s: float) -> list[Outcome]:
        """The outcomes of tasks that have ended, at most so many seconds later; none if none has."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 /) -> None: ...  # fmt: skip


class Local:
    """The workers of this machine."""

    def __init__(self, cores: int, *, warm: bool) -> None:
        self._cores = cores
        self._pool = Pool(warm=warm)
        free = procfs.available()
        self._budget = None if free is None else int(free * (1 - RESERVE))
        self._reserve = 0 if free is None else int(free * RESERVE) // 2

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    @property
    def resident(self) -> Mapping[str, int]:
        return self._pool.resident

    def places(self) -> Sequence[Place]:
        return (Place(HERE, self._cores, self._budget, procfs.available(), self._reserve),)

    def start(self, task: Task, place: str) -> None:
        assert place == HERE, f"this machine is not {place}"
        self._pool.start(task)

    def evict(self, task: str) -> None:
        self._pool.evict(task)

    def ready(self) -> bool:
        return self._pool.ready()

    def wait(self, timeout_s: float) -> list[Outcome]:
        return self._pool.wait(timeout_s)
