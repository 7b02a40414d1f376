"""One family's part of a run: its attack, its portfolio, and the boxes that only rounding errors keep open.

A turn works until it is told to let others work, until its cases are proved, or until what is open cannot be closed by
bounds; a witness ends it at once.  Then `pieces` says what is left: the boxes that were set aside where input splitting
has come to its end, else the cases as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from farkas.engine.arms import InputArm, Task, arms
from farkas.engine.bab import Candidate
from farkas.engine.ball import linear
from farkas.engine.budget import Budget
from farkas.engine.falsify import Attack
from farkas.engine.gap import Gap, Sieve
from farkas.engine.ladder import Piece
from farkas.engine.options import Options
from farkas.engine.portfolio import Portfolio, Turn
from farkas.engine.problem import Family, Matrix, Vector
from farkas.engine.query import Query
from farkas.engine.replay import Replay, Replayer
from farkas.engine.trusted import Word
from farkas.engine.verdict import Unknown
from farkas.ir.core import Program, run_float
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.specs.boxes import down32, up32
from farkas.specs.query import Case, Semantics

if TYPE_CHECKING:
    from farkas.engine.subtrees import Team

MARGIN = (
    2.0**-30
)  # what else the checker's integers may cost a leaf (constants at 2^-40); a leaf that loses more is split further
GRADIENT_STEPS = 20
STRONG_STEPS = 16  # of the strong attack between two descents from the search's own candidates
REPLAYS_A_BATCH = 4


@dataclass(frozen=True, eq=False)
class Context:
    """What the turns of a run share."""

    query: Query
    options: Options
    budget: Budget
    replayer: Replayer
    report: Callable[[FamilyTurn], None]
    team: Team | None = None


def _outputs(program: Program, x: Matrix) -> Matrix:
    return np.asarray(run_float(program, x)[program.output])


@dataclass(eq=False)
class FamilyTurn:
    """A family's portfolio while others take their turns; `recent`: candidates for the attack to start from."""

    context: Context
    attack: Attack
    task: Task
    recent: deque[Candidate] = field(default_factory=lambda: deque(maxlen=8))
    ended: bool = False
    lost: list[Unknown] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    details: tuple[str, ...] = ()
    elsewhere: frozenset[Semantics] = frozenset()

    @staticmethod
    def of(context: Context, attack: Attack, net: Prepared) -> FamilyTurn:
        query, options = context.query, context.options
        task = Task(
            net,
            attack.family,
            query.semantics.is_binary32,
            MARGIN if options.certify else 0.0,
            partial(_outputs, query.program),
            options.memory_bytes // 2,
            options.branching,
            options.engines,
            options.milp_solver,
            team=context.team,
        )
        rest = linear(attack.family, query.property.outputs) if query.property.monomials else None
        if rest is not None and not query.lowered.has_products:
            alone = prepare(query.lowered, binary32=task.binary32, backend=net.backend, resolution=net.resolution)
            task = replace(task, net=alone, family=rest, evaluate=partial(_outputs, query.lowered))
        return FamilyTurn(context, attack, task)

    def __post_init__(self) -> None:
        found = arms(self.task)
        budget = self.context.budget
        self.portfolio = Portfolio.of(self.task.cases, found, self._attacks(), budget)
        self.rounds = self.portfolio.rounds(budget)
        self.sieve: Sieve | None = None
        self.by_input = next((arm for arm in found if isinstance(arm, InputArm)), None)
        if self.task.binary32 and self.by_input is not None:
            net = self.task.net
            self.sieve = Sieve(net.program, net, self.task.family, self.task.margin, net.backend)
            self.by_input.search.sieve = self.sieve

    def by_cases(self) -> None:
        """A solver says that nothing violates and a certificate is wanted: nothing but trees over the neurons' signs,
        guided by linear programs whose multipliers close the leaves, from now on.

        Over an ellipsoid, of which linear programs know nothing, the arms go on as they were."""
        if self.task.family.ball is not None:
            self.ended = False
            return
        budget = self.context.budget
        for turn in self.portfolio.turns:
            turn.ended = True
        for arm in arms(replace(self.task, engines=frozenset({"milp"}))):
            for case in self.portfolio.proofs:
                arm.skip(case)
            self.portfolio.turns.append(Turn(arm, arm.rounds(budget)))
        self.rounds, self.ended = self.portfolio.rounds(budget), False

    @property
    def family(self) -> Family:
        return self.attack.family

    @property
    def is_proved(self) -> bool:
        """By bounds, or by words for whatever they leave."""
        return self.portfolio.is_proved or bool(self.words)

    @property
    def gaps(self) -> list[Gap]:
        return [] if self.sieve is None else self.sieve.found

    def run(self, length_s: float) -> Replay | None:
        """Work for a while; a witness, if one is met."""
        budget = self.context.budget
        end_s = budget.elapsed_s + length_s
        while not self.ended and budget.elapsed_s < end_s:
            known = len(self.gaps)
            candidates = next(self.rounds, None)
            if candidates is None:
                self.ended = True
                return None
            self.recent.extend(candidates[:4])
            found = self.replayed([self._snap(c) for c in candidates])
            if found is None and len(self.gaps) > known:
                found = self._at_gaps(self.gaps[known:])
            if found is not None:
                return found
            self.context.report(self)
            self.ended = self._is_hopeless
        return None

    @property
    def _is_hopeless(self) -> bool:
        """Whether boxes are all cut or set aside, and every case without a proof has one that is."""
        if self.by_input is None or not self.gaps or not self.by_input.search.is_done:
            return False
        unproved = set(range(self.task.cases)) - self.portfolio.proofs.keys()
        return bool(unproved) and unproved <= {gap.case for gap in self.gaps}

    def _at_gaps(self, gaps: list[Gap]) -> Replay | None:
        """Replay the very points at which bounds fail, though nothing violates there in float64."""
        worst = sorted(gaps, key=lambda gap: gap.margin)[:REPLAYS_A_BATCH]
        return self.replayed([Candidate(gap.case, gap.point, 0.0) for gap in worst])

    def replayed(self, candidates: list[Candidate]) -> Replay | None:
        return replayed(self.context, self.family, candidates)

    def _case(self, number: int) -> Case:
        return self.context.query.property.cases[number]

    def _snap(self, candidate: Candidate) -> Candidate:
        """The nearest point that may be replayed, with its own slack."""
        attack = self.attack
        point = np.clip(candidate.point, attack.points_lower[candidate.case], attack.points_upper[candidate.case])
        if self.task.binary32:
            point = point.astype(np.float32).astype(np.float64)
        point = attack.ties.points(point)
        case = np.array([candidate.case])
        return Candidate(candidate.case, point, float(attack.slack(point[None], case)[0]))

    def _attacks(self) -> Iterator[list[Candidate]]:
        """The strong attack, and now and then a descent from where the search believes a witness to be."""
        attack, budget = self.attack, self.context.budget
        if not len(self.family.y_rows):
            return  # no atoms, nothing to climb
        strong = attack.strong(budget, np.inf)
        steps = 2
        while not budget.is_spent:
            met = 0
            for found in islice(strong, steps):
                met += 1
                yield found
            for found in attack.descend(attack.sample(64)[:8] + list(self.recent), GRADIENT_STEPS, budget):
                met += 1
                yield found
            if not met:
                return
            steps = STRONG_STEPS

    @property
    def closed(self) -> int:
        """Leaves that bounds have closed, in the trees of proved cases and around what was left over."""
        proofs = self.portfolio.proofs
        whole = sum(tree.leaves for _, tree in proofs.values())
        if self.by_input is None or len(proofs) == self.task.cases:
            return whole
        return whole + self.by_input.progress.leaves

    # What is left

    @property
    def unproved(self) -> list[int]:
        """Cases, by their number in the property, without a proof."""
        proofs = self.portfolio.proofs
        return [number for case, number in enumerate(self.family.members) if case not in proofs]

    def whole(self) -> list[Piece]:
        """The cases without a proof, as they are."""
        return [self._piece(number, self._case(number).lower, self._case(number).upper) for number in self.unproved]

    def pieces(self) -> list[Piece]:
        """What is left when the turn has ended: boxes that were left over, or whole cases."""
        search = None if self.by_input is None else self.by_input.search
        if search is None or not search.is_done or not search.progress.boxes:
            return self.whole()
        proofs = self.portfolio.proofs
        left = [(case, low, high) for case, low, high in search.left_over if case not in proofs]
        covered = {case for case, _, _ in left}
        if covered != set(range(self.task.cases)) - proofs.keys():
            return self.whole()
        return [piece for case, low, high in left if (piece := self._part(case, low, high)) is not None]

    def _part(self, case: int, lower: Vector, upper: Vector) -> Piece | None:
        """The piece of a box on the grid; None when it holds no point of the input set."""
        number = self.family.members[case]
        whole = self._case(number)
        ends = [
            (max(low, Fraction(a)), min(high, Fraction(b)))
            for low, high, a, b in zip(whole.lower, whole.upper, lower.tolist(), upper.tolist(), strict=True)
        ]
        if any(low > high for low, high in ends):
            ends = [(Fraction(a), Fraction(b)) for a, b in zip(lower.tolist(), upper.tolist(), strict=True)]
        piece = self._piece(number, tuple(low for low, _ in ends), tuple(high for _, high in ends))
        return None if any(low > high for low, high in zip(piece.lower, piece.upper, strict=True)) else piece

    def _piece(self, number: int, lower: tuple[Fraction, ...], upper: tuple[Fraction, ...]) -> Piece:
        case = self._case(number)
        if self.task.binary32:
            at = self.family.members.index(number)
            points = self.attack.points_lower[at].tolist(), self.attack.points_upper[at].tolist()
            lower = tuple(_inside(up32(v), p) if a < b else Fraction(p)
                          for v, a, b, p in zip(lower, case.lower, case.upper, points[0], strict=True))  # fmt: skip
            upper = tuple(_inside(down32(v), p) if a < b else Fraction(p)
                          for v, a, b, p in zip(upper, case.lower, case.upper, points[1], strict=True))  # fmt: skip
        return Piece(number, case, lower, upper, tuple(range(len(case.disjuncts))))


def _inside(value: float | None, end: float) -> Fraction:
    """A binary32 end of a piece; the case's own where rounding leaves the range."""
    return Fraction(end if value is None else value)


def replayed(context: Context, family: Family, candidates: list[Candidate]) -> Replay | None:
    """The record of the first candidate that violates; those that do not in float64 are not tried."""
    for candidate in sorted(candidates, key=lambda c: -c.slack)[:REPLAYS_A_BATCH]:
        if candidate.slack < 0:
            return None
        number = family.members[candidate.case]
        found = context.replayer.attempt(number, context.query.property.cases[number], candidate.point)
        if found is not None:
            return found
    return None
