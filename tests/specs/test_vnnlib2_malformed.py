"""Documents that are wrong or not handled yet are refused, with the line and column of what is wrong.

In the table a `^` stands before the place where the error has to point, and is taken out of the text before it is read.
"""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import property2
from farkas.checker.errors import MalformedInput
from farkas.ir.errors import FarkasError
from farkas.specs.errors import MalformedProperty
from farkas.specs.vnnlib2 import read_document
from farkas.specs.vnnlib2_document import UnsupportedQuery
from tests.specs.documents import Written, documents

HEAD = "(vnnlib-version <2.0>)\n"
NET = "(declare-network f (declare-input X float32 [2]) (declare-output Y float32 [1,2]))\n"
BOX = "(assert (and (>= X[0] 0) (<= X[0] 1) (>= X[1] 0) (<= X[1] 1)))\n"
GOOD = HEAD + NET + BOX
HIDING = NET.replace("(declare-output", '(declare-hidden H float32 [3] "h") (declare-output')

# (text with ^ before the culprit, parts of the message)
FILES = [
    ("^", "the end of the file", "(vnnlib-version <2.0>)"),
    ("^(declare-network f)", "'('", "(vnnlib-version <2.0>) at the beginning"),
    ("(vnnlib-version ^2.0)", "'2.0'", "angle brackets"),
    ("(vnnlib-version <2.0> ^<2.1>)", "'<2.1>'", "')' after the version"),
    (HEAD + "^(assert (<= 1 2))", "(declare-network NAME ...) after"),
    (HEAD + NET + BOX + "^" + NET, "wanted (assert ...)", "declared before"),
    (HEAD + "(declare-network ^1f)", "'1f'", "a name of the network"),
    (HEAD + "(declare-network f (declare-input X float32 [1])^)", "')'", "(declare-output NAME TYPE SHAPE) in network"),
    (HEAD + "(declare-network f (declare-output Y real [1]) (^declare-input X real [1]))", "after 'declare-output'"),
    (HEAD + "(declare-network f (declare-input ^f real [1]))", "'f' a second time"),
    (HEAD + "(declare-network f (declare-input X ^float31 [1]))", "'float31'", "element type"),
    (HEAD + "(declare-network f (declare-input X float32 ^1))", "'1'", "shape in brackets"),
    (HEAD + "(declare-network f (declare-input X float32 ^[1,-2]))", "'[1,-2]'", "shape in brackets"),
    (HEAD + "(declare-network f (declare-input X float32 ^[1,0]))", "[1,0]", "elements"),
    (HEAD + "(declare-network f (declare-input X float32 [1]) (declare-output ^X float32 [1]))", "'X' a second time"),
    (HEAD + NET + "(declare-network ^f (declare-input Z float32 [1]))", "'f' a second time"),
    (HEAD + NET + "(declare-network g (equal-to ^h))", "'h'", "declared before it: f"),
    (HEAD + NET + "(declare-network g (equal-to f) ^(isomorphic-to f))", "one of equal-to and isomorphic-to"),
    (HEAD + NET + NET.replace("f (", "g (equal-to f) (").replace("X", "V").replace("Y", "W")
     + "(declare-network h (equal-to ^g))", "'g', itself equal-to 'f'", "wanted 'f'"),
    (HEAD + NET + "(declare-network g (equal-to f) (declare-input ^V float32 [3]) (declare-output W float32 [1,2]))",
     "not those of 'f'", "wanted float32 [2]"),
    (HEAD + "(declare-network f (declare-input X float32 [1]) (declare-output ^Y real [1]))", "'Y' is real", "in none"),
    (HEAD + "(declare-network f (declare-input X float32 [1]) (declare-hidden H float32 [1]^))", "ONNX name"),
    (HEAD + "(declare-network f (declare-input X float32 [1]) (declare-hidden ^X float32 [1] "
     "\"h\"))", "'X' a second time"),
    (HEAD + HIDING + HIDING.replace("f (", "g (equal-to f) (").replace("X", "V").replace("Y", "W").replace("H", "^J")
     .replace("[3]", "[4]"), "'J' of 'g' is not what it is in 'f'", "wanted float32 [3]"),
]  # fmt: skip

ASSERTIONS = [
    ("(assert (<= ^Z[0] 1))", "'Z'", "a declared tensor"),
    ("(assert (<= X ^1))", "'1'", "an index in brackets after 'X', which has shape [2]"),
    ("(assert (<= X^[2] 1))", "index [2]", "shape [2]"),
    ("(assert (<= X^[0,0] 1))", "index [0,0]", "shape [2]"),
    ("(assert (<= X[0] ^NaN))", "'NaN'", "a declared tensor"),
    ("(assert (<= X[0] ^1/3))", "'1/3'", "a number"),
    ("(assert (^= X[0] 1))", "'='", "equality is '=='"),
    ("(assert (^not (<= X[0] 1)))", "'not'", "'and', 'or'"),
    ("(assert ^true)", "'true'", "'and', 'or'"),
    ("(assert (and^))", "')'", "'and', 'or'"),
    ("(assert (<= X[0]^))", "')'", "a term"),
    ("(assert (<= X[0] 1 ^2))", "'2'", "'<=' compares two"),
    ("(assert (<= X[0] 1) ^(<= X[1] 1))", "'('", "join several with 'and'"),
    ("(assert ^(or (<= X[0] 1) (<= X[1] 1)", "never closed"),
    ("(assert (<= X[0] (^max X[0] X[1])))", "'max'", "'+', '-' or '*'"),
    (f"(assert (<= ^(* {'X[0] ' * 65}) 1))", "a product of 65 variables", "at most 64"),
]

UNSUPPORTED = [
    ("(vnnlib-version ^<3.0>)", "version 3.0", "2.0, 2.1"),
    (HEAD + "(declare-network f (declare-input X float32 [2] ^initialized))", "'initialized'", "plain input"),
]  # fmt: skip


def marked(text: str) -> tuple[str, int, int]:
    """The text without its mark, and the mark's line and column."""
    before, _, after = text.partition("^")
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


def refusal(text: str) -> MalformedProperty:
    with pytest.raises(MalformedProperty) as caught:
        read_document(text).property()
    return caught.value


@pytest.mark.parametrize(("text", "parts"), [(t, p) for t, *p in FILES] + [(GOOD + t, p) for t, *p in ASSERTIONS])
def test_an_error_points_at_the_culprit_and_says_what_was_wanted(text: str, parts: list[str]) -> None:
    text, line, column = marked(text)
    error = refusal(text)
    assert (error.line, error.column) == (line, column), error
    for part in parts:
        assert part in str(error)
    with pytest.raises(MalformedInput):
        property2.read_document(text.encode())


@pytest.mark.parametrize(("text", "parts"), [(t, p) for t, *p in UNSUPPORTED])
def test_what_is_not_handled_yet_is_told_apart_from_what_is_wrong(text: str, parts: list[str]) -> None:
    text, line, column = marked(text)
    error = refusal(text)
    assert isinstance(error, UnsupportedQuery)
    assert (error.line, error.column) == (line, column), error
    for part in parts:
        assert part in str(error)
    with pytest.raises(MalformedInput):
        property2.read_document(text.encode())


@pytest.mark.parametrize(
    "tail", ["(assert (<= Y[0,a] 1))", "(assert (<= Y[0,0] 1)))", "(assert (<= X[0] 1)", "]", '"', "\x00"]
)
def test_damaged_text_is_refused_by_both_readers(tail: str) -> None:
    assert refusal(GOOD + tail).line > 3
    with pytest.raises(MalformedInput):
        property2.read_document((GOOD + tail).encode())


def test_an_input_without_a_bound_is_named_where_it_is_declared() -> None:
    error = refusal(HEAD + NET + "(assert (and (>= X[0] 0) (<= X[0] 1) (>= X[1] 0)))\n")
    assert (error.line, error.column) == (2, NET.index("X") + 1)
    assert "no upper bound of X[1]" in str(error) and "(assert (<= X[1] ...))" in str(error)


def test_a_tie_to_an_unbounded_input_bounds_nothing() -> None:
    error = refusal(HEAD + NET + "(assert (and (>= X[0] 0) (== X[0] X[1])))\n")
    assert "no upper bound of X[0]" in str(error)


def test_too_deep_nesting_is_an_error_in_both_readers() -> None:
    deep = "(assert " + "(and " * 300 + "(<= X[0] 1)" + ")" * 300 + ")"
    assert "nested deeper than 200" in str(refusal(GOOD + deep))
    with pytest.raises(MalformedInput, match="nested deeper"):
        property2.read_document((GOOD + deep).encode())


def test_what_one_reader_takes_at_the_limit_of_nesting_the_other_takes_too() -> None:
    deep = GOOD + "(assert " + "(and " * 198 + "(<= X[0] (+ 1))" + ")" * 198 + ")"
    assert read_document(deep).property().cases
    assert property2.read_document(deep.encode()).property.cases


def test_too_many_disjuncts_are_an_error_that_says_what_to_do() -> None:
    many = "".join(f"(assert (!= Y[0,0] {k}))\n" for k in range(40))
    assert "split the property" in str(refusal(GOOD + many))
    with pytest.raises(MalformedInput, match="too large"):
        property2.read_document((GOOD + many).encode())


@given(documents(), st.data())
def test_no_damage_ends_in_anything_but_a_property_or_an_error_of_ours(written: Written, data: st.DataObject) -> None:
    text = written.text(("\n", " "))
    cut = data.draw(st.integers(0, len(text) - 1))
    damage = data.draw(st.sampled_from(("", "(", ")", "[", "]", '"', " ", "X", "-", ";", "\x00", "9" * 5000)))
    text = text[:cut] + damage + text[cut + data.draw(st.integers(0, 3)) :]
    ours = theirs = None
    try:
        ours = read_document(text).property()
    except FarkasError as error:
        assert isinstance(error, MalformedProperty)
        if "an element type" in str(error):
            return  # which the checker compares with the network's file
    with contextlib.suppress(MalformedInput):
        theirs = property2.read_document(text.encode()).property
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        assert len(ours.cases) == len(theirs.cases)
