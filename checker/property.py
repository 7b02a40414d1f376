"""VNN-LIB 1.0 to the normal form of docs/certificate.md, in exact rationals: bytes of the file to a `Property`.

    file    := ( (declare-const NAME Real) | (assert formula) )*          NAME: X_i or Y_j
    formula := (and formula+) | (or formula+) | (<= term term) | (>= ...) | (< ...) | (> ...)
    term    := decimal | NAME | (+ term+) | (- term+) | (* term+)

Anything else is an error with line and column.  One pass over the tokens with an explicit stack, so depth costs no
recursion; equal numbers are one object, so that boxes are compared by identity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NoReturn

from farkas.checker import property2
from farkas.checker.errors import MalformedInput
from farkas.checker.polynomials import MAX_BITS, Form, at_most, multiply
from farkas.checker.query import Atom, Case, Property

MAX_CONJUNCTIONS = 1_000_000
MAX_ATOMS = 50_000_000
MAX_DIGITS = 4000
MAX_EXPONENT = 9999

_TOKEN = re.compile(r"[()]|[^\s()]+", re.ASCII)
_DECIMAL = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?", re.ASCII)
_NAME = re.compile(r"([XY])_(0|[1-9][0-9]{0,8})", re.ASCII)
_COMPARISONS = frozenset(("<=", ">=", "<", ">"))
_TERMS = frozenset("+-*")
_HEADS = _COMPARISONS | _TERMS | {"and", "or", "assert"}

Bound = tuple[int, Fraction]
"""(2 i, v): X_i >= v.  (2 i + 1, v): X_i <= v."""
Literal = tuple[Bound | None, Atom | None]
"""A bound of the box, an atom, or (a strict bound) both."""
Conjunction = tuple[Literal, ...]


def read_property(data: bytes) -> Property:
    """The normal form of a property, VNN-LIB 1.0 or, about one network, 2.x.  Raises MalformedInput with the line."""
    if property2.is_version_2(data):
        return property2.read_about_one_network(data)
    text = re.sub(r";[^\r\n]*", "", data.decode("utf-8", errors="replace"))
    reader = _Reader(text)
    reader.read()
    return reader.finish()


class _Frame:
    """An open parenthesis: its first word, its token, its operands."""

    __slots__ = ("head", "operands", "token")

    def __init__(self, head: str, token: int) -> None:
        self.head = head
        self.token = token
        self.operands: list[Form | list[Conjunction]] = []


class _Reader:
    """One reading; `at` is the number of the current token."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = _TOKEN.findall(text)
        self.at = 0
        self.declared: tuple[set[int], set[int]] = (set(), set())
        self.numbers: dict[str, Fraction] = {}
        self.values: dict[tuple[int, int], Fraction] = {}
        self.literals: dict[tuple[str, ...], list[Conjunction]] = {}
        self.bounds: list[Bound] = []  # of every conjunction
        self.conjunctions: list[Conjunction] = [()]

    def fail(self, why: str, token: int | None = None) -> NoReturn:
        """Raise MalformedInput at a token (default: the current one)."""
        wanted = self.at if token is None else token
        place = len(self.text)
        for number, match in enumerate(_TOKEN.finditer(self.text)):
            if number == wanted:
                place = match.start()
                break
        line = self.text.count("\n", 0, place) + 1
        column = place - self.text.rfind("\n", 0, place)
        raise MalformedInput(f"property, line {line}, column {column}", why)

    def read(self) -> None:
        """All commands."""
        tokens, count = self.tokens, len(self.tokens)
        stack: list[_Frame] = []
        while self.at < count:
            token = tokens[self.at]
            if token == "(":
                self._open(stack)
            elif token == ")":
                if not stack:
                    self.fail("unbalanced ')'")
                self._close(stack)
                self.at += 1
            else:
                if not stack or stack[-1].head not in _TERMS | _COMPARISONS:
                    self.fail(f"unexpected {token[:40]!r}")
                stack[-1].operands.append(self._leaf(token))
                self.at += 1
        if stack:
            self.fail(f"'({stack[-1].head}' is never closed", stack[-1].token)

    def _open(self, stack: list[_Frame]) -> None:
        """An opening parenthesis and its head; a comparison of two plain words is read at once."""
        words = self.tokens[self.at : self.at + 5]
        head = words[1] if len(words) > 1 else ""
        if not stack:
            if head == "declare-const":
                self._declare(words)
                return
            if head != "assert":
                self.fail(f"'declare-const' or 'assert' was expected, found {head[:40]!r}")
        elif head not in _HEADS or head == "assert":
            self.fail(f"unknown operator {head[:40]!r}")
        if head in _COMPARISONS and len(words) == 5 and words[4] == ")" and stack[-1].head in ("and", "or", "assert"):
            key = tuple(words)
            known = self.literals.get(key)
            if known is None and not {"(", ")"} & {words[2], words[3]}:
                self.at += 2
                left = self._leaf(words[2])
                self.at += 1
                right = self._leaf(words[3])
                self.at -= 3
                known = self.literals[key] = self._compare(head, left, right)
            if known is not None:
                stack[-1].operands.append(known)
                self.at += 5
                return
        stack.append(_Frame(head, self.at))
        self.at += 2

    def _declare(self, words: Sequence[str]) -> None:
        name = _NAME.fullmatch(words[2]) if len(words) == 5 else None
        if name is None or words[3] != "Real" or words[4] != ")":
            self.fail("a declaration is (declare-const X_i Real) or (declare-const Y_j Real)")
        declared = self.declared[name[1] == "Y"]
        if int(name[2]) in declared:
            self.fail(f"{name[0]} is declared twice")
        declared.add(int(name[2]))
        self.at += 5

    def _leaf(self, word: str) -> Form:
        """A declared variable or a decimal."""
        name = _NAME.fullmatch(word)
        if name is not None:
            if int(name[2]) not in self.declared[name[1] == "Y"]:
                self.fail(f"{word} is not declared")
            return {2 * int(name[2]) + (name[1] == "Y"): Fraction(1)}
        number = self.numbers.get(word)
        if number is None:
            number = self.numbers[word] = self._decimal(word)
        return {-1: number} if number else {}

    def _decimal(self, word: str) -> Fraction:
        match = _DECIMAL.fullmatch(word) if len(word) <= MAX_DIGITS else None
        if match is None:
            self.fail(f"{word[:40]!r} is neither a variable nor a decimal number")
        sign, whole, decimals, exponent = match.groups("")
        if not whole + decimals or abs(int(exponent or 0)) > MAX_EXPONENT:
            self.fail(f"{word[:40]!r} is no decimal number in range")
        power = int(exponent or 0) - len(decimals)
        mantissa = int(sign + whole + decimals)
        return self._intern(Fraction(mantissa) * Fraction(10) ** power)

    def _intern(self, x: Fraction) -> Fraction:
        """The one object that stands for this value."""
        if max(x.numerator.bit_length(), x.denominator.bit_length()) > MAX_BITS:
            self.fail("a number grows beyond all reason")
        return self.values.setdefault((x.numerator, x.denominator), x)

    def _close(self, stack: list[_Frame]) -> None:
        """Reduces the innermost frame into the one around it."""
        frame = stack.pop()
        terms = [o for o in frame.operands if isinstance(o, dict)]
        formulas = [o for o in frame.operands if isinstance(o, list)]
        head = frame.head
        if head in ("and", "or", "assert"):
            if terms or not formulas or (head == "assert" and len(formulas) != 1):
                self.fail(f"'({head}' takes {'one formula' if head == 'assert' else 'formulas'}", frame.token)
            if head == "assert":
                self._assert(formulas[0])
            else:
                stack[-1].operands.append(self._all(formulas) if head == "and" else self._any(formulas))
            return
        if formulas or not terms or (head in _COMPARISONS and len(terms) != 2):
            self.fail(f"'({head}' takes {'two terms' if head in _COMPARISONS else 'terms'}", frame.token)
        if head in _COMPARISONS:
            stack[-1].operands.append(self._compare(head, *terms))
        else:
            stack[-1].operands.append(self._arithmetic(head, terms))

    def _arithmetic(self, head: str, terms: Sequence[Form]) -> Form:
        total = terms[0]
        if head == "*":
            for factor in terms[1:]:
                if factor.keys() - {-1} and total.keys() - {-1}:
                    total = {key: self._intern(value) for key, value in multiply(total, factor).items()}
                    continue
                if factor.keys() - {-1}:
                    total, factor = factor, total
                total = self._add({}, total, factor.get(-1, Fraction(0)))
            return total
        if head == "-" and len(terms) == 1:
            return self._add({}, total, Fraction(-1))
        for term in terms[1:]:
            self._add(total, term, Fraction(1 if head == "+" else -1))
        return total

    def _add(self, total: Form, right: Form, factor: Fraction) -> Form:
        """total += factor * right; every form has one owner."""
        for key, coefficient in right.items():
            value = total.pop(key, Fraction(0)) + factor * coefficient
            if value:
                total[key] = self._intern(value)
        return total

    def _compare(self, head: str, left: Form, right: Form) -> list[Conjunction]:
        """One comparison: a bound of the box, an atom, or (a strict bound) both."""
        if head[0] == ">":
            left, right = right, left
        form = self._add(left, right, Fraction(-1))
        atom = at_most(form, strict=len(head) == 1)
        if len(atom.x) != 1 or atom.y or atom.products:
            return [((None, atom),)]
        ((i, c),) = atom.x
        bound = (2 * i + (c > 0), self._intern(atom.c / c))
        return [((bound, atom if atom.strict else None),)]

    def _any(self, formulas: Sequence[list[Conjunction]]) -> list[Conjunction]:
        self._limit(sum(map(len, formulas)), 0)
        return [conjunction for formula in formulas for conjunction in formula]

    def _all(self, formulas: Sequence[list[Conjunction]]) -> list[Conjunction]:
        """The product, earlier formulas outer; runs of single conjunctions are joined in linear time."""
        total: list[Conjunction] = [()]
        run: list[Literal] = []
        for formula in formulas:
            if len(formula) == 1:
                run.extend(formula[0])
            else:
                total = self._product(self._product(total, [tuple(run)]), formula)
                run = []
        return self._product(total, [tuple(run)])

    def _product(self, outer: list[Conjunction], inner: list[Conjunction]) -> list[Conjunction]:
        self._limit(len(outer) * len(inner), sum(map(len, outer)) * len(inner) + sum(map(len, inner)) * len(outer))
        return [p + q for p in outer for q in inner]

    def _limit(self, conjunctions: int, atoms: int) -> None:
        if conjunctions > MAX_CONJUNCTIONS or atoms > MAX_ATOMS:
            self.fail(f"the disjunctive normal form has {conjunctions} conjunctions and {atoms} atoms: too large")

    def _assert(self, formula: list[Conjunction]) -> None:
        """One more factor of the whole; bounds that hold in every conjunction are kept apart."""
        if len(formula) == 1:
            self.bounds += [bound for bound, _ in formula[0] if bound is not None]
            formula = [tuple((None, atom) for _, atom in formula[0] if atom is not None)]
        if formula != [()]:
            self.conjunctions = self._product(self.conjunctions, formula)

    def finish(self) -> Property:
        """Groups the conjunctions by box."""
        sizes = []
        for name, declared in zip("XY", self.declared, strict=True):
            if not declared or max(declared) != len(declared) - 1:
                raise MalformedInput(
                    "property", f"the variables {name}_0, {name}_1, ... must be declared without a gap"
                )
            sizes.append(len(declared))
        common = _intersect([None] * (2 * sizes[0]), self.bounds)
        boxes: dict[tuple[int, ...], tuple[list[Fraction], list[tuple[Atom, ...]]]] = {}
        vacuous: list[str] = []
        for number, conjunction in enumerate(self.conjunctions, start=1):
            own = [bound for bound, _ in conjunction if bound is not None]
            box = _intersect(common, own) if own else common
            full = [value for value in box if value is not None]
            if len(full) < len(box):
                slot = box.index(None)
                side = "upper" if slot & 1 else "lower"
                raise MalformedInput("property", f"X_{slot // 2} has no {side} bound in conjunction {number}")
            empty = next((i for i in range(sizes[0]) if full[2 * i] > full[2 * i + 1]), None)
            if empty is not None:
                vacuous.append(f"conjunction {number} is vacuous: X_{empty} has contradictory bounds")
                continue
            atoms = tuple(atom for _, atom in conjunction if atom is not None)
            boxes.setdefault(tuple(map(id, full)), (full, []))[1].append(atoms)
        cases = [Case(tuple(box[::2]), tuple(box[1::2]), tuple(disjuncts)) for box, disjuncts in boxes.values()]
        return Property(sizes[0], sizes[1], tuple(cases), tuple(vacuous))


def _intersect(box: Sequence[Fraction | None], bounds: Sequence[Bound]) -> list[Fraction | None]:
    """The box (lower, upper, lower, ... per input) with further bounds; of equal values one object is kept."""
    result = list(box)
    for slot, value in bounds:
        present = result[slot]
        if present is None or (value < present if slot & 1 else value > present):
            result[slot] = value
    return result
