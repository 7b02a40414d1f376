"""Input sets in the Euclidean norm: the ellipsoid that is found, bounds over it, and verdicts at its very edge."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.engine.ball import linear
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verdict import Holds, Violated
from farkas.engine.verify import verify
from farkas.ir.core import run_float
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, PARALLEL, ZERO, Propagator
from farkas.runtime_cuda.prepared import prepare
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.runtime_cuda.root import Effort
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.nets import Net, affine, dense, random_layers, seeds

small = st.integers(-8, 8).map(lambda n: Fraction(n, 8))
REAL = Semantics.REAL


def disc(centre: list[Fraction], radius: Fraction, outputs: int, weights: list[int] | None = None) -> Atom:
    """sum w_i (x_i - m_i)^2 <= R^2, multiplied out; square i is y-term outputs + i."""
    w = weights or [1] * len(centre)
    x = tuple((i, -2 * q * m) for i, (q, m) in enumerate(zip(w, centre, strict=True)) if m)
    y = tuple((outputs + i, Fraction(q)) for i, q in enumerate(w))
    return Atom(x, y, radius**2 - sum((q * m * m for q, m in zip(w, centre, strict=True)), Fraction(0)), False)


def ball_query(net: Net, ball: Atom, unsafe: list[Atom], reach: int, semantics: Semantics = REAL) -> Query:
    n, m = net.program.input_size, net.program.output_size
    box = Case((Fraction(-reach),) * n, (Fraction(reach),) * n, tuple((ball, atom) for atom in unsafe))
    prop = Property(n, m, (box,), monomials=tuple((i, i) for i in range(n)))
    return Query(net.graph, net.data, prop, semantics)


@given(st.lists(small, min_size=3, max_size=3), st.integers(1, 8), st.lists(st.integers(1, 4), min_size=3, max_size=3))
def test_the_ellipsoid_is_the_atom_s_and_the_box_is_cut_to_it(
    centre: list[Fraction], eighths: int, weights: list[int]
) -> None:
    radius = Fraction(eighths, 8)
    net = affine([[1.0, 0.0, 0.0]])
    family = ball_query(net, disc(centre, radius, 1, weights), [Atom((), ((0, Fraction(1)),), Fraction(0), False)], 4)
    (found,) = family.families
    assert found.ball is not None
    assert found.ball.centre.tolist() == [float(m) for m in centre]
    assert np.allclose(found.ball.scale, [1 / w for w in weights], rtol=1e-12)
    assert radius <= Fraction(float(found.ball.radius[0])) <= radius + Fraction(1, 10**12)
    for i, (m, w) in enumerate(zip(centre, weights, strict=True)):
        low, high = Fraction(float(found.lower[0, i])), Fraction(float(found.upper[0, i]))
        assert w * (m - low) ** 2 >= radius**2 and w * (high - m) ** 2 >= radius**2
        assert high - low <= 2 * radius + Fraction(1, 10**8)


def test_only_what_stands_in_every_disjunct_and_is_an_ellipsoid_counts() -> None:
    net = affine([[1.0, 0.0]])
    ball, other = disc([Fraction(0)] * 2, Fraction(1), 1), Atom((), ((0, Fraction(1)),), Fraction(0), False)
    negative = replace(ball, y=((1, Fraction(1)), (2, Fraction(-1))))
    with_output = replace(ball, y=((0, Fraction(1)), *ball.y))
    asked = ball_query(net, ball, [other], 1)
    assert asked.families[0].ball is not None
    for disjuncts in (((ball, other), (other,)), ((negative, other),), ((with_output, other),), ()):
        case = replace(asked.property.cases[0], disjuncts=disjuncts)
        changed = Query(net.graph, net.data, replace(asked.property, cases=(case,)), REAL)
        assert all(family.ball is None for family in changed.families)


def test_of_several_disjuncts_the_widest_ellipsoid_holds_all() -> None:
    net = affine([[1.0, 0.0]])
    other = Atom((), ((0, Fraction(1)),), Fraction(0), False)
    asked = ball_query(net, disc([Fraction(0)] * 2, Fraction(1), 1), [other], 9)
    wide = disc([Fraction(0)] * 2, Fraction(3), 1)
    case = asked.property.cases[0]
    case = replace(case, disjuncts=(*case.disjuncts, (wide, other)))
    (family,) = Query(net.graph, net.data, replace(asked.property, cases=(case,)), REAL).families
    assert family.ball is not None and 3 <= family.ball.radius[0] < 3.0000001


@given(seeds, st.lists(small, min_size=2, max_size=2), st.integers(1, 12))
def test_bounds_hold_on_the_ball(seed: int, centre: list[Fraction], eighths: int) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (2, 4, 3, 2)))
    radius = Fraction(eighths, 8)
    asked = ball_query(net, disc(centre, radius, 2), [Atom((), ((0, Fraction(1)),), Fraction(0), False)], 4)
    (family,) = asked.families
    assert family.ball is not None
    ready = prepare(asked.program, binary32=False, backend=numpy_backend())
    top = np.full((1, ready.width), np.inf)
    worker = Propagator(ready)
    refined = worker.refine(family.lower, family.upper, -top, top, ball=family.ball.on(np.array([0])))
    rows = rng.normal(size=(4, asked.program.output_size))
    lows = worker.bound(refined.boxes, rows, None, (ADAPTIVE, ZERO, PARALLEL)).value[0]
    away = rng.normal(size=(200, 2))
    away *= (rng.random(200) ** 0.3 / np.linalg.norm(away, axis=1))[:, None] * float(radius)
    values = run_float(asked.program, np.array([float(v) for v in centre]) + away)
    assert not refined.empty.any()
    for v, value in enumerate(values):
        assert (value >= refined.boxes.lower[v][0] - 1e-9).all() and (value <= refined.boxes.upper[v][0] + 1e-9).all()
    assert (lows.max(axis=0)[None] <= values[asked.program.output] @ rows.T + 1e-9).all()


@pytest.mark.parametrize("semantics", [REAL, Semantics.F32_ANY], ids=["real", "f32-any"])
def test_verdicts_turn_where_a_plane_touches_the_ball(semantics: Semantics) -> None:
    """Of a x over the ball the largest value is a m + R |a|; with |a| = 13 for (3, 4, 12, 0, ...) that is rational."""
    n, radius = 40, Fraction(1, 2)
    row = [3.0, 4.0, 12.0] + [0.0] * (n - 3)
    centre = [Fraction(i % 5, 8) for i in range(n)]
    largest = sum((Fraction(a) * m for a, m in zip(row, centre, strict=True)), Fraction(0)) + 13 * radius
    for far, word in ((Fraction(1, 10**4), "unsat"), (-Fraction(1, 10**4), "sat")):
        unsafe = Atom((), ((0, Fraction(-1)),), -(largest + far), False)
        asked = ball_query(affine([row]), disc(centre, radius, 1), [unsafe], 9, semantics)
        verdict = verify(asked, Options(timeout_s=10.0, trust=frozenset({"crown"})))
        assert verdict.word == word, str(verdict)
        if isinstance(verdict, Violated):
            assert sum((x - m) ** 2 for x, m in zip(verdict.replay.inputs, centre, strict=True)) <= radius**2
        if isinstance(verdict, Holds):
            assert verdict.evidence == "checkable"


@given(seeds, st.lists(small, min_size=3, max_size=3), st.integers(1, 12))
def test_bounds_with_decided_signs_hold_on_the_ball(seed: int, centre: list[Fraction], eighths: int) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (3, 5, 4, 2)))
    radius = Fraction(eighths, 8)
    asked = ball_query(net, disc(centre, radius, 2), [Atom((), ((0, Fraction(1)),), Fraction(0), False)], 4)
    (family,) = asked.families
    assert family.ball is not None
    ready = prepare(asked.lowered, binary32=False, backend=numpy_backend())
    ball = family.ball.on(np.array([0]))
    relaxation = Relaxation(ready, family.lower[0], family.upper[0], lambda: None, None, ball)
    root = relaxation.root(Effort(seconds=10.0, steps=4))
    away = rng.normal(size=(300, 3))
    away *= (rng.random(300) ** 0.3 / np.linalg.norm(away, axis=1))[:, None] * float(radius)
    values = run_float(asked.lowered, np.array([float(v) for v in centre]) + away)
    neurons = np.concatenate([values[v] for v in ready.slots], axis=1)
    assert (neurons >= root.lower - 1e-9).all() and (neurons <= root.upper + 1e-9).all()
    lower, upper = root.lower[None].copy(), root.upper[None].copy()
    is_open = np.flatnonzero((root.lower < 0) & (root.upper > 0))
    inside = np.ones(300, dtype=bool)
    if len(is_open):
        lower[0, is_open[0]] = 0.0
        inside = neurons[:, is_open[0]] >= 0
    rows = rng.normal(size=(1, 2))
    found = relaxation.optimise(lower, upper, rows, None, None, None, 8)
    assert (found.value[0] <= (values[asked.lowered.output] @ rows[0])[inside] + 1e-9).all()


@pytest.mark.parametrize("engine", ["relu-splitting", "input-splitting"])
def test_either_arm_alone_decides_the_same_about_a_ball(engine: str) -> None:
    """relu(x_0) + relu(-x_0) + x_1 over the unit disc is largest at 45 degrees: the square root of 2, in two pieces."""
    net = dense([([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [0.0] * 4), ([[1.0, 1.0, 1.0, -1.0]], [0.0])])
    for c, word in (("1.41422", "unsat"), ("1.41421", "sat")):
        unsafe = Atom((), ((0, Fraction(-1)),), -Fraction(c), False)
        asked = ball_query(net, disc([Fraction(0)] * 2, Fraction(1), 1), [unsafe], 2)
        options = Options(timeout_s=10.0, trust=frozenset({"crown"}), engines=frozenset({engine}))
        assert verify(asked, options).word == word


def test_of_a_disjunct_with_other_products_nothing_is_left_out() -> None:
    net, ball = affine([[1.0, 0.0]]), disc([Fraction(0)] * 2, Fraction(1), 1)
    plain = Atom((), ((0, Fraction(1)),), Fraction(0), False)
    (family,) = ball_query(net, ball, [plain], 2).families
    rest = linear(family, 1)
    assert rest is not None and rest.disjuncts == ((1,),) and rest.y_rows.shape[1] == 1
    other = Atom((), ((1, Fraction(-1)),), Fraction(0), False)
    for atoms in ([other], [plain, other], [Atom((), (), Fraction(1), False)]):
        (mixed,) = ball_query(net, ball, atoms, 2).families
        assert (linear(mixed, 1) is None) == (other in atoms)
    case = ball_query(net, ball, [plain], 2).property.cases[0]
    bare = Property(2, 1, (replace(case, disjuncts=((ball,),)),), monomials=((0, 0), (1, 1)))
    (family,) = Query(net.graph, net.data, bare, REAL).families
    assert linear(family, 1) is None


def test_a_ball_beside_the_box_holds_no_point() -> None:
    centre = [Fraction(5), Fraction(5)]
    always = Atom((), ((0, Fraction(1)),), Fraction(100), False)
    for radius, word in ((Fraction(5), "unsat"), (Fraction(6), "sat")):  # the corner (1, 1) is 4 sqrt(2) away
        asked = ball_query(affine([[1.0, 1.0]]), disc(centre, radius, 1), [always], 1)
        assert verify(asked, Options(timeout_s=10.0, trust=frozenset({"crown"}))).word == word


def test_the_ellipsoid_of_every_case_is_its_own() -> None:
    """Two cases with the same rows, of radius 1 and 2, about y = x_0 + x_1 <= 2: the second reaches 2 sqrt(2)."""
    net = affine([[1.0, 1.0]])
    unsafe = Atom((), ((0, Fraction(-1)),), Fraction(-2), False)
    one, two = (ball_query(net, disc([Fraction(0)] * 2, Fraction(r), 1), [unsafe], 3).property.cases[0] for r in (1, 2))
    for cases, word in (((one, two), "sat"), ((one,), "unsat")):
        prop = Property(2, 1, cases, monomials=((0, 0), (1, 1)))
        asked = Query(net.graph, net.data, prop, REAL)
        assert len(asked.families) == 1
        verdict = verify(asked, Options(timeout_s=10.0, trust=frozenset({"crown"})))
        assert verdict.word == word
        if isinstance(verdict, Violated):
            assert verdict.replay.case_number == 1
