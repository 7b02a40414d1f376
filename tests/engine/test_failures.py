"""What goes wrong inside a search never becomes `unsat`; time and memory run out politely."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from farkas.engine import bab
from farkas.engine import turns as turns_module
from farkas.engine import verify as verify_module
from farkas.engine.bab import Block, Candidate, Progress, Search
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.falsify import Attack
from farkas.engine.options import Options
from farkas.engine.relu_root import CaseRoot
from farkas.engine.replay import Replayer
from farkas.engine.tree import OpenTreeError, ProofTree
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import Propagator, Refined, Rows
from farkas.runtime_cuda.native import NativePropagator
from farkas.runtime_cuda.prepared import prepare
from farkas.specs.query import Case, Semantics
from tests.engine.pieces import minimum
from tests.nets import Net, atom, case, dense, random_layers, varied

BOX = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
ROW = [Fraction(1), Fraction(-2)]
NET = varied(np.random.default_rng(2), "residual")
LEAST = minimum(NET.program, *BOX, ROW, ())
SAFE = [case(*BOX, [atom(ROW, LEAST - Fraction(1, 64))])]
UNSAFE = [case(*BOX, [atom(ROW, LEAST + Fraction(1, 64))])]


def run(cases: list[Case], net: Net = NET, semantics: Semantics = Semantics.REAL, **options: Any) -> Verdict:
    return verify(net.query(cases, semantics), Options(**{"timeout_s": 2.0, **options}))


def without_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sample, no gradient and no corner: then only the search stands between a violated property and `unsat`."""
    monkeypatch.setattr(Attack, "sample", lambda self, count: [])
    monkeypatch.setattr(Attack, "descend", lambda self, starts, steps, budget: iter(()))
    monkeypatch.setattr(Attack, "strong", lambda self, budget, share_s: iter(()))
    monkeypatch.setattr(Search, "_candidates", lambda self, *rest: [])
    monkeypatch.setattr(CaseRoot, "candidates", lambda self, *rest: [])


def test_the_properties_used_here_are_decided_when_nothing_goes_wrong() -> None:
    assert isinstance(run(SAFE), Holds) and isinstance(run(UNSAFE), Violated)
    assert run(SAFE).statistics.boxes > 8, "splits are wanted, so that there is something to lose"


def test_a_blind_attack_leaves_a_violated_property_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    without_attack(monkeypatch)
    assert isinstance(run(UNSAFE, timeout_s=0.5), Unknown)


# Exceptions ----------------------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Propagator, "refine"),
        (Propagator, "bound"),
        (Search, "_step"),
        (Search, "_split"),
        (Search, "_candidates"),
        (Search, "push"),
        (ProofTree, "close_leaf"),
        (ProofTree, "bisect"),
        (bab, "sensitivity"),
        (bab, "bisect"),
        (verify_module, "close"),
        (verify_module, "beyond_checker"),
    ],
)
@pytest.mark.parametrize("after", [0, 3])
def test_an_exception_anywhere_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: int
) -> None:
    """It ends the run, or the run never came there; either way no wrong word."""
    without_attack(monkeypatch)
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def broken(*args: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Broken(name)
        return original(*args, **keywords)

    monkeypatch.setattr(owner, name, broken)
    try:
        verdict = run(UNSAFE, timeout_s=0.4)
    except Broken:
        return
    assert isinstance(verdict, Unknown)


# Numbers that are none -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize(
    ("where", "bad"),
    [
        ("lower", np.nan), ("lower", -np.inf), ("upper", np.nan), ("upper", np.inf), ("both", np.nan), ("some", np.nan),
        ("some", np.inf),
    ],
)  # fmt: skip
def test_bounds_that_are_no_numbers_close_nothing(monkeypatch: pytest.MonkeyPatch, where: str, bad: float) -> None:
    """As refinement hands them to the children of a box."""
    without_attack(monkeypatch)
    original = Propagator.refine

    def refine(self: Propagator, *args: Any, **keywords: Any) -> Refined:
        found = original(self, *args, **keywords)
        if where in ("lower", "both"):
            found.lower[:] = bad
        if where in ("upper", "both"):
            found.upper[:] = bad
        if where == "some":
            found.upper[:, ::2] = abs(bad)
            found.lower[:, 1::3] = -abs(bad)
        return found

    monkeypatch.setattr(Propagator, "refine", refine)
    assert not isinstance(run(UNSAFE, timeout_s=0.3), Holds)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["value", "const", "inputs"])
def test_rows_that_are_no_numbers_close_nothing(monkeypatch: pytest.MonkeyPatch, bad: float, part: str) -> None:
    without_attack(monkeypatch)
    original = Propagator.bound

    def bound(self: Propagator, *args: Any, **keywords: Any) -> Rows:
        found = original(self, *args, **keywords)
        getattr(found, part)[..., 0] = bad
        return found

    monkeypatch.setattr(Propagator, "bound", bound)
    verdict = run(UNSAFE, timeout_s=0.5)
    assert not isinstance(verdict, Holds)


CHAIN = varied(np.random.default_rng(2), "plain")
CHAIN_LEAST = minimum(CHAIN.program, *BOX, ROW, ())
CHAIN_UNSAFE = [case(*BOX, [atom(ROW, CHAIN_LEAST + Fraction(1, 64))])]


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["value", "constant", "inputs", "lower", "upper", "score"])
def test_what_the_compiled_kernel_hands_over_closes_nothing_when_it_is_no_number(
    monkeypatch: pytest.MonkeyPatch, bad: float, part: str
) -> None:
    """Without the kernel the same search runs on NumPy, and the test says nothing new."""
    without_attack(monkeypatch)
    original = NativePropagator.examine

    def examine(self: NativePropagator, *args: Any) -> Any:
        refined, rows, score = original(self, *args)
        broken = {"lower": refined.lower, "upper": refined.upper, "score": score}
        broken |= {"value": rows.value, "constant": rows.const, "inputs": rows.inputs}
        broken[part][..., 0] = -abs(bad) if part == "lower" else abs(bad) if part == "upper" else bad
        return refined, rows, score

    monkeypatch.setattr(NativePropagator, "examine", examine)
    assert not isinstance(run(CHAIN_UNSAFE, CHAIN, timeout_s=0.3), Holds)


def test_an_exception_in_the_compiled_kernel_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def examine(self: Any, *args: Any, **keywords: Any) -> Any:
        raise MemoryError("no memory for one box")

    without_attack(monkeypatch)
    monkeypatch.setattr(NativePropagator, "examine", examine)
    monkeypatch.setattr(Propagator, "refine", examine)
    with pytest.raises(MemoryError):
        run(CHAIN_UNSAFE, CHAIN)


# Lost work -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", range(6))
def test_a_lost_block_is_no_verdict(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    """The queue runs empty, and the tree has open leaves."""
    original, pushes = Search.push, 0

    def push(self: Search, block: Block) -> None:
        nonlocal pushes
        pushes += 1
        if pushes != lost + 1:
            original(self, block)

    monkeypatch.setattr(Search, "push", push)
    try:
        verdict = run(SAFE)
    except OpenTreeError:
        return
    assert isinstance(verdict, Unknown) or pushes <= lost


def test_a_lost_child_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Search._children

    def children(self: Search, *args: Any) -> Block:
        return original(self, *args).take(slice(1, None))

    monkeypatch.setattr(Search, "_children", children)
    with pytest.raises(OpenTreeError):
        run(SAFE)


def test_a_case_that_no_search_took_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    query = NET.query([*SAFE, case(*BOX, [atom([Fraction(1), Fraction(0)], -1000)])])
    kept = query.families
    assert len(kept) == 2
    query.__dict__["families"] = kept[:1]
    with pytest.raises(OpenTreeError):
        verify(query, Options(timeout_s=2.0))


def test_a_batch_that_ran_out_of_time_goes_back_to_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline in the middle of a batch counts as undone: nothing is lost, nothing closed twice."""
    original, calls = Propagator.bound, 0

    def bound(self: Propagator, *args: Any, **keywords: Any) -> Rows:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OutOfTime
        return original(self, *args, **keywords)

    monkeypatch.setattr(Propagator, "bound", bound)
    verdict = run(SAFE, engines=frozenset({"input-splitting"}))
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.TIMEOUT
    assert verdict.statistics.open > 0


# Time and memory -----------------------------------------------------------------------------------------------------

HARD = dense(random_layers(np.random.default_rng(11), (12, 60, 60, 60, 1), eighths=False))
# Samples reach 2 101, the bound of the whole box 94 367.
HARD_CASE = [case([-1] * 12, [1] * 12, [atom([-1], -20_000)])]


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_a_hard_query_stops_within_a_second_of_its_timeout(semantics: Semantics) -> None:
    verdict = run(HARD_CASE, HARD, semantics, timeout_s=0.01)  # everything is loaded now
    start = time.monotonic()
    verdict = run(HARD_CASE, HARD, semantics, timeout_s=1.0)
    assert time.monotonic() - start < 2.0
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.TIMEOUT and verdict.word == "timed-out"
    assert 0.5 < verdict.statistics.time_s < 2.0
    assert verdict.statistics.open > 0 and verdict.statistics.bound is not None and verdict.statistics.bound < 0


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 1e-9])
def test_no_time_at_all_is_a_timeout_and_no_error(timeout_s: float) -> None:
    verdict = run(SAFE, timeout_s=timeout_s)
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.TIMEOUT


@pytest.mark.parametrize("memory_bytes", [1, 20_000])
def test_a_tiny_limit_of_memory_makes_the_search_slow_and_never_gives_up(memory_bytes: int) -> None:
    """Boxes and nodes are then taken one at a time, depth first."""
    assert isinstance(run(SAFE, timeout_s=20.0, memory_bytes=memory_bytes), Holds)
    verdict = run(HARD_CASE, HARD, timeout_s=1.0, memory_bytes=memory_bytes)
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.TIMEOUT
    assert verdict.statistics.open < 600, "a few a level"


def test_budgets_end() -> None:
    assert Budget.of(None).left_s == float("inf") and not Budget.of(None).is_spent
    spent = Budget(1.0, time.monotonic() - 2.0)
    assert spent.is_spent and spent.left_s < 0
    with pytest.raises(OutOfTime):
        spent.check()
    Budget.of(60.0).check()


def test_progress_is_reported_while_the_search_goes_on() -> None:
    seen: list[tuple[int, float]] = []

    def report(progress: Progress, seconds: float) -> None:
        seen.append((progress.boxes, seconds))

    run(HARD_CASE, HARD, timeout_s=1.0, report=report)
    assert len(seen) >= 2
    assert all(a[0] <= b[0] and b[1] - a[1] >= 0.2 for a, b in pairwise(seen))


def test_batches_grow_and_shrink_with_the_time_they_take() -> None:
    query = NET.query(SAFE)
    net = prepare(NET.program, binary32=False, backend=numpy_backend())
    search = Search(net, query.families[0], False, 0.0, lambda x: x, [ProofTree()])
    for seconds, wanted in [(0.01, 16), (0.01, 32), (0.2, 32), (0.5, 16), *[(0.01, None)] * 9]:
        search._adapt(seconds)
        assert wanted is None or search.progress.batch == wanted
    assert search.progress.batch == bab.LARGEST_BATCH
    for _ in range(12):
        search._adapt(9.0)
    assert search.progress.batch == 1


# Trust ---------------------------------------------------------------------------------------------------------------


def test_what_the_checker_cannot_read_is_uncertified_unless_trusted() -> None:
    net = dense(random_layers(np.random.default_rng(0), (2, 4, 2)), dtype=np.float64)
    safe = [case(*BOX, [atom(ROW, minimum(net.program, *BOX, ROW, ()) - 1)])]
    verdict = run(safe, net)
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.UNCERTIFIED and "--trust crown" in verdict.detail
    trusted = run(safe, net, trust=frozenset({"crown"}))
    assert isinstance(trusted, Holds) and trusted.evidence == "trusted:crown"
    assert isinstance(run(safe, net, trust=frozenset({"milp"})), Unknown)


def test_what_the_checker_can_read_is_checkable() -> None:
    verdict = run(SAFE)
    assert isinstance(verdict, Holds) and verdict.evidence == "checkable" and verdict.certificate is None


def test_candidates_are_tried_best_first_and_hopeless_ones_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def attempt(self: Any, number: int, found: Case, point: Any) -> None:
        tried.append(float(point[0]))

    monkeypatch.setattr(Replayer, "attempt", attempt)
    query = NET.query(SAFE)
    replayer = Replayer(query.graph, query.program, query.network, query.semantics)
    context = turns_module.Context(query, Options(), Budget.of(None), replayer, lambda turn: None)
    candidates = [Candidate(0, np.array([slack, 0.0]), slack) for slack in (-1.0, 0.5, 3.0, 0.0, 2.0, 1.0)]
    assert turns_module.replayed(context, query.families[0], candidates) is None
    assert tried == [3.0, 2.0, 1.0, 0.5], "four replays a batch"
