"""Specifications read from files are the files' own, and saved ones read back as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

import farkas as fk
from farkas.api import load_property
from farkas.ir.errors import FarkasError
from farkas.reading import from_vnnlib
from farkas.specs.language_document import document
from farkas.specs.language_property import normal_form
from farkas.specs.query import Property, Semantics
from farkas.specs.vnnlib1_writer import is_plain
from farkas.specs.vnnlib2 import read_document
from tests.farkas.saved import fitting, network
from tests.specs.documents import Written, documents
from tests.specs.formulas import Query, queries
from tests.specs.test_vnnlib2_writer import told


def bare(prop: Property) -> Property:
    """Without what is said of its text."""
    return replace(prop, sha256="", vacuous=())


@given(queries(polynomial=True))
def test_a_property_of_version_1_is_read_as_it_is(query: Query) -> None:
    data = query.text((" ",)).encode()
    net = network((1, query.inputs), (1, query.outputs))
    spec = from_vnnlib(data, net)
    assert spec.property == load_property(data)
    assert list(spec.networks.values()) == [net]


@given(documents(polynomial=True))
def test_a_document_is_read_as_it_is_and_saved_as_the_same(written: Written) -> None:
    text = written.text()
    spec = from_vnnlib(text.encode(), fitting(text))
    prop = read_document(text).property()
    assert bare(spec.property) == bare(prop)
    assert bare(read_document(spec_text(spec)).property()) == told(prop)


def spec_text(spec: fk.Spec) -> str:
    return document(spec.normal)


@given(documents(polynomial=True))
def test_given_and_prove_say_what_the_property_does(written: Written) -> None:
    """The normal form of the formulas is that of the file, but for networks that it does not mention."""
    text = written.text()
    spec = from_vnnlib(text.encode(), fitting(text))
    if not spec.property.cases:
        return
    try:
        again = normal_form([spec.given[0].formula], spec.prove.formula)  # type: ignore[index]  # a tuple by now
    except fk.SpecError as error:
        assert error.code in ("FK504", "FK505", "FK509")  # not about outputs, or about one network only
        return
    if len(again.applications) == len(spec.normal.applications):
        by_hand = again.property.cases
        assert [case.lower for case in by_hand] == [case.lower for case in spec.property.cases]
        assert [len(case.disjuncts) for case in by_hand] == [len(case.disjuncts) for case in spec.property.cases]


def test_variables_have_the_names_of_the_file_and_its_semantics(tmp_path: Path) -> None:
    text = """
        (vnnlib-version <2.0>)
        (declare-network f (declare-input A real [1,2]) (declare-output B real [1,1]))
        (declare-network g (equal-to f) (declare-input C real [1,2]) (declare-output D real [1,1]))
        (assert (and (>= A[0,0] 0) (<= A[0,0] 1) (>= A[0,1] 0) (<= A[0,1] 1)))
        (assert (and (== C[0,0] A[0,0]) (>= C[0,1] 0) (<= C[0,1] A[0,1])))
        (assert (> D[0,0] B[0,0]))
    """
    net = network((1, 2), (1, 1))
    spec = from_vnnlib(text.encode(), net)
    assert spec.semantics is Semantics.REAL
    assert list(spec.networks.values()) == [net, net]
    names = [slot.entry[0].entry(slot.entry[1]) for copy in spec.normal.copies for slot in copy.slots if slot.entry]
    assert names == ["A[0, 0]", "A[0, 1]", "C[0, 0]", "C[0, 1]"]
    assert spec.check(timeout=20).semantics is Semantics.REAL
    spec.save(tmp_path / "again.vnnlib")
    assert from_vnnlib(tmp_path / "again.vnnlib", net).semantics is Semantics.REAL


def test_a_hidden_tensor_is_an_output_of_the_network() -> None:
    text = """
        (vnnlib-version <2.0>)
        (declare-network f (declare-input X float32 [1,2]) (declare-hidden H float32 [1,1] "z")
            (declare-output Y float32 [1,1]))
        (assert (and (>= X[0,0] 0) (<= X[0,0] 1) (>= X[0,1] 0) (<= X[0,1] 1)))
        (assert (< (+ Y[0,0] (- H[0,0])) -0.5))
    """
    spec = from_vnnlib(text.encode(), network((1, 2), (1, 1)))  # relu(z) is at least z
    (net,) = spec.networks.values()
    assert net.graph.outputs == ("y", "z")
    assert isinstance(spec.check(timeout=20), fk.Holds)


def test_a_vacuous_property_is_read() -> None:
    data = b"(declare-const X_0 Real)(declare-const Y_0 Real)(assert (and (>= X_0 1)(<= X_0 0)(<= Y_0 0)))"
    spec = from_vnnlib(data, network((1, 1), (1, 1)))
    assert spec.property.cases == () and spec.property.vacuous
    assert isinstance(spec.check(timeout=20), fk.Holds)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    data = b"(declare-const X_0 Real)(declare-const Y_0 Real)(assert (and (>= X_0 1)(<= X_0 2)(<= Y_0 0)))"
    (tmp_path / "one.vnnlib").write_bytes(data)
    with pytest.raises(FarkasError, match=r"one\.vnnlib: .*1 input variables X_0 to X_0, but the network has 2"):
        from_vnnlib(tmp_path / "one.vnnlib", network((1, 2), (1, 1)))


def test_the_properties_of_the_examples_are_read_and_saved(examples: Path, tmp_path: Path) -> None:
    pairs = [line.split(",")[:2] for line in (examples / "suite.csv").read_text().splitlines()[1:]]
    assert len(pairs) > 10
    joined = []
    for net, prop in pairs:
        spec = from_vnnlib(examples / prop, fk.load(examples / net))
        assert spec.property == load_property(examples / prop)
        for version in ("2.0", "1.0"):
            if version == "1.0" and not is_plain(spec.property):
                joined.append(prop)
                continue
            spec.save(tmp_path / "again.vnnlib", version=version)
            assert bare(load_property(tmp_path / "again.vnnlib")) == told(spec.property), (prop, version)
        assert [p.name for p in tmp_path.iterdir()] == ["again.vnnlib"]
    assert joined == ["properties/wave_below_x.vnnlib"]


def test_reading_gives_the_verdict_of_the_file(examples: Path) -> None:
    net = fk.load(examples / "networks" / "pendulum.onnx")
    path = examples / "properties" / "pendulum_point.vnnlib"
    assert type(from_vnnlib(path, net).check(timeout=20)) is type(fk.verify(net, path, timeout=20))
