"""The gradient of the attack against the exact linear piece around the point."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from farkas.runtime_cuda.attack import output_and_gradient
from tests.engine.pieces import pieces
from tests.nets import SHAPES, seeds, varied
from tests.runtime_cuda.executions import Exact


@given(seeds, st.sampled_from(SHAPES), st.lists(st.integers(-2, 2), min_size=2, max_size=2))
def test_gradient_is_that_of_the_piece_around_the_point(seed: int, shape: str, weights: list[int]) -> None:
    program = varied(np.random.default_rng(seed), shape).program
    lower, upper = (Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1))
    biggest = max(pieces(program, lower, upper), key=lambda piece: len(piece.vertices))
    inside = tuple(sum(c, Fraction(0)) / len(biggest.vertices) for c in zip(*biggest.vertices, strict=True))
    x = np.array([[float(v) for v in inside]])
    if any(value == 0 for values in Exact(program).run([Fraction(v) for v in x[0]]) for value in values):
        return  # on a kink there are several gradients
    chosen = np.array([weights], dtype=float)

    def choose(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return chosen + 0 * y

    y, gradient = output_and_gradient(program, x, choose)
    forms = biggest.forms[program.output]
    wanted = [float(sum(w * row[i] for w, row in zip(weights, forms, strict=True))) for i in range(2)]
    np.testing.assert_allclose(gradient[0], np.array(wanted), atol=1e-9)
    exact = Exact(program).run(inside)[program.output]
    np.testing.assert_allclose(y[0], np.array([float(v) for v in exact]), atol=1e-9)
