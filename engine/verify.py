"""The pipeline: from a query to a verdict.

    query -> lower -> falsify (samples) -> portfolio (bounds, splits, candidates; gradients beside) -> verdict
                                               | what bounds cannot close                     -> certify -> verdict
                                               v
                                           ladder (one order, enumeration, solvers) -> verdict

Every family of cases has a portfolio of its own; they take turns, longer ones each time round.  `sat` leaves through
the `Replayer` only, `unsat` through `close`, or as `Trusted` words when the user trusts those who give them; everything
else is `unknown`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from farkas.engine.arms import InputArm
from farkas.engine.bab import Progress
from farkas.engine.budget import Budget
from farkas.engine.certify import BEYOND_RULES, beyond_checker, certify_holds, certify_violated
from farkas.engine.climb import Climber
from farkas.engine.falsify import Attack
from farkas.engine.ladder import Piece
from farkas.engine.options import Options
from farkas.engine.polish import polish
from farkas.engine.problem import Family, Matrix
from farkas.engine.query import Query
from farkas.engine.repair import Proved
from farkas.engine.replay import Replay, Replayer
from farkas.engine.statistics import statistics
from farkas.engine.tree import ProofTree, close
from farkas.engine.trusted import Trusted, Word
from farkas.engine.turns import Context, FamilyTurn, replayed
from farkas.engine.undecided import of_gap, report_of_gap, still_open, stuck
from farkas.engine.verdict import GapReport, Holds, Reason, Unknown, Verdict, Violated
from farkas.ir.core import Affine
from farkas.ir.error_terms import LARGEST_COUNT
from farkas.ir.errors import FarkasError
from farkas.runtime_cuda.backend import Backend, cupy_backend, numpy_backend
from farkas.runtime_cuda.crown import Propagator
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.specs.query import Semantics

if TYPE_CHECKING:
    from farkas.engine.subtrees import Team

RESOLUTION = 2.0**-24  # the checker's grid: with a certificate in view, bounds that allow for it are confirmed by it
FIRST_SAMPLES = 256
FIRST_TURN_S = 5.0  # of a family before the next one has its turn; doubled every time round
FIRST_CLIMB_S = 2.0  # of search before the ladder looks at whole cases; four times as long before it does so again
HUNT_S = 10.0  # for a witness in the gap, or as long as the search took
CLIMB_SHARE = 0.3  # of the time spent so far: what it may take then


def verify(query: Query, options: Options) -> Verdict:
    """Decide the query within the options' limits."""
    if query.semantics is Semantics.INT_EXACT:
        from farkas.engine.integer_verify import verify_integer

        return verify_integer(query, options)
    run = _Run(query, options)
    # Overflow to infinity and NaN are values like others here: they prove nothing.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        try:
            verdict = run.decide()
        finally:
            run.close()
        if isinstance(verdict, Holds) and options.certify:
            verdict = certify_holds(query, verdict, run.proved(), run.budget, options.threads)
        if isinstance(verdict, Violated) and options.certify:
            verdict = certify_violated(query, verdict)
    found = statistics(query, run.turns, run.climber, verdict, run.backend.name, run.budget, run.cpu_s, run.team)
    return replace(verdict, statistics=found)


def _cpu_s() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def _team(threads: int) -> Team | None:
    if threads == 1:
        return None
    from farkas.engine.subtrees import Team

    return Team(threads)


class _Run:
    """One query being decided: its program on a backend, its searches, its clock."""

    def __init__(self, query: Query, options: Options) -> None:
        self.query = query
        self.options = options
        self.budget = Budget.of(options.timeout_s)
        self._cpu = _cpu_s()
        self.rng = np.random.default_rng(options.seed)
        self.backend: Backend = cupy_backend() if options.device == "cupy" else numpy_backend()
        self.program = query.program
        self.replayer = Replayer(query.graph, self.program, query.network, query.semantics, query.parts, query.ties)
        self.climber = Climber(query, options, self.replayer, self.budget)
        self.turns: list[FamilyTurn] = []
        self.team = _team(options.threads)
        self.net: Prepared | None = None
        self._reported = 0.0
        self._next_climb_s = FIRST_CLIMB_S

    @property
    def binary32(self) -> bool:
        return self.query.semantics.is_binary32

    @property
    def cpu_s(self) -> float:
        return _cpu_s() - self._cpu

    def close(self) -> None:
        """Let go whoever helped."""
        if self.team is not None:
            self.team.close()

    def decide(self) -> Verdict:
        """Falsify, search family by family, then climb the ladder with what is left."""
        limit = self._limits()
        if limit is not None:
            return limit
        found = self._falsify() or self._search() or self._climb()
        if found is not None:
            return self._violated(found)
        undecided = [self._outcome(turn) for turn in self.turns if not turn.is_proved]
        return undecided[0] if undecided else self._holds()

    def _falsify(self) -> Replay | None:
        """The first points; the turns of all families, when none of them violates."""
        families = [f for f in self.query.families if not set(f.members) <= set(self.query.sets.empty)]
        attacks = [self._attack(family) for family in families]
        context = Context(self.query, self.options, self.budget, self.replayer, self._report, self.team)
        for attack in attacks:
            if not attack.family.disjuncts:
                continue  # nothing is unsafe
            found = replayed(context, attack.family, attack.sample(self._samples))
            if found is not None:
                return found
        self.net = prepare(
            self.program,
            binary32=self.binary32,
            backend=self.backend,
            resolution=RESOLUTION if self.options.certify else 0.0,
        )
        self.turns = [FamilyTurn.of(context, attack, self.net) for attack in attacks]
        for turn in self.turns:
            overflow = self._overflow(0.5 * (turn.family.lower[:1] + turn.family.upper[:1]))
            if overflow is not None:
                turn.ended = True
                turn.lost.append(overflow)
        return None

    def _search(self) -> Replay | None:
        """Families in turns until each has ended."""
        length_s = FIRST_TURN_S
        while any(not turn.ended for turn in self.turns):
            for turn in self.turns:
                alone = len(self.turns) == 1
                found = turn.run(self._until_climb if alone else min(length_s, self._until_climb))
                found = found or self._climb_early(turn)
                if found is not None:
                    return found
            length_s *= 2.0
        return None

    @property
    def _until_climb(self) -> float:
        return max(0.1, self._next_climb_s - self.budget.elapsed_s)

    def _climb_early(self, turn: FamilyTurn) -> Replay | None:
        """Now and then the ladder looks at the whole cases of a search that takes long: a solver may be quicker."""
        if turn.ended or self.budget.elapsed_s < self._next_climb_s or self.query.semantics is Semantics.F32_ANY:
            return None
        self._next_climb_s *= 4.0
        found = self._settle(turn, turn.whole(), CLIMB_SHARE * self.budget.elapsed_s)
        if turn.words and self.options.certify:
            turn.by_cases()
        return found

    def _climb(self) -> Replay | None:
        """The ladder, for what the searches left though they had time."""
        for turn in self.turns:
            if turn.is_proved or turn.lost or self.budget.is_spent:
                continue
            found = self._settle(turn, turn.pieces(), self._climb_s)
            if found is None and turn.words and self.options.certify:
                turn.by_cases()
                found = turn.run(self.budget.left_s)
            if found is not None:
                return found
        return None

    @property
    def _climb_s(self) -> float:
        """For what is left of one turn.  In `f32-any` most rungs only look for a witness, which may not exist."""
        if self.query.semantics is not Semantics.F32_ANY:
            return self.budget.left_s
        return min(self.budget.left_s, max(HUNT_S, self.budget.elapsed_s))

    def _settle(self, turn: FamilyTurn, pieces: Sequence[Piece], time_s: float) -> Replay | None:
        """Decide pieces one after another; words for all of them settle the turn."""
        words: list[Word] = []
        elsewhere: list[frozenset[Semantics]] = []
        for position, piece in enumerate(pieces):
            left = len(pieces) - position
            climbed = self.climber.decide(piece, min(time_s, self.budget.left_s) / left)
            if climbed.replay is not None:
                return climbed.replay
            if climbed.word is not None:
                words.append(climbed.word)
            else:
                turn.details = climbed.details
                elsewhere.append(climbed.elsewhere)
                if not climbed.elsewhere:
                    break
        if pieces and len(words) == len(pieces):
            turn.words, turn.ended = words, True
        elif len(words) + len(elsewhere) == len(pieces) and elsewhere:
            turn.elsewhere = frozenset.intersection(*elsewhere)
        return None

    @property
    def _samples(self) -> int:
        """Fewer first points on large networks, where each one costs milliseconds."""
        return max(16, min(FIRST_SAMPLES, 2_000_000 // sum(self.program.sizes)))

    def _limits(self) -> Unknown | None:
        """Obligations that no search can meet."""
        if not self.binary32:
            return None
        for node, name in zip(self.program.nodes, self.program.names, strict=True):
            if isinstance(node, Affine) and node.rounding.count > LARGEST_COUNT:
                return self._unknown(
                    Reason.UNSUPPORTED,
                    f"node '{name}' sums {node.rounding.count} terms, more than any-order error bounds cover",
                )
        return None

    def _attack(self, family: Family) -> Attack:
        points = [self.query.sets.points[m] for m in family.members]
        lower, upper = np.array([p[0] for p in points]), np.array([p[1] for p in points])
        return Attack(self.program, family, lower, upper, self.rng)

    def _outcome(self, turn: FamilyTurn) -> Unknown:
        """Why a family is undecided."""
        if turn.lost:
            return turn.lost[0]
        for other in turn.portfolio.turns:
            if isinstance(other.arm, InputArm) and other.arm.search.queue:
                block = other.arm.search.queue[-1]
                overflow = self._overflow(0.5 * (block.x_lower[-1:] + block.x_upper[-1:]))
                if overflow is not None:
                    return overflow
        ran = [other for other in turn.portfolio.turns if other.slices]
        if turn.gaps:
            return self._unknown(Reason.GAP, of_gap(turn), report_of_gap(turn))
        ended = all(other.ended for other in turn.portfolio.turns)
        if not self.budget.is_spent and not ran:
            tried = "; ".join(turn.details) or "none of the engines allowed works in these semantics"
            return self._unknown(Reason.INCOMPLETE, f"{tried}; allow others with --engine")
        if not self.budget.is_spent and ended and any(o.arm.stuck and not o.arm.progress.open for o in ran):
            return self._unknown(Reason.GAP, stuck(ran, turn.details, self.binary32))
        refused = [other.arm.refused for other in turn.portfolio.turns if other.arm.refused]
        if not self.budget.is_spent and ended and refused:
            return self._unknown(
                Reason.INCOMPLETE, f"{'; '.join([*refused, *turn.details])}; allow others with --engine"
            )
        return self._unknown(Reason.TIMEOUT, still_open(ran, self.budget.elapsed_s))

    def _overflow(self, point: Matrix) -> Unknown | None:
        """Overflow that no split can exclude: it may happen at the very point (1, n0)."""
        if not self.binary32:
            return None
        net = self.net
        assert net is not None, "the program is prepared before the search"
        centre = net.backend.asarray(point)
        unknown = net.backend.asarray(np.full((1, net.width), np.inf))
        refined = Propagator(net, ()).refine(centre, centre, -unknown, unknown)
        for v, error in refined.boxes.error.items():
            if not np.all(np.isfinite(net.backend.to_numpy(error))):
                return self._unknown(
                    Reason.OVERFLOW, f"node '{self.program.names[v]}' may overflow binary32 on the input set"
                )
        return None

    def _report(self, turn: FamilyTurn) -> None:
        """Boxes and leaves of all that ran, and where the arm at work stands."""
        if self.options.report is None or self.budget.elapsed_s - self._reported <= 0.2:
            return
        self._reported = self.budget.elapsed_s
        parts = [other.arm.progress for each in self.turns for other in each.portfolio.turns if other.seconds]
        current = turn.portfolio.current
        now = current.arm.progress if current is not None else Progress()
        shown = replace(now, boxes=sum(p.boxes for p in parts), leaves=sum(p.leaves for p in parts))
        self.options.report(shown, self._reported)

    def _violated(self, found: Replay) -> Violated:
        if self.net is None:
            self.net = prepare(self.program, binary32=self.binary32, backend=numpy_backend())
        family = next(f for f in self.query.families if found.place.number in f.members)
        best = polish(self.replayer, self.net, self._attack(family), found, self.budget)
        beside = None if self.query.semantics is not Semantics.REAL else self._in_binary32(best)
        return Violated(best, self.query.semantics, self.query.property.vacuous, in_binary32=beside)

    def _in_binary32(self, found: Replay) -> bool | None:
        """Whether a witness over the reals violates when it is executed; None where it cannot be."""
        query = self.query
        if query.graph.dtype != "float32":
            return None
        floats = Replayer(query.graph, self.program, query.network, Semantics.F32_ANY, query.parts, query.ties)
        place = found.place
        try:
            return floats.attempt_exact(place.number, place.case, place.inputs) is not None
        except (FarkasError, OverflowError):
            return None  # onnxruntime does not take the network, or an input lies beyond binary32

    def _holds(self) -> Verdict:
        empty = self.query.sets.empty
        if empty:
            return self._unknown(
                Reason.INCOMPLETE,
                f"case {empty[0]} holds no binary32 point, so nothing about it can be claimed; "
                "widen the box or use `--semantics real`",
            )
        words = [word for turn in self.turns if not turn.portfolio.is_proved for word in turn.words]
        return self._on_words(words) if words else self._on_bounds()

    def _on_bounds(self) -> Verdict:
        """Every leaf is closed by bounds that the checker can confirm, if it can read the network."""
        proved = self.proved()
        trees = [proved[number].tree if number in proved else ProofTree() for number in range(self._count)]
        proof = close(trees)
        obstacle = self._obstacle
        if obstacle is None:
            return Holds(proof, self.query.semantics, "checkable", self._warnings())
        if "crown" not in self.options.trust:
            return self._unknown(
                Reason.UNCERTIFIED,
                f"all {proof.leaves} leaves are closed, but the checker cannot read this {self._beyond} "
                f"({obstacle}); accept the engine's bounds with --trust crown",
            )
        return Holds(proof, self.query.semantics, "trusted:crown", self._warnings())

    def _on_words(self, words: list[Word]) -> Verdict:
        """What bounds left is refuted by words: `unsat` for those who trust who says so."""
        closed = sum(turn.closed for turn in self.turns)
        if closed and self._obstacle is not None:
            words = [*words, Word(("crown",), f"{closed} leaves of a {self._beyond} that the checker cannot read")]
        proof = Trusted(tuple(words), closed)
        says = "; ".join(dict.fromkeys(f"{' and '.join(word.engines)}: {word.what}" for word in words[:3]))
        if self.options.certify:
            return self._unknown(Reason.UNCERTIFIED, f"nothing violates, but no certificate holds words ({says})")
        if not proof.accepted_by(self.options.trust):
            missing = " ".join(f"--trust {name}" for name in proof.needed(self.options.trust))
            return self._unknown(
                Reason.UNCERTIFIED, f"nothing violates, but this rests on words ({says}); accept them with {missing}"
            )
        return Holds(proof, self.query.semantics, proof.evidence, self._warnings())

    @cached_property
    def _obstacle(self) -> str | None:
        """Why the checker has no rule for the query; None when it has."""
        return BEYOND_RULES if self._needs_products else beyond_checker(self.query.parts)

    @property
    def _needs_products(self) -> bool:
        """Whether proofs are about products: where all that these say is an ellipsoid, they are not."""
        outputs = self.query.property.outputs
        return any(turn.task.family.y_rows.shape[1] > outputs for turn in self.turns)

    @property
    def _beyond(self) -> str:
        """What of the query the checker cannot read, where there is an obstacle."""
        return "property" if self._needs_products else "network"

    def _warnings(self) -> tuple[str, ...]:
        warnings = list(self.query.property.vacuous)
        if not self.query.property.cases:
            warnings.append("vacuous: the property admits no input at all")
        return tuple(warnings)

    def _unknown(self, reason: Reason, detail: str, gap: GapReport | None = None) -> Unknown:
        return Unknown(reason, detail, self.query.semantics, self.query.property.vacuous, gap=gap)

    @property
    def _count(self) -> int:
        return len(self.query.property.cases)

    def proved(self) -> dict[int, Proved]:
        """By number of the case in the property: the tree that proves it, and the arm that grew it."""
        found = {}
        for turn in self.turns:
            for case, (arm, tree) in turn.portfolio.proofs.items():
                found[turn.family.members[case]] = Proved(arm, case, tree, turn.task.family.atoms)
        return found
