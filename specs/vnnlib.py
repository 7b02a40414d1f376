"""VNN-LIB 1.0 reader: bytes to the normal form of `farkas.specs.query`, in one pass over the tokens.

    file       := command*
    command    := (declare-const NAME Real) | (assert formula)            NAME: X_i or Y_j, indices 0, 1, 2, ...
    formula    := (and formula+) | (or formula+) | (<= term term) | (>= ...) | (< ...) | (> ...)
    term       := number | NAME | (+ term+) | (- term+) | (* term+)

Nothing is skipped except white space and comments: what is not in this grammar is an error with its position.  The
reader keeps an explicit stack of open parentheses, so depth costs memory and not Python frames, and each frame holds
its formula already in disjunctive normal form (`farkas.specs.dnf`): there is no syntax tree.

The common comparisons, `(<= X_0 0.5)` and `(<= Y_0 Y_1)`, arrive as one token.  Their meaning is remembered by their
text; properties of the nn4sys kind repeat a few thousand texts some hundred thousand times.  A three-word token that
is not one of these is taken apart and goes the general way, which is also the only one that reports errors.
"""

import hashlib
import re
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NoReturn

from farkas.specs import tokens
from farkas.specs.dnf import All, AnyOf, Literal, TooLarge, group
from farkas.specs.errors import MalformedProperty
from farkas.specs.numbers import Numbers
from farkas.specs.polynomials import COMPARISONS, Polynomial, Products, TooLong, apply, compare, variable
from farkas.specs.query import Atom, Property

_CONNECTIVES = ("and", "or")
_OPERATORS = ("+", "-", "*")
_END = (sys.maxsize, 0)  # the place behind the last token
_NAME = re.compile(r"([XY])_(0|[1-9][0-9]{0,8})", re.ASCII)
_HEADS = {  # context -> first words of a list there
    "file": ("declare-const", "assert"),
    "formula": (*_CONNECTIVES, *COMPARISONS),
    "term": _OPERATORS,
}
_WANTED = {
    "file": "'declare-const' or 'assert'",
    "formula": "'and', 'or', '<=', '>=', '<' or '>'",
    "term": "'+', '-' or '*'",
}


def read_property(data: bytes, *, inputs: int | None = None, outputs: int | None = None) -> Property:
    """The property in the bytes of a VNN-LIB 1.0 file, gzip-compressed or not.

    inputs, outputs: the network's counts, when known; the property must declare exactly as many variables.
    Polynomial time in the text and in the size of the disjunctive normal form.

    Raises MalformedProperty, with line and column, on anything that is not a well-formed property with a bounded
    input box in every conjunction.
    """
    raw = tokens.decompressed(data)
    # Bytes that are no UTF-8 are harmless in a comment and an unknown symbol anywhere else.
    reader = _Reader(raw.decode("utf-8", errors="surrogateescape"))
    reader.read()
    return reader.finish(hashlib.sha256(raw).hexdigest(), inputs, outputs)


@dataclass(slots=True)
class _Frame:
    """An open parenthesis: where it stands, its first word, and the operands met so far."""

    place: tuple[int, int]
    head: str = ""
    group: All | AnyOf | None = None  # of assert, and, or: collects formulas
    terms: list[Polynomial] = field(default_factory=list)  # of comparisons and operators
    words: list[tuple[str, tuple[int, int]]] = field(default_factory=list)  # of declare-const
    count: int = 0  # operands


class _Reader:
    """State of one reading.  A place is (number of the token, part of it)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = All()
        self.stack = [_Frame((0, 0))]  # the bottom frame is the file
        self.place = (0, 0)
        self.variables: dict[str, tuple[str, int]] = {}
        self.declared: dict[tuple[str, int], tuple[int, int]] = {}
        self.literals: dict[str, Literal] = {}
        self.numbers = Numbers()
        self.products = Products()

    # -- the loop ----------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Read all tokens."""
        known = self.literals
        frame = self.stack[-1]
        index = 0
        try:
            for index, token in enumerate(tokens.tokens(self.text)):
                literal = known.get(token)
                if literal is not None and frame.group is not None:
                    frame.group.add(literal)
                    frame.count += 1
                elif token[0] != ";":
                    self.step(token, index)
                    frame = self.stack[-1]
        except TooLarge as error:
            self.place = index, self.place[1] if self.place[0] == index else 0
            self.too_large(error)
        if len(self.stack) > 1:
            self.fail("this parenthesis is never closed; wanted ')' before the end of the file", frame.place)

    def step(self, token: str, index: int) -> None:
        """One token that is no comment and no comparison met before."""
        if len(token) == 1 or token[0] != "(":
            self.feed(token, (index, 0))
            return
        frame = self.stack[-1]
        literal = self.simple(token)
        if literal is not None and frame.group is not None:
            self.literals[token] = literal
            frame.group.add(literal)
            frame.count += 1
            return
        for part, word in enumerate(tokens.parts(token)):
            self.feed(word, (index, part))

    def feed(self, word: str, place: tuple[int, int]) -> None:
        """One parenthesis or word."""
        self.place = place
        if word == "(":
            self.begin()
        elif word == ")":
            self.close()
        elif self.stack[-1].head or len(self.stack) == 1:
            self.operand(word)
        else:
            self.open(word)

    def simple(self, token: str) -> Literal | None:
        """The comparison of a variable with a number or a variable; None when the token is anything else."""
        _, operator, left, right, _ = tokens.parts(token)
        name = self.variables.get(left)
        if operator not in COMPARISONS or name is None:
            return None
        kind, index = name
        other = self.variables.get(right)
        if other is not None:
            return compare(operator, variable(kind, index), variable(*other), self.numbers.intern, self.products)
        value = self.numbers.read(right)
        if value is None:
            return None
        upper = operator[0] == "<"
        bound = (2 * index + upper, value) if kind == "X" else None
        strict = len(operator) == 1
        if bound is not None and not strict:
            return Literal(bound, None)
        terms = ((index, Fraction(1 if upper else -1)),)
        limit = value[1] if upper else -value[1]
        return Literal(bound, Atom(terms, (), limit, strict) if kind == "X" else Atom((), terms, limit, strict))

    # -- the general way ---------------------------------------------------------------------------------------

    def context(self, frame: _Frame) -> str:
        """What the operands of a frame have to be: a key of _HEADS, or "word"."""
        if frame is self.stack[0]:
            return "file"
        if frame.group is not None:
            return "formula"
        return "word" if frame.head == "declare-const" else "term"

    def begin(self) -> None:
        """An opening parenthesis."""
        around = self.stack[-1]
        if len(self.stack) > 1 and not around.head:
            self.fail(f"found '(' after '(', wanted {_WANTED[self.context(self.stack[-2])]}")
        if self.context(around) == "word":
            self.fail("found '(', wanted a word: (declare-const NAME Real)")
        self.stack.append(_Frame(self.place))

    def open(self, head: str) -> None:
        """The first word of a list."""
        frame, parent = self.stack[-1], self.context(self.stack[-2])
        if head not in _HEADS[parent]:
            hint = "; VNN-LIB 1.0 has no equality, write '<=' and '>='" if head in ("=", "==") else ""
            self.fail(f"found {_quote(head)}, wanted {_WANTED[parent]}{hint}")
        frame.head = head
        if head == "assert":
            frame.group = self.root
        elif head in _CONNECTIVES:
            # A conjunction inside a conjunction fills the same list: nested lists would be copied at every level.
            around, wanted = self.stack[-2].group, All if head == "and" else AnyOf
            frame.group = around if isinstance(around, wanted) else wanted()

    def operand(self, word: str) -> None:
        """A word that is not the first one of its list."""
        frame = self.stack[-1]
        context = self.context(frame)
        if context == "file":
            self.fail(f"found {_quote(word)}, wanted '(' or the end of the file")
        if context == "formula":
            self.fail(f"found {_quote(word)}, wanted a formula in parentheses")
        frame.count += 1
        if context == "word":
            frame.words.append((word, self.place))
        else:
            self.arity(frame, 2 if frame.head in COMPARISONS else None)
            frame.terms.append(self.term(word))

    def term(self, word: str) -> Polynomial:
        """A variable or a number."""
        name = self.variables.get(word)
        if name is not None:
            return variable(*name)
        value = self.numbers.read(word)
        if value is None:
            if _NAME.fullmatch(word):
                self.fail(f"found {_quote(word)}, which is not declared; wanted (declare-const {word} Real) before it")
            self.fail(f"found {_quote(word)}, wanted a declared variable X_i or Y_j, or a decimal number")
        return Polynomial({}, value[1])

    def close(self) -> None:
        """A closing parenthesis: what it closes becomes an operand of the list around it."""
        if len(self.stack) == 1:
            self.fail("found ')' that closes nothing, wanted '(' or the end of the file")
        frame = self.stack.pop()
        parent = self.stack[-1]
        if not frame.head:
            self.fail(f"found ')' after '(', wanted {_WANTED[self.context(parent)]}")
        if frame.head == "declare-const":
            self.declare(frame)
        elif frame.head == "assert":
            if frame.count != 1:
                self.fail(f"'assert' takes one formula, found {frame.count}")
        elif frame.count == 0:
            self.fail(f"'{frame.head}' has no operands, wanted at least one")
        elif frame.group is not None and parent.group is not None:
            self.join(parent.group, frame.group)
            parent.count += 1
        elif frame.head in COMPARISONS:
            self.compared(parent, frame)
        else:
            self.calculated(parent, frame)

    def join(self, around: All | AnyOf, finished: All | AnyOf) -> None:
        """A finished `and` or `or`; raises TooLarge."""
        if finished is not around:
            around.combine(finished.conjunctions())

    def compared(self, parent: _Frame, frame: _Frame) -> None:
        """A finished comparison."""
        if frame.count != 2 or parent.group is None:
            self.fail(f"'{frame.head}' compares two terms, found {frame.count}")
        try:
            literal = compare(frame.head, frame.terms[0], frame.terms[1], self.numbers.intern, self.products)
        except TooLong as error:
            self.fail(str(error), frame.place)
        parent.group.add(literal)
        parent.count += 1

    def calculated(self, parent: _Frame, frame: _Frame) -> None:
        """A finished sum, difference or product."""
        try:
            result = apply(frame.head, frame.terms)
        except TooLong as error:
            self.fail(str(error), frame.place)
        parent.count += 1
        self.arity(parent, 2 if parent.head in COMPARISONS else None)
        parent.terms.append(result)

    def arity(self, frame: _Frame, limit: int | None) -> None:
        """Complain at the first operand that is too much."""
        if limit is not None and frame.count > limit:
            self.fail(f"'{frame.head}' compares two terms, found a third")

    def declare(self, frame: _Frame) -> None:
        """A finished declaration."""
        if len(frame.words) != 2:
            self.fail(f"'declare-const' takes a name and 'Real', found {len(frame.words)} words")
        (name, place), (sort, sort_place) = frame.words
        match = _NAME.fullmatch(name)
        if match is None:
            self.fail(f"found {_quote(name)}, wanted a name X_0, X_1, ... or Y_0, Y_1, ...", place)
        if sort != "Real":
            self.fail(f"found {_quote(sort)}, wanted 'Real'", sort_place)
        if name in self.variables:
            self.fail(f"found {_quote(name)} a second time, wanted one declaration of each variable", place)
        key = match[1], int(match[2])
        self.variables[name] = key
        self.declared[key] = place

    # -- errors ------------------------------------------------------------------------------------------------

    def fail(self, message: str, place: tuple[int, int] | None = None) -> NoReturn:
        """Raise MalformedProperty at a place, by default that of the current token."""
        line, column = tokens.position(self.text, *(self.place if place is None else place))
        raise MalformedProperty(message, line, column)

    def too_large(self, error: TooLarge) -> NoReturn:
        """Raise MalformedProperty about the size of the normal form."""
        self.fail(f"{error}; split the property into several files, one for each part of the largest 'or'")

    # -- the end -----------------------------------------------------------------------------------------------

    def finish(self, sha256: str, inputs: int | None, outputs: int | None) -> Property:
        """The property, once everything is read."""
        x = self.counted("X", "input", inputs)
        y = self.counted("Y", "output", outputs)
        try:
            grouped = group(self.root.conjunctions(), x)
        except TooLarge as error:
            self.too_large(error)
        if grouped.missing is not None:
            slot, conjunction = grouped.missing
            side, comparison = ("upper", "<=") if slot & 1 else ("lower", ">=")
            self.fail(
                f"X_{slot // 2} has no {side} bound in conjunction {conjunction} of the normal form; "
                f"wanted a bounded input box, add (assert ({comparison} X_{slot // 2} ...))",
                self.declared["X", slot // 2],
            )
        cases, monomials = self.products.settled(grouped.cases, x, y)
        return Property(x, y, cases, sha256, grouped.vacuous, monomials)

    def counted(self, kind: str, word: str, wanted: int | None) -> int:
        """How many variables of a kind there are; complains about none, gaps, and a number other than the network's."""
        indices = sorted(index for name, index in self.declared if name == kind)
        if not indices:
            self.fail(f"found the end of the file and no {kind}_0, wanted (declare-const {kind}_0 Real)", _END)
        for expected, index in enumerate(indices):
            if index != expected:
                self.fail(
                    f"found {kind}_{index} but no {kind}_{expected}, wanted indices 0, 1, 2, ... without a gap",
                    self.declared[kind, index],
                )
        if wanted is not None and len(indices) != wanted:
            culprit = self.declared[kind, min(wanted, indices[-1])]
            self.fail(
                f"found {len(indices)} {word} variables {kind}_0 to {kind}_{indices[-1]}, "
                f"but the network has {wanted} {word}s; is this the property of another network?",
                culprit,
            )
        return len(indices)


def _quote(word: str) -> str:
    """A word as it is shown in a message: printable, not too long."""
    shown = ascii(word)
    return shown if len(shown) <= 60 else shown[:56] + "...'"
