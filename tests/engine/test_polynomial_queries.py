"""Verdicts about polynomial properties: exact minima, brute force over binary32 points, and thresholds beside both."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from farkas.engine.export import export
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.core import run_exact
from farkas.ir.errors import FarkasError
from farkas.ir.products import Monomial
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.engine.pieces import pieces
from tests.engine.test_verify_binary32 import outcomes, tiny
from tests.models import make_model
from tests.nets import Net, affine, boxes, case, dense, random_layers, seeds

F32, REAL = Semantics.F32_ANY, Semantics.REAL
HAIR = Fraction(1, 10**9)
Terms = dict[Monomial, int | Fraction]  # coefficient by product of X_i (i) and Y_j (inputs + j); singles are linear


def identity(inputs: int) -> Net:
    """y = relu(x), which no execution rounds: itself where x >= 0."""
    return Net(make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, inputs]}, {}, opset=13))


def polynomial(
    inputs: int, outputs: int, terms: Terms, c: Fraction, *, strict: bool = False
) -> tuple[Atom, list[Monomial]]:
    """The atom sum terms <= c (< c), with the products that it speaks of."""
    products = sorted(m for m in terms if len(m) > 1)
    x = tuple((m[0], Fraction(a)) for m, a in sorted(terms.items()) if len(m) == 1 and m[0] < inputs)
    y = [(m[0] - inputs, Fraction(a)) for m, a in sorted(terms.items()) if len(m) == 1 and m[0] >= inputs]
    y += [(outputs + k, Fraction(terms[m])) for k, m in enumerate(products)]
    return Atom(x, tuple(y), c, strict), products


def query(net: Net, box: Case, terms: Terms, c: Fraction, semantics: Semantics, *, strict: bool = False) -> Query:
    inputs, outputs = net.program.input_size, net.program.output_size
    atom, products = polynomial(inputs, outputs, terms, c, strict=strict)
    asked = replace(box, disjuncts=((atom,),))
    prop = Property(inputs, outputs, (asked,), monomials=tuple(products))
    return Query(net.graph, net.data, prop, semantics)


def decide(asked: Query, trust: str = "crown z3", **options: object) -> Verdict:
    return verify(asked, Options(timeout_s=10.0, trust=frozenset(trust.split()), **options))  # type: ignore[arg-type]


def at(terms: Terms, values: Sequence[Fraction]) -> Fraction:
    return sum((a * prod((values[k] for k in m), start=Fraction(1)) for m, a in terms.items()), Fraction(0))


def check_turn(net: Net, box: Case, terms: Terms, least: Fraction, semantics: Semantics) -> None:
    """The verdict turns at the least value: nothing violates a hair below it, something does a hair above."""
    below = decide(query(net, box, terms, least - HAIR, semantics))
    assert isinstance(below, Holds), f"{semantics}: {below}"
    assert below.evidence in ("trusted:crown", "trusted:crown,z3")
    above = decide(query(net, box, terms, least + HAIR, semantics))
    assert isinstance(above, Violated), f"{semantics}: {above}"
    values = [*above.replay.inputs, *above.replay.outputs]
    assert box.contains(above.replay.inputs)
    assert at(terms, values) <= least + HAIR


HAND: list[tuple[Net, Case, Terms, Fraction]] = [
    # x^2 over [-1, 2] is least at 0, x^2 - x at 1/2, x^3 over [-2, 1] at -2
    (affine([[1.0]]), case([-1], [2]), {(0, 0): 1}, Fraction(0)),
    (affine([[1.0]]), case([-1], [2]), {(0, 0): 1, (0,): -1}, Fraction(-1, 4)),
    (affine([[1.0]]), case([-2], [1]), {(0, 0, 0): 1}, Fraction(-8)),
    # x y over [-1, 2] x [-3, 1] at (2, -3); x y - x - y over [0, 3]^2 = (x - 1)(y - 1) - 1 at (3, 0)
    (affine([[1.0, 0.0]]), case([-1, -3], [2, 1]), {(0, 1): 1}, Fraction(-6)),
    (affine([[1.0, 0.0]]), case([0, 0], [3, 3]), {(0, 1): 1, (0,): -1, (1,): -1}, Fraction(-3)),
    # x^2 y over [-2, 1] x [-1, 3] at (-2, -1); (x - y)^2 over [0, 1] x [2, 3] at (1, 2)
    (affine([[1.0, 0.0]]), case([-2, -1], [1, 3]), {(0, 0, 1): 1}, Fraction(-4)),
    (affine([[1.0, 0.0]]), case([0, 2], [1, 3]), {(0, 0): 1, (0, 1): -2, (1, 1): 1}, Fraction(1)),
    # y = relu(x): y^2 - 2 y at 1; x y over [-1, 2] at x <= 0; y_0 y_1 - y_0 over [0, 2] x [0, 2] at (2, 0)
    (identity(1), case([0], [3]), {(1, 1): 1, (1,): -2}, Fraction(-1)),
    (identity(1), case([-1], [2]), {(0, 1): 1}, Fraction(0)),
    (identity(2), case([0, 0], [2, 2]), {(2, 3): 1, (2,): -1}, Fraction(-2)),
    # the distance of (x, relu(x)) to (-1, 1): (x + 1)^2 + (y - 1)^2 - 2 = x^2 + 2 x + y^2 - 2 y, at x = -1 and at 0
    (identity(1), case([-2], [2]), {(0, 0): 1, (0,): 2, (1, 1): 1, (1,): -2}, Fraction(-1)),
]


@pytest.mark.parametrize("semantics", [REAL, F32], ids=["real", "f32-any"])
@pytest.mark.parametrize("number", range(len(HAND)))
def test_verdicts_turn_at_minima_found_by_hand(number: int, semantics: Semantics) -> None:
    check_turn(*HAND[number], semantics)


@settings(max_examples=25)
@given(seeds, boxes(1))
def test_verdicts_turn_at_the_exact_minimum_over_the_pieces_of_a_network(
    seed: int, box: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (1, 3, 2)))
    candidates: list[Monomial] = [(0,), (1,), (2,), (0, 0), (0, 1), (1, 2), (2, 2), (0, 0, 2), (1, 1, 1), (0, 1, 2)]
    chosen = rng.choice(len(candidates), 4, replace=False)
    terms: Terms = {candidates[k]: int(a) for k, a in zip(chosen, rng.integers(-4, 5, 4), strict=True) if a}
    if not any(len(m) > 1 for m in terms):
        return
    least = minimum(net, box, terms)
    check_turn(net, case(*box), terms, least, REAL)


def minimum(net: Net, box: tuple[tuple[Fraction, ...], tuple[Fraction, ...]], terms: Terms) -> Fraction:
    """The least value over the interval, to within 2^-40: on a linear piece it is a cubic in x."""

    def value(x: Fraction) -> Fraction:
        return at(terms, [x, *run_exact(net.program, [x])])

    knots = sorted({v[0] for piece in pieces(net.program, *box) for v in piece.vertices})
    found = [value(x) for x in knots]
    for left, right in pairwise(knots):
        found += [value(x) for x in stationary(value, left, right)]
    return min(found)


def stationary(value: Callable[[Fraction], Fraction], left: Fraction, right: Fraction) -> list[Fraction]:
    """Near the zeros of the derivative of a cubic on an interval, from its values at four points."""
    h = (right - left) / 3
    p = [value(left + k * h) for k in range(4)]
    d1, d2, d3 = p[1] - p[0], p[2] - 2 * p[1] + p[0], p[3] - 3 * p[2] + 3 * p[1] - p[0]

    def slope(t: Fraction) -> Fraction:  # of p0 + t d1 + t (t-1)/2 d2 + t (t-1)(t-2)/6 d3, in steps of h
        return d1 + (2 * t - 1) * d2 / 2 + (3 * t * t - 6 * t + 2) * d3 / 6

    turn = [1 - d2 / d3] if d3 and 0 < 1 - d2 / d3 < 3 else []  # where the slope is least or largest
    ends = [Fraction(0), *turn, Fraction(3)]
    found = []
    for a, b in pairwise(ends):
        if slope(a) * slope(b) < 0:
            for _ in range(60):
                middle = (a + b) / 2
                a, b = (middle, b) if slope(a) * slope(middle) > 0 else (a, middle)
            found.append(left + a * h)
    return found


@settings(max_examples=20)
@given(seeds, st.integers(1, 2), st.integers(2, 4))
def test_verdicts_about_a_handful_of_binary32_points_never_contradict_an_execution(
    seed: int, inputs: int, steps: int
) -> None:
    layers, net, axes, rng = tiny(seed, inputs, steps)
    results = outcomes(layers, net, list(product(*axes)), random.Random(seed))
    monomials = (0, 0), (0, inputs), (inputs, inputs), (0, inputs - 1, inputs)
    terms: Terms = {m: int(rng.choice([-2, -1, 1, 3])) for m in monomials}
    values = sorted({at(terms, [*x, *y]) for x, y in results})
    spread = max(values[-1] - values[0], abs(values[0]) * Fraction(1, 2**24))
    for c in (values[0] - spread, values[0] - spread / 100, values[0], values[len(values) // 2]):
        asked = query(net, case([a[0] for a in axes], [a[-1] for a in axes]), terms, c, F32)
        verdict = verify(asked, Options(timeout_s=0.5, trust=frozenset({"crown", "z3"})))
        if isinstance(verdict, Holds):
            assert c < values[0], f"unsat, but an execution reaches {values[0]} <= {c}"
        if isinstance(verdict, Violated):
            replay = verdict.replay
            assert at(terms, [*replay.inputs, *replay.outputs]) <= c
            assert at(terms, [*replay.inputs, *replay.runtime_outputs]) <= c
            assert all(v in axis for v, axis in zip(replay.inputs, axes, strict=True))
        if c >= values[len(values) // 2] and len(values) > 1:
            assert not isinstance(verdict, Holds)


@pytest.mark.parametrize("semantics", [REAL, F32, Semantics.SEQ_FMA], ids=lambda s: s.value)
def test_a_strict_atom_at_the_very_minimum_is_decided_by_smt(semantics: Semantics) -> None:
    net, box = affine([[1.0, 0.0]]), case([-1, -3], [2, 1])
    strict = query(net, box, {(0, 1): 1}, Fraction(-6), semantics, strict=True)
    verdict = decide(strict)
    assert isinstance(verdict, Holds) and "z3" in verdict.evidence
    assert isinstance(decide(query(net, box, {(0, 1): 1}, Fraction(-6), semantics)), Violated)


def test_unsat_about_products_needs_trust_and_has_no_certificate() -> None:
    asked = query(affine([[1.0]]), case([-1], [2]), {(0, 0): 1}, -HAIR, REAL)
    verdict = decide(asked, trust="")
    assert isinstance(verdict, Unknown) and verdict.reason is Reason.UNCERTIFIED
    assert "of products" in verdict.detail and "--trust crown" in verdict.detail
    certified = decide(asked, certify=True)
    assert isinstance(certified, Unknown) and certified.reason is Reason.UNCERTIFIED
    assert "products" in certified.detail
    strict = query(affine([[1.0]]), case([-1], [2]), {(0, 0): 1}, Fraction(0), REAL, strict=True)
    assert isinstance(decide(strict, certify=True), Unknown)


def test_arms_that_split_neurons_step_aside() -> None:
    asked = query(affine([[1.0]]), case([-1], [2]), {(0, 0): 1}, -HAIR, REAL)
    for engine in ("milp", "relu-splitting"):
        verdict = decide(asked, engines=frozenset({engine}))
        assert isinstance(verdict, Unknown) and verdict.reason is Reason.INCOMPLETE


def test_conjunctions_of_polynomials_and_outputs_are_decided() -> None:
    """On the disc x^2 + z^2 <= 1 the largest x + z is the square root of 2."""
    net, box = affine([[1.0, 1.0]]), case([-1, -1], [1, 1])
    disc = Atom((), ((1, Fraction(1)), (2, Fraction(1))), Fraction(1), False)
    for c, word in ((Fraction("1.4142136"), "unsat"), (Fraction("1.4142135"), "sat")):
        far = Atom((), ((0, Fraction(-1)),), -c, False)
        prop = Property(2, 1, (replace(box, disjuncts=((disc, far),)),), monomials=((0, 0), (1, 1)))
        verdict = decide(Query(net.graph, net.data, prop, REAL))
        assert verdict.word == word, f"{c}: {verdict}"


def test_products_of_tied_inputs_are_squares() -> None:
    """x_0 = x_1 and x_0 x_1 < 0 has no solution, but x_0 x_1 < 0 has."""
    net, box = affine([[1.0, 0.0]]), case([-1, -1], [1, 1])
    one = Fraction(1)
    tie = [Atom(((0, a), (1, -a)), (), Fraction(0), False) for a in (one, -one)]
    negative = Atom((), ((1, one),), -HAIR, False)
    for atoms, word in (((*tie, negative), "unsat"), ((negative,), "sat")):
        prop = Property(2, 1, (replace(box, disjuncts=(atoms,)),), monomials=((0, 1),))
        assert decide(Query(net.graph, net.data, prop, REAL)).word == word


def test_export_writes_products_for_smt_and_refuses_linear_formats() -> None:
    asked = query(affine([[1.0]]), case([-1], [2]), {(0, 0): 1, (0, 1): 2}, Fraction(-1), REAL)
    assert "(set-logic QF_NRA)" in export(asked, "smt2-lra")
    for form in ("mps", "lp"):
        with pytest.raises(FarkasError, match="QF_NRA"):
            export(asked, form)
    with pytest.raises(FarkasError, match="QF_NRA"):
        export(replace(asked, semantics=Semantics.SEQ_FMA), "smt2-fp")
