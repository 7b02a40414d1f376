"""Random formulas as syntax trees, their VNN-LIB text, and their meaning, straight from the tree.

A term is ("X", i), ("Y", j), ("number", literal), ("+" | "-" | "*", terms); a formula is ("and" | "or", formulas) or
("<=" | ">=" | "<" | ">", term, term).  Numbers come from a small set, so that points and bounds often coincide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

Tree = tuple[Any, ...]

LITERALS = ("-1", "-0.5", "0", "0.5", "1", "+1", "5E-1", ".25", "2.", "-2e+0", "0.1", "1e-06", "-0.0", "3")
VALUES = tuple(sorted({Fraction(Decimal(word)) for word in LITERALS} | {Fraction(1, 3), Fraction(-7, 5)}))


@dataclass(frozen=True)
class Query:
    """Counts and assertions, in file order."""

    inputs: int
    outputs: int
    assertions: tuple[Tree, ...]

    def text(self, gaps: Sequence[str]) -> str:
        """VNN-LIB text; `gaps` are used in turn between tokens."""
        words: list[str] = []
        for kind, count in (("X", self.inputs), ("Y", self.outputs)):
            for i in range(count):
                words += ["(", "declare-const", f"{kind}_{i}", "Real", ")"]
        for assertion in self.assertions:
            words += ["(", "assert", *_words(assertion), ")"]
        return "".join(word + gaps[k % len(gaps)] for k, word in enumerate(words))

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """Whether all assertions are true at a point, evaluated on the trees."""
        return all(_holds(assertion, x, y) for assertion in self.assertions)


def _words(tree: Tree) -> list[str]:
    match tree:
        case ("X" | "Y" as kind, index):
            return [f"{kind}_{index}"]
        case ("number", literal):
            return [literal]
        case ("+" | "-" | "*" | "and" | "or" as head, operands):
            return ["(", head, *(word for operand in operands for word in _words(operand)), ")"]
        case (head, left, right):
            return ["(", head, *_words(left), *_words(right), ")"]
    raise ValueError(tree)


def _value(tree: Tree, x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
    match tree:
        case ("X", index):
            return x[index]
        case ("Y", index):
            return y[index]
        case ("number", literal):
            return Fraction(Decimal(literal))
    head, operands = tree
    values = [_value(operand, x, y) for operand in operands]
    if head == "-" and len(values) == 1:
        return -values[0]
    total = values[0]
    for value in values[1:]:
        total = total + value if head == "+" else total - value if head == "-" else total * value
    return total


def _holds(tree: Tree, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
    if tree[0] == "and":
        return all(_holds(part, x, y) for part in tree[1])
    if tree[0] == "or":
        return any(_holds(part, x, y) for part in tree[1])
    operator, left, right = tree[0], _value(tree[1], x, y), _value(tree[2], x, y)
    truth = {"<=": left <= right, ">=": left >= right, "<": left < right, ">": left > right}
    return {**truth, "==": left == right, "!=": left != right}[operator]


def bounds(i: int, low: str, high: str) -> list[Tree]:
    """The two comparisons that bound one input."""
    return [(">=", ("X", i), ("number", low)), ("<=", ("X", i), ("number", high))]


numbers = st.sampled_from(LITERALS).map(lambda literal: ("number", literal))
operators = st.sampled_from(("<=", ">=", "<", ">"))


def terms(inputs: int, outputs: int, *, polynomial: bool = False) -> st.SearchStrategy[Tree]:
    """Linear terms, with constant factors that may themselves be sums; polynomial: with any factors."""
    variables = st.one_of(
        st.integers(0, inputs - 1).map(lambda i: ("X", i)), st.integers(0, outputs - 1).map(lambda j: ("Y", j))
    )
    constants = st.one_of(numbers, st.tuples(st.just("-"), st.lists(numbers, min_size=1, max_size=2)))

    def larger(smaller: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        several = st.lists(smaller, min_size=1, max_size=3)
        product = st.tuples(constants, smaller, constants).map(lambda t: ("*", list(t)))
        if polynomial:
            product = several.map(lambda factors: ("*", factors))
        return st.one_of(st.tuples(st.sampled_from("+-"), several), product)

    return st.recursive(st.one_of(variables, variables, numbers), larger, max_leaves=4)


def formulas(inputs: int, outputs: int, *, polynomial: bool = False) -> st.SearchStrategy[Tree]:
    """Formulas with `and` and `or` nested anywhere."""
    term = terms(inputs, outputs, polynomial=polynomial)
    comparison = st.tuples(operators, term, term)
    flat = st.tuples(operators, st.integers(0, inputs - 1).map(lambda i: ("X", i)), numbers)
    return st.recursive(
        st.one_of(comparison, flat),
        lambda smaller: st.tuples(st.sampled_from(("and", "or")), st.lists(smaller, min_size=1, max_size=3)),
        max_leaves=6,
    )


@st.composite
def queries(draw: st.DrawFn, *, polynomial: bool = False) -> Query:
    """Queries with a bounded box in every conjunction: assertions bound all inputs, or each alternative of an `or`."""
    inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    formula = formulas(inputs, outputs, polynomial=polynomial)
    side = st.tuples(st.sampled_from(LITERALS), st.sampled_from(LITERALS))
    ordered = side.map(lambda ends: (min(ends, key=Decimal), max(ends, key=Decimal)))
    box = st.tuples(*[st.one_of(ordered, ordered, ordered, side) for _ in range(inputs)])

    def box_of(sides: Sequence[tuple[str, str]]) -> list[Tree]:
        return [tree for i, (low, high) in enumerate(sides) for tree in bounds(i, low, high)]

    extra = draw(st.lists(formula, max_size=3))
    if draw(st.booleans()):
        boxed: list[Tree] = box_of(draw(box))
    else:
        alternatives = draw(st.lists(st.tuples(box, st.lists(formula, max_size=2)), min_size=1, max_size=3))
        boxed = [("or", [("and", [*box_of(sides), *more]) for sides, more in alternatives])]
    place = draw(st.integers(0, len(extra)))
    return Query(inputs, outputs, (*extra[:place], *boxed, *extra[place:]))


gaps = st.lists(st.sampled_from((" ", "\n", "\t ", "  \r\n", " ; a (comment\n")), min_size=1, max_size=5)


def points(size: int) -> st.SearchStrategy[tuple[Fraction, ...]]:
    """Points whose coordinates often lie on a bound."""
    return st.tuples(*[st.sampled_from(VALUES) for _ in range(size)])
