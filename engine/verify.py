"""The pipeline: from a query to a verdict.

    query -> lower -> falsify (samples) -> portfolio (bounds, splits, candidates; gradients beside) -> verdict
                                                                            -> certify -> verdict

Every family of cases has a portfolio of its own; they take turns, longer ones each time round.  `sat` leaves through
`Replayer.attempt` only, `unsat` through `close` only; everything else is `unknown`.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from farkas.engine.arms import InputArm, Task, arms
from farkas.engine.bab import Candidate, Progress
from farkas.engine.budget import Budget
from farkas.engine.certify import beyond_checker, certify_holds, certify_violated
from farkas.engine.falsify import Attack
from farkas.engine.options import Options
from farkas.engine.polish import polish
from farkas.engine.portfolio import Arm, Portfolio, Turn
from farkas.engine.problem import Family, Matrix
from farkas.engine.query import Query
from farkas.engine.repair import Proved
from farkas.engine.replay import Replay, Replayer
from farkas.engine.tree import ProofTree, close
from farkas.engine.verdict import ArmStatistics, Holds, Reason, Statistics, Unknown, Verdict, Violated
from farkas.ir.core import Affine, run_float
from farkas.ir.error_terms import LARGEST_COUNT
from farkas.runtime_cuda.backend import Backend, cupy_backend, numpy_backend
from farkas.runtime_cuda.crown import Propagator
from farkas.runtime_cuda.prepared import Prepared, prepare

RESOLUTION = 2.0**-24  # the checker's grid: with a certificate in view, bounds that allow for it are confirmed by it
MARGIN = (
    2.0**-30
)  # what else its integers may cost a leaf (constants at 2^-40); a leaf that loses more is split further
FIRST_SAMPLES = 256
GRADIENT_STEPS = 20
STRONG_STEPS = 16  # of the strong attack between two descents from the search's own candidates
REPLAYS_A_BATCH = 4
HOPELESS = 100.0  # times what was spent: a longer timeout is not advised any more
FIRST_TURN_S = 5.0  # of a family before the next one has its turn; doubled every time round


def verify(query: Query, options: Options) -> Verdict:
    """Decide the query within the options' limits."""
    run = _Run(query, options)
    # Overflow to infinity and NaN are values like others here: they prove nothing.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        verdict = run.decide()
        if isinstance(verdict, Holds) and options.certify:
            verdict = certify_holds(query, verdict, run.proved(), run.budget)
        if isinstance(verdict, Violated) and options.certify:
            verdict = certify_violated(query, verdict)
    return replace(verdict, statistics=run.statistics(verdict))


@dataclass(eq=False)
class _Turn:
    """A family's portfolio while others take their turns; `recent`: candidates for the attack to start from."""

    attack: Attack
    portfolio: Portfolio
    rounds: Iterator[list[Candidate]]
    recent: deque[Candidate]
    ended: bool = False
    lost: list[Unknown] = field(default_factory=list)


class _Run:
    """One query being decided: its program on a backend, its searches, its clock."""

    def __init__(self, query: Query, options: Options) -> None:
        self.query = query
        self.options = options
        self.budget = Budget.of(options.timeout_s)
        self._cpu = time.process_time()
        self.rng = np.random.default_rng(options.seed)
        self.backend: Backend = cupy_backend() if options.device == "cupy" else numpy_backend()
        self.program = query.program
        self.replayer = Replayer(query.graph, self.program, query.network, query.semantics)
        self.turns: list[_Turn] = []
        self.net: Prepared | None = None
        self._reported = 0.0

    @property
    def binary32(self) -> bool:
        return self.query.semantics.is_binary32

    def decide(self) -> Verdict:
        """Falsify, then search, family by family."""
        limit = self._limits()
        if limit is not None:
            return limit
        families = [f for f in self.query.families if not set(f.members) <= set(self.query.sets.empty)]
        attacks = [self._attack(family) for family in families]
        for attack in attacks:
            if not attack.family.disjuncts:
                continue  # nothing is unsafe
            found = self._replay(attack.family, attack.sample(self._samples))
            if found is not None:
                return self._violated(found)
        self.net = prepare(
            self.program,
            binary32=self.binary32,
            backend=self.backend,
            resolution=RESOLUTION if self.options.certify else 0.0,
        )
        self.turns = [self._turn(attack) for attack in attacks]
        length_s = FIRST_TURN_S
        while any(not turn.ended for turn in self.turns):
            for turn in self.turns:
                found = self._run(turn, length_s if len(self.turns) > 1 else np.inf)
                if found is not None:
                    return self._violated(found)
            length_s *= 2.0
        undecided = [outcome for outcome in map(self._outcome, self.turns) if outcome is not None]
        return undecided[0] if undecided else self._holds()

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

    def _replay(self, family: Family, candidates: list[Candidate]) -> Replay | None:
        for candidate in sorted(candidates, key=lambda c: -c.slack)[:REPLAYS_A_BATCH]:
            if candidate.slack < 0:
                return None
            number = family.members[candidate.case]
            found = self.replayer.attempt(number, self.query.property.cases[number], candidate.point)
            if found is not None:
                return found
        return None

    def _turn(self, attack: Attack) -> _Turn:
        assert self.net is not None, "the program is prepared before the search"
        task = Task(
            self.net,
            attack.family,
            self.binary32,
            MARGIN if self.options.certify else 0.0,
            lambda x: np.asarray(run_float(self.program, x)[self.program.output]),
            self.options.memory_bytes // 2,
            self.options.branching,
        )
        recent: deque[Candidate] = deque(maxlen=8)
        beside = self._attacks(attack, recent)
        portfolio = Portfolio.of(task.cases, arms(task), beside, self.budget)
        turn = _Turn(attack, portfolio, portfolio.rounds(self.budget), recent)
        overflow = self._overflow(0.5 * (attack.family.lower[:1] + attack.family.upper[:1]))
        if overflow is not None:
            turn.ended = True
            turn.lost.append(overflow)
        return turn

    def _attacks(self, attack: Attack, recent: deque[Candidate]) -> Iterator[list[Candidate]]:
        """The strong attack, and now and then a descent from where the search believes a witness to be."""
        strong = attack.strong(self.budget, np.inf)
        steps = 2
        while not self.budget.is_spent:
            met = 0
            for found in islice(strong, steps):
                met += 1
                yield found
            for found in attack.descend(attack.sample(64)[:8] + list(recent), GRADIENT_STEPS, self.budget):
                met += 1
                yield found
            if not met:
                return
            steps = STRONG_STEPS

    def _run(self, turn: _Turn, length_s: float) -> Replay | None:
        """Let a family work for a while; a witness, if it meets one."""
        end_s = self.budget.elapsed_s + length_s
        while not turn.ended and self.budget.elapsed_s < end_s:
            candidates = next(turn.rounds, None)
            if candidates is None:
                turn.ended = True
                return None
            turn.recent.extend(candidates[:4])
            found = self._replay(turn.attack.family, [self._snap(turn.attack, c) for c in candidates])
            if found is not None:
                return found
            self._report(turn)
        return None

    def _outcome(self, turn: _Turn) -> Unknown | None:
        """Why a family is undecided; None when it is proved."""
        if turn.lost:
            return turn.lost[0]
        portfolio = turn.portfolio
        if portfolio.is_proved:
            return None
        for other in portfolio.turns:
            if isinstance(other.arm, InputArm) and other.arm.search.queue:
                block = other.arm.search.queue[-1]
                overflow = self._overflow(0.5 * (block.x_lower[-1:] + block.x_upper[-1:]))
                if overflow is not None:
                    return overflow
        ran = [other for other in portfolio.turns if other.slices]
        ended = all(other.ended for other in portfolio.turns)
        if not self.budget.is_spent and ended and any(o.arm.stuck and not o.arm.progress.open for o in ran):
            stuck, closest = (f([other.arm for other in ran]) for f in (_stuck, _closest))
            return self._unknown(
                Reason.GAP,
                f"{stuck} boxes or nodes can neither be cut further nor proved nor violated: the margin is within the "
                f"rounding error of an execution (closest candidate {closest:.3g})",
            )
        return self._unknown(Reason.TIMEOUT, _still_open(ran, self.budget.elapsed_s))

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

    def _snap(self, attack: Attack, candidate: Candidate) -> Candidate:
        """The nearest point that may be replayed, with its own slack."""
        point = np.clip(candidate.point, attack.points_lower[candidate.case], attack.points_upper[candidate.case])
        if self.binary32:
            point = point.astype(np.float32).astype(np.float64)
        case = np.array([candidate.case])
        return Candidate(candidate.case, point, float(attack.slack(point[None], case)[0]))

    def _report(self, turn: _Turn) -> None:
        """Boxes and leaves of all that ran, and where the arm at work stands."""
        if self.options.report is None or self.budget.elapsed_s - self._reported <= 0.2:
            return
        self._reported = self.budget.elapsed_s
        parts = [other.arm.progress for each in self.turns for other in each.portfolio.turns if other.seconds]
        current = turn.portfolio.current
        now = current.arm.progress if current is not None else Progress()
        told = replace(now, boxes=sum(p.boxes for p in parts), leaves=sum(p.leaves for p in parts))
        self.options.report(told, self._reported)

    def _violated(self, found: Replay) -> Violated:
        if self.net is None:
            self.net = prepare(self.program, binary32=self.binary32, backend=numpy_backend())
        family = next(f for f in self.query.families if found.case_number in f.members)
        best = polish(self.replayer, self.net, self._attack(family), found, self.budget)
        return Violated(best, self.query.semantics, self.query.property.vacuous)

    def _holds(self) -> Verdict:
        empty = self.query.sets.empty
        if empty:
            return self._unknown(
                Reason.INCOMPLETE,
                f"case {empty[0]} holds no binary32 point, so nothing about it can be claimed; "
                "widen the box or use `--semantics real`",
            )
        proved = self.proved()
        trees = [proved[number].tree if number in proved else ProofTree() for number in range(self._count)]
        proof = close(trees)
        obstacle = beyond_checker(self.query.network)
        if obstacle is None:
            return Holds(proof, self.query.semantics, "checkable", self._warnings())
        if "crown" not in self.options.trust:
            return self._unknown(
                Reason.UNCERTIFIED,
                f"all {proof.leaves} leaves are closed, but the checker cannot read this network "
                f"({obstacle}); accept the engine's bounds with --trust crown",
            )
        return Holds(proof, self.query.semantics, "trusted:crown", self._warnings())

    def _warnings(self) -> tuple[str, ...]:
        warnings = list(self.query.property.vacuous)
        if not self.query.property.cases:
            warnings.append("vacuous: the property admits no input at all")
        return tuple(warnings)

    def _unknown(self, reason: Reason, detail: str) -> Unknown:
        return Unknown(reason, detail, self.query.semantics, self.query.property.vacuous)

    @property
    def _count(self) -> int:
        return len(self.query.property.cases)

    def proved(self) -> dict[int, Proved]:
        """By number of the case in the property: the tree that proves it, and the arm that grew it."""
        found = {}
        for turn in self.turns:
            for case, (arm, tree) in turn.portfolio.proofs.items():
                found[turn.attack.family.members[case]] = Proved(arm, case, tree)
        return found

    def statistics(self, verdict: Verdict) -> Statistics:
        """Totals over all families; leaves and their rules are those of the proof, where there is one."""
        ran = [(turn, other) for turn in self.turns for other in turn.portfolio.turns if other.slices or other.seconds]
        parts = [other.arm.progress for _, other in ran]
        open_turns = [turn for turn in self.turns if not turn.portfolio.is_proved]
        margins = [_margin(turn) for turn in open_turns]
        rules: Counter[str] = Counter()
        for part in parts:
            rules.update(part.rules)
        leaves = sum(p.leaves for p in parts)
        if isinstance(verdict, Holds):
            leaves = verdict.tree.leaves
            rules = Counter({str(rule): count for rule, count in verdict.tree.leaf_rules().items()})
        closest = min((p.closest for p in parts), default=np.inf)
        kernels = [o.arm.search.kernel for _, o in ran if isinstance(o.arm, InputArm)]
        return Statistics(
            boxes=sum(p.boxes for p in parts),
            leaves=leaves,
            open=sum(_least_open(turn) for turn in open_turns),
            bound=min((m for m in margins if np.isfinite(m)), default=None),
            closest=float(closest) if np.isfinite(closest) else None,
            time_s=self.budget.elapsed_s,
            cpu_s=time.process_time() - self._cpu,
            engine="compiled" if any(kernels) else self.backend.name,
            off_grid=self.query.sets.off_grid,
            arms=_by_arm(self.turns),
            switches=sum(turn.portfolio.switches for turn in self.turns),
            attack_s=sum(turn.portfolio.attack_s for turn in self.turns),
            rules=rules,
            programs=sum(other.arm.programs for _, other in ran),
        )


def _by_arm(turns: list[_Turn]) -> tuple[ArmStatistics, ...]:
    """What each way of deciding did, over all families."""
    found: dict[str, ArmStatistics] = {}
    for turn in turns:
        for other in turn.portfolio.turns:
            if not other.seconds:
                continue
            arm, p = other.arm, other.arm.progress
            old = found.get(arm.name, ArmStatistics(arm.name))
            found[arm.name] = ArmStatistics(
                arm.name,
                old.time_s + other.seconds,
                old.boxes + p.boxes,
                old.leaves + p.leaves,
                old.open + p.open,
                old.programs + arm.programs,
            )
    return tuple(found.values())


def _margin(turn: _Turn) -> float:
    """The best that an arm has proved of its worst open piece."""
    bounds = [other.arm.progress.best_bound for other in turn.portfolio.turns if other.seconds]
    return max((b for b in bounds if b < 0), default=-np.inf)


def _least_open(turn: _Turn) -> int:
    return min((other.arm.progress.open for other in turn.portfolio.turns if other.arm.progress.open), default=0)


def _stuck(arms: Sequence[Arm]) -> int:
    return min((arm.stuck for arm in arms if arm.stuck), default=0)


def _closest(arms: Sequence[Arm]) -> float:
    return min((arm.progress.closest for arm in arms), default=np.inf)


def _still_open(ran: Sequence[Turn], elapsed_s: float) -> str:
    """How far each arm came, and what would help."""
    told = []
    for turn in ran:
        p = turn.arm.progress
        if not p.boxes:
            continue
        margin = f", worst margin {p.best_bound:.3g}" if p.open and np.isfinite(p.best_bound) else ""
        told.append(f"{turn.arm.name}: {p.leaves} leaves closed, {p.open} open{margin}")
    if not told:
        return f"no bound was computed within {elapsed_s:.1f} s; allow more with --timeout"
    estimate = min((turn.estimate_s for turn in ran if not turn.ended), default=np.inf)
    if estimate < HOPELESS * elapsed_s:
        advice = f"at its present pace the best of them needs some {estimate:.0f} s more (--timeout)"
    else:
        advice = "none of them comes to an end at this pace; a smaller input set or a weaker property may be decided"
    return f"after {elapsed_s:.1f} s {'; '.join(told)}; {advice}"
