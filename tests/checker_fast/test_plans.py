"""By crown-fp-2 the accelerated kernel computes what the reference kernel computes: every number, every answer."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from farkas.checker.kernel import EMPTY, OPEN, Reference, ReferenceProver
from farkas.checker.plan import Recipe
from farkas.checker.prover import Step
from farkas.checker.query import Box, Network, Relu
from farkas.checker_fast.kernel import Accelerated, AcceleratedPlanProver
from tests.checker_fast.networks import Family, families, huge_families, network, root, steep_families
from tests.checker_fast.plans import Planner
from tests.checker_fast.test_kernel import Run, differences
from tests.checker_fast.test_matrices import by_blocks

seeds = st.integers(0, 2**32 - 1)


def compare_plans(
    random: Random, tested: Network, boxes: list[Box], fast: Accelerated, rounded: bool, pin: int = 26, depth: int = 4
) -> Run:
    """Walks random trees over the boxes with both kernels, a few levels, rows in random order and repeated."""
    run = Run()
    numbers = ReferenceProver(tested, rounded, ()).first[-1]
    columns = tuple(sorted(random.sample(range(numbers), random.randint(0, numbers))))
    rows = ReferenceProver(tested, rounded, (), columns)
    planner = Planner(random, rows, columns, pin)
    made, reference = fast.prepare_plan(tested, rounded, columns), Reference().prepare_plan(tested, rounded, columns)
    state, points = made.begin(boxes), reference.begin(boxes)
    for level in range(depth):
        assert differences(made, state, points) == []
        chosen = [random.randrange(len(points)) for _ in points]
        asked = planner.claims([points[row] for row in chosen])
        answers = reference.close(points, chosen, asked)
        assert made.close(state, chosen, asked) == answers
        run.nodes += len(points)
        run.closed += sum(answers)
        run.open += len(answers) - sum(answers)
        run.statuses |= {p.status for p in points}
        if level < depth - 1:
            below = [(row, step) for row in chosen for step in planner.steps(points[row].box or boxes[0], rounded)]
            below = random.sample(below, min(len(below), 6))
            steps = [step for _, step in below]
            state = made.advance(made.gather([(state, row) for row, _ in below]), steps)
            points = reference.advance(reference.gather([(points, row) for row, _ in below]), steps)
    run.redone = made.redone if isinstance(made, AcceleratedPlanProver) else run.nodes
    return run


def compared(seed: int, family: Family, fast: Accelerated, rounded: bool, pin: int = 26) -> Run:
    random = Random(seed)
    tested = network(random, family)
    boxes = [root(random, family, tested.sizes[0]) for _ in range(random.randint(1, 2))]
    return compare_plans(random, tested, boxes, fast, rounded, pin)


@given(seeds, families(), st.booleans(), st.sampled_from([4, 20, 26, 40]))
def test_every_number_is_that_of_the_reference_kernel(seed: int, family: Family, rounded: bool, pin: int) -> None:
    compared(seed, family, Accelerated(), rounded, pin)


@given(seeds, st.one_of(huge_families(), steep_families()), st.booleans(), st.sampled_from([26, 40, 44, 61]))
def test_numbers_that_no_float_holds_are_left_to_the_reference_kernel(
    seed: int, family: Family, rounded: bool, pin: int
) -> None:
    compared(seed, family, Accelerated(), rounded, pin)


@given(seeds, families(), st.booleans(), st.sampled_from([34, 38, 40, 42, 44, 46, 49]))
def test_a_narrow_mantissa_only_costs_limbs_and_time(seed: int, family: Family, rounded: bool, bits: int) -> None:
    compared(seed, family, Accelerated(bits=bits), rounded, 20)


@given(seeds, families(), st.sampled_from([1, 30, 1 << 16]))
def test_rows_are_those_of_the_reference_kernel(seed: int, family: Family, chunk: int) -> None:
    """Into wide bounds, so that no row is hidden by what was known."""
    random = Random(seed)
    tested = network(random, family)
    columns = tuple(range(ReferenceProver(tested, True, ()).first[-1]))
    rows = ReferenceProver(tested, True, (), columns)
    if not rows.layers:
        return
    made = Accelerated(chunk=chunk).prepare_plan(tested, True, columns)
    reference = Reference().prepare_plan(tested, True, columns)
    boxes = [root(random, family, tested.sizes[0]) for _ in range(3)]
    state, points = made.begin(boxes), reference.begin(boxes)
    layer, wide = random.randrange(len(rows.layers)), 1 << 45
    assert isinstance(made, AcceleratedPlanProver)
    v, size = rows.layers[layer], tested.sizes[rows.layers[layer]]
    state.numbers[:, 0, made.plan.places[v]], state.numbers[:, 1, made.plan.places[v]] = -wide, wide
    for opened in points:
        for u, node in enumerate(tested.nodes):
            if u == v or (isinstance(node, Relu) and node.source == v):
                opened.lower[u], opened.upper[u] = [-wide if u == v else 0] * size, [wide] * size
    planner = Planner(random, rows, columns, 12)
    steps = [Step(box, None, Recipe(False, (planner.group(layer), planner.group(layer)))) for box in boxes]
    state, points = made.advance(state, steps), reference.advance(points, steps)
    assert differences(made, state, points) == []


@given(seeds, families(), st.sampled_from([1, 7, 40]))
def test_how_rows_are_cut_into_chunks_does_not_matter(seed: int, family: Family, chunk: int) -> None:
    compared(seed, family, Accelerated(chunk=chunk), True)


@given(seeds, st.booleans())
def test_networks_by_blocks_agree_with_the_reference_kernel(seed: int, rounded: bool) -> None:
    with by_blocks():
        compared(seed, Family(blocks=("sparse", "residual", "leaky", "wide"), width=12), Accelerated(), rounded)


def test_random_comparisons_meet_every_outcome() -> None:
    """Each status, both answers, and no fallback but for multipliers that are too large."""
    ordinary = [
        compared(seed, Family(blocks=("dense", "sparse", "residual")), Accelerated(), True, 20) for seed in range(60)
    ]
    assert sum(run.closed for run in ordinary) > 100 < sum(run.open for run in ordinary)
    assert frozenset().union(*(run.statuses for run in ordinary)) == {OPEN, EMPTY}
    assert sum(run.redone for run in ordinary) * 3 < sum(run.nodes for run in ordinary)
