"""Products as nodes of a program, and multiplied out in atoms: the same question to a solver, and the right answer."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from farkas.encoders.real_answer import Status
from farkas.encoders.relu_network import encode, slots
from farkas.encoders.smt_real import Proved, property_problem
from farkas.encoders.smt_z3 import solve_z3
from farkas.encoders.smtlib_real import smtlib_real
from farkas.engine.deepest import deepest
from farkas.engine.real_query import prove
from farkas.ir.core import Program
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.products import with_monomials
from farkas.specs.query import Atom, Case, Semantics
from tests.nets import affine, case, dense

# y = relu(x) - relu(-x) = x, so y^2 - 2 y over [-1, 3] is least at 1, and x y (x y >= 0) at 0.
SAME = dense([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [0.0])]).program
PRODUCTS = ((1, 1), (0, 1))
SQUARE, MIXED = {1: Fraction(1), 0: Fraction(-2)}, {2: Fraction(1)}


def asked(terms: dict[int, Fraction], c: Fraction, *, strict: bool = False) -> Case:
    return case([-1], [3], [Atom((), tuple(sorted(terms.items())), c, strict)])


@pytest.mark.parametrize("terms, least", [(SQUARE, Fraction(-1)), (MIXED, Fraction(0))], ids=["square", "mixed"])
def test_both_ways_turn_at_the_minimum(terms: dict[int, Fraction], least: Fraction) -> None:
    extended = with_monomials(SAME, PRODUCTS)
    for strict, status in ((True, Status.UNSAT), (False, Status.SAT)):
        question = asked(terms, least, strict=strict)
        known = prove(extended, (question.lower, question.upper), Semantics.REAL)
        assert known is not None
        nodes = property_problem(extended, 1, [question], known)
        out = property_problem(SAME, 1, [question], Proved.nothing(SAME), PRODUCTS)
        for problem in (nodes, out):
            answer = solve_z3(problem, 20.0)
            assert answer.status is status
            if answer.values is not None:
                x = answer.values[0]
                assert (x * x - 2 * x if terms is SQUARE else x * x) <= least
        assert "(set-logic QF_NRA)" in smtlib_real(out) and "(set-logic QF_NRA)" in smtlib_real(nodes)


def test_linear_models_refuse_products_by_name() -> None:
    extended: Program = with_monomials(SAME, PRODUCTS)
    width = sum(extended.sizes[v] for v in slots(extended))
    with pytest.raises(UnsupportedOperator, match="products"):
        encode(extended, np.array([-1.0]), np.array([3.0]), np.full(width, -3.0), np.full(width, 3.0), {})


def test_the_deepest_point_follows_the_tangent_of_a_product() -> None:
    """At (2, 1) the tangent of x y over [0, 3]^2 is x + 2 y - 2, least at (0, 0): where -x y is largest as well."""
    extended = with_monomials(affine([[1.0, 0.0]]).program, [(0, 1)])
    found = deepest(
        extended,
        case([0, 0], [3, 3], [Atom((), ((1, Fraction(1)),), Fraction(2), False)]),
        [Fraction(2), Fraction(1)],
        5.0,
    )
    assert found is not None and found.tolist() == [0.0, 0.0]
