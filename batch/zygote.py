"""The parent of all workers: has imported everything once, and forks a process for each task.

An instance gets a process of its own, so that whatever it does to it (a crash in a native solver, an allocation beyond
the limit, a hang) is its own result; a fork of a process that has imported everything costs 5 ms where a start of
Python with NumPy, onnxruntime and the solvers costs 500.  A pool of long-lived workers would save the 5 ms and let an
instance meet what an earlier one has left behind.

Forking is safe because nothing runs beside it: BLAS has one thread, and no solver is called here.  (Importing
onnxruntime starts one thread, which waits for work; sessions made in the children start their own.)

Limits are kept from here, by a process that runs no native code: the wall clock by a timer; CPU time and memory of the
process and all its descendants by a look every 50 ms, with the kernel's own limits (RLIMIT_CPU, RLIMIT_AS) behind it
for what is faster than that.  Whoever exceeds one is killed with its whole session, and orphans come back to this
process, which ends them.  When the driver goes away, by whatever death, its end of the socket closes: then everything
is killed.  When this process dies, the kernel kills the workers (PR_SET_PDEATHSIG), and the driver starts another one.

A fork costs what it has to copy: with CP-SAT and z3 these are 85 MB of pages instead of 50, 2 ms more an instance, and
few suites need them.  So they are imported here only once a worker has imported one by itself (and paid up to 400 ms).

Tried: limits by `signal.alarm` in the worker (a native call ends first), by control groups (not writable in most
containers), by a watching process for every worker (twice the forks); to
copy the 2200 pages that a small instance writes to in one go (MADV_POPULATE_WRITE on what a first worker has written
to: 6 ms, as much as one by one).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from farkas.batch import procfs
from farkas.batch.ports import is_full
from farkas.batch.tasks import FAILED, NO_ROOM, OUT_OF_MEMORY, RESULT, End, Outcome, Task

LOOK_S = 0.05
REPORT_S = 1.0
LONGEST_MESSAGE = 1 << 20
PACKAGES = ("ir", "specs", "runtime_cuda", "encoders", "checker", "checker_fast", "engine")
OTHERS = ("farkas.api", "farkas.report", "onnxruntime", "networkx", "highspy")
LATER = ("z3", "ortools.sat.python.cp_model")  # once a worker has needed them
CALM_S = 2.0  # of the limits of all workers has to be left while the parent imports one of them
SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)  # by others, or the kernel
MARK = "FARKAS_TASK"  # in the environment of all programs that a worker starts
NEAR = 0.9  # of its limit
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass
class Worker:
    """A running task."""

    task: Task
    pid: int
    started: float
    oom_kills: int | None
    end: End = End.ITSELF
    resident: int = 0
    peak: int = 0


class Zygote:
    """Takes tasks from a socket, forks, watches, reports."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._workers: dict[int, Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._next_report = 0.0
        self._wishes, self._wish = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wished: list[str] = []

    def serve(self) -> None:
        """Until the driver hangs up."""
        try:
            while True:
                for key, _ in self._selector.select(LOOK_S if self._workers else None):
                    if key.fileobj is self._channel and not self._receive():
                        return
                self._watch()
                self._reap()
                self._report()
                self._import()
        except ConnectionError:
            return  # the driver is gone
        finally:
            for pid in list(procfs.tree(os.getpid()))[1:]:
                _kill(pid)

    def _receive(self) -> bool:
        message = self._channel.recv(LONGEST_MESSAGE)
        if not message:
            return False
        values = json.loads(message)
        if "evict" in values:
            for worker in self._workers.values():
                if worker.task.id == values["evict"]:
                    self._end(worker, End.EVICTED)
        else:
            self._start(Task.from_json(values))
        return True

    def _start(self, task: Task) -> None:
        started = time.monotonic()
        oom_kills = procfs.oom_kills()
        pid = os.fork()
        if pid == 0:
            self._selector.close()
            self._channel.close()
            _work(task, self._wish)
        self._workers[pid] = Worker(task, pid, started, oom_kills)
        with contextlib.suppress(AttributeError, OSError):  # without it a look every 50 ms finds the end as well
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)

    def _watch(self) -> None:
        """Ends what has exceeded a limit."""
        now = time.monotonic()
        orphans = self._orphans()
        for worker in self._workers.values():
            limits = worker.task.limits
            if worker.end is not End.ITSELF:
                continue
            if now - worker.started > limits.wall_s:
                self._end(worker, End.WALL)
                continue
            family = [pid for root in (worker.pid, *orphans.get(worker.task.id, ())) for pid in procfs.tree(root)]
            worker.resident = sum(map(procfs.resident, family))
            worker.peak = max(worker.peak, worker.resident)
            if limits.memory_bytes is not None and worker.resident > limits.memory_bytes:
                self._end(worker, End.MEMORY)
            elif limits.cpu_s is not None and sum(map(procfs.cpu_seconds, family)) > limits.cpu_s:
                self._end(worker, End.CPU)

    def _end(self, worker: Worker, why: End) -> None:
        worker.end = why
        _kill(worker.pid)

    def _reap(self) -> None:
        """Reports every worker that has ended; ends what it has left behind."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue  # an orphan of a worker
            wall = time.monotonic() - worker.started
            for key in list(self._selector.get_map().values()):
                if key.data == pid:
                    self._selector.unregister(key.fileobj)
                    os.close(key.fd)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self._end_orphans()
            code = os.waitstatus_to_exitcode(status)
            cpu, peak = usage.ru_utime + usage.ru_stime, max(usage.ru_maxrss * 1024, worker.peak)
            end = _ended_by(worker, code, cpu, peak)
            self._send(asdict(Outcome(worker.task.id, code, end, wall, cpu, peak)))

    def _import(self) -> None:
        """Imports what a worker has needed, when no limit comes near."""
        with contextlib.suppress(BlockingIOError):
            self._wished += [name for name in os.read(self._wishes, 4096).decode().split() if name in LATER]
        left = (worker.started + worker.task.limits.wall_s - time.monotonic() for worker in self._workers.values())
        if self._wished and min(left, default=CALM_S) >= CALM_S:
            with contextlib.suppress(Exception):
                import_module(self._wished.pop())
                gc.freeze()

    def _orphans(self) -> dict[str, list[int]]:
        """By task: the processes that have outlived the one that started them, and so come to this one."""
        found: dict[str, list[int]] = {}
        for pid in procfs.children(os.getpid()):
            if pid not in self._workers:
                found.setdefault(procfs.variable(pid, MARK), []).append(pid)
        return found

    def _end_orphans(self) -> None:
        """Kills what ended workers have left in sessions of their own: it has come back to this process."""
        orphans, tasks = self._orphans(), {worker.task.id for worker in self._workers.values()}
        roots = [*self._workers, *(pid for task in tasks for pid in orphans.get(task, ()))]
        own = {pid for root in roots for pid in procfs.tree(root)}
        for pid in list(procfs.tree(os.getpid()))[1:]:
            if pid not in own:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _report(self) -> None:
        now = time.monotonic()
        if self._workers and now >= self._next_report:
            self._next_report = now + REPORT_S
            self._send({"resident": {worker.task.id: worker.resident for worker in self._workers.values()}})

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.sendall(json.dumps(message).encode())


def _ended_by(worker: Worker, code: int, cpu_s: float, peak_bytes: int) -> End:
    """Who ended a worker that has ended."""
    if code == 0:
        return End.ITSELF
    if worker.end is not End.ITSELF or -code not in SENT:
        return worker.end
    limits = worker.task.limits
    if code == -signal.SIGXCPU or (limits.cpu_s is not None and cpu_s >= limits.cpu_s):
        return End.CPU
    return End.KERNEL if _is_short(worker, peak_bytes) else End.OUTSIDE


def _is_short(worker: Worker, peak_bytes: int) -> bool:
    """Whether a worker may have been killed for its memory: the kernel has killed some process since it began, or it
    was near its limit, or there would not be room for it twice now that it is gone."""
    now, free, limit = procfs.oom_kills(), procfs.available(), worker.task.limits.memory_bytes
    if now is not None and now != worker.oom_kills:
        return True
    if limit is not None and peak_bytes > NEAR * limit:
        return True
    return free is not None and free < 2 * peak_bytes


def _kill(pid: int) -> None:
    """Kills a worker's whole session (its process group: workers begin a session of their own)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)  # it may not have come to have a group yet


def _prctl(option: int, value: int) -> None:
    """Linux only; without it orphans go elsewhere and workers outlive a zygote that was killed, until their limits."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


# In the child


def _work(task: Task, wish: int) -> NoReturn:
    """Everything that a worker does; wish: where it says what it had to import."""
    code, known = FAILED, [name for name in LATER if name in sys.modules]
    try:
        os.setsid()
        os.environ[MARK] = task.id
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _redirect(Path(task.folder))
        _limit(task)
        if task.command:
            os.execvp(task.words[0], task.words)
        module, _, name = task.function.partition(":")
        result = getattr(import_module(module), name)(dict(task.arguments), Path(task.folder))
        place = Path(task.folder) / (RESULT + ".part")
        place.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
        place.replace(place.with_name(RESULT))
        code = 0
    except MemoryError:
        code = OUT_OF_MEMORY
    except BaseException as error:  # noqa: BLE001 - the outermost frame of a process
        if isinstance(error, OSError) and is_full(error):
            code = NO_ROOM
        else:
            import traceback

            traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            if lacked := [name for name in LATER if name in sys.modules and name not in known]:
                os.write(wish, (" ".join(lacked) + " ").encode())
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _redirect(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)


def _limit(task: Task) -> None:
    """The kernel's own limits, behind those that the zygote keeps."""
    limits = task.limits
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # if the kernel must kill, then this one
    if limits.cpu_s is not None:
        seconds = int(limits.cpu_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if limits.memory_bytes is not None:
        pid = os.getpid()
        shared = 0 if task.command else max(0, procfs.address_space(pid) - procfs.resident(pid))
        with contextlib.suppress(ValueError, OSError):
            limit = shared + limits.memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def preload() -> None:
    """Imports what a task may need; what is not installed, or fails, is met by the task that needs it."""
    import pkgutil

    names = [*OTHERS]
    for package in PACKAGES:
        found = import_module(f"farkas.{package}")
        names += [info.name for info in pkgutil.walk_packages(found.__path__, f"farkas.{package}.")]
    for name in names:
        with contextlib.suppress(Exception):
            import_module(name)
    with contextlib.suppress(Exception):  # whatever fails here, fails in a worker, and is told there
        import_module("farkas.batch.warmth").decide()
    gc.collect()
    gc.freeze()


def main(descriptor: int, *, warm: bool) -> None:
    """Serves the driver at the other end of a socket."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    channel = socket.socket(fileno=descriptor)
    if warm:
        preload()
    Zygote(channel).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), warm=sys.argv[2] == "warm")
