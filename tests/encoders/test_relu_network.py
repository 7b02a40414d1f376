"""Networks as linear models: triangles by hand, big-M against exact enumeration, error terms, convolutions, names."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.encoders.highs import MilpLimits, RelaxedSolver, Status, solve_milp
from farkas.encoders.relu_network import EncodingOptions, encode, slots
from farkas.encoders.subproblem import Atoms, ask, restated
from farkas.ir.convolution import Conv2d
from farkas.ir.core import Affine, Input, Program, Relu, Rounding, Term, dense_affine
from farkas.ir.linear import Dense
from farkas.ir.windows import Windows
from tests.engine.pieces import minimum
from tests.engine.relaxed import problem
from tests.nets import EXACT_SHAPES, Box, boxes, dense, seeds, varied

NO_ERRORS: dict[int, Any] = {}


def least(program: Program, box: Any, lower: Any, upper: Any, y: Any, x: Any = None, *, integral: bool = False,
          errors: Any = None) -> float:  # fmt: skip
    """The model's minimum of y . output + x . input."""
    low, high = (np.array(side, dtype=np.float64) for side in box)
    encoding = encode(program, low, high, np.array(lower), np.array(upper), errors or NO_ERRORS,
                      EncodingOptions("big-m" if integral else "relaxed"))  # fmt: skip
    atoms = Atoms.of(np.array([y], dtype=np.float64), None if x is None else np.array([x]), np.zeros(1), len(low))
    question = ask(encoding, program.output, atoms)
    if integral:
        found = solve_milp(question.model, MilpLimits())
        assert found.status is Status.OPTIMAL
        return found.objective * float(atoms.scale[0])
    solution = RelaxedSolver(question.model).solve()
    assert solution.status is Status.OPTIMAL
    return solution.objective * float(atoms.scale[0])


# y = 2 relu(x) - 2 relu(x + 1/2) on [-1, 1]
TWO = dense([([[1.0], [1.0]], [0.0, 0.5]), ([[2.0, -2.0]], [0.0])]).program


def test_the_triangle_relaxation_by_hand() -> None:
    # relu(x + 1/2) <= 3/4 (x + 1/2) + 3/8 on [-1/2, 3/2]; at x = 0 that is 3/4, so y >= -3/2; there the true y is -1.
    assert least(TWO, ([-1], [1]), [-1, -0.5], [1, 1.5], [1.0]) == pytest.approx(-1.5)
    assert least(TWO, ([-1], [1]), [-1, -0.5], [1, 1.5], [1.0], integral=True) == pytest.approx(-1)


def test_atoms_over_inputs_count_with_their_factor() -> None:
    # y + 8 x is least at x = -1, where y = 0 (the line of the second neuron there is 3/4 (-1/2) + 3/8 = 0).
    assert least(TWO, ([-1], [1]), [-1, -0.5], [1, 1.5], [1.0], [8.0]) == pytest.approx(-8)


def test_error_terms_widen_the_rows_that_they_belong_to() -> None:
    # An error of 1/8 in the second neuron's z moves its line by 3/4 / 8, one of 1/16 in y counts once.
    errors = {1: np.array([0.0, 0.125]), 3: np.array([0.0625])}
    found = least(TWO, ([-1], [1]), [-1, -0.5], [1, 1.5], [1.0], errors=errors)
    assert found == pytest.approx(-1.5 - 2 * 0.75 * 0.125 - 0.0625)


def test_stable_neurons_need_no_columns_of_their_own() -> None:
    program = dense([([[1.0], [1.0], [1.0]], [2.0, -2.0, 0.0]), ([[1.0, 1.0, 1.0]], [0.0])]).program
    lower, upper = np.array([1.0, -3.0, -1.0]), np.array([3.0, -1.0, 1.0])
    encoding = encode(program, np.array([-1.0]), np.array([1.0]), lower, upper, NO_ERRORS)
    assert encoding.neuron.tolist() == [2]
    assert encoding.columns[2][0] == encoding.columns[1][0] == encoding.value[0]  # active: the same column
    assert encoding.columns[2][1] == encoding.columns[1][1] == -1  # inactive: none
    names = encoding.model.column_names()
    assert names == ["input_0_0", "value_1_z0_0", "value_1_z0_2", "relu_2_a0_2", "value_3_y_0"]
    rows = ["defines_1_z0_0", "defines_1_z0_2", "above_2_a0_2", "under_2_a0_2", "defines_3_y_0"]
    assert encoding.model.row_names() == rows


def test_a_convolution_stays_sparse_and_exact() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(1, 2, 1, 9))
    conv = Conv2d(kernel, Windows((3, 3), (1, 1), (1, 1, 1, 1)), (6, 6))
    size = conv.rows
    rounding = Rounding()
    nodes = (
        Input(36),
        Affine((Term(conv, 0),), np.zeros(size), rounding, np.zeros(size)),
        Relu(1),
        dense_affine(rng.normal(size=(1, size)), np.zeros(1), 2, 0),
    )
    program = Program(nodes, (36, size, size, 1), 3, ("x", "z", "a", "y"))
    lower, upper = np.full(size, -20.0), np.full(size, 20.0)
    encoding = encode(program, np.full(36, -1.0), np.full(36, 1.0), lower, upper, NO_ERRORS)
    part, dense_rows = encoding.model.rows, conv.dense()
    for j in (0, 7, 71):
        row = encoding.definition[j]
        index, values = (a[part.start[row] : part.start[row + 1]] for a in (part.index, part.values))
        expected = np.zeros(36)
        for i, w in zip(index, values, strict=True):
            if i < 36:
                expected[i] = -w
        assert np.array_equal(expected, dense_rows[j])
        assert len(index) == np.count_nonzero(dense_rows[j]) + 1


@settings(deadline=None, max_examples=40)
@given(seeds, st.sampled_from(EXACT_SHAPES), boxes(2))
def test_the_integer_optimum_is_the_exact_minimum_and_the_relaxed_one_is_below(seed: int, shape: str, box: Box) -> None:
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, shape).program, box)
    y, x = (rng.integers(-8, 9, 2) / 4 for _ in range(2))
    exact = minimum(found.program, *box, [Fraction(float(v)) for v in y], [Fraction(float(v)) for v in x])
    arguments = (found.program, box, found.lower, found.upper, y, x)
    integral, relaxed = least(*arguments, integral=True), least(*arguments)
    assert integral == pytest.approx(float(exact), abs=1e-5)
    assert relaxed <= integral + 1e-6


@settings(deadline=None, max_examples=25)
@given(seeds, st.sampled_from(EXACT_SHAPES), boxes(2))
def test_a_restated_model_is_the_model_of_the_tighter_bounds(seed: int, shape: str, box: Box) -> None:
    """Splits and tighter bounds sent to a model give the optimum of a model made from those bounds."""
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, shape).program, box)
    lower, upper = found.lower, found.upper
    for g in np.flatnonzero((lower < 0) & (upper > 0)):
        kind = rng.integers(0, 4)
        lower[g] *= (0.0, 1.0, 0.5, 1.0)[kind]
        upper[g] *= (1.0, 0.0, 0.5, 1.0)[kind]
    low, high = (np.array(side, dtype=np.float64) for side in box)
    atoms = Atoms.of(rng.integers(-8, 9, (1, 2)) / 4, None, np.zeros(1), 2)
    outcomes = []
    for l, u in ((found.lower, found.upper), (lower, upper)):
        encoding = encode(found.program, low, high, l, u, NO_ERRORS)
        solver = RelaxedSolver(ask(encoding, found.program.output, atoms).model)
        new = restated(encoding, lower, upper)
        known = encoding.value[encoding.value >= 0]
        solver.set_columns(known, new.value_lower, new.value_upper)
        solver.set_columns(encoding.output, np.zeros(len(encoding.output)), new.output_upper)
        solver.set_rows(encoding.above, new.above_lower, new.above_upper)
        solver.set_rows(encoding.under, np.full(len(encoding.under), -np.inf), new.under_upper)
        kept = np.flatnonzero(~np.isnan(new.under_slope))
        columns = encoding.value[encoding.neuron[kept]]
        solver.set_coefficients(encoding.under[kept], columns, new.under_slope[kept])
        outcomes.append(solver.solve())
    assert outcomes[0].status is outcomes[1].status
    if outcomes[0].status is Status.OPTIMAL:
        assert outcomes[0].objective == pytest.approx(outcomes[1].objective, abs=1e-6)


def test_two_relus_of_one_node_share_their_columns() -> None:
    nodes = (
        Input(1),
        dense_affine(np.array([[1.0]]), np.zeros(1), 0, 0),
        Relu(1),
        Relu(1),
        Affine(
            (Term(Dense(np.array([[1.0]])), 2), Term(Dense(np.array([[-3.0]])), 3)),
            np.zeros(1),
            Rounding(),
            np.zeros(1),
        ),
    )
    program = Program(nodes, (1,) * 5, 4, ("x", "z", "a", "b", "y"))
    assert slots(program) == {1: slice(0, 1)}
    # a - 3 b = -2 relu(x) in [-2, 0] on [-1, 1], also relaxed
    assert least(program, ([-1], [1]), [-1.0], [1.0], [1.0]) == pytest.approx(-2)
    assert least(program, ([-1], [1]), [-1.0], [1.0], [-1.0]) == pytest.approx(0)


def test_coefficients_that_do_not_add_up_exactly_widen_their_row() -> None:
    # z = x + 2^-60 x on [-4, 4]: float64 keeps the coefficient 1, and 2^-58 may be missing.
    tiny = 2.0**-60
    terms = (Term(Dense(np.array([[1.0]])), 0), Term(Dense(np.array([[tiny]])), 0))
    nodes = (Input(1), Affine(terms, np.zeros(1), Rounding(), np.zeros(1)), Relu(1))
    program = Program(nodes, (1, 1, 1), 2, ("x", "z", "y"))
    bounds = np.array([-4.0]), np.array([4.0]), np.array([-5.0]), np.array([5.0])
    model = encode(program, *bounds, NO_ERRORS, EncodingOptions("big-m")).model
    assert 4 * tiny <= model.row_upper[0] <= 4.001 * tiny and model.row_lower[0] == -model.row_upper[0]
    assert encode(program, *bounds, NO_ERRORS).model.row_upper[0] == 0.0  # a relaxation, which proves nothing
