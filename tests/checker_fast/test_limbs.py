"""Arithmetic on limbs is arithmetic on integers: compared with Python's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker.kernel import ceil_shift
from farkas.checker.kernel import relu_slopes as reference_slopes
from farkas.checker.query import K, P
from farkas.checker_fast.forward import error_terms
from farkas.checker_fast.frame import relu_slopes
from farkas.checker_fast.limbs import (
    WORD,
    Budget,
    Floats,
    Term,
    floor_dot,
    floor_sum,
    floor_sum_words,
    limbs_of,
    split,
)


def integers(bits: int) -> st.SearchStrategy[int]:
    """Of any size up to `bits`, and those at the ends of the range."""
    top = (1 << bits) - 1
    return st.one_of(
        st.integers(-top, top),
        st.sampled_from([top, -top, 0, 1, -1, 1 << bits - 1, -(1 << bits - 1)]),
        st.integers(0, bits - 1).map(lambda k: -(1 << k)),
    )


def whole(x: Floats) -> list[int]:
    return [int(v) for v in x.ravel().tolist()]


@given(st.lists(integers(52), min_size=1, max_size=5), st.integers(4, 40))
def test_limbs_add_up_stay_in_their_width_and_carry_the_sign(numbers: list[int], base: int) -> None:
    count = limbs_of(float(max(map(abs, numbers))), base)
    pieces = split(np.array(numbers, dtype=np.float64), base, count)
    assert len(pieces) == count
    for i, x in enumerate(numbers):
        limbs = [int(piece[i]) for piece in pieces]
        assert sum(limb << base * k for k, limb in enumerate(limbs)) == x
        assert all(abs(limb) < 1 << base and limb * x >= 0 for limb in limbs)


@given(st.floats(0, 2.0**52).map(np.floor), st.integers(1, 40))
def test_the_number_of_limbs_is_the_least_that_suffices(bound: float, base: int) -> None:
    count = limbs_of(bound, base)
    assert bound < 2 ** (base * count)
    assert count == 1 or bound >= 2 ** (base * (count - 1))


terms = st.lists(st.tuples(st.integers(0, 60), integers(47)), max_size=5)


@given(integers(50), terms, st.integers(0, 40))
def test_a_floored_sum_of_terms_is_the_floor_of_the_sum(first: int, others: list[tuple[int, int]], shift: int) -> None:
    exact = (first + sum(x << e for e, x in others)) >> shift
    arrays: list[Term] = [(e, np.array([float(x)])) for e, x in [(0, first), *others]]
    largest = sum(abs(x) << e for e, x in others) >> shift
    if largest < 1 << 59:
        assert int(floor_sum_words([(e, x.copy()) for e, x in arrays], shift)[0]) == exact
    if largest < 1 << 51:
        assert int(floor_sum(arrays, shift)[0]) == exact


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.sampled_from([30, 40, 53]), st.data())
def test_a_floored_dot_product_is_exact_whatever_the_sizes(
    b: int, r: int, n: int, bits: int, data: st.DataObject
) -> None:
    sizes = data.draw(st.integers(1, bits - 3)), data.draw(st.integers(1, bits - 3))
    x = data.draw(st.lists(integers(sizes[0]), min_size=b * r * n, max_size=b * r * n))
    y = data.draw(st.lists(integers(sizes[1]), min_size=b * n, max_size=b * n))
    shift = data.draw(st.sampled_from([8, 16, 24]))
    array = np.array(x, dtype=np.float64).reshape(b, r, n)
    bound = np.abs(array).max(axis=(1, 2))
    found, reach = floor_dot(array, bound, np.array(y, dtype=np.float64).reshape(b, n), shift, Budget(bits))
    for i in range(b):
        for k in range(r):
            row = x[(i * r + k) * n : (i * r + k + 1) * n]
            exact = sum(p * q for p, q in zip(row, y[i * n : (i + 1) * n], strict=True)) >> shift
            assert abs(exact) <= reach[i]
            if reach[i] < WORD:
                assert int(found[i, k]) == exact


@given(st.lists(integers(49).map(abs), min_size=1, max_size=4), st.integers(2, 1 << 22))
def test_error_terms_are_rounded_up_to_the_unit(sizes: list[int], k: int) -> None:
    errors, large = error_terms(np.array([sizes], dtype=np.float64), k, Budget(53))
    exact = [-((-size * k << (K - P)) // ((1 << 24) - k)) + 1 for size in sizes]
    if large[0]:
        assert max(exact) >= 1 << 49 or max(sizes) * k >= 1 << 59
    else:
        assert whole(errors) == exact


@given(st.lists(st.tuples(integers(50), integers(50)).map(sorted), min_size=1, max_size=4), st.integers(0, 3))
def test_slopes_are_those_of_the_reference_kernel(bounds: list[list[int]], rule: int) -> None:
    low, high = (np.array([[b[i] for b in bounds]], dtype=np.float64) for i in (0, 1))
    found = relu_slopes(low, high, rule)
    exact = [reference_slopes(l, u, rule) for l, u in bounds]
    assert list(zip(whole(found.below), whole(found.above), whole(found.intercept), strict=True)) == exact


def test_a_narrower_mantissa_has_less_room() -> None:
    # 53 bits: 2^(53-2-1) for one product; a gain of 2^30 needs 31 bits with its sum's end, which leaves 19
    assert Budget(53).room(1 << 30) == 19
    assert Budget(43).room(1 << 30) == 9
    assert ceil_shift(5, 1) == 3
