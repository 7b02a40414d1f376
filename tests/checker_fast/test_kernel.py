"""The accelerated kernel computes what the reference kernel computes: every number, every status, every answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker.errors import CertificateRejected
from farkas.checker.kernel import EMPTY, FAILED, MAX_COUNT, OPEN, Point, Reference, ReferenceProver
from farkas.checker.query import Affine, Bound, Box, H, Input, K, Matrix, Network, P, Relu
from farkas.checker_fast import batches
from farkas.checker_fast.kernel import Accelerated, AcceleratedPlanProver, AcceleratedProver, accelerated_kernel
from farkas.checker_fast.seeds import neuron_seeds
from farkas.checker_fast.state import boxes_as_arrays, frame_of, point
from tests.checker_fast.networks import Family, children, claims, families, huge_families, network, root, steep_families

RULES = ((), (0,), (0, 2), (1, 3), (2,))
seeds = st.integers(0, 2**32 - 1)


@dataclass
class Run:
    """What a comparison came across."""

    nodes: int = 0
    redone: int = 0
    statuses: frozenset[int] = frozenset()
    closed: int = 0
    open: int = 0


def differences(made: Any, state: Any, expected: Sequence[Point]) -> list[str]:
    """Where a state differs from the points of the reference kernel."""
    accelerated = isinstance(made, AcceleratedProver | AcceleratedPlanProver)
    found: list[str] = []
    for row, want in enumerate(expected):
        have = point(made.plan, state, row) if accelerated else state[row]
        if have.status != want.status:
            found.append(f"row {row}: status {have.status}, not {want.status}")
        elif want.status == OPEN:
            for name in ("lower", "upper", "errors"):
                if getattr(have, name) != getattr(want, name):
                    found.append(f"row {row}: {name} {getattr(have, name)}, not {getattr(want, name)}")
    return found


def compare(
    random: Random,
    tested: Network,
    box: Box,
    fast: Accelerated,
    rounded: bool,
    rules: tuple[int, ...],
    most: int = 1 << 20,
) -> Run:
    """Walks a random tree over the box with both kernels, a few levels, rows in random order and repeated."""
    run = Run()
    made, reference = fast.prepare(tested, rounded, rules), Reference().prepare(tested, rounded, rules)
    state, points = made.gather([(made.start(2), 1)]), reference.start(1)
    boxes = [box]
    sizes = (tested.sizes[tested.output], tested.sizes[0])
    for _ in range(4):
        state, points = made.derive(state, boxes), reference.derive(points, boxes)
        assert differences(made, state, points) == []
        rows = [random.randrange(len(boxes)) for _ in boxes]
        asked = claims(random, reference, [points[row] for row in rows], sizes, most)
        answers = reference.close(points, rows, asked)
        assert made.close(state, rows, asked) == answers
        run.nodes += len(boxes)
        run.closed += sum(answers)
        run.open += len(answers) - sum(answers)
        run.statuses |= {p.status for p in points}
        family = [(row, child) for row, b in enumerate(boxes) for child in children(random, b, rounded)]
        family = random.sample(family, min(len(family), 5))
        boxes = [child for _, child in family]
        state = made.gather([(state, row) for row, _ in family])
        points = reference.gather([(points, row) for row, _ in family])
    run.redone = made.redone if isinstance(made, AcceleratedProver) else run.nodes
    return run


def compared(
    seed: int, family: Family, fast: Accelerated, rounded: bool, rules: tuple[int, ...], most: int = 1 << 20
) -> Run:
    random = Random(seed)
    tested = network(random, family)
    return compare(random, tested, root(random, family, tested.sizes[0]), fast, rounded, rules, most)


@given(seeds, families(), st.booleans(), st.sampled_from(RULES))
def test_every_number_is_that_of_the_reference_kernel(
    seed: int, family: Family, rounded: bool, rules: tuple[int, ...]
) -> None:
    compared(seed, family, Accelerated(), rounded, rules)


coefficients = st.sampled_from([4, 20, 28, 34, 40, 46, 60]).map(lambda bits: 1 << bits)


@given(seeds, huge_families(), st.booleans(), st.sampled_from(RULES), coefficients)
def test_numbers_that_no_float_holds_are_left_to_the_reference_kernel(
    seed: int, family: Family, rounded: bool, rules: tuple[int, ...], most: int
) -> None:
    compared(seed, family, Accelerated(), rounded, rules, most)


@given(seeds, steep_families(), st.booleans(), st.sampled_from(RULES), coefficients)
def test_coefficients_that_no_float_holds_are_left_to_the_reference_kernel(
    seed: int, family: Family, rounded: bool, rules: tuple[int, ...], most: int
) -> None:
    compared(seed, family, Accelerated(), rounded, rules, most)


@given(seeds, families(), st.booleans(), st.sampled_from([34, 38, 40, 42, 44, 46, 49]))
def test_a_narrow_mantissa_only_costs_limbs_and_time(seed: int, family: Family, rounded: bool, bits: int) -> None:
    compared(seed, family, Accelerated(bits=bits), rounded, (0, 1))


@given(seeds, families(), st.sampled_from([1, 7, 40]))
def test_how_rows_are_cut_into_chunks_does_not_matter(seed: int, family: Family, chunk: int) -> None:
    compared(seed, family, Accelerated(chunk=chunk), True, (0,))


def test_random_comparisons_meet_every_outcome() -> None:
    """The strategies reach what they are meant to reach: each status, both answers, limbs with and without fallback."""
    ordinary = [compared(seed, Family(), Accelerated(), True, (0,), 100) for seed in range(40)]
    assert sum(run.redone for run in ordinary) == 0
    assert sum(run.closed for run in ordinary) > 100 < sum(run.open for run in ordinary)
    assert frozenset().union(*(run.statuses for run in ordinary)) == {OPEN, EMPTY}
    narrow = [compared(seed, Family(), Accelerated(bits=44), True, (0,)) for seed in range(40)]
    assert 0 < sum(run.redone for run in narrow) < sum(run.nodes for run in narrow)
    huge = [compared(seed, Family(box=H + 130, weight=P + 10), Accelerated(), True, (0,)) for seed in range(10)]
    assert any(FAILED in run.statuses for run in huge)


# Larger layers: many limbs, packing, chunks -------------------------------------------------------------------------


def layered(random: Random, widths: Sequence[int], bits: int, exact: bool, shift: int) -> Network:
    """Dense layers with ReLUs between; biases of both signs settle many neurons, some in children only."""
    nodes: list[Input | Affine | Relu] = [Input(widths[0])]
    sizes = [widths[0]]
    for columns, rows in pairwise(widths):
        if len(nodes) > 1:
            nodes.append(Relu(len(nodes) - 1))
            sizes.append(columns)
        weights = tuple(tuple(random.randrange(-(1 << bits), 1 << bits) for _ in range(columns)) for _ in range(rows))
        bias = tuple(random.randrange(-(1 << bits + shift), 1 << bits + shift) for _ in range(rows))
        matrix = Matrix(rows, columns, None, weights, exact)
        nodes.append(Affine(((matrix, len(nodes) - 1),), bias, exact, tuple(map(abs, bias)), columns + 1))
        sizes.append(rows)
    return Network(tuple(nodes), tuple(sizes), len(nodes) - 1)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("bits", "mantissa"), [(P, 53), (P + 4, 53), (P, 48), (P - 6, 43)])
def test_wide_layers_agree_without_a_fallback(exact: bool, bits: int, mantissa: int) -> None:
    random = Random(bits * 100 + mantissa)
    tested = layered(random, (3, 20, 18, 12, 2), bits - 2, exact, 1)
    box = Box((-(1 << H - 2),) * 3, (1 << H - 2,) * 3)
    run = compare(random, tested, box, Accelerated(bits=mantissa), True, (0,), 10)
    assert run.redone == 0
    assert run.open and run.closed


def test_a_wave_mixes_roots_children_and_closed_rows() -> None:
    random = Random(3)
    tested = layered(random, (2, 10, 8, 1), P - 1, False, 1)
    fast, reference = Accelerated().prepare(tested, True, (0,)), Reference().prepare(tested, True, (0,))
    whole = Box((-(1 << H),) * 2, (1 << H,) * 2)
    away = Box((5 << H,) * 2, (6 << H,) * 2)
    half = Box((0, -(1 << H)), (1 << H,) * 2)
    state, points = fast.derive(fast.start(1), [whole]), reference.derive(reference.start(1), [whole])
    order = [(0, away), (0, half)]
    mixed = fast.gather([(state, row) for row, _ in order] + [(fast.start(3), 2)])
    known = reference.gather([(points, row) for row, _ in order] + [(reference.start(3), 2)])
    boxes = [away, half, half]
    state, points = fast.derive(mixed, boxes), reference.derive(known, boxes)
    assert [p.status for p in points] == [EMPTY, OPEN, OPEN]
    assert differences(fast, state, points) == []
    grandchildren = fast.gather([(state, row) for row in (2, 0, 1)]), reference.gather([(points, r) for r in (2, 0, 1)])
    state, points = fast.derive(grandchildren[0], boxes), reference.derive(grandchildren[1], boxes)
    assert [p.status for p in points] == [OPEN if p.status == OPEN else EMPTY for p in points]
    assert differences(fast, state, points) == []
    claim = (Bound(0, ((0, 1),), (), Fraction(-(1 << 40)), False),)
    for rows in ([0, 1, 2], [1], [2, 2, 0]):
        assert fast.close(state, rows, [claim] * len(rows)) == reference.close(points, rows, [claim] * len(rows))


def test_a_neuron_starts_with_its_bias_and_error_rounded_up_to_the_unit() -> None:
    # C = +-b - E - ceil(E 2^-16) at 2^-40: one unit of it is lost in a neuron's bound at 2^-24, so it is looked at here
    tested = layered(Random(7), (2, 9, 7, 1), P - 1, False, 1)
    fast, reference = Accelerated().prepare(tested, True, (0,)), Reference().prepare(tested, True, (0,))
    box = Box((-(1 << H),) * 2, (1 << H,) * 2)
    state, points = fast.derive(fast.start(1), [box]), reference.derive(reference.start(1), [box])
    assert isinstance(fast, AcceleratedProver)
    frame = frame_of(fast.plan, state, np.array([0]), *boxes_as_arrays([box], 2.0**50)[:2])
    node, errors = tested.nodes[3], points[0].errors[3]
    assert isinstance(node, Affine)
    assert any(e % (1 << 16) for e in errors)
    found = neuron_seeds(frame, np.array([0]), 3, np.arange(7)[None], 0).constant[0]
    expected = [
        (sign * b << K - P) - (0 if sign > 0 else 1 << K - P) - e + (-e >> 16)
        for sign in (1, -1)
        for b, e in zip(node.bias, errors, strict=True)
    ]
    assert found.tolist() == expected  # the source is a ReLU, so flooring costs nothing; biases may exceed their floors


def test_a_state_that_was_returned_is_never_changed() -> None:
    random = Random(4)
    tested = layered(random, (2, 8, 8, 1), P - 1, False, 1)
    fast = Accelerated().prepare(tested, True, (0,))
    box = Box((-(1 << H),) * 2, (1 << H,) * 2)
    state = fast.derive(fast.start(1), [box])
    before = state.numbers.copy(), state.status.copy()
    fast.derive(fast.gather([(state, 0), (state, 0)]), [box, children(random, box, True)[0]])
    fast.close(state, [0], [(Bound(1, ((0, 1),), (), Fraction(0), False),)])
    assert np.array_equal(before[0], state.numbers) and np.array_equal(before[1], state.status)


def test_a_parent_that_only_the_reference_kernel_holds_may_have_children_in_arrays() -> None:
    identity = Matrix(1, 1, None, ((1 << P,),), True)
    tested = Network(
        (
            Input(1),
            Affine(((identity, 0),), (0,), True, (0,), 2),
            Relu(1),
            Affine(((identity, 2),), (0,), True, (0,), 2),
        ),
        (1, 1, 1, 1),
        3,
    )
    fast, reference = Accelerated().prepare(tested, True, (0,)), Reference().prepare(tested, True, (0,))
    assert isinstance(fast, AcceleratedProver)
    large, small = Box((-(1 << 90),), (1 << 90,)), Box((-(1 << H),), (1 << H,))
    state, points = fast.derive(fast.start(1), [large]), reference.derive(reference.start(1), [large])
    assert fast.redone == 1 and list(state.points) == [0]
    assert differences(fast, state, points) == []
    state, points = fast.derive(state, [small]), reference.derive(points, [small])
    assert fast.redone == 1 and not state.points
    assert differences(fast, state, points) == []


# What does not fit --------------------------------------------------------------------------------------------------


def single(weight: int, bias: int = 0, count: int = 2) -> Network:
    """relu(weight x + bias)."""
    matrix = Matrix(1, 1, None, ((weight,),), True)
    return Network((Input(1), Affine(((matrix, 0),), (bias,), True, (abs(bias),), count), Relu(1)), (1, 1, 1), 2)


@pytest.mark.parametrize("tested", [single(1 << 60), single(1, 1 << 60), single(1 << 300), single(1 << 2000)])
def test_a_network_with_numbers_that_are_too_large_gets_the_reference_kernel(tested: Network) -> None:
    assert isinstance(Accelerated().prepare(tested, True, (0,)), ReferenceProver)


def test_a_network_of_ordinary_size_does_not_get_the_reference_kernel() -> None:
    assert isinstance(accelerated_kernel().prepare(single(1 << P), True, (0,)), AcceleratedProver)
    assert (accelerated_kernel().tier, accelerated_kernel().wave) == ("accelerated", 256)


def test_summation_groups_that_are_too_long_are_refused_where_executions_round() -> None:
    with pytest.raises(CertificateRejected):
        Accelerated().prepare(single(1 << P, count=MAX_COUNT + 1), True, (0,))
    assert isinstance(Accelerated().prepare(single(1 << P, count=MAX_COUNT + 1), False, (0,)), AcceleratedProver)


@pytest.mark.parametrize("size", [48, 70, 2000])
def test_claims_with_coefficients_that_are_too_large_are_decided_by_the_reference_kernel(size: int) -> None:
    tested = single(1 << P)
    fast = Accelerated().prepare(tested, False, (0,))
    assert isinstance(fast, AcceleratedProver)
    state = fast.derive(fast.start(1), [Box((1 << H,), (2 << H,))])
    # relu(x) >= 1 over [1, 2]: 2^n relu(x) exceeds 2^n - 1 by 1, and 2^n by nothing
    for row, xrow in ((((0, 1 << size),), ()), ((), ((0, 1 << size),))):
        below = Bound(0, row, xrow, Fraction((1 << size) - 1), False)
        above = Bound(0, row, xrow, Fraction(1 << size), False)
        fast.batches.redone = 0
        assert fast.close(state, [0, 0], [(below,), (above,)]) == [True, False]
        assert fast.redone == 2


def test_an_error_term_times_a_large_coefficient_does_not_wrap_around() -> None:
    # y = 2^-24 relu(x) in an affine node whose constants have magnitude 2^16: the coefficient of the claim, 2^40, times
    # the error, about 2^34 2^-40, times 2^16 is beyond 2^63
    one, tiny = Matrix(1, 1, None, ((1 << P,),), True), Matrix(1, 1, None, ((1,),), True)
    tested = Network(
        (
            Input(1),
            Affine(((one, 0),), (0,), True, (0,), 2),
            Relu(1),
            Affine(((tiny, 2),), (0,), True, (1 << P + 16,), 2),
        ),
        (1, 1, 1, 1),
        3,
    )
    fast, reference = Accelerated().prepare(tested, True, (0,)), Reference().prepare(tested, True, (0,))
    box = Box((1 << H,), (2 << H,))
    state, points = fast.derive(fast.start(1), [box]), reference.derive(reference.start(1), [box])
    assert points[0].errors[3][0] >= 1 << 32
    row = ((0, 1 << 40),)
    lower = reference.row_bound(points[0], 3, row, (), 0)
    for beside in (-1, 0, 1):
        claim = (Bound(0, row, (), Fraction(lower + beside, 1 << K), False),)
        assert fast.close(state, [0], [claim]) == reference.close(points, [0], [claim]) == [beside < 0]


@pytest.mark.parametrize("size", [20, 37, 38, 40])
def test_the_unit_that_a_rounded_up_coefficient_adds_to_the_cost_of_an_error_is_not_lost(size: int) -> None:
    # c y with y = 0 relu(x): the error costs ceil((c 2^16 + 1) E 2^-16); c 2^16 + 1 may have more than 53 bits
    nothing = Matrix(1, 1, None, ((0,),), True)
    tested = Network((Input(1), Relu(0), Affine(((nothing, 1),), (0,), True, (0,), 2)), (1, 1, 1), 2)
    fast, reference = Accelerated().prepare(tested, True, ()), Reference().prepare(tested, True, ())
    box = Box((0,), (0,))
    state, points = fast.derive(fast.start(1), [box]), reference.derive(reference.start(1), [box])
    c, error = (1 << size) + 1, points[0].errors[2][0]
    lower = -c * error - 1  # ceil((c 2^16 + 1) E 2^-16) = c E + 1 for 0 < E <= 2^16
    assert 0 < error <= 1 << 16
    for beside, closed in ((-1, True), (0, False)):
        claim = (Bound(0, ((0, c),), (), Fraction(lower + beside, 1 << K), False),)
        assert fast.close(state, [0], [claim]) == reference.close(points, [0], [claim]) == [closed]
    assert isinstance(fast, AcceleratedProver) and fast.redone == 0


@given(seeds, families())
def test_how_a_wave_is_cut_into_pieces_does_not_matter(seed: int, family: Family) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "PIECE", 1)
        compared(seed, family, Accelerated(), True, (0,))
