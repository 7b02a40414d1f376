"""What a VNN-LIB 2.x document means: by hand, by the formula itself, by the reader of 1.0, by the official package."""

import csv
import gzip
import re
from fractions import Fraction as Q
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import property2
from farkas.specs.boxes import nearest32
from farkas.specs.query import Atom, Property
from farkas.specs.vnnlib import read_property
from farkas.specs.vnnlib2 import is_version_2, read_document
from farkas.specs.vnnlib2_document import Document
from farkas.specs.vnnlib2_writer import write_document
from tests.specs.documents import Written, documents, tied
from tests.specs.formulas import Query, gaps, points, queries
from tests.specs.official import as_the_package_wants, our_truth, their_truth

HEAD = "(vnnlib-version <2.0>)\n"
ONE = HEAD + "(declare-network f (declare-input X float32 [2,3]) (declare-output Y float32 []))\n"
BOX = "".join(f"(assert (and (>= X[{i},{j}] 0) (<= X[{i},{j}] 1)))\n" for i in range(2) for j in range(3))
PAIR = """(vnnlib-version <2.0>)
(declare-network f (declare-input A real [2]) (declare-output B real [2]))
(declare-network g (equal-to f) (declare-input C real [2]) (declare-output D real [2]))
(assert (and (>= A[0] 0) (<= A[0] 1) (>= A[1] 2) (<= A[1] 2)))
"""


def disjuncts(text: str) -> list[list[Atom]]:
    """The disjuncts of the only case."""
    (case,) = read_document(text).property().cases
    return [list(atoms) for atoms in case.disjuncts]


# meaning, by hand


def test_elements_count_row_major_and_scalars_have_no_index() -> None:
    assert disjuncts(ONE + BOX + "(assert (<= (+ X[1,2] (* 2.0 X[0,1]) Y) 3))") == [
        [Atom(((1, Q(2)), (5, Q(1))), ((0, Q(1)),), Q(3))]
    ]


def test_inputs_and_outputs_of_all_networks_follow_each_other() -> None:
    text = PAIR + "(assert (and (== C[0] A[0]) (== C[1] A[1])))\n(assert (<= D[1] B[0]))\n"
    document = read_document(text)
    assert (document.inputs, document.outputs) == (4, 4)
    assert [network.model for network in document.networks] == ["f", "f"]
    assert disjuncts(text)[0][-1] == Atom((), ((0, Q(-1)), (3, Q(1))), Q(0))


def test_equality_is_two_atoms_and_inequality_two_disjuncts() -> None:
    one = ((0, Q(1)),)
    other = ((0, Q(-1)),)
    assert disjuncts(ONE + BOX + "(assert (== Y 0.5))") == [[Atom((), one, Q("0.5")), Atom((), other, Q("-0.5"))]]
    assert disjuncts(ONE + BOX + "(assert (!= Y 0.5))") == [
        [Atom((), one, Q("0.5"), strict=True)],
        [Atom((), other, Q("-0.5"), strict=True)],
    ]


def test_equality_with_a_number_bounds_an_input_on_both_sides() -> None:
    bounded = BOX.replace("(and (>= X[0,0] 0) (<= X[0,0] 1))", "(== 0.1 X[0,0])")
    (case,) = read_document(ONE + bounded + "(assert (<= Y 0))").property().cases
    assert (case.lower[0], case.upper[0]) == (Q("0.1"), Q("0.1"))


def test_an_input_that_equals_another_has_its_bounds_rounded_outward_to_binary32() -> None:
    text = PAIR.replace("(<= A[0] 1)", "(<= A[0] 0.1)") + "(assert (and (== C[0] A[0]) (== A[1] C[1])))"
    (case,) = read_document(text).property().cases
    # 0.1 lies between the binary32 numbers 13421772 2^-27 and 13421773 2^-27; 0 and 2 are such numbers.
    assert case.lower == tuple(map(Q, (0, 2, 0, 2)))
    assert case.upper == (Q("0.1"), Q(2), Q(13421773, 2**27), Q(2))
    assert len(case.disjuncts[0]) == 4


def test_bounds_follow_from_sums_whose_other_terms_are_bounded() -> None:
    # 2 C[0] <= A[0] - A[1] + 0.5 <= 1 - 2 + 0.5, and C[0] >= -3; C[1] between C[0] and C[0] + 1.
    text = PAIR + "(assert (and (<= (* 2 C[0]) (+ (- A[0] A[1]) 0.5)) (>= C[0] -3)))"
    text += "(assert (and (>= C[1] C[0]) (<= C[1] (+ C[0] 1))))"
    (case,) = read_document(text).property().cases
    assert (case.lower[2:], case.upper[2:]) == ((Q(-3), Q(-3)), (Q("-0.25"), Q("0.75")))


def test_element_types_are_read_in_any_case_and_numbers_with_an_exponent() -> None:
    text = "(vnnlib-version <2.1>)(declare-network f (declare-input X Real [1]) (declare-output Y REAL [1]))"
    document = read_document(text + "(assert (and (>= X[0] -1e-2) (<= X[0] .5)))")
    (case,) = document.property().cases
    assert document.is_real
    assert (case.lower, case.upper) == ((Q("-0.01"),), (Q("0.5"),))


def test_hidden_tensors_follow_the_outputs_of_their_network() -> None:
    text = (
        HEAD
        + """
    (declare-network f (declare-input X float32 [1]) (declare-hidden H float32 [2] "h") (declare-output Y float32 [3]))
    (declare-network g (isomorphic-to f) (declare-input U float16 [1]) (declare-hidden J float16 [2] "h")
                       (declare-hidden K float16 [] "k") (declare-output V float16 [3]))
    (assert (and (<= 0 X[0]) (>= 1 X[0]) (== U[0] 1)))
    (assert (<= (+ (* 2 H[1]) (* 3 K) (* 5 Y[0]) (* 7 V[2]) (* 9 J[0])) 11))"""
    )
    document = read_document(text)
    assert (document.inputs, document.outputs) == (2, 11)  # Y H V J K
    (((atom,),),) = (case.disjuncts for case in document.property().cases)
    assert atom.y == ((0, Q(5)), (4, Q(2)), (7, Q(7)), (8, Q(9)), (10, Q(3)))
    assert [document.label("output", j) for j, _ in atom.y] == ["Y[0]", "H[1]", "V[2]", "J[0]", "K"]
    again = read_document(write_document(document.property(), document.networks))
    assert (again.property().cases, again.networks[1].hidden[1].onnx_name) == (document.property().cases, "k")


def test_white_space_may_stand_before_and_in_an_index() -> None:
    assert disjuncts(ONE + BOX + "(assert (<= X [ 1 , 2 ] Y))") == disjuncts(ONE + BOX + "(assert (<= X[1,2] Y))")


def test_no_space_has_to_follow_an_operator() -> None:
    spaced = "(assert (and (<= (- X[0,0]) (* 2.0 Y)) (< (+ 1.5 X[1,1] (- -2.0) Y) -1.0) (!= Y -0.5)))"
    dense = "(assert(and(<=(-X[0,0])(*2.0 Y))(<(+1.5 X[1,1](--2.0)Y)-1.0)(!=Y -0.5)))"
    assert disjuncts(ONE + BOX + dense) == disjuncts(ONE + BOX + spaced)
    assert property2.read_document((ONE + BOX + dense).encode()).property.cases


def test_the_version_header_tells_the_languages_apart() -> None:
    assert is_version_2(b"; first\r\n ( vnnlib-version <2.0>)")
    assert is_version_2(gzip.compress(ONE.encode()))
    assert not is_version_2(b"(declare-const X_0 Real) ; (vnnlib-version <2.0>)")
    assert not is_version_2(b"; (vnnlib-version <2.0>)\n(declare-const X_0 Real)")


def test_products_become_monomials_in_the_order_of_the_normal_form() -> None:
    # (x1 + y) (x1 - y) = x1^2 - y^2: the mixed products cancel.  x1 is element 1, the output is column 6.
    text = ONE + BOX + "(assert (<= (* (+ X[0,1] Y) (- X[0,1] Y) 2) (* Y X[0,0] X[0,0])))(assert (< (* Y Y) 4))"
    prop = read_document(text).property()
    assert prop.monomials == ((0, 0, 6), (1, 1), (6, 6))
    assert [list(atoms) for case in prop.cases for atoms in case.disjuncts] == [
        [Atom((), ((1, Q(-1)), (2, Q(2)), (3, Q(-2))), Q(0)), Atom((), ((3, Q(1)),), Q(4), strict=True)]
    ]


def test_products_that_cancel_or_stand_in_a_vacuous_conjunction_are_no_monomials() -> None:
    text = ONE + BOX + "(assert (<= (- (* X[0,0] Y) (* Y X[0,0])) 1))"
    text += "(assert (or (<= (* Y Y) 1) (and (<= X[0,0] -1) (<= (* Y Y Y) 1))))"
    assert read_document(text).property().monomials == ((6, 6),)


# meaning, against the formula


@given(documents(), gaps, st.data())
def test_normal_form_is_true_exactly_where_the_document_is(
    written: Written, gaps: list[str], data: st.DataObject
) -> None:
    prop = read_document(written.text(gaps)).property()
    for _ in range(5):
        x, y = data.draw(points(written.query.inputs)), data.draw(points(written.query.outputs))
        assert prop.is_unsafe(x, y) == written.holds(x, y)


@given(documents(polynomial=True), gaps, st.data())
def test_normal_form_of_polynomials_is_true_exactly_where_the_document_is(
    written: Written, gaps: list[str], data: st.DataObject
) -> None:
    prop = read_document(written.text(gaps)).property()
    for _ in range(5):
        x, y = data.draw(points(written.query.inputs)), data.draw(points(written.query.outputs))
        assert prop.is_unsafe(x, y) == written.holds(x, y)


@given(queries(polynomial=True))
def test_a_polynomial_of_version_1_means_the_same_in_version_2(query: Query) -> None:
    old, new = read_property(query.text((" ",)).encode()), read_document(Written(query).text()).property()
    assert (old.inputs, old.outputs, old.cases, old.monomials) == (new.inputs, new.outputs, new.cases, new.monomials)


@given(queries())
def test_a_formula_of_version_1_means_the_same_in_version_2(query: Query) -> None:
    old, new = read_property(query.text((" ",)).encode()), read_document(Written(query).text()).property()
    assert (old.inputs, old.outputs, old.cases) == (new.inputs, new.outputs, new.cases)


@given(tied(), st.data())
def test_derived_boxes_hold_every_point_of_the_document(written: Written, data: st.DataObject) -> None:
    prop = read_document(written.text()).property()
    (first, *_) = prop.cases or [None]
    values = [Q(k, 8) for k in range(-24, 25)]
    x = data.draw(st.tuples(*[st.sampled_from(values)] * written.query.inputs))
    y = (x[-1],)
    assert prop.is_unsafe(x, y) == written.holds(x, y)
    # In float modes the first input, where it is a point off the grid, means its nearest binary32 number; what is
    # tied to that by the atoms alone is inside the derived box.
    if first is not None and first.lower[0] == first.upper[0]:
        near = Q(nearest32(first.lower[0]) or 0)
        for other, low, high in zip(x[1:], first.lower[1:], first.upper[1:], strict=True):
            point = (near, *x[1:])
            if all(atom.holds(point, y) for atom in first.disjuncts[0]):
                assert low <= other <= high


def test_a_point_off_the_grid_and_its_copy_keep_their_binary32_number() -> None:
    text = PAIR.replace("(>= A[0] 0) (<= A[0] 1)", "(== A[0] 0.1)") + "(assert (and (== C[0] A[0]) (== C[1] A[1])))"
    (case,) = read_document(text).property().cases
    near = Q(nearest32(Q("0.1")) or 0)
    assert near > Q("0.1")
    assert case.lower[2] <= near <= case.upper[2]
    assert all(atom.holds((near, Q(2), near, Q(2)), (Q(0),) * 4) for atom in case.disjuncts[0])


# meaning, against others


@pytest.mark.vnncomp
def test_translated_public_queries_mean_what_their_originals_mean(vnncomp: Path) -> None:
    with (vnncomp / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["category"] == "vnnlib2_single"]
    assert len(rows) == 13
    for row in rows:
        original = row["verdict_basis"].removeprefix("same query as ").split(":")[0]
        old = read_property((vnncomp / original).read_bytes())
        new = read_document((vnncomp / row["vnnlib"]).read_bytes()).property()
        assert (old.inputs, old.outputs, old.cases) == (new.inputs, new.outputs, new.cases)


@pytest.mark.vnncomp
def test_public_documents_say_what_the_official_package_reads(vnncomp: Path) -> None:
    """The assertions of both readings have the same truth at random points, many of them on the bounds."""
    vnnlib = pytest.importorskip("vnnlib")
    paths = [path for path in sorted(vnncomp.glob("vnnlib2_*/**/*.vnnlib")) if path.name != "initialized.vnnlib"]
    assert len(paths) > 20
    random = Random(7)
    for path in paths:
        text = path.read_text()
        theirs, ours = vnnlib.parse_query_string(as_the_package_wants(text)), read_document(text)
        for their, our in zip(theirs.networks, ours.networks, strict=True):
            assert their.name == our.name
            declared = [(t.name, tuple(t.shape)) for t in (*their.inputs, *their.outputs)]
            assert declared == [(t.name, t.shape) for t in (*our.inputs, *our.outputs)]
        numbers = [Q(word) for word in re.findall(r"-?\d+\.?\d*(?=[ )])", text)]
        values = {
            t.label(k): ("X" if t.kind == "input" else "Y", t.start + k) for t in ours.tensors for k in range(t.size)
        }
        for _ in range(20):
            point = {key: random.choice(numbers) + random.choice((0, 0, 1, -1)) for key in values.values()}
            named = {label: point[key] for label, key in values.items()}
            for their, formula in zip(theirs.assertions, ours.assertions, strict=True):
                assert their_truth(their.expr, named) == our_truth(formula, point), (path.name, str(their))


@pytest.mark.vnncomp
@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "wanted"),
    [
        ("vnnlib2_equal_acasxu/vnnlib/ACASXU_run2a_1_4_batch_2000_same.vnnlib", 10, 10, [11]),  # 5 ties, 1 output
        ("vnnlib2_isomorphic_acasxu/vnnlib/instance_0.vnnlib", 10, 10, [20]),  # 5 ties, 5 outputs on 2 sides
        ("vnnlib2_isomorphic_acasxu/vnnlib/violation_0_eps0.0910.vnnlib", 10, 10, [11] * 10),
    ],
)
def test_public_queries_about_two_networks_have_the_known_shape(
    vnncomp: Path, name: str, inputs: int, outputs: int, wanted: list[int]
) -> None:
    prop = read_document((vnncomp / name).read_bytes()).property()
    assert (prop.inputs, prop.outputs) == (inputs, outputs)
    assert [[len(atoms) for atoms in case.disjuncts] for case in prop.cases] == [wanted]


def test_corners_of_a_copied_box_are_those_of_the_box() -> None:
    text = PAIR + "(assert (and (== C[0] A[0]) (== C[1] A[1])))"
    prop: Property = read_document(text).property()
    document: Document = read_document(text)
    for a in product((0, 1), (2,)):
        assert prop.is_unsafe(tuple(map(Q, (*a, *a))), (Q(0),) * 4)
    assert document.label("input", 3) == "C[1]"
