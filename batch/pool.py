"""The driver's side of the zygote: hands out tasks, gets outcomes, starts another zygote when one is gone."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import farkas
from farkas.batch.tasks import End, Outcome, Task
from farkas.batch.zygote import LONGEST_MESSAGE
from farkas.process import THREAD_VARIABLES


class Pool:
    """Use as a context; leaving it kills whatever still runs."""

    def __init__(self, environment: Mapping[str, str] | None = None, *, warm: bool = True) -> None:
        """warm: the parent of all workers imports what verifiers need before it forks the first one."""
        self._warm = "warm" if warm else "cold"
        self._environment = dict(os.environ if environment is None else environment)
        self._running: dict[str, Task] = {}
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.resident: dict[str, int] = {}
        self.restarts = -1

    def __enter__(self) -> Pool:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def running(self) -> Mapping[str, Task]:
        return self._running

    @property
    def zygote(self) -> int:
        """The process id of the parent of all workers."""
        assert self._process is not None, "a pool is used inside its context"
        return self._process.pid

    def start(self, task: Task) -> None:
        """Begins a task; its outcome comes from `wait`."""
        self._running[task.id] = task
        self._send(task.as_json())

    def evict(self, task: str) -> None:
        """Ends a running task; its outcome says `evicted`."""
        self._send(json.dumps({"evict": task}))

    def ready(self) -> bool:
        """Whether `wait` has something to say at once."""
        assert self._channel is not None, "a pool is used inside its context"
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            return bool(selector.select(0))

    def wait(self, timeout_s: float) -> list[Outcome]:
        """The outcomes of tasks that have ended, at most so many seconds later; none if none has."""
        assert self._channel is not None, "a pool is used inside its context"
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            found: list[Outcome] = []
            while selector.select(0 if found else timeout_s):
                message = self._message()
                if message is None:
                    return found + self._lost()
                values = json.loads(message)
                if "resident" in values:
                    self.resident = values["resident"]
                    if not found:
                        return []  # so that the driver can look at the memory
                    continue
                outcome = Outcome(**{**values, "end": End(values["end"])})
                self._running.pop(outcome.id, None)
                self.resident.pop(outcome.id, None)
                found.append(outcome)
            return found

    def _message(self) -> bytes | None:
        assert self._channel is not None, "a pool is used inside its context"
        try:
            return self._channel.recv(LONGEST_MESSAGE) or None
        except ConnectionError:
            return None

    def _send(self, text: str) -> None:
        assert self._channel is not None, "a pool is used inside its context"
        with contextlib.suppress(ConnectionError):  # the zygote is gone: `wait` finds out and says what was lost
            self._channel.sendall(text.encode())

    def _lost(self) -> list[Outcome]:
        """The zygote is gone, and all workers with it: another one is started."""
        lost = [Outcome(name, -9, End.LOST, 0.0, 0.0, 0) for name in self._running]
        self._running.clear()
        self._stop()
        self._start()
        return lost

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = str(Path(farkas.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (root, self._environment.get("PYTHONPATH"))))
        threads = dict.fromkeys((*THREAD_VARIABLES, "MALLOC_ARENA_MAX"), "1")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "farkas.batch.zygote", str(theirs.fileno()), self._warm],
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True,
                env={**self._environment, **threads, "PYTHONPATH": path},
            )  # fmt: skip
        self._channel = ours
        self.restarts += 1

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            if self._process.returncode is None:
                self._process.kill()
                self._process.wait()
        self._channel = self._process = None
