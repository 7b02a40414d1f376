"""Tied inputs become one: no point of the input set is lost, and none is added."""

from dataclasses import replace
from fractions import Fraction as F
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.specs.boxes import contains, nearest32
from farkas.specs.query import Atom, Case, Property, Semantics
from farkas.specs.ties import reduced, sources, untied

TENTH = F(1, 10)
NEAR_TENTH = F(float(nearest32(TENTH) or 0))  # 0.100000001490116..., the binary32 number that 0.1 means


def less(i: int, k: int) -> Atom:
    return Atom(tuple(sorted(((i, F(1)), (k, F(-1))))), (), F(0))


def equal(i: int, k: int) -> tuple[Atom, Atom]:
    return less(i, k), less(k, i)


def prop(*cases: Case, outputs: int = 1, monomials: tuple[tuple[int, ...], ...] = ()) -> Property:
    return Property(len(cases[0].lower), outputs, cases, monomials=monomials)


def two(first: tuple[F, F], second: tuple[F, F]) -> Property:
    """Two equal inputs in these intervals."""
    return prop(Case((first[0], second[0]), (first[1], second[1]), (equal(0, 1),)))


def test_a_property_without_equal_inputs_is_left_as_it_is() -> None:
    below = prop(Case((F(0),) * 2, (F(1),) * 2, ((less(0, 1),),)))
    strict = prop(Case((F(0),) * 2, (F(1),) * 2, ((less(0, 1), replace(less(1, 0), strict=True)),)))
    shifted = prop(Case((F(0),) * 2, (F(1),) * 2, ((less(0, 1), replace(less(1, 0), c=F(1))),)))
    for asked in (below, strict, shifted):
        assert reduced(asked, Semantics.REAL) == untied(asked)
        assert not untied(asked).is_tied


def test_equations_of_one_disjunct_or_one_case_alone_tie_nothing() -> None:
    box = (F(0),) * 2, (F(1),) * 2
    assert sources(prop(Case(*box, (equal(0, 1), (less(0, 1),))))) == [0, 1]
    assert sources(prop(Case(*box, (equal(0, 1),)), Case(*box, ((),)))) == [0, 1]
    assert sources(prop(Case(*box, (equal(0, 1),)), Case(*box, (equal(0, 1), equal(0, 1))))) == [0, 0]


def test_chains_of_equations_are_one_class_whose_first_input_is_free() -> None:
    atoms = (*equal(4, 3), *equal(1, 4), *equal(2, 0))
    asked = prop(Case((F(0),) * 5, (F(1),) * 5, (atoms,)))
    assert sources(asked) == [0, 1, 0, 1, 1]
    assert reduced(asked, Semantics.REAL).columns == (0, 1, 0, 1, 1)
    assert reduced(asked, Semantics.REAL).lifted((F(7), F(8))) == (F(7), F(8), F(7), F(8), F(8))


def test_atoms_speak_of_free_inputs_and_equations_are_left_out() -> None:
    other = Atom(((0, F(2)), (1, F(3)), (2, F(-1))), ((0, F(1)),), F(5), strict=True)
    cancels = Atom(((0, F(1)), (1, F(-1))), (), F(-1))  # X_0 - X_1 <= -1: false once they are equal, and kept
    asked = prop(Case((F(0),) * 3, (F(1),) * 3, ((*equal(0, 1), other, cancels),)))
    (case,) = reduced(asked, Semantics.REAL).property.cases
    assert case.disjuncts == ((Atom(((0, F(5)), (1, F(-1))), ((0, F(1)),), F(5), strict=True), Atom((), (), F(-1))),)


def test_monomials_speak_of_free_inputs_and_those_that_become_equal_are_one() -> None:
    # Of X_0, X_1 = X_0, X_2 and one output Y: X_0 X_2, X_1 X_2, X_1 Y, Y Y.
    monomials = ((0, 2), (1, 2), (1, 3), (3, 3))
    atom = Atom((), ((0, F(1)), (1, F(2)), (2, F(3)), (3, F(4)), (4, F(5))), F(6))
    asked = prop(Case((F(0),) * 3, (F(1),) * 3, ((*equal(0, 1), atom),)), monomials=monomials)
    found = reduced(asked, Semantics.REAL).property
    assert found.monomials == ((0, 1), (0, 2), (2, 2))  # X_0 X_1, X_0 Y, Y Y in the new numbering
    assert found.cases[0].disjuncts == ((Atom((), ((0, F(1)), (1, F(5)), (2, F(4)), (3, F(5))), F(6)),),)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ((F(0), F(2)), (F(1), F(3)), (F(1), F(2))),
        ((TENTH, TENTH), (TENTH, TENTH), (TENTH, TENTH)),
        ((F(0), F(1)), (TENTH, TENTH), (TENTH, TENTH)),
        ((F(0), F(1)), (F(2), F(3)), None),
        ((TENTH, TENTH), (NEAR_TENTH, F(1)), None),
    ],
)
def test_over_the_reals_intervals_meet_as_they_stand(
    first: tuple[F, F], second: tuple[F, F], wanted: tuple[F, F] | None
) -> None:
    found = reduced(two(first, second), Semantics.REAL).property
    assert [(case.lower[0], case.upper[0]) for case in found.cases] == ([] if wanted is None else [wanted])
    assert len(found.vacuous) == (wanted is None)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ((F(0), F(2)), (F(1), F(3)), (F(1), F(2))),
        ((TENTH, TENTH), (TENTH, TENTH), (TENTH, TENTH)),
        # 0.1 means a binary32 number above it: the reals have no common point here, executions have one
        ((TENTH, TENTH), (NEAR_TENTH, F(1)), (NEAR_TENTH, NEAR_TENTH)),
        ((TENTH, TENTH), (TENTH + F(1, 2**40), TENTH + F(1, 2**40)), (NEAR_TENTH, NEAR_TENTH)),
        # and it lies outside [0, 0.1], which holds the real point
        ((TENTH, TENTH), (F(0), TENTH), None),
        ((TENTH, F(1)), (F(0), TENTH), None),
        # no binary32 number between these: the case stays, and nothing can be claimed of it
        ((TENTH, TENTH + F(1, 2**40)), (F(0), F(1)), (TENTH, TENTH + F(1, 2**40))),
    ],
)
def test_in_binary32_intervals_meet_on_the_grid(
    first: tuple[F, F], second: tuple[F, F], wanted: tuple[F, F] | None
) -> None:
    found = reduced(two(first, second), Semantics.F32_ANY).property
    assert [(case.lower[0], case.upper[0]) for case in found.cases] == ([] if wanted is None else [wanted])


# Ends around 0.1, on the binary32 grid and off it, so that equal readings of different decimals are common.
ends = st.sampled_from(
    [TENTH, NEAR_TENTH, TENTH + F(1, 2**40), NEAR_TENTH + F(1, 2**27), NEAR_TENTH - F(1, 2**27), F(0), F(1, 5)]
)
intervals = st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))
POINTS = [F(0), TENTH, NEAR_TENTH, NEAR_TENTH + F(1, 2**27), NEAR_TENTH - F(1, 2**27), TENTH + F(1, 2**40), F(1, 8)]


@given(st.lists(intervals, min_size=3, max_size=3), st.booleans(), st.sampled_from([Semantics.REAL, Semantics.F32_ANY]))
def test_the_reduced_property_has_the_same_unsafe_points(
    boxes: list[tuple[F, F]], all_tied: bool, semantics: Semantics
) -> None:
    """Brute force over points of three inputs; the atom besides is X_0 + X_1 - X_2 >= 0.1."""
    more = Atom(((0, F(-1)), (1, F(-1)), (2, F(1))), (), -TENTH)
    atoms = (*equal(0, 1), *(equal(1, 2) if all_tied else ()), more)
    asked = prop(Case(tuple(low for low, _ in boxes), tuple(high for _, high in boxes), (atoms,)))
    found = reduced(asked, semantics)
    whole = {
        x
        for x in product(POINTS, repeat=3)
        if contains(asked.cases[0], x, semantics) and asked.cases[0].violated_disjunct(x, (F(0),)) is not None
    }
    small = {
        found.lifted(x)
        for x in product(POINTS, repeat=found.property.inputs)
        for case in found.property.cases
        if contains(case, x, semantics) and case.violated_disjunct(x, (F(0),)) is not None
    }
    assert found.property.inputs == (1 if all_tied else 2)
    assert small == whole
