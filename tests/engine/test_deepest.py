"""The deepest point of a linear piece, by hand and against all points of the piece."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.engine.deepest import deepest
from farkas.ir.core import run_exact
from tests.engine.pieces import Point, at, pieces
from tests.nets import EXACT_SHAPES, Box, atom, case, dense, seeds, varied

SQUARE: Box = ((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))


def test_the_deepest_point_by_hand() -> None:
    # y = |x|: unsafe where |x| >= 1/2; from x = 1/2 on the right piece the deepest point is x = 1, from the left -1.
    net = dense([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])])
    asked = case([-1], [1], [atom([-1.0], -0.5)])
    for start, end in ((Fraction(1, 2), 1.0), (Fraction(-1, 2), -1.0)):
        found = deepest(net.program, asked, (start,), 1.0)
        assert found is not None and found.tolist() == pytest.approx([end])


def test_of_several_disjuncts_the_one_that_holds_is_followed_and_of_its_atoms_all() -> None:
    # y = x: unsafe in [-1/2, -1/4] (middle -3/8) or above 3/4
    net = dense([([[1.0]], [0.0])])
    asked = case([-1], [1], [atom([1.0], -0.25), atom([-1.0], 0.5)], [atom([-1.0], -0.75)])
    found = deepest(net.program, asked, (Fraction(-1, 4),), 1.0)
    assert found is not None and found.tolist() == pytest.approx([-0.375])
    assert deepest(net.program, case([-1], [1], []), (Fraction(0),), 1.0) is None


def test_thresholds_beyond_float64_do_not_stand_in_the_way() -> None:
    # y = x: unsafe in x >= 1/2 and y <= 10^400, of which the deepest point is x = 1.
    net = dense([([[1.0]], [0.0])])
    asked = case([-1], [1], [atom([-1.0], -0.5), atom([1.0], Fraction(10) ** 400)])
    found = deepest(net.program, asked, (Fraction(1, 2),), 1.0)
    assert found is not None and found.tolist() == pytest.approx([1.0])


@settings(max_examples=30)
@given(seeds, st.sampled_from(EXACT_SHAPES), st.lists(st.fractions(-1, 1, max_denominator=64), min_size=2, max_size=2))
def test_no_vertex_of_the_piece_is_deeper(seed: int, shape: str, x: list[Fraction]) -> None:
    program = varied(np.random.default_rng(seed), shape).program
    row = [Fraction(1), Fraction(-1)]
    found = deepest(program, case(*SQUARE, [atom(row, 0)]), x, 1.0)
    assert found is not None
    value = run_exact(program, [Fraction(float(v)) for v in found])
    for piece in pieces(program, *SQUARE):
        if is_inside(piece.vertices, x):
            forms = piece.forms[program.output]
            least = min(at(forms[0], vertex) - at(forms[1], vertex) for vertex in piece.vertices)
            assert float(value[0] - value[1]) <= float(least) + 1e-6


def is_inside(vertices: Sequence[Point], x: Sequence[Fraction]) -> bool:
    """Whether x lies in the interior of a convex polygon with its vertices in order."""
    sides = set()
    for i, (bx, by) in enumerate(vertices):
        ax, ay = vertices[i - 1]
        turn = (bx - ax) * (x[1] - ay) - (by - ay) * (x[0] - ax)
        sides.add((turn > 0) - (turn < 0))
    return sides in ({1}, {-1}) and len(vertices) > 2
