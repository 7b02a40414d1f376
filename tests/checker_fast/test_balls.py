"""Over ellipsoids of inputs the accelerated kernel computes what the reference kernel computes."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import ellipsoid
from farkas.checker.kernel import Reference
from farkas.checker.query import Ball, Box, F, S
from farkas.checker_fast import balls
from farkas.checker_fast.kernel import Accelerated
from farkas.checker_fast.limbs import Budget
from tests.checker_fast.networks import Family, ball, families, huge_families, network, root
from tests.checker_fast.plans import Planner
from tests.checker_fast.test_kernel import Run, compare, differences

seeds = st.integers(0, 2**32 - 1)


def compared(seed: int, family: Family, fast: Accelerated, rounded: bool, rules: tuple[int, ...], most: int) -> Run:
    random = Random(seed)
    tested = network(random, family)
    box = root(random, family, tested.sizes[0])
    return compare(random, tested, ellipsoid.cut(box, ball(random, box)), fast, rounded, rules, most)


@given(seeds, families(), st.booleans(), st.sampled_from([(0,), (1, 2)]))
def test_every_number_is_that_of_the_reference_kernel(
    seed: int, family: Family, rounded: bool, rules: tuple[int, ...]
) -> None:
    compared(seed, family, Accelerated(), rounded, rules, 1 << 20)


@given(seeds, huge_families(), st.booleans(), st.sampled_from([20, 34, 46, 60]))
def test_numbers_that_no_float_holds_are_left_to_the_reference_kernel(
    seed: int, family: Family, rounded: bool, bits: int
) -> None:
    compared(seed, family, Accelerated(), rounded, (0,), 1 << bits)


@given(seeds, families(), st.sampled_from([34, 38, 42, 46]), st.sampled_from([7, 1 << 16]))
def test_a_narrow_mantissa_and_small_chunks_only_cost_time(seed: int, family: Family, bits: int, chunk: int) -> None:
    compared(seed, family, Accelerated(bits=bits, chunk=chunk), True, (0,), 1 << 20)


def test_random_comparisons_meet_every_outcome() -> None:
    runs = [compared(seed, Family(), Accelerated(), True, (0,), 100) for seed in range(40)]
    assert sum(run.redone for run in runs) == 0
    assert sum(run.closed for run in runs) > 50 < sum(run.open for run in runs)


@given(seeds, families(), st.booleans())
def test_plans_are_carried_out_as_by_the_reference_kernel(seed: int, family: Family, rounded: bool) -> None:
    random = Random(seed)
    tested = network(random, family)
    reference = Reference().prepare_plan(tested, rounded, ())
    made = Accelerated().prepare_plan(tested, rounded, ())
    planner = Planner(random, reference._rows, ())  # type: ignore[attr-defined]
    box = root(random, family, tested.sizes[0])
    boxes = [ellipsoid.cut(box, ball(random, box)), box, ellipsoid.cut(box, ball(random, box))]
    state, points = made.begin(boxes), reference.begin(boxes)
    for _ in range(3):
        assert differences(made, state, points) == []
        rows = [random.randrange(len(boxes)) for _ in range(4)]
        asked = planner.claims([points[row] for row in rows])
        assert made.close(state, rows, asked) == reference.close(points, rows, asked)
        steps = [(row, step) for row, b in enumerate(boxes) for step in planner.steps(b, rounded)][:5]
        boxes = [step.box for _, step in steps]
        state = made.advance(made.gather([(state, row) for row, _ in steps]), [step for _, step in steps])
        points = reference.advance(reference.gather([(points, row) for row, _ in steps]), [s for _, s in steps])


@given(st.lists(st.integers(0, 2**62 - 1), min_size=1, max_size=8))
def test_roots_are_rounded_up(values: list[int]) -> None:
    near = [v for value in values for r in [isqrt(value)] for v in (r * r, r * r + 1, max(0, r * r - 1), value)]
    expected = [isqrt(v - 1) + 1 if v else 0 for v in near]
    assert balls.root_up(np.array(near)).tolist() == expected


@pytest.mark.parametrize("step", [0, S])
@given(seeds, st.integers(1, 40), st.sampled_from([3, 12, 26, 27, 40, 49]), st.sampled_from([4, 26, 33, 45]))
def test_rows_over_wide_inputs_are_those_of_the_reference_kernel(
    step: int, seed: int, inputs: int, large: int, axis: int
) -> None:
    random = Random(seed)
    m = [random.randrange(-(1 << 33), 1 << 33) for _ in range(inputs)]
    shape = Ball(tuple(m), tuple(random.choice((0, 1, random.randint(1, 1 << axis))) for _ in m))
    shape = replace(shape, axes=(max(1, shape.axes[0]), *shape.axes[1:]))
    half = [random.randrange(1 << 33) for _ in m]
    box = ellipsoid.cut(
        Box(
            tuple(c - h for c, h in zip(m, half, strict=True)), tuple(c + h // 2 for c, h in zip(m, half, strict=True))
        ),
        shape,
    )
    rows = [[random.choice((0, 1, random.randrange(-(1 << large), 1 << large))) for _ in m] for _ in range(3)]
    arrays = balls.balls_of([box], 2.0**50)
    assert arrays is not None
    low, high = np.array([box.lower], np.float64), np.array([box.upper], np.float64)
    found, reach = balls.least(
        arrays, np.array([0]), np.array([rows], np.float64), np.array([2.0**large]), low, high, step, Budget(53)
    )
    for row, value in zip(rows, found[0].tolist(), strict=True):
        want = ellipsoid.least([c << (S - step) for c in row], box, shape)
        assert reach[0] >= 2.0**62 or value == want
        assert abs(want) <= reach[0] or reach[0] >= 2.0**62
    assert F > 0
