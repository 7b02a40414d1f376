"""The official reader as an oracle: what it takes, ours takes and gives the same meaning, at random points."""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction as Q
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.specs.errors import MalformedProperty
from farkas.specs.vnnlib2 import read_document
from farkas.specs.vnnlib2_document import Document
from farkas.specs.vnnlib2_writer import write_document
from farkas.specs.witness import exact_decimal
from tests.specs.documents import Written, documents
from tests.specs.formulas import VALUES, Tree
from tests.specs.official import our_truth, their_truth
from tests.specs.test_vnnlib2_malformed import ASSERTIONS, FILES, GOOD, marked

vnnlib = pytest.importorskip("vnnlib")

HIDDEN = """(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [2]) (declare-input U float32 [])
    (declare-hidden H float32 [1,2] "a/b:0") (declare-hidden J float32 [] "c") (declare-output Y float32 [1]))
(declare-network g (equal-to f) (declare-input A float32 [2]) (declare-input B float32 [])
    (declare-hidden K float32 [1,2] "a/b:0") (declare-output Z float32 [1]))
(assert (and (>= X[0] 0.0) (<= X[0] 1.0) (== X[1] X[0]) (>= U 0.0) (<= U 2.0)))
(assert (and (== A[0] X[1]) (== A[1] (- X[0])) (== B (* 0.5 U))))
(assert (or (< (* H[0,1] K[0,0] J) Y[0]) (and (!= H[0,0] Z[0]) (> (- Z[0] Y[0] J) 0.25)) (>= (+ J (* Y[0] Y[0])) U)))
"""


def assert_same(theirs: Any, ours: Document, points: Sequence[dict[tuple[str, int], Q]]) -> None:
    """Declarations agree, and so do the truths of all assertions at the points."""
    for their, our in zip(theirs.networks, ours.networks, strict=True):
        assert their.name == our.name
        hidden = [(t.name, tuple(t.shape), t.onnx_name.strip('"')) for t in their.hidden]
        assert hidden == [(t.name, t.shape, t.onnx_name) for t in our.hidden]
        declared = [(t.name, tuple(t.shape)) for t in (*their.inputs, *their.outputs)]
        assert declared == [(t.name, t.shape) for t in (*our.inputs, *our.outputs)]
    for point in points:
        named = {
            t.label(k): point["X" if t.kind == "input" else "Y", t.start + k]
            for t in ours.tensors
            for k in range(t.size)
        }
        for their, formula in zip(theirs.assertions, ours.assertions, strict=True):
            assert their_truth(their.expr, named) == our_truth(formula, point), str(their)


def points(document: Document) -> st.SearchStrategy[list[dict[tuple[str, int], Q]]]:
    keys = [*(("X", i) for i in range(document.inputs)), *(("Y", j) for j in range(document.outputs))]
    return st.lists(st.fixed_dictionaries(dict.fromkeys(keys, st.sampled_from(VALUES))), min_size=5, max_size=5)


def plain(tree: Tree) -> Tree:
    """The tree with its numbers spelled as the grammar has them: no exponent, digits on both sides of the point."""
    match tree:
        case ("number", word):
            return "number", exact_decimal(Q(Decimal(word)))
        case ("X" | "Y", _):
            return tree
        case (head, [*parts]):
            return head, [plain(part) for part in parts]
        case (head, left, right):
            return head, plain(left), plain(right)
        case _:
            raise ValueError(tree)


def plain_text(written: Written) -> str:
    """The document in the spelling of the grammar; there no space stands between '(' and the word after it."""
    query = replace(written.query, assertions=tuple(map(plain, written.query.assertions)))
    return re.sub(r"\(\s+", "(", replace(written, query=query).text(("\n", " ")))


@given(documents(polynomial=True), st.data())
def test_generated_documents_mean_what_the_official_package_reads(written: Written, data: st.DataObject) -> None:
    text = plain_text(written)
    ours = read_document(text)
    assert_same(vnnlib.parse_query_string(text), ours, data.draw(points(ours)))


@given(documents(polynomial=True), st.data())
def test_the_official_package_reads_what_is_written(written: Written, data: st.DataObject) -> None:
    document = read_document(written.text())
    text = write_document(document.property(), document.networks)
    ours = read_document(text)
    assert_same(vnnlib.parse_query_string(text), ours, data.draw(points(ours)))


@given(st.data())
def test_hidden_tensors_copies_and_scalars_mean_what_the_official_package_reads(data: st.DataObject) -> None:
    ours = read_document(HIDDEN)
    assert (ours.inputs, ours.outputs) == (6, 1 + 3 + 1 + 2)
    assert_same(vnnlib.parse_query_string(HIDDEN), ours, data.draw(points(ours)))


@given(documents(polynomial=True), st.data())
def test_what_the_official_package_takes_of_damaged_text_is_taken_too(written: Written, data: st.DataObject) -> None:
    text = plain_text(written)
    cut = data.draw(st.integers(0, len(text) - 1))
    damage = data.draw(st.sampled_from(("", "(", ")", "[", "]", '"', " ", "X", "Y", "-", ";", "0", ".", ",", "<", "=")))
    text = text[:cut] + damage + text[cut + data.draw(st.integers(0, 3)) :]
    try:
        theirs = vnnlib.parse_query_string(text)
    except vnnlib.VNNLibException:
        return
    try:
        ours = read_document(text)
    except MalformedProperty as error:
        # Ours wants versions and element types that exist, tensors with elements, and does not take -0 for an index.
        assert re.search(r"version|element type|elements|\[[^]]*-0", str(error)), (text, error)
        return
    assert_same(theirs, ours, data.draw(points(ours)))


@pytest.mark.parametrize(
    "text",
    [t for t, *_ in FILES]
    + [GOOD + t for t, *told in ASSERTIONS if "a product of 65 variables" not in told],  # which is right, but too long
)
def test_what_is_wrong_the_official_package_refuses_too(text: str) -> None:
    with pytest.raises(vnnlib.VNNLibException):
        vnnlib.parse_query_string(marked(text)[0])
