"""The search by neurons' signs against exact enumeration of linear pieces, whatever its branching, memory and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.engine.bab import Candidate
from farkas.engine.budget import Budget, OutOfTime
from farkas.engine.relu_branching import RULES
from farkas.engine.relu_place import in_force
from farkas.engine.relu_root import CaseRoot
from farkas.engine.relu_split import ReluSearch
from farkas.engine.tree import Leaf, ProofTree, SplitNeuron, close
from farkas.ir.core import run_exact, run_float
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.prepared import prepare
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.specs.query import Case
from tests.engine.deciding import MARGIN, moved, random_atom
from tests.engine.pieces import minimum, witness
from tests.nets import EXACT_SHAPES, Box, Net, atom, boxes, case, dense, random_layers, seeds, varied

shared = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=25)
BOX: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))


@dataclass
class Run:
    """A search that ended, and the candidates that it met."""

    search: ReluSearch
    candidates: list[Candidate]

    @property
    def is_closed(self) -> bool:
        return self.search.is_closed


def explored(net: Net, prop: Case, budget: Budget) -> CaseRoot:
    family = net.query([prop]).families[0]
    program = net.program
    relaxation = Relaxation(
        prepare(program, binary32=False, backend=numpy_backend()), family.lower[0], family.upper[0], budget.check
    )
    root = CaseRoot(family, 0, relaxation, 0.0, lambda x: np.asarray(run_float(program, x)[program.output]))
    for _ in root.explore(budget):
        pass
    return root


def searched(
    net: Net, prop: Case, *, branching: str = "sensitivity", memory: int = 1 << 30, seconds: float = 5.0
) -> Run:
    budget = Budget.of(seconds)
    search = ReluSearch(explored(net, prop, budget), ProofTree(), branching, memory)
    search.start()
    candidates = [candidate for batch in search.rounds(budget) for candidate in batch]
    return Run(search, candidates)


def check(net: Net, prop: Case, run: Run) -> None:
    """Never closed where something violates; closed wherever thresholds have a little room."""
    unsafe = witness(net.program, prop) is not None
    if run.is_closed:
        assert not unsafe, "closed, but an input violates"
        assert close([run.search.tree]).leaves >= 1
    elif not unsafe:
        assert witness(net.program, moved([prop], MARGIN)[0]) is not None, "open, although nothing comes near"


def properties(rng: np.random.Generator, net: Net, box: Box) -> Case:
    """One to three disjuncts of one or two atoms."""
    rank = int(rng.choice([0, 0, 8]))
    disjuncts = [
        [random_atom(rng, net.program, box, rank) for _ in range(rng.integers(1, 3))] for _ in range(rng.integers(1, 4))
    ]
    return case(*box, *disjuncts)


@shared
@given(seeds, st.sampled_from(EXACT_SHAPES), boxes(2))
def test_what_is_closed_is_what_no_input_violates(seed: int, shape: str, box: Box) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape)
    prop = properties(rng, net, box)
    check(net, prop, searched(net, prop))


@settings(shared, max_examples=10)
@given(seeds, st.sampled_from(RULES), boxes(2))
def test_every_branching_gives_the_same_answers(seed: int, branching: str, box: Box) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (2, 6, 5, 2)))
    prop = properties(rng, net, box)
    check(net, prop, searched(net, prop, branching=branching))


def row_and_least(seed: int, sizes: Sequence[int]) -> tuple[Net, list[Fraction], Fraction]:
    net = dense(random_layers(np.random.default_rng(seed), sizes))
    row = [Fraction(1), Fraction(-2)]
    return net, row, minimum(net.program, *BOX, row, ())


@pytest.mark.parametrize("branching", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_the_exact_minimum_divides_what_is_closed_from_what_is_not(seed: int, branching: str) -> None:
    """A thousandth below the minimum nothing violates; a thousandth above it the minimiser does, and is met."""
    net, row, least = row_and_least(seed, (2, 8, 6, 2))
    assert searched(net, case(*BOX, [atom(row, least - MARGIN)]), branching=branching).is_closed
    run = searched(net, case(*BOX, [atom(row, least + MARGIN)]), branching=branching)
    assert not run.is_closed
    best = max(run.candidates, key=lambda c: c.slack)
    outputs = run_exact(net.program, [Fraction(float(v)) for v in best.point])
    assert sum(a * b for a, b in zip(row, outputs, strict=True)) <= least + MARGIN


@pytest.mark.parametrize("memory", [1, 5_000])
def test_a_tiny_limit_of_memory_changes_nothing_but_the_batches(memory: int) -> None:
    net, row, least = row_and_least(1, (2, 8, 6, 2))
    most = 0
    budget = Budget.of(20.0)
    search = ReluSearch(explored(net, case(*BOX, [atom(row, least - MARGIN)]), budget), ProofTree(), "babsr", memory)
    search.start()
    for _ in search.rounds(budget):
        most = max(most, len(search.stack))
    assert search.is_closed and search.progress.boxes > 20
    assert most <= 14 + 2, "depth first: one more node a level"


HARD = dense(random_layers(np.random.default_rng(11), (12, 60, 60, 60, 1), eighths=False))
HARD_CASE = case([-1] * 12, [1] * 12, [atom([-1], -20_000)])


@pytest.mark.parametrize("seconds", [0.05, 0.8])
def test_the_budget_ends_a_search_within_a_second(seconds: float) -> None:
    budget = Budget.of(seconds)
    start = time.monotonic()
    try:
        search = ReluSearch(explored(HARD, HARD_CASE, budget), ProofTree(), "sensitivity", 1 << 30)
        search.start()
        for _ in search.rounds(budget):
            pass
        assert not search.is_closed and search.progress.open > 0
    except OutOfTime:
        pass  # at the root already
    assert time.monotonic() - start < seconds + 1.0


def test_a_search_that_stopped_goes_on_where_it_was() -> None:
    net, row, least = row_and_least(2, (2, 8, 6, 2))
    root = explored(net, case(*BOX, [atom(row, least - MARGIN)]), Budget.of(None))
    search = ReluSearch(root, ProofTree(), "sensitivity", 1 << 30)
    search.start()
    rounds = 0
    while not search.is_closed:
        next(search.rounds(Budget.of(None)))
        rounds += 1
        assert rounds < 500
    assert rounds > 2 and close([search.tree]).leaves == search.progress.leaves


def test_bounds_that_are_no_numbers_close_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net, row, least = row_and_least(3, (2, 6, 5, 2))
    prop = case(*BOX, [atom(row, least + MARGIN)])
    original = Relaxation.optimise

    def optimise(self: Relaxation, *args: object) -> object:
        found = original(self, *args)  # type: ignore[arg-type]  # handed on as they came
        found.value[:] = np.nan
        return found

    monkeypatch.setattr(Relaxation, "optimise", optimise)
    assert not searched(net, prop, seconds=1.0).is_closed


@pytest.mark.parametrize("seed", range(3))
def test_a_leaf_taken_up_again_is_split_and_closed_below(seed: int) -> None:
    net, row, least = row_and_least(seed, (2, 8, 6, 2))
    rows = [[atom(row, least - 1)], [atom([-1, 0], -1000)], [atom(row, least - MARGIN)]]
    run = searched(net, case(*BOX, *rows))
    assert run.is_closed
    search, tree = run.search, run.search.tree
    before = close([tree]).leaves
    leaves = [node for node, step in tree.preorder() if isinstance(step, Leaf)]
    for node in leaves[:2]:
        search.reopen(node, Budget.of(None))
        assert not search.is_closed
    for _ in search.rounds(Budget.of(10.0)):
        pass
    assert search.is_closed and close([tree]).leaves > before


@pytest.mark.parametrize("seed", range(3))
def test_bounds_along_a_path_hold_every_execution_with_the_signs_of_the_path(seed: int) -> None:
    net, row, least = row_and_least(seed, (2, 8, 6, 2))
    run = searched(net, case(*BOX, [atom(row, least - MARGIN)]))
    tree, root = run.search.tree, run.search.root
    rng = np.random.default_rng(seed)
    values = run_float(net.program, rng.uniform(-1, 1, (400, 2)))
    z = np.concatenate([values[v] for v in root.relaxation.layers], axis=1)
    parents = tree.parents()
    for node, _ in tree.preorder():
        place = in_force(root, tree, node)
        held = np.ones(len(z), dtype=bool)
        here = node
        while here:
            branch, first = tree.branch(parents[here])
            assert isinstance(branch, SplitNeuron)
            held &= z[:, branch.neuron] <= 0 if here == first else z[:, branch.neuron] >= 0
            here = parents[here]
        room = 1e-9
        assert (z[held] >= place.lower - room).all() and (z[held] <= place.upper + room).all()
