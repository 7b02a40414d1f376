"""Verdicts of `int-exact`: what a quantised network does, in exact integers.

    query -> integer program -> tasks (codes of each case's input set)
          -> falsify -> [ branch and bound on codes | CP-SAT ] by turns, longer ones each time -> verdict

Both ways are complete.  Branch and bound with linear bounds is quick where few inputs are free or a property has some
margin; CP-SAT sees the whole network at once, with the bounds of all nodes as domains, and is quick where few codes
matter.  `sat` leaves through `IntegerReplayer` only: the exact run and onnxruntime agree on every bit of the output.

What refutes is exact, but the checker has no rule for integer networks: the word is that of the engine `cp-sat`, which
stands for both ways, and the verdict is `unsat` only where the user trusts it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from farkas.encoders.cp_sat import Answer, CpSatModel, CpSatOptions
from farkas.engine.bab import Progress
from farkas.engine.budget import Budget
from farkas.engine.integer_replay import IntegerReplayer
from farkas.engine.integer_search import CodeSearch
from farkas.engine.integer_tasks import Task, tasks
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.replay import Replay
from farkas.engine.trusted import Trusted, Word
from farkas.engine.verdict import ArmStatistics, Holds, Reason, Statistics, Unknown, Verdict, Violated
from farkas.ir.errors import FarkasError, UnsupportedOperator
from farkas.ir.integer import IntegerProgram
from farkas.ir.integer_codes import input_codes
from farkas.ir.integer_lowering import lower_integer
from farkas.ir.linear import Vector

ENGINE = "cp-sat"
FIRST_SLICE_S = 0.5  # of either way; doubled every time round
FALSIFY_SHARE = 0.2  # of the time, at most
FALSIFY_S = 5.0


def verify_integer(query: Query, options: Options) -> Verdict:
    """Decide a query about a quantised network; raises UnsupportedOperator for what has no exact integer meaning."""
    run = _Run(query, options)
    verdict = run.decide()
    return replace(verdict, statistics=run.statistics(verdict))


@dataclass(eq=False)
class _Turn:
    """A task while others have their turns; `by`: what refuted it, "" as long as nothing has."""

    task: Task
    search: CodeSearch
    model: CpSatModel | None = None
    refuted: frozenset[int] = frozenset()  # positions of disjuncts that CP-SAT has refuted
    by: str = ""


class _Run:
    """One query being decided."""

    def __init__(self, query: Query, options: Options) -> None:
        self.query, self.options = query, options
        self.budget, self._cpu = Budget.of(options.timeout_s), time.process_time()
        self.program = _program(query)
        self.empty = _without_inputs(query, self.program)
        self.replayer = IntegerReplayer(query, self.program)
        self.rng = np.random.default_rng(options.seed)
        self.turns: list[_Turn] = []
        self.solves = 0
        self.attack_s = 0.0
        self.arm_s = 0.0
        self.refused = ""  # why CP-SAT could not be asked

    def decide(self) -> Verdict:
        for turn in self._prepared():
            self.turns.append(turn)
            found = self._falsify(turn)
            if found is not None:
                return self._violated(found)
        start = time.monotonic()
        found = self._search() if self.options.allows(ENGINE) else None
        self.arm_s = time.monotonic() - start
        if found is not None:
            return self._violated(found)
        if self.replayer.deviation is not None:
            return self._unknown(Reason.INCOMPLETE, self.replayer.deviation)
        left = [turn for turn in self.turns if not turn.by]
        return self._undecided(left) if left else self._holds()

    def _prepared(self) -> Iterator[_Turn]:
        """The tasks of all cases that have an input."""
        for number, case in enumerate(self.query.property.cases):
            if number in self.empty:
                continue
            for task in tasks(self.program, number, case, *self.query.sets.points[number]):
                yield _Turn(task, CodeSearch(task, self.rng))

    def _falsify(self, turn: _Turn) -> Replay | None:
        """Samples, then climbs unless the bounds of the whole set refute it."""
        start = time.monotonic()
        found = self._replay(turn, iter([turn.search.sample()]))
        if found is None and self.options.allows(ENGINE):
            found = self._replay(turn, islice(turn.search.rounds(self.budget), 1))
            self._settle(turn)
        if found is None and not turn.by:
            limit = FALSIFY_S if self.options.timeout_s is None else FALSIFY_SHARE * self.options.timeout_s
            found = self._replay(turn, turn.search.climbs(Budget.of(min(limit, self.budget.left_s))))
        self.attack_s += time.monotonic() - start
        return found

    def _replay(self, turn: _Turn, points: Iterator[Vector | None]) -> Replay | None:
        """The first point that replays; where onnxruntime deviates on one, the next may still do."""
        for point in points:
            found = None if point is None else self.replayer.attempt(turn.task.number, point)
            if found is not None:
                return found
        return None

    def _search(self) -> Replay | None:
        """Turns of all tasks until each is refuted or the time is over."""
        slice_s = FIRST_SLICE_S
        while not self.budget.is_spent:
            left = [turn for turn in self.turns if not turn.by and not turn.search.violated]
            if not left:
                return None
            for turn in left:
                found = self._bound(turn, slice_s) or self._solve(turn, slice_s)
                self._report()
                if found is not None:
                    return found
            slice_s *= 2.0
        return None

    def _bound(self, turn: _Turn, slice_s: float) -> Replay | None:
        found = self._replay(turn, turn.search.rounds(Budget.of(min(slice_s, self.budget.left_s))))
        self._settle(turn)
        return found

    def _settle(self, turn: _Turn) -> None:
        if turn.search.is_done:
            turn.by = f"{turn.search.closed} boxes of codes by bounds, {turn.search.run} by running all their codes"

    def _solve(self, turn: _Turn, slice_s: float) -> Replay | None:
        """Ask CP-SAT about the disjuncts that it has not refuted yet."""
        if turn.by or turn.search.violated or self.refused:
            return None
        try:
            return self._ask(turn, slice_s)
        except UnsupportedOperator as error:
            self.refused = str(error)
            return None

    def _ask(self, turn: _Turn, slice_s: float) -> Replay | None:
        task = turn.task
        if turn.model is None:
            codes = task.inputs.low[None], task.inputs.high[None]
            ranges = [(low[0], high[0]) for low, high in turn.search.propagator.refine(*codes)]
            turn.model = CpSatModel(self.program, task.inputs, ranges)
        for d, atoms in enumerate(task.atoms):
            if d in turn.refuted or self.budget.is_spent:
                continue
            self.solves += 1
            options = CpSatOptions(min(slice_s, self.budget.left_s), seed=self.options.seed)
            result = turn.model.solve(atoms, options)
            if result.answer is Answer.NONE:
                turn.refuted |= {d}
            if result.codes is not None:
                point = task.violating(result.codes[None])
                assert point is not None, f"CP-SAT's codes {result.codes} do not violate disjunct {task.disjuncts[d]}"
                turn.search.violated = True
                return self.replayer.attempt(task.number, point)
        if len(turn.refuted) == len(task.atoms):
            turn.by = f"{len(task.atoms)} disjuncts by CP-SAT"
        return None

    def _report(self) -> None:
        if self.options.report is not None:
            progress = Progress(
                boxes=sum(turn.search.boxes for turn in self.turns),
                leaves=sum(turn.search.closed + turn.search.run for turn in self.turns),
                open=sum(len(turn.search.queue) for turn in self.turns),
            )
            self.options.report(progress, self.budget.elapsed_s)

    # Verdicts.

    def _holds(self) -> Verdict:
        if self.empty:
            what = "binary32 point" if self.program.encode is not None else "code of the network's input"
            return self._unknown(
                Reason.INCOMPLETE,
                f"case {self.empty[0]} holds no {what}, so nothing about it can be claimed; widen the box",
            )
        words = [Word((ENGINE,), f"case {turn.task.number}: {turn.by}") for turn in self.turns]
        proof = Trusted(tuple(words) or (Word((ENGINE,), "no input at all reaches the unsafe region"),))
        if self.options.certify:
            return self._unknown(
                Reason.UNCERTIFIED,
                "refuted, but no certificate can be written: the checker has no rule for integer networks; "
                f"ask without a certificate and accept the engine's word with --trust {ENGINE}",
            )
        if not proof.accepted_by(self.options.trust):
            return self._unknown(
                Reason.UNCERTIFIED,
                f"refuted ({'; '.join(word.what for word in proof.words[:3])}), but the checker has no rule for "
                f"integer networks; accept the engine's word with --trust {ENGINE}",
                proof.evidence,
            )
        return Holds(proof, self.query.semantics, proof.evidence, self._warnings())

    def _undecided(self, left: list[_Turn]) -> Unknown:
        if not self.options.allows(ENGINE):
            return self._unknown(Reason.INCOMPLETE, f"the engine {ENGINE}, which alone decides these, was not allowed")
        boxes, open_ = sum(t.search.boxes for t in left), sum(len(t.search.queue) for t in left)
        told = f"CP-SAT: {self.refused}" if self.refused else f"{self.solves} runs of CP-SAT ended with their time"
        return self._unknown(
            Reason.TIMEOUT,
            f"after {self.budget.elapsed_s:.1f} s {boxes} boxes of codes bounded, {open_} open; {told}; "
            "allow more with --timeout, or make the input set smaller",
        )

    def _violated(self, found: Replay) -> Violated:
        return Violated(found, self.query.semantics, self._warnings())

    def _unknown(self, reason: Reason, detail: str, evidence: str = "") -> Unknown:
        return Unknown(reason, detail, self.query.semantics, self.query.property.vacuous, evidence=evidence)

    def _warnings(self) -> tuple[str, ...]:
        warnings = list(self.query.property.vacuous)
        if not self.query.property.cases:
            warnings.append("vacuous: the property admits no input at all")
        return tuple(warnings)

    def statistics(self, verdict: Verdict) -> Statistics:
        boxes = sum(turn.search.boxes for turn in self.turns)
        leaves = sum(turn.search.closed + turn.search.run for turn in self.turns)
        open_ = sum(len(turn.search.queue) for turn in self.turns if not turn.by)
        closest = min((turn.search.closest for turn in self.turns), default=np.inf)
        arm = ArmStatistics(ENGINE, self.arm_s, boxes, leaves, open_, self.solves)
        return Statistics(
            boxes=boxes,
            leaves=leaves,
            open=open_,
            closest=float(closest) if np.isfinite(closest) else None,
            time_s=self.budget.elapsed_s,
            cpu_s=time.process_time() - self._cpu,
            off_grid=self.query.sets.off_grid,
            arms=(arm,),
            attack_s=self.attack_s,
            programs=self.solves,
            rules=_rules(verdict),
        )


def _rules(verdict: Verdict) -> dict[str, int]:
    """Pieces of a proof by who refuted them."""
    return {str(rule): count for rule, count in verdict.tree.leaf_rules().items()} if isinstance(verdict, Holds) else {}


def _program(query: Query) -> IntegerProgram:
    """The query's integer program, when its sizes fit."""
    program, prop = lower_integer(query.graph), query.property
    if prop.monomials:
        raise FarkasError("the property speaks of products; those of quantised networks are linear so far")
    for what, declared, own in (
        ("inputs", prop.inputs, program.input_size),
        ("outputs", prop.outputs, program.output_size),
    ):
        if declared != own:
            raise FarkasError(
                f"the property declares {declared} {what} but the network has {own}; check that the two belong together"
            )
    return program


def _without_inputs(query: Query, program: IntegerProgram) -> tuple[int, ...]:
    """The cases whose box holds no binary32 point, or no code where the network takes codes."""
    empty = query.sets.empty
    if program.encode is not None:
        return empty
    boxes = enumerate(query.sets.points)
    return tuple(number for number, ends in boxes if number in empty or input_codes(program, *ends).is_empty)
