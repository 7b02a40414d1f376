"""The objectives of the attack on numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from farkas.engine.objective import Objective
from tests.nets import affine, atom, case

# Two disjuncts over y = (y1, y2, y3): y1 <= 1 and y2 <= 2;  y3 - y1 <= 0.
NET = affine([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
CASE = case([-9.0] * 3, [9.0] * 3, [atom([1, 0, 0], 1), atom([0, 1, 0], 2)], [atom([-1, 0, 1], 0)])
OBJECTIVE = Objective(NET.query([CASE]).families[0])
Y = np.array([[3.0, 1.0, 5.0], [0.0, 5.0, 0.5]])
# Slacks: 1 - 3 = -2, 2 - 1 = 1; 3 - 5 = -2.    1 - 0 = 1, 2 - 5 = -3; 0 - 0.5 = -0.5.
SLACKS = np.array([[[-2.0, 1.0], [-2.0, np.inf]], [[1.0, -3.0], [-0.5, np.inf]]])
CASES = np.zeros(2, dtype=np.int64)


def test_slacks_are_thresholds_minus_values() -> None:
    np.testing.assert_array_equal(OBJECTIVE.slacks(Y, Y, CASES), SLACKS)


def test_nan_outputs_have_no_slack() -> None:
    slacks = OBJECTIVE.slacks(np.full((1, 3), np.nan), Y[:1], CASES[:1])
    assert (slacks.min(axis=2) == -np.inf).all()


def test_the_margin_pulls_at_the_tightest_atom_of_the_target() -> None:
    hard = np.zeros(2, dtype=bool)
    first = OBJECTIVE.ascent(SLACKS, np.array([0, 0]), hard)
    np.testing.assert_array_equal(first, [[1, 0, 0], [0, 1, 0]])
    # Without a target the best disjunct counts: of equal ones the first, then the second with -0.5 against -3.
    best = OBJECTIVE.ascent(SLACKS, np.array([-1, -1]), hard)
    np.testing.assert_array_equal(best, [[1, 0, 0], [0, 0, 1]])


def test_smooth_weights_are_shares_that_favour_tight_atoms_and_near_disjuncts() -> None:
    soft = np.ones(2, dtype=bool)
    weights = OBJECTIVE.ascent(SLACKS, np.array([-1, -1]), soft)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert weights[0, 0] > weights[0, 1] > 0  # slack -2 before slack 1
    assert weights[1, 2] > weights[1, :2].sum()  # disjunct at -0.5 before the one at -3
    targeted = OBJECTIVE.ascent(SLACKS, np.array([0, 0]), soft)
    np.testing.assert_array_equal(targeted[:, 2], 0.0)
    np.testing.assert_allclose(targeted.sum(axis=1), 1.0)
