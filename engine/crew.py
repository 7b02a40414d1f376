"""Processes that work for one run: forked from it, each with a pipe to it, gone when it is.

A member is a fork, so it has what the run has prepared (networks, kernels) without being told; what goes through the
pipe is a task and its result.  It serves one task at a time and has no say in anything else: whatever a lost member
had in hand is for its owner to do again.  A member that fails in any way is lost, and so is one that the system kills.

Forks and not threads: of a search's time a third is spent in the compiled kernel, which releases the interpreter's
lock, and the checker's arrays are so small (they stay in the second-level cache) that two threads contend for it.
Measured 2026-11-20, property 2 on network 3_3 of ACAS Xu, one check: 2.65 s; waves cut in two threads: 3.40 s, and as
much CPU time more.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from farkas.engine.budget import Budget

LOOK_S = 0.05  # between two looks at the clock while waiting
PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
BLAS_SETTERS = ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads", "openblas_set_num_threads")
RECALL = "recall"

Serve = Callable[[Any, Callable[[], bool]], Any]


class Lost(Exception):
    """A member is gone, and with it what it had in hand."""


@dataclass(eq=False)
class Member:
    """A forked process; busy: whether it has a task in hand; recalled: whether it was told to come back with it."""

    pid: int
    pipe: Connection
    busy: bool = False
    recalled: bool = False


class Crew:
    """`count` forks that each answer tasks by `serve`; to be closed.

    serve: takes a task, and a function that says whether its result is waited for, finished or not; lost: how many
    members are gone; cpu_s: CPU time of those that are, all of them once the crew is closed.
    """

    def __init__(self, count: int, serve: Serve) -> None:
        self.members: list[Member] = []
        self.lost = 0
        self.cpu_s = 0.0
        single_blas_thread()
        for _ in range(count):
            self._fork(serve)

    def _fork(self, serve: Serve) -> None:
        ours, theirs = Pipe()
        parent = os.getpid()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # lest a handler of this process run in the fork
        try:
            pid = os.fork()
            if pid == 0:
                _live(serve, theirs, [ours, *(member.pipe for member in self.members)], parent)
            self.members.append(Member(pid, ours))
        except OSError:  # no process or memory left: fewer members
            ours.close()
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    @property
    def idle(self) -> list[Member]:
        return [member for member in self.members if not member.busy]

    def send(self, member: Member, task: Any) -> None:
        """Hand a task to an idle member; raises Lost."""
        assert not member.busy, f"process {member.pid} has a task in hand"
        try:
            member.pipe.send_bytes(pickle.dumps(task, protocol=5))
        except OSError:
            self._lose(member)
            raise Lost from None
        member.busy, member.recalled = True, False

    def recall(self, member: Member) -> None:
        """Tell a busy member that what it has by now is waited for."""
        if not member.recalled:
            member.recalled = True
            with suppress(OSError):  # it is gone: whoever waits for it finds out
                member.pipe.send_bytes(pickle.dumps(RECALL))

    def receive(self, member: Member, budget: Budget | None = None) -> Any:
        """The result of the task that a member has in hand; raises Lost, and OutOfTime when the budget is spent."""
        try:
            while not member.pipe.poll(LOOK_S):
                if budget is not None:
                    budget.check()
            result = pickle.loads(member.pipe.recv_bytes())
        except (EOFError, OSError, pickle.UnpicklingError):
            self._lose(member)
            raise Lost from None
        member.busy = False
        return result

    def ready(self, timeout_s: float) -> list[Member]:
        """Members whose results, or whose ends, are there; waits for the first one."""
        busy = {member.pipe: member for member in self.members if member.busy}
        return [busy[pipe] for pipe in wait(list(busy), timeout_s) if isinstance(pipe, Connection)] if busy else []

    def close(self) -> None:
        """End all members, whatever they have in hand."""
        for member in list(self.members):
            self._end(member)

    def _lose(self, member: Member) -> None:
        self.lost += 1
        self._end(member)

    def _end(self, member: Member) -> None:
        self.members.remove(member)
        member.pipe.close()
        with suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            usage = os.wait4(member.pid, 0)[2]
            self.cpu_s += usage.ru_utime + usage.ru_stime


def _live(serve: Serve, pipe: Connection, others: list[Connection], parent: int) -> None:
    """The life of a member; ends with its process, quietly."""
    code = 1
    try:
        _set_apart(parent)
        for other in others:
            other.close()  # lest a member keep another one's pipe open when the run is gone
        while True:
            task = pickle.loads(pipe.recv_bytes())
            if task != RECALL:  # else it has met a result on the way
                pipe.send_bytes(pickle.dumps(serve(task, pipe.poll), protocol=5))
    except EOFError:
        code = 0
    except BaseException:  # noqa: BLE001 - a member that fails in any way is lost, and must not run on as a second parent
        code = 1
    finally:
        os._exit(code)


def _set_apart(parent: int) -> None:
    """No signal that is meant for the run is answered here; the end of the run ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    with suppress(OSError, AttributeError):  # Linux only; elsewhere the end of the pipe has to do
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def single_blas_thread() -> None:
    """Every process of a crew has one core: NumPy's OpenBLAS, if that is what it has, gets one thread from now on."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for path in {line.split()[-1] for line in lines if "openblas" in line.lower()}:
        library = ctypes.CDLL(path)
        for name in BLAS_SETTERS:
            if hasattr(library, name):
                getattr(library, name)(1)
                break
