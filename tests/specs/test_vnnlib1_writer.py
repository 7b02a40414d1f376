"""What is written as VNN-LIB 1.0 reads back as the same normal form, by both readers."""

from dataclasses import replace
from fractions import Fraction as Q
from pathlib import Path

import pytest
from hypothesis import given

from farkas.checker import property as checked
from farkas.specs.query import Atom, Case, Property
from farkas.specs.tokens import decompressed
from farkas.specs.vnnlib import read_property
from farkas.specs.vnnlib1_writer import is_plain, write_property
from tests.specs.formulas import Query, queries
from tests.specs.test_checker_agreement import assert_same


def told(prop: Property) -> Property:
    """What is said of a property's text does not come back; where one box has several disjuncts, one without atoms
    becomes 0 <= 0."""
    true = Atom((), (), Q(0))
    cases = prop.cases
    if len(cases) == 1 and len(cases[0].disjuncts) > 1:
        cases = (replace(cases[0], disjuncts=tuple(atoms or (true,) for atoms in cases[0].disjuncts)),)
    return replace(prop, sha256="", vacuous=(), cases=cases)


def again(prop: Property) -> Property:
    """The property written and read, by the checker too."""
    data = write_property(prop).encode()
    read = read_property(data)
    assert_same(read, checked.read_property(data))
    return replace(read, sha256="", vacuous=())


@given(queries())
def test_a_random_property_comes_back(query: Query) -> None:
    prop = read_property(query.text((" ",)).encode())
    assert again(prop) == told(prop)


def test_products_come_back() -> None:
    atom = Atom(((0, Q(1)),), ((0, Q(2)), (1, Q(-1)), (2, Q(3))), Q("0.5"))
    prop = Property(2, 1, (Case((Q(0), Q(-1)), (Q(1), Q(1)), ((atom,),)),), monomials=((0, 1), (1, 1, 2)))
    assert again(prop) == prop
    assert not is_plain(prop)


def test_the_text_is_of_the_form_that_most_tools_read() -> None:
    """Comparisons of an output with a number or another output; several boxes are one `or` of conjunctions."""
    below, above = Atom((), ((0, Q(1)), (1, Q(-1))), Q(0)), Atom((), ((1, Q(-1)),), Q("0.5"), strict=True)
    twice = Atom((), ((0, Q(-1)), (1, Q(1))), Q(0))
    prop = Property(1, 2, (Case((Q(0),), (Q(1),), ((below,), (above, twice))),))
    head = "; a comment\n(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n\n"
    box = "(assert (>= X_0 0.0))\n(assert (<= X_0 1.0))\n"
    assert write_property(prop, ["a comment"]) == (
        head + box + "(assert (or (and (<= Y_0 Y_1)) (and (> Y_1 -0.5) (<= Y_1 Y_0))))\n"
    )
    two = replace(prop, cases=(prop.cases[0], Case((Q(2),), (Q(3),), ((below,),))))
    assert write_property(two).endswith(
        "(assert (or\n"
        "    (and (>= X_0 0.0) (<= X_0 1.0) (<= Y_0 Y_1))\n"
        "    (and (>= X_0 0.0) (<= X_0 1.0) (> Y_1 -0.5) (<= Y_1 Y_0))\n"
        "    (and (>= X_0 2.0) (<= X_0 3.0) (<= Y_0 Y_1))\n"
        "))\n"
    )
    assert is_plain(two)


def test_what_is_said_of_several_inputs_is_not_plain() -> None:
    sides = Case((Q(0), Q(0)), (Q(1), Q(1)), ((Atom(((0, Q(1)), (1, Q(1))), (), Q(1)),),))
    strict = Case((Q(0), Q(0)), (Q(1), Q(1)), ((Atom(((0, Q(1)),), (), Q(1), strict=True),),))
    mixed = Case((Q(0), Q(0)), (Q(1), Q(1)), ((Atom(((0, Q(1)),), ((0, Q(1)),), Q(1)),),))
    assert [is_plain(Property(2, 1, (case,))) for case in (sides, strict, mixed)] == [False, True, False]
    assert again(Property(2, 1, (strict,))).cases == (strict,)


def test_the_properties_of_the_examples_come_back(examples: Path) -> None:
    files = sorted((examples / "properties").glob("*.vnnlib"))
    assert len(files) > 10
    for path in files:
        prop = read_property(path.read_bytes())
        assert again(prop) == told(prop), path.name


@pytest.mark.vnncomp
def test_every_public_property_comes_back(vnncomp: Path) -> None:
    """And both readers agree on what is written, where they did on the file."""
    files = [p for p in sorted(vnncomp.glob("*/vnnlib/*.vnnlib*")) if not p.parts[-3].startswith("vnnlib2")]
    assert len(files) > 100
    for path in files:
        prop = read_property(decompressed(path.read_bytes()))
        assert again(prop) == told(prop), path.name
