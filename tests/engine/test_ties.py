"""Tied inputs: what counts as a tie, and that attacks and exact replay keep to it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from farkas.engine.options import Options
from farkas.engine.problem import Family, families
from farkas.engine.query import Query
from farkas.engine.replay import Replayer
from farkas.engine.ties import Ties, tied_box
from farkas.engine.verdict import Violated
from farkas.engine.verify import verify
from farkas.ir.joined import Part
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.nets import atom, case, dense

TIE = (atom([], 0, x=[1, 0, -1]), atom([], 0, x=[-1, 0, 1]))  # X_0 == X_2
ANY = atom([1], 0)


def family_of(*cases: Case) -> Family:
    boxes = [(np.array(c.lower, dtype=float), np.array(c.upper, dtype=float)) for c in cases]
    (found,) = families(cases, boxes, 1)
    return found


def cube(*disjuncts: tuple[Atom, ...]) -> Case:
    return case([-1] * 3, [1] * 3, *disjuncts)


def test_equal_inputs_of_every_disjunct_are_tied() -> None:
    tied = cube((*TIE, ANY), (TIE[1], ANY, TIE[0]))
    ties = Ties.of(family_of(tied))
    assert ties.source is not None and ties.source.tolist() == [0, 1, 0]
    assert ties.points(np.array([[1.0, 2.0, 3.0]])).tolist() == [[1, 2, 1]]
    assert ties.gradient(np.array([[1.0, 2.0, 4.0], [0.0, 1.0, -1.0]])).tolist() == [[5, 2, 5], [-1, 1, -1]]
    assert tied_box(tied)[0] == [0, 1, 0]


def test_chains_of_ties_are_one_group_in_any_order() -> None:
    chain = [atom([], 0, x=x) for x in ([0, 1, -1], [0, -1, 1], [1, 0, -1], [-1, 0, 1])]
    for atoms in (chain, chain[::-1]):
        assert tied_box(cube(tuple(atoms)))[0] == [0, 0, 0]
        found = Ties.of(family_of(cube(tuple(atoms)))).source
        assert found is not None and found.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "disjuncts",
    [
        [(TIE[0], ANY)],  # one direction only
        [(*TIE, ANY), (ANY,)],  # not in every disjunct
        [(atom([], 0, x=[1, 0, -1], strict=True), TIE[1])],
        [(atom([], 1, x=[1, 0, -1]), atom([], -1, x=[-1, 0, 1]))],  # X_0 == X_2 + 1
        [(atom([], 0, x=[1, 0, -2]), atom([], 0, x=[-1, 0, 2]))],
        [(atom([1], 0, x=[1, 0, -1]), atom([-1], 0, x=[-1, 0, 1]))],  # outputs take part
        [],
    ],
)
def test_nothing_else_is_a_tie(disjuncts: list[tuple[Atom, ...]]) -> None:
    box = cube(*disjuncts)
    ties = Ties.of(family_of(box))
    points = np.array([[1.0, 2.0, 3.0]])
    assert ties.source is None and ties.points(points) is points and ties.gradient(points) is points
    assert tied_box(box)[0] == [0, 1, 2]


def test_tied_inputs_have_the_ends_in_common() -> None:
    tenth = Fraction(1, 10)
    source, lower, upper = tied_box(case([tenth, 0, -1], [1, 1, Fraction(1, 2)], TIE))
    assert source == [0, 1, 0]
    assert (lower, upper) == ([tenth, 0, tenth], [Fraction(1, 2), 1, Fraction(1, 2)])


def double(semantics: Semantics, tied: Case) -> tuple[Query, Replayer]:
    """f(x) = x beside g(x, z) = x + z."""
    f, g = dense([([[1.0]], [0.0])]), dense([([[1.0, 1.0]], [0.0])])
    parts = [Part("f", f.graph, f.data), Part("g", g.graph, g.data)]
    query = Query.of(parts, Property(3, 2, (tied,)), semantics)
    return query, Replayer(query.graph, query.program, query.network, semantics, query.parts)


def swapped(lower: list[Fraction | int], upper: list[Fraction | int]) -> Case:
    """X_0 == X_1 and g >= f + 1/2, that is z >= 1/2."""
    tie = (atom([], 0, x=[1, -1]), atom([], 0, x=[-1, 1]))
    return case(lower, upper, (*tie, atom([1, -1], Fraction(-1, 2))))


def test_a_rational_point_is_moved_onto_the_ties_and_not_out_of_any_box() -> None:
    """The second copy of X is bounded by 1/10 rounded outward; the first by 1/10 itself."""
    near = Fraction(float(np.float32(0.1)))
    _, replayer = double(Semantics.REAL, tied := swapped([Fraction(1, 10), 0, 0], [1, near, 1]))
    found = replayer.attempt(0, tied, np.array([0.25, 0.0, 0.75]))
    assert found is not None and found.inputs == (near, near, Fraction(3, 4))
    _, replayer = double(Semantics.REAL, apart := swapped([Fraction(1, 10), 0, 0], [1, Fraction(1, 11), 1]))
    assert replayer.attempt(0, apart, np.array([0.25, 0.0, 0.75])) is None


@pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])
def test_an_attack_finds_what_lies_on_a_tie(semantics: Semantics) -> None:
    """Ten inputs in two copies; violated where the mean of five is above 3/4, on the ties only."""
    net = dense([([[0.25] * 5], [-1.0]), ([[1.0]], [0.0])])
    parts = [Part(name, net.graph, net.data) for name in "fg"]
    rows = [[Fraction(j == i) - Fraction(j == i + 5) for j in range(10)] for i in range(5)]
    ties = [atom([], 0, x=[sign * v for v in row]) for row in rows for sign in (1, -1)]
    tied = case([0] * 10, [1] * 10, (*ties, atom([-1, -1], Fraction(-1, 4))))
    verdict = verify(Query.of(parts, Property(10, 2, (tied,)), semantics), Options(timeout_s=10.0))
    assert isinstance(verdict, Violated)
    assert verdict.replay.inputs[:5] == verdict.replay.inputs[5:]
