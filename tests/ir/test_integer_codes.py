"""Input codes of a box against all of its binary32 points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.integer import Codes, IntegerProgram
from farkas.ir.integer_codes import InputCodes, input_codes
from farkas.ir.integer_unary import Arithmetic, Chain, Nearest
from tests.nets import seeds


def program(scales: list[float], zero: int = 100) -> IntegerProgram:
    """Nothing but an input."""
    n = len(scales)
    steps = (Arithmetic("divide", np.array(scales, dtype=np.float32)), Nearest(np.array(zero), 0, 255))
    return IntegerProgram(Chain(steps, n), (Codes(n, 0, 255),), (n,), 0, None, ("x",), "by hand")


def neighbours(start: float, count: int) -> np.ndarray:
    """That many binary32 numbers from a first one on."""
    found = [np.float32(start)]
    for _ in range(count - 1):
        found.append(np.nextafter(found[-1], np.float32(np.inf)))
    return np.array(found, dtype=np.float32)


@given(seeds, st.integers(1, 200), st.sampled_from([1e-8, 3e-8, 1e-7, 1e-6]), st.booleans())
def test_codes_of_a_box_are_those_of_its_points(seed: int, count: int, scale: float, falling: bool) -> None:
    rng = np.random.default_rng(seed)
    start = float(rng.uniform(-1, 1) * 2.0 ** -int(rng.integers(0, 4)))
    own = program([-scale if falling else scale], int(rng.integers(0, 256)))
    shift = np.float32(start)  # the zero point of the codes lies in the box
    steps = (Arithmetic("subtract", np.array([shift])), *own.encode.steps)  # type: ignore[union-attr]
    own = IntegerProgram(Chain(steps, 1), own.nodes, own.sizes, 0, None, own.names, own.reading)
    points = neighbours(start, count)
    assert own.encode is not None
    codes = own.encode(points[:, None])[:, 0]
    found = input_codes(own, points[:1].astype(float), points[-1:].astype(float))
    assert found.codes[0].tolist() == np.unique(codes).tolist()
    for code, first, last in zip(found.codes[0], found.first[0], found.last[0], strict=True):
        same = points[codes == code]
        assert (first, last) == (same.min(), same.max())


def whole() -> InputCodes:
    return input_codes(program([0.01, 0.02]), np.array([-0.5, -0.5]), np.array([0.5, 0.25]))


def test_points_have_the_codes_that_were_asked_for() -> None:
    found, own = whole(), program([0.01, 0.02])
    # -0.5 / 0.01 + 100 = 50 and 0.5 / 0.01 + 100 = 150; -0.5 / 0.02 + 100 = 75 and 0.25 / 0.02 = 12.5, to even 12.
    assert (found.low.tolist(), found.high.tolist()) == ([50, 75], [150, 112])
    assert found.count == 101 * 38
    rng = np.random.default_rng(0)
    codes = np.stack([rng.choice(own_codes, 50) for own_codes in found.codes], axis=1)
    for points in (found.points(codes), found.ends(codes, np.array([True, False]))):
        assert own.encode is not None
        assert (own.encode(points.astype(np.float32)) == codes).all()
        assert (points == points.astype(np.float32)).all()


def test_the_box_of_a_point_has_one_code() -> None:
    found = input_codes(program([0.01]), np.array([0.25]), np.array([0.25]))
    assert found.count == 1
    assert found.points(found.low).tolist() == [0.25]


@pytest.mark.parametrize(("low", "high", "codes"), [(0.5, 3.5, [1, 2, 3]), (0.25, 0.75, []), (-3.0, 1.0, [0, 1])])
def test_a_network_of_integers_takes_the_integers_of_a_box(low: float, high: float, codes: list[int]) -> None:
    own = IntegerProgram(None, (Codes(1, 0, 255),), (1,), 0, None, ("x",), "by hand")
    found = input_codes(own, np.array([low]), np.array([high]))
    assert found.is_empty == (not codes)
    assert found.codes[0].tolist() == codes
    assert found.first[0].tolist() == codes


def test_both_zeros_are_one_point() -> None:
    found = input_codes(program([0.01]), np.array([-0.0]), np.array([0.0]))
    assert found.codes[0].tolist() == [100]
    assert not np.signbit(found.first[0]).any()
