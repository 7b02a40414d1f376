"""Everything that is no well-formed property is refused, with the line and column of the text that is wrong.

The positions are counted by hand: in the table a `^` stands before the place where the error has to point, and is taken
out of the text before it is read.
"""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.errors import FarkasError
from farkas.specs.errors import MalformedProperty
from farkas.specs.query import Property
from farkas.specs.vnnlib import read_property
from tests.specs.formulas import Query, gaps, queries

HEAD = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
BOX = "(assert (>= X_0 0))\n(assert (<= X_0 1))\n(assert (and (>= X_1 0) (<= X_1 1)))\n"
GOOD = HEAD + BOX + "(assert (or (<= Y_0 1) (>= Y_0 (+ Y_1 0.5))))\n"

# (text after HEAD and BOX with ^ before the culprit, part of the message)
ASSERTIONS = [
    # symbols
    ("(assert (<= ^Y_2 1))", "'Y_2', which is not declared"),
    ("(assert (<= Y_0 ^X_2))", "'X_2', which is not declared"),
    ("(assert (<= Y_0\n  ^Z))", "'Z', wanted a declared variable"),
    ("(assert (<= Y_0 ^y_1))", "'y_1', wanted a declared variable"),
    ("(assert (<= Y_0 ^Y_01))", "'Y_01', wanted a declared variable"),
    ("(assert (<= Y_0 ^|Y_1|))", "'|Y_1|', wanted a declared variable"),
    ("(assert (<= Y_0 ^\N{NO-BREAK SPACE}1))", r"'\xa01', wanted a declared variable"),
    # numbers
    ("(assert (<= Y_0 ^NaN))", "'NaN', wanted a declared variable X_i or Y_j, or a decimal number"),
    ("(assert (<= Y_0 ^nan))", "decimal number"),
    ("(assert (<= Y_0 ^inf))", "decimal number"),
    ("(assert (<= Y_0 ^-Infinity))", "decimal number"),
    ("(assert (<= Y_0 ^1_000))", "decimal number"),
    ("(assert (<= Y_0 ^1/3))", "decimal number"),
    ("(assert (<= Y_0 ^0x1p3))", "decimal number"),
    ("(assert (<= Y_0 ^.))", "decimal number"),
    ("(assert (<= Y_0 ^1e))", "decimal number"),
    ("(assert (<= Y_0 ^1.2.3))", "decimal number"),
    ("(assert (<= Y_0 ^--1))", "decimal number"),
    ("(assert (<= Y_0 ^1,5))", "decimal number"),
    ("(assert (<= Y_0 ^1e10000))", "decimal number"),
    ("(assert (<= Y_0 ^1e-9999999999))", "decimal number"),
    ("(assert (<= Y_0 ^" + "7" * 4001 + "))", "decimal number"),
    ("(assert (<= Y_0 ^\N{ARABIC-INDIC DIGIT ONE}))", "decimal number"),
    # a number or a variable where an operator belongs
    ("(assert (<= (^0.74 (- Y_0 0.2)) 1))", "'0.74', wanted '+', '-' or '*'"),
    ("(assert (<= (^Y_0 Y_1 1) 1))", "'Y_0', wanted '+', '-' or '*'"),
    ("(assert (^0.5 Y_0 1))", "'0.5', wanted 'and', 'or'"),
    ("(assert (<= (^/ Y_0 2) 1))", "'/', wanted '+', '-' or '*'"),
    ("(assert (<= (^<= Y_0 2) 1))", "'<=', wanted '+', '-' or '*'"),
    ("(assert (<= (^and Y_0 2) 1))", "'and', wanted '+', '-' or '*'"),
    ("(assert (^+ Y_0 2))", "'+', wanted 'and', 'or'"),
    ("(assert (^not (<= Y_0 2)))", "'not', wanted 'and', 'or'"),
    ("(assert (^=> (<= Y_0 2) (<= Y_1 2)))", "'=>', wanted"),
    ("(assert (^= Y_0 2))", "no equality"),
    ("(assert (^== Y_0 2))", "no equality"),
    ("(assert (^<== Y_0 2))", "'<==', wanted"),
    ("(assert (^AND (<= Y_0 2)))", "'AND', wanted"),
    ("(assert (^(<= Y_0 2)))", "'(' after '(', wanted 'and', 'or'"),
    ("(assert (<= Y_0 (^(+ Y_1 1))))", "'(' after '(', wanted '+', '-' or '*'"),
    ("(^(assert (<= Y_0 2)))", "'(' after '(', wanted 'declare-const'"),
    # arity
    ("(assert (<= Y_0^))", "'<=' compares two terms, found 1"),
    ("(assert (<=^))", "'<=' has no operands"),
    ("(assert (<= Y_0 1 ^2))", "'<=' compares two terms, found a third"),
    ("(assert (<= 0 Y_0 ^1))", "found a third"),
    ("(assert (<= (+ Y_0 1) 1 (+ Y_1 1^)))", "found a third"),
    ("(assert (and^))", "'and' has no operands"),
    ("(assert (or (<= Y_0 1) (or^)))", "'or' has no operands"),
    ("(assert (<= Y_0 (+^)))", "'+' has no operands"),
    ("(assert^)", "'assert' takes one formula, found 0"),
    ("(assert (<= Y_0 1) (<= Y_1 1)^)", "'assert' takes one formula, found 2"),
    ("(assert ^true)", "'true', wanted a formula in parentheses"),
    ("(assert ^Y_0)", "'Y_0', wanted a formula in parentheses"),
    ("(assert (and ^Y_0 Y_1))", "'Y_0', wanted a formula in parentheses"),
    ("(assert (and (<= Y_0 1) ^1))", "'1', wanted a formula in parentheses"),
    ("(assert (^))", "')' after '(', wanted 'and'"),
    ("(assert (and (^)))", "')' after '(', wanted 'and'"),
    ("(assert (<= (^) 1))", "')' after '(', wanted '+'"),
    # products
    (f"(assert (<= ^(* {'Y_0 ' * 65}) 1))", "a product of 65 variables, wanted at most 64"),
    ("(assert (<= Y_0 ^(* 1e9999 1e9999 1e9999 1e9999 1e9999)))", "bits, wanted at most 131072"),
    (f"(assert (<= (+ 1 ^(* 2 (* {'X_0 ' * 60}) (+ (* {'Y_0 ' * 5}) 1))) 1))", "a product of 65 variables"),
    # parentheses and text between
    ("^(assert (<= Y_0 1)", "never closed"),
    ("^(assert", "never closed"),
    ("^(", "never closed"),
    ("(assert (or (<= Y_0 1) ^(and (<= Y_0 2)\n", "never closed"),
    ("^)", "closes nothing"),
    ("(assert (<= Y_0 1))^)", "closes nothing"),
    ("(assert (<= Y_0 1)) ^trailing", "'trailing', wanted '(' or the end of the file"),
    ("^1", "'1', wanted '('"),
    ("(^)", "')' after '(', wanted 'declare-const' or 'assert'"),
    ("(^check-sat)", "'check-sat', wanted 'declare-const' or 'assert'"),
    ("(^set-logic QF_LRA)", "'set-logic', wanted"),
    ("(^<= Y_0 1)", "'<=', wanted 'declare-const' or 'assert'"),
    ("(assert (^assert (<= Y_0 1)))", "'assert', wanted"),
    ("(assert (^declare-const Y_2 Real))", "'declare-const', wanted"),
    ("(^vnnlib-version <2.0>)", "'vnnlib-version', wanted"),
    ("(^\0)", "wanted 'declare-const' or 'assert'"),
    # declarations
    ("(declare-const ^Y_0 Real)", "'Y_0' a second time"),
    ("(declare-const ^Z_0 Real)", "'Z_0', wanted a name"),
    ("(declare-const ^X_02 Real)", "'X_02', wanted a name"),
    ("(declare-const ^X_-1 Real)", "'X_-1', wanted a name"),
    ("(declare-const ^X Real)", "'X', wanted a name"),
    ("(declare-const ^X_9999999999 Real)", "'X_9999999999', wanted a name"),
    ("(declare-const Y_2 ^Int)", "'Int', wanted 'Real'"),
    ("(declare-const Y_2 ^real)", "'real', wanted 'Real'"),
    ("(declare-const Y_2^)", "takes a name and 'Real', found 1"),
    ("(declare-const Y_2 Real Real^)", "takes a name and 'Real', found 3"),
    ("(declare-const Y_2 ^(Real))", "'(', wanted a word"),
    ("(declare-const^)", "takes a name and 'Real', found 0"),
    ("(declare-const Y_4 Real)(declare-const ^Y_3 Real)", "Y_3 but no Y_2"),
    ("(assert (<= ^Y_2 1))(declare-const Y_2 Real)", "not declared"),
]
WHOLE = [
    ("^", "no X_0"),
    ("  \n ; only a comment\n^", "no X_0"),
    ("(declare-const X_0 Real)(assert (<= X_0 1))\n(assert (>= X_0 1))^", "no Y_0"),
    ("(declare-const Y_0 Real)(assert (<= Y_0 1))^", "no X_0"),
    ("(declare-const ^X_1 Real)(declare-const Y_0 Real)", "X_1 but no X_0"),
    ("(declare-const X_0 Real)\n(declare-const Y_0 Real)(declare-const ^Y_2 Real)", "Y_2 but no Y_1"),
    ("(declare-const ^X_0 Real)(declare-const Y_0 Real)", "X_0 has no lower bound"),
    ("(declare-const ^X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 1))", "X_0 has no upper bound"),
    (
        "(declare-const X_0 Real)(declare-const ^X_1 Real)(declare-const Y_0 Real)"
        "(assert (>= X_0 1))(assert (<= X_0 1))(assert (<= X_1 1))",
        "X_1 has no lower bound in conjunction 1",
    ),
    (
        "(declare-const ^X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))"
        "(assert (or (and (<= X_0 1) (<= Y_0 1)) (<= Y_0 2)))",
        "X_0 has no upper bound in conjunction 2",
    ),
    ("^\N{ZERO WIDTH NO-BREAK SPACE}(declare-const X_0 Real)", "wanted '(' or the end of the file"),
]


def place(text: str) -> tuple[str, int, int]:
    """The text without its mark, and the line and column of the mark."""
    before, mark, after = text.partition("^")
    assert mark and "^" not in after
    lines = before.split("\n")
    return before + after, len(lines), len(lines[-1]) + 1


def failure(text: str) -> MalformedProperty:
    with pytest.raises(MalformedProperty) as caught:
        read_property(text.encode())
    return caught.value


@pytest.mark.parametrize(("tail", "wanted"), ASSERTIONS)
def test_malformed_assertions_are_refused_where_they_are_wrong(tail: str, wanted: str) -> None:
    text, line, column = place(HEAD + BOX + tail)
    error = failure(text)
    assert wanted in error.message
    assert (error.line, error.column) == (line, column)
    assert str(error) == f"line {line}, column {column}: {error.message}"
    assert isinstance(error, FarkasError)


@pytest.mark.parametrize(("whole", "wanted"), WHOLE)
def test_malformed_files_are_refused_where_they_are_wrong(whole: str, wanted: str) -> None:
    text, line, column = place(whole)
    error = failure(text)
    assert wanted in error.message
    assert (error.line, error.column) == (line, column)


def test_position_is_right_megabytes_into_a_file() -> None:
    lines = 120_000
    error = failure(HEAD + "(assert (<= Y_0 1))\n" * lines + "  (assert (<= Y_0 x))")
    assert (error.line, error.column) == (4 + lines + 1, 19)


def test_position_is_right_in_a_file_of_one_line() -> None:
    head, atom = HEAD.replace("\n", " "), "(assert (<= Y_0 1)) "
    error = failure(head + atom * 120_000 + "(assert (<= Y_0 x))")
    assert (error.line, error.column) == (1, len(head) + len(atom) * 120_000 + 17)


def test_long_words_are_shortened_in_messages() -> None:
    assert len(failure(HEAD + "(assert (<= Y_0 " + "x" * 100_000 + "))").message) < 200


@pytest.mark.parametrize("cut", [1, 8, 40])
def test_damaged_gzip_is_malformed(cut: int) -> None:
    packed = gzip.compress((HEAD + BOX).encode())
    with pytest.raises(MalformedProperty, match="damaged"):
        read_property(packed[:-cut])
    with pytest.raises(MalformedProperty, match="damaged"):
        read_property(
            packed[: len(packed) // 2] + bytes([packed[len(packed) // 2] ^ 0x55]) + packed[len(packed) // 2 + 1 :]
        )


def test_bytes_after_the_gzip_data_are_malformed() -> None:
    with pytest.raises(MalformedProperty, match="damaged"):
        read_property(gzip.compress((HEAD + BOX).encode()) + b"more")


@given(queries(), gaps, st.data())
def test_removing_or_doubling_a_parenthesis_is_always_an_error(
    query: Query, gaps: list[str], data: st.DataObject
) -> None:
    words = query.text(["\n"]).split("\n")[:-1]
    k = data.draw(st.sampled_from([k for k, word in enumerate(words) if word in "()"]))
    for changed in (words[:k] + words[k + 1 :], words[: k + 1] + words[k:]):
        failure(" ".join(changed))


@given(queries(), st.text(alphabet="()<>=+-*/.;XY_01eE andorsert\n\0é", max_size=6), st.integers(0), st.integers(0, 12))
def test_edited_text_is_read_or_refused_inside_its_lines_and_nothing_else(
    query: Query, insertion: str, where: int, removed: int
) -> None:
    text = query.text([" ", "\n"])
    where %= len(text)
    text = text[:where] + insertion + text[where + removed :]
    try:
        assert isinstance(read_property(text.encode()), Property)
    except MalformedProperty as error:
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedProperty):
        read_property(data)
