"""The pipeline: from a query to a verdict.

    query -> lower -> falsify (samples) -> search (bounds, splits, candidates) -> falsify (gradients) -> verdict
                                                                              -> certify -> verdict

`sat` leaves through `Replayer.attempt` only, `unsat` through `close` only; everything else is `unknown`.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from farkas.engine.bab import Candidate, Progress, Search
from farkas.engine.budget import Budget
from farkas.engine.certify import beyond_checker, certify_holds, certify_violated
from farkas.engine.falsify import Attack
from farkas.engine.options import Options
from farkas.engine.polish import polish
from farkas.engine.problem import Family, Matrix
from farkas.engine.query import Query
from farkas.engine.repair import by_bisection
from farkas.engine.replay import Replay, Replayer
from farkas.engine.tree import ProofTree, close
from farkas.engine.verdict import Holds, Reason, Statistics, Unknown, Verdict, Violated
from farkas.ir.core import Affine, run_float
from farkas.ir.error_terms import LARGEST_COUNT
from farkas.runtime_cuda.backend import Backend, cupy_backend, numpy_backend
from farkas.runtime_cuda.crown import Propagator
from farkas.runtime_cuda.prepared import Prepared, prepare
from farkas.specs.query import Semantics

RESOLUTION = 2.0**-24  # the checker's grid: with a certificate in view, bounds that allow for it are confirmed by it
MARGIN = (
    2.0**-30
)  # what else its integers may cost a leaf (constants at 2^-40); a leaf that loses more is split further
FIRST_SAMPLES = 256
ATTACK_AFTER = 2  # batches of the search before the gradient attack: most queries need neither
ATTACK_EVERY = 24
GRADIENT_STEPS = 20
REPLAYS_A_BATCH = 4


def verify(query: Query, options: Options) -> Verdict:
    """Decide the query within the options' limits."""
    run = _Run(query, options)
    # Overflow to infinity and NaN are values like others here: they prove nothing.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        verdict = run.decide()
        if isinstance(verdict, Holds) and options.certify:
            verdict = certify_holds(query, verdict, by_bisection(run.searches), run.budget)
        if isinstance(verdict, Violated) and options.certify:
            verdict = certify_violated(query, verdict)
    return replace(verdict, statistics=run.statistics())


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
        self.searches: list[Search] = []
        self.net: Prepared | None = None
        self._reported = 0.0

    @property
    def binary32(self) -> bool:
        return self.query.semantics is not Semantics.REAL

    def decide(self) -> Verdict:
        """Falsify, then search, family by family."""
        limit = self._limits()
        if limit is not None:
            return limit
        families = [f for f in self.query.families if not set(f.members) <= set(self.query.sets.empty)]
        attacks = [self._attack(family) for family in families]
        for attack in attacks:
            found = self._replay(attack.family, attack.sample(self._samples))
            if found is not None:
                return self._violated(found)
        self.net = prepare(
            self.program,
            binary32=self.binary32,
            backend=self.backend,
            resolution=RESOLUTION if self.options.certify else 0.0,
        )
        outcomes = []
        for attack in attacks:
            outcome = self._search(attack)
            if isinstance(outcome, Replay):
                return self._violated(outcome)
            outcomes.append(outcome)
        undecided = [outcome for outcome in outcomes if outcome is not None]
        if undecided:
            return undecided[0]
        return self._holds()

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

    def _search(self, attack: Attack) -> Replay | Unknown | None:
        """None: every case of the family is proved."""
        assert self.net is not None, "the program is prepared before the search"
        family = attack.family
        search = Search(
            self.net,
            family,
            self.binary32,
            MARGIN if self.options.certify else 0.0,
            lambda x: np.asarray(run_float(self.program, x)[self.program.output]),
            [ProofTree() for _ in family.members],
        )
        self.searches.append(search)
        search.start()
        overflow = self._overflow(search, 0.5 * (family.lower[:1] + family.upper[:1]))
        if overflow is not None:
            return overflow
        for number, candidates in enumerate(search.rounds(self.budget)):
            found = self._replay(family, [self._snap(attack, c) for c in candidates])
            if found is None and search.queue and (number == ATTACK_AFTER or number % ATTACK_EVERY == ATTACK_EVERY - 1):
                found = self._descend(attack, candidates)
            if found is not None:
                return found
            self._report(search.progress)
            if self._queued(search) > self.options.memory_bytes:
                return self._unknown(Reason.MEMORY, f"{search.progress.open} open boxes; allow more with --memory")
        return self._outcome(search)

    def _outcome(self, search: Search) -> Unknown | None:
        if not search.is_done:
            block = search.queue[-1]
            overflow = self._overflow(search, 0.5 * (block.x_lower[-1:] + block.x_upper[-1:]))
            if overflow is not None:
                return overflow
            return self._unknown(
                Reason.TIMEOUT,
                f"{search.progress.leaves} leaves closed and {search.progress.open} boxes open after "
                f"{self.budget.elapsed_s:.1f} s; a longer --timeout helps when the proved margin still moves",
            )
        if search.stuck:
            return self._stuck(search)
        return None

    def _stuck(self, search: Search) -> Unknown:
        return self._unknown(
            Reason.GAP,
            f"{len(search.stuck)} boxes are single points or too small to cut and neither proved nor violated: "
            "the margin is within the rounding error of an execution "
            f"(closest candidate {search.progress.closest:.3g})",
        )

    def _overflow(self, search: Search, point: Matrix) -> Unknown | None:
        """Overflow that no split can exclude: it may happen at the very point (1, n0)."""
        if not self.binary32:
            return None
        net = search.net
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

    def _descend(self, attack: Attack, candidates: list[Candidate]) -> Replay | None:
        starts = attack.sample(64)[:8] + candidates
        for found in attack.descend(starts, GRADIENT_STEPS, self.budget):
            replay = self._replay(attack.family, [self._snap(attack, c) for c in found if c.slack >= 0])
            if replay is not None:
                return replay
        return None

    def _queued(self, search: Search) -> int:
        return search.progress.open * (self.program.input_size * 2 + search.net.width * 2) * 8

    def _report(self, progress: Progress) -> None:
        if self.options.report is not None and self.budget.elapsed_s - self._reported > 0.2:
            self._reported = self.budget.elapsed_s
            self.options.report(progress, self.budget.elapsed_s)

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
        trees: list[ProofTree] = [ProofTree() for _ in self.query.property.cases]
        for search in self.searches:
            for member, tree in zip(search.family.members, search.trees, strict=True):
                trees[member] = tree
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

    def statistics(self) -> Statistics:
        """Totals over all families."""
        parts = [search.progress for search in self.searches]
        scores = [p.best_bound for p in parts if p.open and np.isfinite(p.best_bound)]
        closest = min((p.closest for p in parts), default=np.inf)
        return Statistics(
            boxes=sum(p.boxes for p in parts),
            leaves=sum(p.leaves for p in parts),
            open=sum(p.open for p in parts),
            bound=min(scores) if scores else None,
            closest=float(closest) if np.isfinite(closest) else None,
            time_s=self.budget.elapsed_s,
            cpu_s=time.process_time() - self._cpu,
            engine="compiled" if any(search.kernel for search in self.searches) else self.backend.name,
            off_grid=self.query.sets.off_grid,
        )
