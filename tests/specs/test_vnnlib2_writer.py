"""What is written reads back as the same normal form, by both readers."""

from dataclasses import replace
from fractions import Fraction as Q
from pathlib import Path

import pytest
from hypothesis import given

from farkas.checker import property2
from farkas.specs.errors import MalformedProperty
from farkas.specs.query import Atom, Case, Property
from farkas.specs.vnnlib import read_property
from farkas.specs.vnnlib2 import read_document
from farkas.specs.vnnlib2_writer import one_network, write_document
from tests.specs.documents import Written, documents
from tests.specs.formulas import Query, queries
from tests.specs.test_checker_agreement import assert_same


def told(prop: Property) -> Property:
    """What is said of a property's text does not come back, and what a disjunct without atoms says becomes 0 <= 0."""
    true = Atom((), (), Q(0))
    return replace(
        prop,
        sha256="",
        vacuous=(),
        cases=tuple(
            replace(case, disjuncts=tuple(atoms or (true,) for atoms in case.disjuncts))
            if len(prop.cases) > 1 or len(case.disjuncts) > 1
            else case
            for case in prop.cases
        ),
    )


def again(prop: Property) -> Property:
    text = write_document(prop, [one_network((1, prop.inputs), (prop.outputs,))])
    read = read_document(text).property()
    assert_same(read, property2.read_document(text.encode()).property)
    return replace(read, sha256="", vacuous=())


@given(queries())
def test_a_property_of_version_1_comes_back(query: Query) -> None:
    prop = read_property(query.text((" ",)).encode())
    assert again(prop) == told(prop)


@given(documents())
def test_a_document_comes_back_with_its_networks(written: Written) -> None:
    document = read_document(written.text())
    prop = document.property()
    text = write_document(prop, document.networks)
    read = read_document(text)
    assert replace(read.property(), sha256="", vacuous=()) == told(prop)
    assert [(n.name, [(t.name, t.element, t.shape) for t in n.tensors]) for n in read.networks] == [
        (n.name, [(t.name, t.element, t.shape) for t in n.tensors]) for n in document.networks
    ]


@given(documents(polynomial=True))
def test_a_document_with_polynomials_comes_back(written: Written) -> None:
    document = read_document(written.text())
    prop = document.property()
    read = read_document(write_document(prop, document.networks)).property()
    assert replace(read, sha256="", vacuous=()) == told(prop)


@given(documents(polynomial=True))
def test_the_checker_reads_the_same(written: Written) -> None:
    prop = read_document(written.text()).property()
    assert_same(prop, property2.read_document(written.text().encode()).property)


def test_numbers_without_finite_decimals_are_scaled_away() -> None:
    third, seventh = Q(1, 3), Q(1, 7)
    atom = Atom(((0, third),), ((0, Q(1)),), seventh, strict=True)
    prop = Property(1, 1, (Case((-third,), (seventh,), ((atom,),)),))
    (case,) = again(prop).cases
    assert (case.lower, case.upper) == ((-third,), (seventh,))
    assert case.disjuncts == ((Atom(((0, Q(7)),), ((0, Q(21)),), Q(3), strict=True),),)  # 21 times the atom


def test_the_text_of_a_small_property() -> None:
    atom = Atom(((1, Q(2)),), ((0, Q(-1)),), Q("0.5"))
    prop = Property(2, 1, (Case((Q(0), Q(-1)), (Q(1), Q(1)), ((atom,),)),))
    assert (
        write_document(prop, [one_network((2,), (), "real", "f")])
        == """(vnnlib-version <2.0>)

(declare-network f
    (declare-input X real [2])
    (declare-output Y real [])
)

(assert (>= X[0] 0.0))
(assert (<= X[0] 1.0))
(assert (>= X[1] -1.0))
(assert (<= X[1] 1.0))
(assert (<= (+ (* 2.0 X[1]) (- Y)) 0.5))
"""
    )


def test_the_text_of_a_polynomial() -> None:
    atom = Atom(((0, Q(1)),), ((0, Q(-1)), (1, Q(1)), (2, Q(-1, 3))), Q(0), strict=True)
    prop = Property(1, 1, (Case((Q(0),), (Q(1),), ((atom,),)),), monomials=((0, 1), (1, 1, 1)))
    text = write_document(prop, [one_network((1,), (), "real")])
    assert "(assert (< (+ (* 3.0 X[0]) (* -3.0 Y) (* 3.0 X[0] Y) (* -1.0 Y Y Y)) 0.0))" in text


def test_networks_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 inputs and 1 outputs are declared, but the property has 1 and 1"):
        write_document(Property(1, 1, ()), [one_network((2,), (1,))])


@pytest.mark.vnncomp
def test_public_documents_come_back(vnncomp: Path) -> None:
    for path in sorted(vnncomp.glob("vnnlib2_*/**/*.vnnlib")):
        try:
            document = read_document(path.read_bytes())
            prop = document.property()
        except MalformedProperty:
            continue
        assert replace(read_document(write_document(prop, document.networks)).property(), sha256="") == told(prop)
