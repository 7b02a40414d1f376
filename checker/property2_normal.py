"""The normal form of a VNN-LIB 2.x property, as docs/certificate.md defines it: formulas over X and Y to cases.

Assertions multiply in file order; a conjunction whose inputs have no bounds of their own gets them from its atoms over
several inputs, with ends rounded outward to binary32 on both sides; conjunctions with one box make one case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from farkas.checker import binary32
from farkas.checker.errors import MalformedInput
from farkas.checker.polynomials import Form, add, at_most
from farkas.checker.query import Atom, Case, Property

MAX_CONJUNCTIONS = 1_000_000
MAX_ATOMS = 50_000_000

Formula = tuple[str, "list[Formula]"] | tuple[str, Form, Form]
"""("and" | "or", formulas) or (operator, left, right)."""
Bound = tuple[int, Fraction]
"""(2 i, v): X_i >= v.  (2 i + 1, v): X_i <= v."""
Conjunction = tuple[tuple[Bound, ...], tuple[Atom, ...]]


class Normal:
    """The conjunctions of the assertions so far."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.bounds: list[Bound] = []  # of every conjunction: those of assertions without alternatives
        self.conjunctions: list[Conjunction] = [((), ())]

    def add(self, formula: Formula) -> None:
        """One more assertion."""
        alternatives = self._alternatives(formula)
        if len(alternatives) == 1:
            self.bounds += alternatives[0][0]
            alternatives = [((), alternatives[0][1])]
        if alternatives != [((), ())]:
            self.conjunctions = self._product(self.conjunctions, alternatives)

    def _alternatives(self, formula: Formula) -> list[Conjunction]:
        """The disjunctive normal form of one formula, earlier parts outer."""
        if len(formula) == 3:
            operator, left, right = formula
            if operator == "==":
                (first,), (second,) = _literal("<=", left, right), _literal(">=", left, right)
                return [(first[0] + second[0], first[1] + second[1])]
            if operator == "!=":
                return _literal("<", left, right) + _literal(">", left, right)
            return _literal(operator, left, right)
        word, parts = formula
        if word == "or":
            found = [conjunction for part in parts for conjunction in self._alternatives(part)]
            self._limit(len(found), 0)
            return found
        total: list[Conjunction] = [((), ())]
        run: list[Conjunction] = []  # parts without alternatives, joined in linear time
        for part in parts:
            alternatives = self._alternatives(part)
            if len(alternatives) == 1:
                run += alternatives
            else:
                total = self._product(self._product(total, [_joined(run)]), alternatives)
                run = []
        return self._product(total, [_joined(run)])

    def _product(self, outer: list[Conjunction], inner: list[Conjunction]) -> list[Conjunction]:
        sizes = [sum(len(bounds) + len(atoms) for bounds, atoms in side) for side in (outer, inner)]
        self._limit(len(outer) * len(inner), sizes[0] * len(inner) + sizes[1] * len(outer))
        return [(p[0] + q[0], p[1] + q[1]) for p in outer for q in inner]

    def _limit(self, conjunctions: int, atoms: int) -> None:
        if conjunctions > MAX_CONJUNCTIONS or atoms > MAX_ATOMS:
            why = f"the disjunctive normal form has {conjunctions} conjunctions and {atoms} atoms: too large"
            raise MalformedInput("property", why)

    def property(self) -> Property:
        """The cases, in the order of their first conjunctions."""
        common = _intersect([None] * (2 * self.inputs), self.bounds)
        values: dict[tuple[int, int], Fraction] = {}  # equal ends of boxes are one object, so boxes compare by identity
        boxes: dict[tuple[int, ...], tuple[list[Fraction], list[tuple[Atom, ...]]]] = {}
        vacuous: list[str] = []
        for number, (own, atoms) in enumerate(self.conjunctions, start=1):
            box = _complete(_intersect(common, own) if own else common, atoms)
            full = [_one(values, value) for value in box if value is not None]
            if len(full) < len(box):
                slot = box.index(None)
                side = "upper" if slot & 1 else "lower"
                raise MalformedInput("property", f"input {slot // 2} has no {side} bound in conjunction {number}")
            empty = next((i for i in range(self.inputs) if full[2 * i] > full[2 * i + 1]), None)
            if empty is not None:
                vacuous.append(f"conjunction {number} is vacuous: input {empty} has contradictory bounds")
                continue
            boxes.setdefault(tuple(map(id, full)), (full, []))[1].append(atoms)
        cases = [Case(tuple(box[::2]), tuple(box[1::2]), tuple(disjuncts)) for box, disjuncts in boxes.values()]
        return Property(self.inputs, self.outputs, tuple(cases), tuple(vacuous))


def _one(values: dict[tuple[int, int], Fraction], value: Fraction) -> Fraction:
    """The one object that stands for a value."""
    return values.setdefault((value.numerator, value.denominator), value)


def _literal(operator: str, left: Form, right: Form) -> list[Conjunction]:
    """One of <= >= < >: a bound of the box, an atom, or (a strict bound) both."""
    if operator[0] == ">":
        left, right = right, left
    form = dict(left)
    add(form, right, -1)
    atom = at_most(form, strict=len(operator) == 1)
    if len(atom.x) != 1 or atom.y or atom.products:
        return [((), (atom,))]
    ((i, a),) = atom.x
    return [(((2 * i + (a > 0), atom.c / a),), (atom,) if atom.strict else ())]


def _joined(run: Sequence[Conjunction]) -> Conjunction:
    bounds = tuple([bound for conjunction in run for bound in conjunction[0]])
    return bounds, tuple([atom for conjunction in run for atom in conjunction[1]])


def _intersect(box: Sequence[Fraction | None], bounds: Sequence[Bound]) -> list[Fraction | None]:
    """The box (lower, upper, lower, ... per input) with further bounds; of equal values the first object is kept."""
    result = list(box)
    for slot, value in bounds:
        present = result[slot]
        if present is None or (value < present if slot & 1 else value > present):
            result[slot] = value
    return result


def _complete(box: list[Fraction | None], atoms: Sequence[Atom]) -> list[Fraction | None]:
    """Missing ends from atoms over at least two inputs and no output: the first that follows, in order of the atoms.

    sum a_i x_i <= c gives a_k x_k <= c - sum over i != k of the least a_i x_i.  Ends count rounded outward to binary32
    and are found rounded outward: a point off the grid means its nearest binary32 number in float semantics.
    """
    if None not in box:
        return box
    given = [value is not None for value in box]
    outer = [None if value is None else _outward(slot, value) for slot, value in enumerate(box)]
    ties = [atom for atom in atoms if len(atom.x) > 1 and not atom.y and not atom.products]
    found = 1
    while found:
        found = sum(_follows(atom, outer, given) for atom in ties)
    return [end if value is None else value for value, end in zip(box, outer, strict=True)]


def _follows(atom: Atom, outer: list[Fraction | None], given: Sequence[bool]) -> bool:
    """Sets the missing ends that follow from one atom; whether there was one."""
    found = False
    for k, a in atom.x:
        slot = 2 * k + (a > 0)
        if given[slot] or outer[slot] is not None:
            continue
        terms = list(_others(atom, k, outer))
        if None in terms:
            continue
        outer[slot] = _outward(slot, (atom.c - sum(t for t in terms if t is not None)) / a)
        found = found or outer[slot] is not None
    return found


def _others(atom: Atom, k: int, outer: Sequence[Fraction | None]) -> Iterator[Fraction | None]:
    """The least values of the terms of the other inputs; None for one without."""
    for i, a in atom.x:
        if i != k:
            end = outer[2 * i + (a < 0)]
            yield None if end is None else a * end


def _outward(slot: int, value: Fraction) -> Fraction | None:
    ticks = binary32.ceil32(value) if slot & 1 else binary32.floor32(value)
    return None if ticks is None else binary32.value(ticks)
