"""A checker's kernel whose waves are shared out among processes: the same numbers, the same verdicts.

The walk asks for a wave of tree nodes at a time, and each row of it is derived and closed by itself.  So a wave is cut
into one part for each process; every process runs the one kernel on its part, and the answers are put together in the
order of the rows.  Nothing of the rule is done here, and what passes through belongs to the checker and is not looked
at.  A part whose process is lost is done by this one.

A helper keeps what it has derived last, since that is what the walk asks it to close next.  Waves are longer, so that
the parts are as long as a wave for one process.  This process has the walk to do besides, and the states to hand over
(a quarter of the whole on ACAS Xu, next to nothing on wide networks), so its part is shorter, by as much as the last
wave has shown.  Property 2 on network 4_2, search and all, 2026-11-20: one process took 17.2 CPU seconds, the longer
one of two with equal parts 11.4, so 10.1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from farkas.engine.budget import Budget
from farkas.engine.crew import Crew, Lost, Member

FEWEST = 16  # rows of a part: with fewer, one process alone is as quick
LEAST = 1 / 16  # of the rows of a wave that this process does itself, so that it sees what they take


@dataclass(eq=False)
class SharedKernel:
    """`kernel` by `threads` processes, this one included; to be closed.  Waiting for others may raise OutOfTime."""

    kernel: Any
    threads: int
    budget: Budget
    crew: Crew | None = None

    @property
    def tier(self) -> str:
        return str(self.kernel.tier)

    @property
    def wave(self) -> int:
        return int(self.kernel.wave) * self.threads

    def prepare(self, network: Any, rounded: bool, intermediate: tuple[int, ...]) -> SharedProver:
        return self._shared(self.kernel.prepare(network, rounded, intermediate), self.wave)

    def prepare_plan(self, network: Any, rounded: bool, columns: tuple[int, ...]) -> SharedProver:
        prover = self.kernel.prepare_plan(network, rounded, columns)
        return self._shared(prover, int(prover.wave) * self.threads)

    def _shared(self, prover: Any, wave: int) -> SharedProver:
        self.close()
        self.crew = Crew(self.threads - 1, _Helper(prover).serve)
        return SharedProver(prover, wave, self.crew, self.budget)

    def close(self) -> None:
        if self.crew is not None:
            self.crew.close()


@dataclass(frozen=True, eq=False)
class Shared:
    """The states of the parts of a wave, in order; ends: where each part ends.

    serial: of the request that derived it; owners: of each part, the process that keeps it, None: this one.
    """

    states: tuple[Any, ...]
    ends: tuple[int, ...]
    serial: int = 0
    owners: tuple[int | None, ...] = (None,)

    def at(self, row: int) -> tuple[Any, int]:
        """State and row in it."""
        part, first = self.part(row)
        return self.states[part], row - first

    def part(self, row: int) -> tuple[int, int]:
        """The part that a row is in, and the first row of it."""
        part = next(p for p, end in enumerate(self.ends) if row < end)
        return part, self.ends[part - 1] if part else 0


@dataclass(eq=False)
class SharedProver:
    """A prover of either rule.  alone: what this process uses for its own part."""

    alone: Any
    wave: int
    crew: Crew
    budget: Budget
    _serial: int = 0
    _share_here: float = 1.0  # of the rows of a wave, times the processes: 1 for equal parts
    _rows: int = 0  # of this process's part of the last wave that was shared out
    _since: float = 0.0  # its CPU time when that wave began
    _alone_s: float = 0.0  # of it spent on its own part

    def start(self, count: int) -> Shared:
        return Shared((self.alone.start(count),), (count,))

    def gather(self, rows: Sequence[tuple[Shared, int]]) -> Shared:
        return Shared((self.alone.gather([state.at(row) for state, row in rows]),), (len(rows),))

    def begin(self, boxes: Sequence[Any]) -> Shared:
        return Shared((self.alone.begin(boxes),), (len(boxes),))

    def derive(self, parents: Shared, boxes: Sequence[Any]) -> Shared:
        return self._step("derive", parents, boxes)

    def advance(self, parents: Shared, steps: Sequence[Any]) -> Shared:
        return self._step("advance", parents, steps)

    def _step(self, name: str, parents: Shared, given: Sequence[Any]) -> Shared:
        (parent,) = parents.states  # the walk derives from what it has gathered, or from roots
        members = self.crew.idle[: max(0, len(given) // FEWEST - 1)]
        if not members:
            self._rows = 0
            return Shared((getattr(self.alone, name)(parent, given),), (len(given),))
        self._serial += 1
        ends = self._ends(len(given), len(members) + 1)

        def alone(part: tuple[int, int]) -> Any:
            rows = [(parent, row) for row in range(*part)]
            return getattr(self.alone, name)(self.alone.gather(rows), given[slice(*part)])

        def request(part: tuple[int, int]) -> Any:
            return name, self._serial, self.alone.gather([(parent, row) for row in range(*part)]), given[slice(*part)]

        states, owners = self._share(members, list(pairwise((0, *ends))), request, alone)
        return Shared(tuple(states), ends, self._serial, tuple(owners))

    def _ends(self, count: int, sharers: int) -> tuple[int, ...]:
        """Where the parts of a wave end: all equal but the first, this process's, which is done when the others are."""
        now = time.process_time()
        if self._rows:
            rows_s = self._alone_s / self._rows * count
            rest_s = now - self._since - self._alone_s
            self._share_here = min(1.0, max(LEAST, 1.0 - (sharers - 1) * rest_s / max(rows_s, 1e-9)))
        first = max(1, round(self._share_here * count / sharers))
        self._rows, self._since, self._alone_s = first, now, 0.0
        others = (count - first) / (sharers - 1)
        return tuple(first + round(others * part) for part in range(sharers))

    def close(self, state: Shared, rows: Sequence[int], claims: Sequence[Any]) -> list[bool]:
        asked: list[list[int]] = [[] for _ in state.states]
        for position, row in enumerate(rows):
            asked[state.part(row)[0]].append(position)
        by_pid = {member.pid: member for member in self.crew.idle}
        firsts = [0, *state.ends]

        def claimed(part: int) -> tuple[list[int], list[Any]]:
            return [rows[p] - firsts[part] for p in asked[part]], [claims[p] for p in asked[part]]

        def alone(part: int) -> Any:
            return self.alone.close(state.states[part], *claimed(part)) if asked[part] else []

        def request(part: int) -> Any:
            return "close", state.serial, *claimed(part)

        away = [p for p, owner in enumerate(state.owners) if owner in by_pid and asked[p]]
        here = [p for p in range(len(state.states)) if p not in away]
        members = [by_pid[owner] for p in away if (owner := state.owners[p]) is not None]
        found = {here[0]: alone(here[0])} if not members else {}
        if members:
            answers, _ = self._share(members, [here[0], *away], request, alone)
            found = dict(zip([here[0], *away], answers, strict=True))
        found |= {part: alone(part) for part in here[1:]}
        closed = {p: bool(c) for part, answer in found.items() for p, c in zip(asked[part], answer, strict=True)}
        return [closed[position] for position in range(len(rows))]

    def _share(
        self,
        members: Sequence[Member],
        parts: Sequence[Any],
        request: Callable[[Any], Any],
        alone: Callable[[Any], Any],
    ) -> tuple[list[Any], list[int | None]]:
        """The answers for all parts, the first of which is done here; and who keeps the others."""
        sent: list[Member | None] = []
        for member, part in zip(members, parts[1:], strict=True):
            try:
                self.crew.send(member, request(part))
                sent.append(member)
            except Lost:
                sent.append(None)
        begun = time.process_time()
        answers, owners = [alone(parts[0])], list[int | None]([None])
        self._alone_s += time.process_time() - begun
        for chosen, part in zip(sent, parts[1:], strict=True):
            try:
                if chosen is None:
                    raise Lost
                answers.append(self.crew.receive(chosen, self.budget))
                owners.append(chosen.pid)
            except Lost:
                answers.append(alone(part))
                owners.append(None)
        return answers, owners


@dataclass(eq=False)
class _Helper:
    """In a helper: the prover, and what it has derived last."""

    prover: Any
    last: tuple[int, Any] = (0, None)

    def serve(self, request: tuple[Any, ...], waited_for: Callable[[], bool]) -> Any:
        """A part is wanted whole, whoever waits for it."""
        name, serial, *given = request
        if name == "close":
            assert self.last[0] == serial, f"request {serial} is not about {self.last[0]}, the last that was derived"
            return self.prover.close(self.last[1], *given)
        self.last = serial, getattr(self.prover, name)(*given)
        return self.last[1]
