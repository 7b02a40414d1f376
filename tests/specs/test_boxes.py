"""Rounding to the binary32 grid against a search over neighbouring bit patterns."""

import struct
from fractions import Fraction as Q

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.specs.boxes import LARGEST, Grid, binary32_box, contains, down32, nearest32, up32
from farkas.specs.query import Case, Semantics

MOST = 0x7F7FFFFF  # rank of the largest finite binary32 number
OVERFLOW = Q(2**128 - 2**103)  # rounds to infinity from here on


def ranked(rank: int) -> Q:
    """The binary32 number with this rank in their order: 0 is zero, 1 the smallest subnormal, -1 its negative."""
    (value,) = struct.unpack("<f", struct.pack("<I", abs(rank)))
    return Q(value) if rank >= 0 else -Q(value)


def rank_below(q: Q) -> int | None:
    """The rank of the largest finite binary32 number <= q, by bisection over all of them."""
    low, high = -MOST, MOST
    if q < ranked(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if ranked(middle) <= q else (low, middle - 1)
    return low


ranks = st.one_of(
    st.integers(-MOST, MOST),
    st.integers(-3, 3),
    st.sampled_from([0x007FFFFF, 0x00800000, 0x00800001, MOST - 1, MOST]),  # around the smallest normal; the largest
    st.integers(1, 254).map(lambda e: e << 23),  # powers of two
)
near_grid = st.builds(
    lambda rank, part: ranked(rank) + part * (ranked(min(rank + 1, MOST)) - ranked(min(rank, MOST - 1))),
    ranks,
    st.sampled_from(
        [Q(0), Q(1, 2), Q(1, 2) + Q(1, 10**60), Q(1, 2) - Q(1, 10**60), Q(1, 10**60), -Q(1, 10**60), Q(1, 3)]
    ),
)
rationals = st.one_of(
    near_grid,
    st.fractions(),
    st.sampled_from(
        [Q(0), OVERFLOW, OVERFLOW - Q(1, 3), -OVERFLOW, Q(10**39), -Q(10**39), Q(1, 10**50), -Q(1, 10**50)]
    ),
    st.sampled_from([Q(10) ** 500, -(Q(10) ** 500), Q(1, 10**500), -Q(1, 10**500), Q(LARGEST), -Q(LARGEST)]),
)


@given(rationals)
def test_down_and_up_are_the_neighbours_on_the_grid(q: Q) -> None:
    below, above = rank_below(q), rank_below(-q)
    down, up = down32(q), up32(q)
    assert (None if down is None else Q(down)) == (None if below is None else ranked(below))
    assert (None if up is None else Q(up)) == (None if above is None else -ranked(above))


@given(rationals)
def test_nearest_is_nearest_and_even_at_ties(q: Q) -> None:
    value = nearest32(q)
    if abs(q) >= OVERFLOW:
        assert value is None
        return
    assert value is not None
    assert np.float32(value) == value
    below, above = rank_below(q), rank_below(-q)
    neighbours = {rank for rank in (below, None if above is None else -above) if rank is not None}
    distance = min(abs(ranked(rank) - q) for rank in neighbours)
    closest = [rank for rank in neighbours if abs(ranked(rank) - q) == distance]
    even = [rank for rank in closest if rank % 2 == 0]  # the last bit of the pattern is that of the significand
    assert Q(value) == ranked(closest[0] if len(closest) == 1 else even[0])


@given(st.floats(width=64, allow_nan=False, allow_infinity=False, min_value=-3e38, max_value=3e38))
def test_nearest_agrees_with_numpy_on_binary64_numbers(value: float) -> None:
    assert nearest32(Q(value)) == np.float32(value)


@given(rationals)
def test_no_rounding_gives_negative_zero(q: Q) -> None:
    for value in (down32(q), up32(q), nearest32(q)):
        assert value is None or value != 0 or str(value) == "0.0"


@given(rationals, rationals)
def test_interval_keeps_exactly_its_binary32_points(p: Q, q: Q) -> None:
    low, high = min(p, q), max(p, q)
    if low == high:
        return
    box = binary32_box((low,), (high,))
    assert box.lower.dtype == box.upper.dtype == np.float32
    assert box.off_grid == 0
    last, first = rank_below(high), rank_below(-low)
    if last is None or first is None or -first > last:
        assert box.empty
    else:
        assert not box.empty
        assert Q(float(box.lower[0])) == ranked(-first)
        assert Q(float(box.upper[0])) == ranked(last)


def test_point_off_the_grid_means_its_nearest_number_and_is_counted() -> None:
    tenth, half = Q(1, 10), Q(1, 2)
    box = binary32_box((tenth, half, tenth, Q(0)), (tenth, half, Q(2, 10), Q(0)))
    # 0.1f = 13421773 / 2^27 is above 0.1, so an interval that starts at 0.1 starts there too; 0.2f is above 0.2
    tenth32, below_fifth = 13421773 / 2**27, 13421772 / 2**26
    assert box.off_grid == 1
    assert not box.empty
    assert box.lower.tolist() == [tenth32, 0.5, tenth32, 0.0]
    assert box.upper.tolist() == [tenth32, 0.5, below_fifth, 0.0]


def test_interval_between_two_neighbours_is_empty() -> None:
    box = binary32_box((Q(0), Q(1) + Q(1, 2**25)), (Q(1), Q(1) + Q(1, 2**24)))
    assert box.empty
    assert binary32_box((Q(1, 10**50),), (Q(1, 10**49),)).empty
    assert binary32_box((Q(2**128),), (Q(2**129),)).empty


def test_interval_beyond_the_range_ends_at_the_largest_number() -> None:
    box = binary32_box((-(Q(10) ** 400), Q(2**127)), (Q(10) ** 400, Q(2**128)))
    assert box.lower.tolist() == [-LARGEST, 2.0**127]
    assert box.upper.tolist() == [LARGEST, LARGEST]
    assert not box.empty


def test_point_beyond_the_range_is_empty_and_no_off_grid_point() -> None:
    box = binary32_box((OVERFLOW,), (OVERFLOW,))
    assert (box.empty, box.off_grid) == (True, 0)
    box = binary32_box((OVERFLOW - 1,), (OVERFLOW - 1,))
    assert (box.empty, box.off_grid, box.lower.tolist()) == (False, 1, [LARGEST])


def test_box_without_inputs_is_a_box() -> None:
    box = binary32_box((), ())
    assert (box.lower.shape, box.empty) == ((0,), False)


@given(st.lists(st.tuples(rationals, rationals), min_size=1, max_size=4))
def test_one_grid_for_many_boxes_gives_what_one_for_each_gives(pairs: list[tuple[Q, Q]]) -> None:
    grid = Grid()
    lower, upper = tuple(min(pair) for pair in pairs), tuple(max(pair) for pair in pairs)
    for low, high in ((lower, upper), (lower, lower), (upper, upper), (lower, upper)):
        once, again = binary32_box(low, high), grid.box(low, high)
        assert (once.off_grid, once.empty) == (again.off_grid, again.empty)
        assert np.array_equal(once.lower, again.lower, equal_nan=True)
        assert np.array_equal(once.upper, again.upper, equal_nan=True)


@given(rationals, rationals, rationals)
def test_membership_over_the_reals_is_between_the_decimals(p: Q, q: Q, value: Q) -> None:
    case = Case((min(p, q),), (max(p, q),), ())
    assert contains(case, (value,), Semantics.REAL) == (min(p, q) <= value <= max(p, q))


@given(rationals, rationals, ranks)
def test_membership_in_float_modes_is_membership_in_the_rounded_box(p: Q, q: Q, rank: int) -> None:
    low, high, value = min(p, q), max(p, q), ranked(rank)
    box = binary32_box((low,), (high,))
    inside = not box.empty and Q(float(box.lower[0])) <= value <= Q(float(box.upper[0]))
    assert contains(Case((low,), (high,), ()), (value,), Semantics.F32_ANY) == inside


@pytest.mark.parametrize(
    ("value", "member"), [(Q(1, 10), False), (Q(13421773, 2**27), True), (Q(13421772, 2**27), False)]
)
def test_the_only_member_of_a_point_off_the_grid_is_its_nearest_number(value: Q, member: bool) -> None:
    case = Case((Q(1, 10),), (Q(1, 10),), ())
    assert contains(case, (value,), Semantics.F32_ANY) is member
    assert contains(case, (value,), Semantics.REAL) is (value == Q(1, 10))
