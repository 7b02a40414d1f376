"""Deciding formulas of the floating-point theory: bitwuzla, cvc5 and z3, each in a process of its own, side by side.

Which solver is fastest, and whether bounds help it, differs from formula to formula by factors of 20 either way, so
each (solver, with or without presolve) is an attempt, some run at a time, and the first answer wins.  Both attempts of
the fastest solver come first: on full boxes bitwuzla is ahead of the others by factors of 2 to 15.

Answers are not taken on trust where something can be done about it.  A model is run in `ir.execute`: it counts when
that run violates, bit for bit.  After an `unsat` the time that is left goes to the other solvers, and a second `unsat`
makes it the word of both (bitwuzla had an open soundness report about conversions in November 2026).  One solver's
`unsat` with another's model that replays is no answer: SolversDisagree is raised.

Wall-clock time is kept by killing the process, CPU time and memory by limits that the process sets for itself.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.util import find_spec
from typing import IO

import numpy as np
import numpy.typing as npt

from farkas.encoders.fp_smtlib import Formula
from farkas.encoders.fp_worker import ENGINES, Model
from farkas.ir.execute import execute
from farkas.ir.graph import Graph
from farkas.specs.boxes import contains
from farkas.specs.query import Case, Semantics

Float32 = npt.NDArray[np.float32]
_COMMAND = (sys.executable, "-m", "farkas.encoders.fp_worker")
_POLL_S = 0.005
_MINIMUM_BYTES = 1 << 30  # address space; what a solver's libraries map is some hundred MB of it


class SolversDisagree(Exception):
    """Two solvers answered one formula differently, and the model of one was replayed: the other has a fault."""


@dataclass(frozen=True)
class Limits:
    """wall_s: for all attempts together; processes: at a time; memory_bytes: of all processes together; cpu_s: of one
    process, None for as long as there is time."""

    wall_s: float
    processes: int = 2
    memory_bytes: int = 4 << 30
    cpu_s: float | None = None

    @property
    def bytes_each(self) -> int:
        return max(_MINIMUM_BYTES, self.memory_bytes // self.processes)


@dataclass(frozen=True)
class Run:
    """What came of one attempt; detail: why there is no answer."""

    engine: str
    presolve: bool
    answer: str
    model: Model
    wall_s: float
    cpu_s: float
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Decision:
    """answer: `sat`, `unsat` or `unknown`; engines: who gave it; point (n0,): of `sat`; missing: not installed."""

    answer: str
    engines: tuple[str, ...]
    point: Float32 | None
    runs: tuple[Run, ...]
    missing: tuple[str, ...] = ()


def installed_solvers() -> tuple[str, ...]:
    """The solvers of the floating-point theory that can be loaded here, the fastest first."""
    return tuple(engine for engine in ENGINES if find_spec(engine) is not None)


def decide_fp(
    graph: Graph,
    case: Case,
    order: str,
    limits: Limits,
    *,
    engines: Sequence[str] | None = None,
    presolve: Sequence[bool] = (True, False),
    cross_check: bool = True,
    trusted: Collection[str] = (),
) -> Decision:
    """Whether some binary32 point of the case's box violates in one order of accumulation.

    engines: those asked, None for all that are installed; presolve: with bounds, without, or both; trusted: whose
    `unsat` is worth more time than that of two others.
    Raises what Formula.of raises, and SolversDisagree.
    """
    deadline = time.monotonic() + limits.wall_s
    wanted = tuple(sorted(ENGINES if engines is None else engines, key=lambda engine: engine not in trusted))
    present = installed_solvers()
    formulas = {bounded: Formula.of(graph, case, order, presolve=bounded) for bounded in presolve}
    attempts = [(engine, bounded) for engine in wanted if engine in present for bounded in presolve]
    awaited = frozenset(trusted) & {engine for engine, _ in attempts}
    asked = _Asked(graph, case, order, formulas, limits, deadline, cross_check, awaited)
    with asked.processes():
        answer, names, point = asked.decide(attempts)
    return Decision(answer, names, point, tuple(asked.runs), tuple(e for e in wanted if e not in present))


def replays(graph: Graph, case: Case, order: str, point: Float32) -> bool:
    """Whether a point of the input set violates in the reference run, all outputs finite."""
    inputs = [Fraction(float(v)) for v in point]
    outputs = execute(graph, point, order).ravel()
    if not np.isfinite(outputs).all() or not contains(case, inputs, Semantics.F32_ANY):
        return False
    return case.violated_disjunct(inputs, [Fraction(float(v)) for v in outputs]) is not None


@dataclass(eq=False)
class _Process:
    engine: str
    presolve: bool
    child: subprocess.Popen[str]
    output: IO[str]
    started: float

    def finished(self) -> Run | None:
        """What came of it; None while it runs."""
        pid, status, usage = os.wait4(self.child.pid, os.WNOHANG)
        if pid == 0:
            return None
        self.child.returncode = os.waitstatus_to_exitcode(status)
        wall_s, cpu_s = time.monotonic() - self.started, usage.ru_utime + usage.ru_stime
        self.output.seek(0)
        lines = self.output.read().splitlines()
        self.output.close()
        try:
            reply = json.loads(lines[-1])
            answer, model, detail = reply["answer"], reply["model"], reply["detail"]
        except (IndexError, TypeError, ValueError):
            code = self.child.returncode
            how = "out of CPU time" if -code in (signal.SIGXCPU, signal.SIGKILL) else f"exit code {code}, no answer"
            answer, model, detail = "unknown", {}, how
        return Run(self.engine, self.presolve, answer, model, wall_s, cpu_s, detail)

    def kill(self) -> Run:
        """End it; the run says for how long it went."""
        os.kill(self.child.pid, signal.SIGKILL)  # not send_signal, which collects a process that has just ended
        _, status, usage = os.wait4(self.child.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        self.output.close()
        cpu_s = usage.ru_utime + usage.ru_stime
        wall_s = time.monotonic() - self.started
        return Run(self.engine, self.presolve, "unknown", {}, wall_s, cpu_s, "stopped")


@dataclass(eq=False)
class _Asked:
    """One question while solvers work on it."""

    graph: Graph
    case: Case
    order: str
    formulas: dict[bool, Formula]
    limits: Limits
    deadline: float
    cross_check: bool
    awaited: frozenset[str]
    runs: list[Run] = field(default_factory=list)
    _running: list[_Process] = field(default_factory=list)

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Whatever happens, no process is left behind."""
        try:
            yield
        finally:
            self._stop(self._running)

    def decide(self, attempts: list[tuple[str, bool]]) -> tuple[str, tuple[str, ...], Float32 | None]:
        waiting, refuted = list(attempts), list[str]()
        while waiting or self._running:
            waiting = self._start(waiting)
            run = self._next()
            if run is None:
                break
            if run.answer == "sat":
                point = self.formulas[run.presolve].point(run.model)
                if replays(self.graph, self.case, self.order, point):
                    if refuted:
                        raise SolversDisagree(f"{refuted[0]}: unsat; {run.engine}: a model that replays, {point}")
                    return "sat", (run.engine,), point
                self.runs[-1] = replace(run, answer="unknown", detail=f"its model {point} does not replay")
            if run.answer == "unsat":
                refuted.append(run.engine)
                if self._suffice(refuted):
                    break
                waiting = [attempt for attempt in waiting if attempt[0] != run.engine]
                self._stop([p for p in self._running if p.engine == run.engine])
        return ("unsat" if refuted else "unknown"), tuple(refuted), None

    def _suffice(self, refuted: list[str]) -> bool:
        """Whether those who said `unsat` are enough: one, or two with one that is trusted among them where there is."""
        if not self.cross_check:
            return True
        return len(refuted) > 1 and (not self.awaited or not self.awaited.isdisjoint(refuted))

    def _start(self, waiting: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
        """Start attempts while there is room; returns those left."""
        rest = list(waiting)
        while rest and len(self._running) < self.limits.processes and time.monotonic() < self.deadline:
            self._running.append(self._spawn(*rest.pop(0)))
        return rest

    def _spawn(self, engine: str, presolve: bool) -> _Process:
        left_s = self.deadline - time.monotonic()
        seconds = max(1, math.ceil(left_s if self.limits.cpu_s is None else min(left_s, self.limits.cpu_s)))
        command = [*_COMMAND, engine, str(seconds), str(self.limits.bytes_each)]
        with tempfile.TemporaryFile("w+") as formula:  # files, not pipes: neither side ever waits for the other
            formula.write(self.formulas[presolve].text)
            formula.seek(0)
            output = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with its process
            child = subprocess.Popen(command, stdin=formula, stdout=output, stderr=subprocess.DEVNULL, text=True)
        return _Process(engine, presolve, child, output, time.monotonic())

    def _next(self) -> Run | None:
        """The next run to finish; None when time is up."""
        while time.monotonic() < self.deadline:
            for process in self._running:
                run = process.finished()
                if run is not None:
                    self._running.remove(process)
                    self.runs.append(run)
                    return run
            time.sleep(_POLL_S)
        return None

    def _stop(self, processes: Sequence[_Process]) -> None:
        for process in list(processes):
            self._running.remove(process)
            self.runs.append(process.kill())
