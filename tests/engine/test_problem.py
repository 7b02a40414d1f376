"""Boxes, bisection and rows against the checker's integers and against rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farkas.checker.query import Box, grid_interval
from farkas.checker.query import bisect as checked_bisect
from farkas.engine.problem import GRID, bisect, families, float_up, grid_down, grid_up, row_scale
from farkas.engine.query import input_sets
from farkas.ir.errors import FarkasError
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.nets import atom, case

H = 32
grid_points = st.one_of(
    st.integers(-(2**52), 2**52),
    st.integers(-(2**34), 2**34),
    st.integers(-64, 64),
    st.floats(-1e6, 1e6, width=32).map(lambda v: int(Fraction(v) * 2**H // 1)),
)


def ordered(a: int, b: int) -> tuple[int, int]:
    return min(a, b), max(a, b)


@given(st.lists(st.tuples(grid_points, grid_points), min_size=1, max_size=4), st.booleans(), st.data())
def test_bisection_is_the_checkers(intervals: list[tuple[int, int]], rounded: bool, data: st.DataObject) -> None:
    low, high = zip(*(ordered(*pair) for pair in intervals), strict=True)
    dimension = data.draw(st.integers(0, len(intervals) - 1))
    first, second = bisect(np.array(low) * GRID, np.array(high) * GRID, rounded)
    box = Box(tuple(low), tuple(high))
    halves = checked_bisect(box, dimension, rounded)
    left, right = (int(Fraction(float(side[dimension])) * 2**H) for side in (first, second))
    assert (left, right) == (Fraction(float(first[dimension])) * 2**H, Fraction(float(second[dimension])) * 2**H)
    if halves is None:
        assert left < low[dimension] or right > high[dimension]
    else:
        assert halves[0].upper[dimension] == left and halves[1].lower[dimension] == right


@given(st.floats(-1e6, 1e6, width=32), st.integers(0, 5000), st.data())
def test_children_hold_every_binary32_point_of_their_parent(start: float, steps: int, data: st.DataObject) -> None:
    low = np.float32(start)
    values = ulps(low, steps)
    box = grid_box(Fraction(float(values[0])), Fraction(float(values[-1])))
    first, second = bisect(np.array([box[0]]), np.array([box[1]]), True)
    point = float(values[data.draw(st.integers(0, steps))])
    assert box[0] <= point <= box[1]
    assert point <= first[0] or point >= second[0]


@given(st.floats(2.0**-8, 1e6, width=32), st.integers(1, 5000), st.booleans())
def test_bisection_of_two_or_more_binary32_points_makes_both_children_smaller(
    start: float, steps: int, negative: bool
) -> None:
    """From 2^-8 on, where binary32 numbers lie on the grid."""
    values = ulps(np.float32(start), steps)
    ends = (-float(values[-1]), -float(values[0])) if negative else (float(values[0]), float(values[-1]))
    first, second = bisect(np.array([ends[0]]), np.array([ends[1]]), True)
    assert ends[0] <= first[0] < second[0] <= ends[1]
    assert first[0] == np.float32(first[0]) and second[0] == np.nextafter(np.float32(first[0]), np.float32(np.inf))


def ulps(start: np.float32, steps: int) -> np.ndarray:
    """`steps` + 1 binary32 numbers upward from `start`."""
    bits = int(np.abs(start).view(np.uint32))
    keys = np.arange(steps + 1, dtype=np.int64) + (-bits if start < 0 else bits)
    sizes = np.abs(keys).astype(np.uint32).view(np.float32)
    return np.where(keys < 0, -sizes, sizes)


def grid_box(low: Fraction, high: Fraction) -> tuple[float, float]:
    return grid_down(low), grid_up(high)


@given(st.fractions(-(2**20), 2**20), st.fractions(-(2**20), 2**20))
def test_boxes_are_rounded_outward_to_the_grid_and_no_further(a: Fraction, b: Fraction) -> None:
    low, high = grid_box(min(a, b), max(a, b))
    assert 0 <= min(a, b) - Fraction(low) < Fraction(GRID) and 0 <= Fraction(high) - max(a, b) < Fraction(GRID)
    assert (Fraction(low) * 2**H).denominator == 1 == (Fraction(high) * 2**H).denominator


@given(st.fractions() | st.fractions(min_value=-(10**300), max_value=10**300))
@example(Fraction(-1, 10**400))
@example(Fraction(1, 10**400))
def test_thresholds_are_rounded_up_and_to_the_next_number(value: Fraction) -> None:
    got = float_up(value)
    assert Fraction(got) >= value
    assert Fraction(float(np.nextafter(got, -np.inf))) < value


def test_thresholds_beyond_float64_stay_on_the_safe_side() -> None:
    assert float_up(Fraction(10**400)) == float("inf")
    assert Fraction(float_up(Fraction(-(10**400)))) >= -(10**400)


@pytest.mark.parametrize(
    "coefficient", [Fraction(12345678901234567891, 10**19), Fraction(10**400), Fraction(2**53 + 1)]
)
def test_coefficients_that_no_float64_holds_are_refused_with_the_next_step(coefficient: Fraction) -> None:
    with pytest.raises(FarkasError, match="more than 53 significant bits; write the property with shorter decimals"):
        families([case([0, 0], [1, 1], [atom([coefficient, 0], 0)])], [BOX], 2)


@pytest.mark.parametrize("end", [Fraction(2**20) + Fraction(1, 10**9), Fraction(10**400)])
@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_inputs_beyond_the_grid_are_refused(end: Fraction, semantics: Semantics) -> None:
    for ends in (([0], [end]), ([-end], [0])):
        with pytest.raises(FarkasError, match="input bound exceeds 1048576"):
            input_sets(Property(1, 1, (case(*ends, []),)), semantics)
    assert input_sets(Property(1, 1, (case([-(2**20)], [2**20], []),)), semantics).empty == ()


# Input sets ----------------------------------------------------------------------------------------------------------


@given(st.fractions(-100, 100, max_denominator=10**9), st.fractions(0, 1, max_denominator=10**10), st.booleans())
def test_input_sets_are_the_checkers(low: Fraction, width: Fraction, point: bool) -> None:
    high = low if point else low + width / 10**4
    sets = input_sets(Property(1, 1, (case([low], [high], [atom([1], 0)]),)), Semantics.F32_ANY)
    interval = grid_interval(low, high)
    assert (interval is None) == (sets.empty == (0,))
    if interval is None:
        return
    assert (Fraction(float(sets.points[0][0][0])), Fraction(float(sets.points[0][1][0]))) == interval
    assert (float(sets.grid[0][0][0]), float(sets.grid[0][1][0])) == grid_box(*interval)
    assert sets.off_grid == (low == high != interval[0])


def test_real_input_sets_hold_the_rational_box() -> None:
    third = Fraction(1, 3)
    sets = input_sets(Property(1, 1, (case([-third], [third], [atom([1], 0)]),)), Semantics.REAL)
    low, high = (Fraction(float(end[0])) for end in sets.grid[0])
    assert low < -third < third < high and high - third < Fraction(GRID)
    assert sets.empty == () and sets.off_grid == 0


# Families ------------------------------------------------------------------------------------------------------------

BOX = (np.zeros(2), np.ones(2))


def test_cases_with_the_same_left_hand_sides_share_a_family() -> None:
    cases = [
        case([0, 0], [1, 1], [atom([1, -1], 0)], [atom([0, 1], 3)]),
        case([0, 0], [1, 1], [atom([1, 0], 0)]),
        case([0, 0], [2, 2], [atom([1, -1], 5)], [atom([0, 1], -3)]),
        case([0, 0], [1, 1], [atom([1, -1], 0), atom([0, 1], 3)]),
        case([0, 0], [1, 1], [atom([1, -1], 0, strict=True)], [atom([0, 1], 3)]),
    ]
    found = families(cases, [BOX] * 5, 2)
    assert [f.members for f in found] == [(0, 2), (1,), (3,), (4,)]
    assert [f.strict.tolist() for f in found] == [[False, False], [False], [False, False], [True, False]]
    assert [f.members for f in families(cases, [BOX] * 5, 2, skip=(0, 3))] == [(1,), (2,), (4,)]
    assert found[0].thresholds.tolist() == [[0, 3], [5, -3]]
    assert found[0].disjuncts == ((0,), (1,)) and found[2].disjuncts == ((0, 1),)
    assert found[0].y_rows.tolist() == [[1, -1], [0, 1]] and found[0].x_rows is None


def test_rows_are_scaled_to_integers_by_their_denominators() -> None:
    one = atom([Fraction(1, 3), Fraction(-1, 4)], Fraction(1, 7), x=[Fraction(1, 10)])
    assert row_scale(one) == 60
    (family,) = families([case([0], [1], [one])], [(np.zeros(1), np.ones(1))], 2)
    assert family.y_rows.tolist() == [[20, -15]] and family.x_rows is not None
    assert family.x_rows.tolist() == [[6]]
    assert Fraction(float(family.thresholds[0, 0])) >= Fraction(60, 7)


def test_atoms_and_disjuncts_may_be_missing() -> None:
    nothing, all_unsafe, constant = case([0], [1]), case([0], [1], []), case([0], [1], [Atom((), (), Fraction(-1))])
    found = families([nothing, all_unsafe, constant], [(np.zeros(1), np.ones(1))] * 3, 1)
    assert [f.disjuncts for f in found] == [(), ((),), ((0,),)]
    assert found[2].y_rows.tolist() == [[0]] and found[2].thresholds.tolist() == [[-1]]


fractions = st.fractions(-5, 5, max_denominator=12)


@st.composite
def random_cases(draw: st.DrawFn) -> list[Case]:
    terms = st.lists(fractions, min_size=2, max_size=2)
    atoms = st.builds(lambda y, x, c, s: atom(y, c, x=x, strict=s), terms, terms, fractions, st.booleans())
    disjuncts = st.lists(st.lists(atoms, max_size=2), max_size=3)
    return [case([0, 0], [1, 1], *draw(disjuncts)) for _ in range(draw(st.integers(1, 4)))]


@given(random_cases(), st.lists(fractions, min_size=4, max_size=4))
def test_rows_and_thresholds_say_what_the_atoms_say(cases: list[Case], values: list[Fraction]) -> None:
    """At a point, row <= threshold holds wherever the atom does; where the row is below by a bit, the atom holds."""
    found = families(cases, [BOX] * len(cases), 2)
    assert sorted(m for family in found for m in family.members) == list(range(len(cases)))
    x, y = values[:2], values[2:]
    for family in found:
        for position, member in enumerate(family.members):
            rows = [r for rows in family.disjuncts for r in rows]
            atoms = [a for atoms in cases[member].disjuncts for a in atoms]
            assert [len(rows) for rows in family.disjuncts] == [len(atoms) for atoms in cases[member].disjuncts]
            for r, one in zip(rows, atoms, strict=True):
                total = sum((Fraction(float(b)) * v for b, v in zip(family.y_rows[r], y, strict=True)), Fraction(0))
                if family.x_rows is not None:
                    total += sum(
                        (Fraction(float(a)) * v for a, v in zip(family.x_rows[r], x, strict=True)), Fraction(0)
                    )
                limit = Fraction(float(family.thresholds[position, r]))
                assert total == one.value(x, y) * row_scale(one)
                assert not one.holds(x, y) or total <= limit
                assert one.holds(x, y) or total >= limit - Fraction(1, 2**40)
