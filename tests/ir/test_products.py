"""Products behind a network's outputs, against the formula itself in exact rationals."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.core import Affine, Product, run_exact, run_float
from farkas.ir.products import Monomial, parts, with_monomials
from tests.nets import boxes, dense, random_layers, seeds

SIZES = (2, 3, 2)
factors = st.lists(st.integers(0, 3), min_size=2, max_size=7).map(lambda m: tuple(sorted(m)))


@given(seeds, st.lists(factors, min_size=1, max_size=4), boxes(2))
def test_what_stands_behind_the_outputs_are_the_products(
    seed: int, monomials: list[Monomial], box: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
) -> None:
    program = dense(random_layers(np.random.default_rng(seed), SIZES)).program
    extended = with_monomials(program, monomials)
    for x in box:
        y = list(run_exact(program, x))
        values = [*x, *y]
        wanted = [*y, *(prod((values[k] for k in m), start=Fraction(1)) for m in monomials)]
        assert list(run_exact(extended, x)) == wanted
        floats = run_float(extended, np.array([float(v) for v in x]))[extended.output]
        assert np.allclose(floats, [float(v) for v in wanted], rtol=1e-9, atol=1e-9)


@given(factors)
def test_the_parts_of_a_product_make_it_up(monomial: Monomial) -> None:
    left, right = parts(monomial)
    assert sorted(left + right) == list(monomial) and left and right


def test_even_powers_are_squares_and_powers_come_before_products() -> None:
    assert parts((1, 1, 1, 1)) == ((1, 1), (1, 1))
    assert parts((0, 0, 1)) == ((0, 0), (1,))
    program = with_monomials(dense([(np.eye(1), [0.0])]).program, [(0, 0, 0, 0, 0)])  # x^5 = (x^2)^2 x
    products = [node for node in program.nodes if isinstance(node, Product)]
    assert [p.left == p.right for p in products] == [True, True, False]


def test_a_shared_power_is_computed_once() -> None:
    program = with_monomials(dense([(np.eye(2), [0.0, 0.0])]).program, [(0, 0), (0, 0, 1), (0, 0, 0)])
    squares = [v for v, node in enumerate(program.nodes) if isinstance(node, Product) and node.left == node.right]
    assert [program.sizes[v] for v in squares] == [1]
    assert not any(isinstance(node, Affine) and node.rounding.count for node in program.nodes[2:])


def test_inputs_of_factors_are_taken_from_their_columns() -> None:
    program = dense([([[2.0, 0.0, 1.0]], [0.0])]).program
    extended = with_monomials(program, [(0, 1), (1, 2)], columns=(2, 0))  # x_2 x_0, and x_0 y
    assert list(run_exact(extended, [Fraction(3), Fraction(5), Fraction(7)])) == [13, 21, 39]


def test_without_products_the_program_is_itself() -> None:
    program = dense([(np.eye(1), [0.0])]).program
    assert with_monomials(program, ()) is program
