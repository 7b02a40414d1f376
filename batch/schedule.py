"""Which task begins next: packs by expected memory, and never gives out more cores than there are.

A task asks for one core.  What it will need of memory is what its network, or else its category, has needed before; of
what was never seen, twelve times the size of the network's file and a fixed part.  The sum of what the running ones are
expected to need (or have, where that is more) stays below the budget, unless nothing runs: then any task may begin,
because waiting would not make it smaller.  The order is that of the suite; a task that does not fit lets smaller ones
go before it, but not for ever: after SKIPS of them it waits for the machine to be free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

UNSEEN_BYTES = 200 << 20
PER_NETWORK_BYTE = 12
SKIPS = 50


@dataclass(frozen=True)
class Waiting:
    """number: of the instance; bytes: expected; alone: it has met a full machine and gets it to itself; skipped: how
    many went before it."""

    number: int
    bytes: int
    alone: bool = False
    skipped: int = 0


def expected_bytes(known: int | None, network_bytes: int, limit: int | None) -> int:
    """What a task will probably need."""
    found = known if known is not None else UNSEEN_BYTES + PER_NETWORK_BYTE * network_bytes
    return found if limit is None else min(found, limit)


def choose(
    queue: Sequence[Waiting],
    running: Mapping[int, Waiting],
    resident: Mapping[int, int],
    cores: int,
    budget: int | None,
) -> tuple[Waiting | None, list[Waiting]]:
    """The task to begin now, if any may, and the queue without it."""
    if not queue or len(running) >= cores or any(task.alone for task in running.values()):
        return None, list(queue)
    if not running:
        return queue[0], list(queue[1:])
    if budget is None:
        chosen = next((k for k, task in enumerate(queue) if not task.alone), None)
    else:
        used = sum(max(task.bytes, resident.get(number, 0)) for number, task in running.items())
        chosen = None
        for k, task in enumerate(queue):
            if not task.alone and used + task.bytes <= budget:
                chosen = k
                break
            if task.skipped >= SKIPS:
                break
    if chosen is None:
        return None, list(queue)
    left = [replace(task, skipped=task.skipped + 1) for task in queue[:chosen]]
    return queue[chosen], [*left, *queue[chosen + 1 :]]


def to_evict(resident: Mapping[int, int], available: int | None, reserve: int) -> int | None:
    """The task that has to go because the machine runs out of memory: the largest, if it is not the only one."""
    if available is None or available >= reserve or len(resident) < 2:
        return None
    return max(resident, key=lambda number: resident[number])
