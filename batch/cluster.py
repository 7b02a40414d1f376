"""The workers of a Ray cluster: the same tasks, on other machines.

Each worker is an actor that has one core (and one GPU where GPUs are asked for), with a zygote of its own
(farkas.batch.cluster_worker).  A worker on every core, and not one on every machine, is what Ray can place beside the
work of others, and lets a kill cost one instance; machines are known all the same, as places with a memory that the
driver packs.  The driver asks, and every call is answered within about a second:

    begin (a task and its files), wait -> wait -> ... -> wait: the outcome, with the files that count

State is in the driver's store alone.  A worker that is gone, or silent for SILENT_S, costs the time of its task: it is
ended for good, so that it can answer no more, the task begins again elsewhere, and another worker is asked for.  A
task that its worker has not confirmed to have begun was not begun, and that is not held against it.

An answer is worth what the program is worth that gave it.  So a worker whose program differs from the driver's, by the
digest over all its files, gets nothing to do.

Tried: a Ray task for every instance, which Ray would pack by memory itself; it starts Python and imports the solvers
(2 s) as often as Ray recycles its processes, retries what should be counted, and cannot be looked into while it runs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from farkas.batch.cluster_worker import About, Report, Worker
from farkas.batch.connection import BadCluster, connected
from farkas.batch.ports import is_full
from farkas.batch.shipping import Outbox, delivered
from farkas.batch.tasks import NO_ROOM, End, Outcome, Task
from farkas.batch.workers import RESERVE, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

SILENT_S = 120.0
FETCH_S = 600.0  # for the files of a task to arrive
PATIENCE_S = 60.0  # before people are told that no worker has come yet
CLOSE_S = 5.0
FAILURES = 5  # of workers at their start, before the cluster is given up
CLUSTER_RESERVE = 0.08  # of a machine's memory: at 5 % Ray begins to end workers


class Says(Protocol):
    """Who is told of what happens."""

    def say(self, message: str) -> None: ...


@dataclass
class Member:
    """A worker.  calls: the answers that are awaited, in their order; place: "" until it has said where it is;
    is_begun: it has confirmed that its task runs; is_unfit: never used."""

    actor: Any
    calls: deque[Any]
    heard: float
    place: str = ""
    task: Task | None = None
    is_begun: bool = False
    is_unfit: bool = False


class Cluster:
    """jobs: how many workers; None: as many as the cluster has cores (GPUs); gpu: each task gets one to itself."""

    def __init__(
        self, address: str, code: str, listener: Says, *, jobs: int | None = None, gpu: bool = False, warm: bool = True
    ) -> None:
        """code: digest of the driver's program."""
        self._address = address
        self._code = code
        self._listener = listener
        self._jobs = jobs
        self._gpu = gpu
        self._warm = warm
        self._members: list[Member] = []
        self._about: dict[str, About] = {}
        self._available: dict[str, int | None] = {}
        self._refused: list[Outcome] = []
        self._failures = 0
        self._since = time.monotonic()
        self._is_ours = False
        self._open = contextlib.ExitStack()
        self.resident: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._ray, self._is_ours = connected(self._address)
        # Ray prints to standard output, whatever it is told, what happens to workers; people are told by `_lose`.
        self._open.enter_context(contextlib.redirect_stdout(self._open.enter_context(Path(os.devnull).open("w"))))
        try:
            self._outbox = Outbox(self._ray.put)
            for _ in range(self._jobs or self._capacity()):
                self._hire()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):  # whatever Ray has: the cluster may be gone, and what was decided is kept
            closing = [member.actor.close.remote() for member in self._members if member.place]
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
        for member in self._members:
            self._end(member)
        self._members.clear()
        if self._is_ours:
            self._ray.shutdown()
        self._open.close()

    def places(self) -> Sequence[Place]:
        return [self._place(name) for name in dict.fromkeys(member.place for member in self._fit())]

    def start(self, task: Task, place: str) -> None:
        idle = next((one for one in self._fit() if one.place == place and one.task is None), None)
        if idle is None:
            self._refused.append(Outcome(task.id, -9, End.REFUSED, 0.0, 0.0, 0))
            return
        idle.task, idle.is_begun, idle.heard = task, False, time.monotonic()
        begun = idle.actor.begin.remote(task.as_json(), self._outbox.parcels(task.reads))
        idle.calls = deque([begun, idle.actor.wait.remote()])  # at once: a way to and fro less

    def evict(self, task: str) -> None:
        for member in self._fit():
            if member.task is not None and member.task.id == task:
                member.actor.evict.remote(task)

    def ready(self) -> bool:
        return bool(self._refused or self._answered(0.0))

    def wait(self, timeout_s: float) -> list[Outcome]:
        found, self._refused = self._refused, []
        for member in self._answered(0.0 if found else timeout_s):
            found += self._hear(member)
        for member in self._silent():
            found += self._lose(member, f"nothing was heard of it for {time.monotonic() - member.heard:.0f} s")
        if not self._fit() and time.monotonic() - self._since > PATIENCE_S:
            self._listener.say("the cluster has given no worker yet; waiting for one")
            self._since = time.monotonic()
        return found

    # Machines

    def _fit(self) -> list[Member]:
        return [member for member in self._members if member.place and not member.is_unfit]

    def _place(self, name: str) -> Place:
        """A machine as its workers have described it; what our tasks have is free for them as well."""
        own = [member for member in self._fit() if member.place == name]
        used = sum(self.resident.get(member.task.id, 0) for member in own if member.task is not None)
        available = self._available[name]
        budget = None if available is None else int((available + used) * (1 - RESERVE))
        reserve = int((self._about[name].memory_bytes or 0) * CLUSTER_RESERVE)
        return Place(name, len(own), budget, available, reserve, self._about[name].processor)

    def _capacity(self) -> int:
        kind = "GPU" if self._gpu else "CPU"
        found = int(self._ray.cluster_resources().get(kind, 0))
        if not found:
            raise BadCluster(f"--cluster {self._address}: it has no {kind}; say with --jobs for how many to wait")
        return found

    # Workers

    def _hire(self) -> None:
        """Asks for a worker; Ray gives it when there is room for it."""
        options = {"num_cpus": 1, "num_gpus": int(self._gpu), "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        actor = self._ray.remote(**options)(Worker).remote(warm=self._warm)
        self._members.append(Member(actor, deque([actor.about.remote()]), time.monotonic()))

    def _answered(self, timeout_s: float) -> list[Member]:
        """The workers whose answers are there; waits for the first one."""
        waiting = {member.calls[0]: member for member in self._members if member.calls}
        if not waiting:
            time.sleep(timeout_s)
            return []
        found, _ = self._ray.wait(list(waiting), num_returns=1, timeout=timeout_s)
        if found:
            found, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        return [waiting[call] for call in found]

    def _hear(self, member: Member) -> list[Outcome]:
        """Takes a worker's answer, and asks the next thing."""
        try:
            answer = self._ray.get(member.calls.popleft())
        except self._ray.exceptions.RayError as error:
            return self._lose(member, str(error).strip().splitlines()[-1], is_ours=self._is_task_error(error))
        member.heard = time.monotonic()
        if isinstance(answer, About):
            self._welcome(member, answer)
            return []
        assert isinstance(answer, Report) and member.task is not None, "a worker that has no task was not asked"
        self._available[member.place] = answer.available
        if answer.outcome is None:
            self.resident[member.task.id] = answer.resident
            member.is_begun = True
            if not member.calls:
                member.calls.append(member.actor.wait.remote())
            return []
        task, member.task = member.task, None
        member.calls.clear()
        self.resident.pop(task.id, None)
        return [_kept(answer, task)]

    def _welcome(self, member: Member, about: About) -> None:
        is_new = about.node not in self._about
        member.place = about.node
        self._about[about.node], self._available[about.node] = about, about.available
        if about.code == self._code:
            return
        member.is_unfit = True
        if is_new:
            versions = f"{about.code[:12]}, here {self._code[:12]}"
            self._listener.say(f"a machine has another version of farkas ({versions}) and gets nothing to do")
        if all(one.is_unfit for one in self._members):
            raise BadCluster(f"--cluster {self._address}: no worker has this version of farkas; install it there")

    def _silent(self) -> Iterator[Member]:
        """Those who have not said for too long how their task is."""
        now = time.monotonic()
        busy = [member for member in self._members if member.task is not None]
        yield from [one for one in busy if now - one.heard > (SILENT_S if one.is_begun else FETCH_S)]

    def _is_task_error(self, error: Exception) -> bool:
        return isinstance(error, self._ray.exceptions.RayTaskError)

    def _lose(self, member: Member, why: str, *, is_ours: bool = False) -> list[Outcome]:
        """A worker is gone; another one is asked for.  is_ours: its own code has failed, and may do so again."""
        self._end(member)
        self._members.remove(member)
        if not member.place:
            self._failures += 1
            if self._failures >= FAILURES and not self._fit():
                raise BadCluster(f"--cluster {self._address}: no worker starts: {why}")
        else:
            self._listener.say(f"a worker is gone ({why}); its task begins again, and another worker is asked for")
        self._hire()
        task = member.task
        if task is None:
            return []
        self.resident.pop(task.id, None)
        return [Outcome(task.id, -9, End.GONE if member.is_begun or is_ours else End.REFUSED, 0.0, 0.0, 0)]

    def _end(self, member: Member) -> None:
        """So that it works no more, whatever it was doing."""
        with contextlib.suppress(Exception):  # whatever Ray has: it is gone already
            self._ray.kill(member.actor, no_restart=True)


def _kept(report: Report, task: Task) -> Outcome:
    """The outcome, with the files in the task's folder; as one without room if there is none for them."""
    assert report.outcome is not None, "only what has ended is kept"
    try:
        delivered(report.files, Path(task.folder))
    except OSError as error:
        if not is_full(error):
            raise
        return Outcome(task.id, NO_ROOM, End.ITSELF, 0.0, 0.0, 0)
    return report.outcome
