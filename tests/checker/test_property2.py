"""The checker's reader of VNN-LIB 2.x and the engine's, written apart from each other, give the same normal form.

Certificates name cases, disjuncts and atoms by position, so the order has to agree too.
"""

from pathlib import Path

import pytest
from hypothesis import given

from farkas.checker import property2
from farkas.checker.errors import MalformedInput
from farkas.checker.property import read_property
from farkas.specs.errors import MalformedProperty
from farkas.specs.vnnlib2 import is_version_2, read_document
from tests.specs.documents import Written, documents, tied
from tests.specs.formulas import gaps
from tests.specs.test_checker_agreement import assert_same

PAIR = b"""(vnnlib-version <2.0>)
(declare-network f (declare-input A real [2]) (declare-output B real [2]))
(declare-network g (equal-to f) (declare-input C real [2]) (declare-output D real [2]))
(declare-network h (isomorphic-to f) (declare-input E real [2]) (declare-output F real [2]))
(assert (and (>= A[0] 0) (<= A[0] 1) (>= A[1] 0) (<= A[1] 1) (== C[0] A[0]) (== C[1] A[1])))
(assert (and (== E[0] A[0]) (== E[1] A[1])))
"""


@given(documents(), gaps)
def test_both_readers_give_the_same_normal_form_of_random_documents(written: Written, gaps: list[str]) -> None:
    text = written.text(gaps)
    assert_same(read_document(text).property(), property2.read_document(text.encode()).property)


@given(tied())
def test_both_readers_derive_the_same_bounds(written: Written) -> None:
    text = written.text()
    assert_same(read_document(text).property(), property2.read_document(text.encode()).property)


@pytest.mark.vnncomp
def test_both_readers_give_the_same_normal_form_of_public_documents(vnncomp: Path) -> None:
    files = sorted(vnncomp.glob("vnnlib2_*/**/*.vnnlib"))
    read = 0
    for path in files:
        data = path.read_bytes()
        try:
            ours = read_document(data).property()
        except MalformedProperty:
            with pytest.raises(MalformedInput):
                property2.read_document(data)
            continue
        assert_same(ours, property2.read_document(data).property)
        read += 1
    assert read >= 28


def test_networks_are_told_with_the_files_they_share() -> None:
    networks = property2.read_document(PAIR).networks
    assert [(n.name, n.model, n.inputs, n.outputs, n.element) for n in networks] == [
        (name, model, ((2,),), ((2,),), "real") for name, model in (("f", "f"), ("g", "f"), ("h", "h"))
    ]


def test_a_reader_that_takes_one_network_refuses_several() -> None:
    with pytest.raises(MalformedInput, match="3 networks"):
        read_property(PAIR)


HEADS = (b"(vnnlib-version <2.0>)", b" ; a\n;b\r(\tvnnlib-version <9>)", b"(declare-const X_0 Real)", b"")


@pytest.mark.parametrize("head", HEADS)
def test_both_readers_recognise_the_language_alike(head: bytes) -> None:
    assert is_version_2(head) == property2.is_version_2(head) == (b"version" in head)
