"""The VNN-LIB reader against formulas that are small enough to be brought to normal form by hand, and against random
formulas evaluated on their syntax trees."""

import gzip
import hashlib
import time
from fractions import Fraction as Q

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.specs import dnf
from farkas.specs.errors import MalformedProperty
from farkas.specs.query import Atom, Case, Property
from farkas.specs.vnnlib import read_property
from tests.specs.formulas import Query, gaps, points, queries

ONE = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
TWO = "".join(f"(declare-const {name} Real)\n" for name in ("X_0", "X_1", "Y_0", "Y_1"))
UNIT = "(assert (>= X_0 0)) (assert (<= X_0 1)) (assert (>= X_1 0)) (assert (<= X_1 1))\n"


def read(text: str) -> Property:
    return read_property(text.encode())


def y(j: int, sign: int, c: Q | int, strict: bool = False) -> Atom:
    """sign Y_j <= c."""
    return Atom((), ((j, Q(sign)),), Q(c), strict)


def test_single_bounds_make_one_case_with_one_atom() -> None:
    prop = read(ONE + "(assert (>= X_0 -1))\n(assert (<= X_0 1))\n(assert (<= Y_0 -1))\n")
    assert (prop.inputs, prop.outputs, prop.vacuous) == (1, 1, ())
    assert prop.cases == (Case((Q(-1),), (Q(1),), ((y(0, 1, -1),),)),)


def test_greater_or_equal_becomes_less_or_equal_with_both_sides_negated() -> None:
    prop = read(ONE + "(assert (and (>= X_0 0) (<= X_0 1) (>= Y_0 100)))")
    assert prop.cases[0].disjuncts == ((y(0, -1, -100),),)


def test_difference_of_outputs_has_its_terms_in_order_of_index() -> None:
    prop = read(TWO + UNIT + "(assert (<= Y_1 Y_0)) (assert (>= Y_1 Y_0))")
    first = Atom((), ((0, Q(-1)), (1, Q(1))), Q(0), False)
    second = Atom((), ((0, Q(1)), (1, Q(-1))), Q(0), False)
    assert prop.cases[0].disjuncts == ((first, second),)


def test_decimals_are_exact() -> None:
    prop = read(ONE + "(assert (>= X_0 0.1)) (assert (<= X_0 1.5e-01)) (assert (<= Y_0 -.30000000000000001))")
    case = prop.cases[0]
    assert case.lower == (Q(1, 10),)
    assert case.upper == (Q(3, 20),)
    assert case.disjuncts[0][0].c == -Q(30000000000000001, 10**17)


def test_union_of_boxes_times_output_disjunction_runs_the_later_factor_fastest() -> None:
    boxes = "(assert (or (and (>= X_0 2) (<= X_0 3)) (and (>= X_0 0) (<= X_0 1))))"
    prop = read(ONE + boxes + "(assert (or (<= Y_0 1) (and (<= Y_0 2) (>= Y_0 0))))")
    disjuncts = ((y(0, 1, 1),), (y(0, 1, 2), y(0, -1, 0)))
    assert prop.cases == (Case((Q(2),), (Q(3),), disjuncts), Case((Q(0),), (Q(1),), disjuncts))


def test_mixed_disjuncts_are_collected_by_box_in_order_of_first_appearance() -> None:
    rows = [("0", "1", "<="), ("5", "6", "<="), ("0.0", "1.0", ">="), ("50e-1", "6", ">=")]
    blocks = [f"(and (>= X_0 {low}) (<= X_0 {high}) ({sign} Y_0 {k}))" for k, (low, high, sign) in enumerate(rows)]
    prop = read(ONE + f"(assert (or {' '.join(blocks)}))")
    assert prop.cases == (
        Case((Q(0),), (Q(1),), ((y(0, 1, 0),), (y(0, -1, -2),))),
        Case((Q(5),), (Q(6),), ((y(0, 1, 1),), (y(0, -1, -3),))),
    )


@pytest.mark.parametrize(
    "other", ["(>= X_0 0) (<= X_0 2)", "(>= X_0 -1) (<= X_0 1)", "(>= X_0 0) (<= X_0 1.00000000000000000001)"]
)
def test_boxes_that_differ_in_one_end_are_different_cases(other: str) -> None:
    prop = read(ONE + f"(assert (or (and (>= X_0 0) (<= X_0 1) (<= Y_0 1)) (and {other} (<= Y_0 2))))")
    assert [case.disjuncts for case in prop.cases] == [((y(0, 1, 1),),), ((y(0, 1, 2),),)]


def test_nested_connectives_expand_in_order() -> None:
    # a and (b or (c and (d or e))) or f  with a..f = Y_0 <= 1..6:  ab, acd, ace, f
    text = "(assert (or (and A (or B (and C (or D E)))) F))"
    for k, letter in enumerate("ABCDEF", start=1):
        text = text.replace(letter, f"(<= Y_0 {k})")
    prop = read(ONE + "(assert (>= X_0 0)) (assert (<= X_0 0))" + text)
    wanted = [[1, 2], [1, 3, 4], [1, 3, 5], [6]]
    assert prop.cases[0].disjuncts == tuple(tuple(y(0, 1, k) for k in row) for row in wanted)


def test_conjunction_after_a_disjunction_goes_to_the_end_of_every_disjunct() -> None:
    prop = read(TWO + UNIT + "(assert (or (<= Y_0 1) (<= Y_0 2)))(assert (<= Y_1 0.045))")
    last = y(1, 1, Q(45, 1000))
    assert prop.cases[0].disjuncts == ((y(0, 1, 1), last), (y(0, 1, 2), last))


def test_several_bounds_of_one_input_are_intersected_wherever_they_stand() -> None:
    prop = read(ONE + "(assert (<= X_0 5)) (assert (or (and (>= X_0 1) (>= X_0 2) (<= X_0 7))))(assert (>= X_0 -1))")
    assert prop.cases == (Case((Q(2),), (Q(5),), ((),)),)


def test_scaled_and_shifted_bounds_of_one_input_are_bounds() -> None:
    # -2 X_0 + 1 <= 2  is  X_0 >= -1/2;   3 >= X_0 + X_0 + X_0  is  X_0 <= 1
    prop = read(ONE + "(assert (<= (+ (* -2 X_0) 1) 2)) (assert (>= 3 (+ X_0 X_0 X_0)))")
    assert prop.cases == (Case((Q(-1, 2),), (Q(1),), ((),)),)


def test_strict_bound_closes_the_box_and_stays_an_atom() -> None:
    prop = read(ONE + "(assert (> X_0 0)) (assert (<= X_0 1)) (assert (< Y_0 3))")
    assert prop.cases == (Case((Q(0),), (Q(1),), ((Atom(((0, Q(-1)),), (), Q(0), True), y(0, 1, 3, strict=True)),)),)


def test_atom_over_several_inputs_stays_an_atom_without_outputs() -> None:
    prop = read(TWO + UNIT + "(assert (<= (- X_1 (* 2 X_0)) (- 0.5)))")
    assert prop.cases[0].disjuncts == ((Atom(((0, Q(-2)), (1, Q(1))), (), Q(-1, 2), False),),)


def test_atom_may_mix_inputs_and_outputs() -> None:
    prop = read(TWO + UNIT + "(assert (>= (* 3 (- Y_0 X_1) 0.5) (+ Y_1 1)))")
    # 3 (Y_0 - X_1) / 2 >= Y_1 + 1   is   3/2 X_1 - 3/2 Y_0 + Y_1 <= -1
    assert prop.cases[0].disjuncts == ((Atom(((1, Q(3, 2)),), ((0, Q(-3, 2)), (1, Q(1))), Q(-1), False),),)


@pytest.mark.parametrize(
    ("text", "c", "strict"), [("(<= Y_0 Y_0)", 0, False), ("(< Y_0 Y_0)", 0, True), ("(> 1 3)", -2, True)]
)
def test_atoms_whose_terms_cancel_are_kept(text: str, c: int, strict: bool) -> None:
    # (> 1 3) is 3 < 1, that is 0 < -2: false, and kept so that it is false for everybody who reads the atom
    atom = read(TWO + UNIT + f"(assert {text})").cases[0].disjuncts[0][0]
    assert atom == Atom((), (), Q(c), strict)
    assert atom.is_constant


def test_no_output_atom_means_that_every_input_of_the_box_is_unsafe() -> None:
    prop = read(TWO + UNIT)
    assert prop.cases[0].disjuncts == ((),)
    assert prop.is_unsafe((Q(1, 2), Q(1)), (Q(7), Q(-7)))


def test_contradictory_box_is_dropped_with_a_warning() -> None:
    prop = read(ONE + "(assert (or (and (>= X_0 2) (<= X_0 1)) (and (>= X_0 0) (<= X_0 1))))(assert (<= Y_0 0))")
    assert [case.lower for case in prop.cases] == [(Q(0),)]
    assert prop.vacuous == ("conjunction 1 is vacuous: X_0 >= 2 and X_0 <= 1 contradict each other",)


def test_contradictory_box_alone_leaves_no_case() -> None:
    prop = read(ONE + "(assert (>= X_0 0.2)) (assert (<= X_0 0.1)) (assert (or (<= Y_0 0) (>= Y_0 1)))")
    assert prop.cases == ()
    assert len(prop.vacuous) == 1


def test_bounds_that_differ_in_the_400th_digit_are_told_apart() -> None:
    low, high = "0." + "3" * 400, "0." + "3" * 399 + "2"
    assert read(ONE + f"(assert (>= X_0 {low})) (assert (<= X_0 {high}))").vacuous
    assert not read(ONE + f"(assert (>= X_0 {high})) (assert (<= X_0 {low}))").vacuous
    assert read(ONE + "(assert (>= X_0 2e400)) (assert (<= X_0 1e400))").vacuous


def test_declarations_may_come_in_any_order_before_their_use() -> None:
    text = "(declare-const Y_0 Real)(declare-const X_1 Real)(assert (<= X_1 1))(declare-const X_0 Real)"
    prop = read(text + "(assert (and (>= X_1 0) (>= X_0 2) (<= X_0 3)))")
    assert prop.cases == (Case((Q(2), Q(0)), (Q(3), Q(1)), ((),)),)


def test_gzip_is_recognised_by_content_and_the_hash_is_of_the_text() -> None:
    text = (ONE + "(assert (>= X_0 0)) (assert (<= X_0 1))").encode()
    plain, packed = read_property(text), read_property(gzip.compress(text))
    assert plain == packed
    assert packed.sha256 == hashlib.sha256(text).hexdigest()


def test_comments_may_hold_any_bytes() -> None:
    text = ONE.encode() + b"; \xff\xfe (assert ( \n(assert (>= X_0 0));\xe9\n(assert ; x\n(<= X_0 ;)\n 1))"
    assert read_property(text).cases == (Case((Q(0),), (Q(1),), ((),)),)


def test_carriage_return_ends_a_comment() -> None:
    prop = read(ONE + "(assert (>= X_0 0)) ; c\r(assert (<= X_0 1)) ; c\r\n(assert (<= Y_0 2))")
    assert prop.cases == (Case((Q(0),), (Q(1),), ((y(0, 1, 2),),)),)


def test_declared_counts_must_be_those_of_the_network() -> None:
    text = (TWO + UNIT).encode()
    assert read_property(text, inputs=2, outputs=2).inputs == 2
    for inputs, outputs in ((1, 2), (3, 2), (2, 1), (2, 3)):
        with pytest.raises(MalformedProperty, match="but the network has"):
            read_property(text, inputs=inputs, outputs=outputs)


@given(queries(), gaps, st.data())
def test_normal_form_is_true_exactly_where_the_formula_is(query: Query, gaps: list[str], data: st.DataObject) -> None:
    prop = read(query.text(gaps))
    for _ in range(10):
        x, out = data.draw(points(query.inputs)), data.draw(points(query.outputs))
        assert prop.is_unsafe(x, out) == query.holds(x, out)


@given(queries(), gaps)
def test_white_space_and_comments_do_not_matter(query: Query, gaps: list[str]) -> None:
    first, second = read(query.text([" "])), read(query.text(gaps))
    assert (first.cases, first.vacuous) == (second.cases, second.vacuous)


@given(queries(), st.data())
def test_negating_both_sides_does_not_matter(query: Query, data: st.DataObject) -> None:
    text = query.text([" "])
    mirrored = {"<=": ">=", ">=": "<=", "<": ">", ">": "<"}

    def flip(tree: tuple[object, ...]) -> tuple[object, ...]:
        match tree:
            case ("and" | "or" as head, list(parts)):
                return head, [flip(part) for part in parts]
            case (str(head), left, right):
                return mirrored[head], ("-", [left]), ("-", [right])
        raise ValueError(tree)

    other = Query(query.inputs, query.outputs, tuple(map(flip, query.assertions)))
    assert read(text).cases == read(other.text([" "])).cases


@given(queries())
def test_every_box_of_the_normal_form_is_bounded_and_not_inverted(query: Query) -> None:
    for case in read(query.text([" "])).cases:
        assert len(case.lower) == len(case.upper) == query.inputs
        assert all(low <= high for low, high in zip(case.lower, case.upper, strict=True))


def test_five_megabytes_of_mixed_disjuncts_take_seconds_not_minutes() -> None:
    inputs, rows = 150, 700
    blocks = []
    for k in range(rows):
        box = " ".join(f"(>= X_{i} {(k * i) % 97}.125) (<= X_{i} {(k * i) % 97 + 1}.0)" for i in range(inputs))
        blocks.append(f"(and {box} (<= Y_0 0.{k}1))\n(and {box} (>= Y_0 0.{k}2))")
    declarations = "".join(f"(declare-const X_{i} Real)\n" for i in range(inputs))
    text = (declarations + "(declare-const Y_0 Real)(assert (or\n" + "\n".join(blocks) + "))").encode()
    assert len(text) > 5_000_000
    start = time.process_time()
    prop = read_property(text)
    assert time.process_time() - start < 10
    # k and k + 97 have the same box
    assert len(prop.cases) == 97
    assert sum(len(case.disjuncts) for case in prop.cases) == 2 * rows


@pytest.mark.parametrize("inner", ["(and {})", "(or {})", "(and (or {}))", "(or {} (<= Y_0 2))", "(and {} (<= Y_0 2))"])
def test_nesting_depth_is_limited_by_memory_only(inner: str) -> None:
    left, right = inner.split("{}")
    depth = 20_000 if "or {}" not in inner or "and" in inner else 4_000
    text = ONE + "(assert (>= X_0 0)) (assert (<= X_0 1)) (assert " + left * depth + "(<= Y_0 1)" + right * depth + ")"
    start = time.process_time()
    prop = read(text)
    assert time.process_time() - start < 20
    assert prop.cases[0].disjuncts[0][0] == y(0, 1, 1)


def test_too_many_disjuncts_are_an_error_that_says_what_to_do() -> None:
    pair = "(or (<= Y_0 0) (>= Y_0 1))"
    text = ONE + "(assert (>= X_0 0)) (assert (<= X_0 1))\n" + f"(assert {pair})\n" * 20
    with pytest.raises(
        MalformedProperty, match=r"1048576 conjunctions, more than 1000000; split the property"
    ) as caught:
        read(text)
    # 2^20 > 10^6 > 2^19: the last line, the 2 + 1 + 20th, is one too many; its `or` ends where `pair` ends
    assert (caught.value.line, caught.value.column) == (23, len("(assert " + pair))
    assert dnf.MAX_CONJUNCTIONS == 1_000_000


def test_a_disjunction_of_a_million_and_one_comparisons_is_one_too_many() -> None:
    line = "(<= Y_0 1)\n"
    text = ONE + "(assert (>= X_0 0)) (assert (<= X_0 1)) (assert (or\n" + line * 1_000_001 + "))"
    with pytest.raises(MalformedProperty, match="1000001 conjunctions, more than 1000000") as caught:
        read(text)
    assert (caught.value.line, caught.value.column) == (3 + 1_000_001, 1)


def test_much_repeated_text_is_refused_before_it_is_built() -> None:
    atoms = "(<= Y_0 1)" * 2000
    text = ONE + "(assert (>= X_0 0)) (assert (<= X_0 1))" + f"(assert (or (and {atoms}) (and {atoms})))" * 17
    start = time.process_time()
    with pytest.raises(MalformedProperty, match="atoms, more than"):
        read(text)
    assert time.process_time() - start < 20
