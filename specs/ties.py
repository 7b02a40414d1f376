"""Inputs that a property says are equal: the same property about the inputs that are left free.

Two networks on equal inputs, or two copies that differ in one input, are a property with twice the inputs and an
equation for most of them.  A search that bisects boxes would have to cut both sides of every equation to learn what it
says; bounds know nothing of it at all.  So equal inputs become one: rule 7 of the normal form (docs/certificate.md),
which the checker follows by itself from the same text (`checker/ties.py`).

    tied       i and k, where every disjunct of every case has atoms  a X_i - a X_k <= 0  and  b X_k - b X_i <= 0  with
               a, b > 0; and what follows from these by transitivity
    free       the first input of every class of tied ones; the free inputs, in order, are the inputs of what is asked
    interval   of a class: what its inputs have in common; nothing in common drops the case, with a warning
    atoms      speak of the free inputs; what comes to a true statement about constants is left out
    monomials  speak of the free inputs, and those that became equal are one

This loses no point and adds none, in any semantics.  Over the reals, the points of a box on which the equations hold
are those whose class values lie in all intervals of the class.  In binary32 an interval stands for its binary32 points,
and a single point off the grid for its nearest one: so intervals that differ are brought to the grid first.  (0.1 and
0.1000000005 are no common point of the reals, but both mean the binary32 number 0.100000001490116...: dropping such a
case would be an unsound `unsat`.)  Where an interval has no binary32 number, it is that of its class, so that the case
stays one of which nothing is claimed (`specs.boxes`).

Measured with benchmarks/ties.py, 2026-11-20, 2 busy cores, f32-any, 60 s: two copies of the avoidance network with four
of five inputs equal (6 free inputs instead of 10), 5.5 s and 2.7 s instead of 41 s and 30 s; that network and one with
changed weights (5 instead of 10), 0.3 s instead of 20 s, and 0.6 s where 60 s were not enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from farkas.specs.boxes import binary32_box
from farkas.specs.query import Atom, Case, Monomial, Property, Semantics, Terms

Interval = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Reduced:
    """A property about its free inputs.

    asked: the property as it stands in the file; columns: for every input of it, the free input that it is; cases: for
    every case of `property`, its number in `asked`.
    """

    property: Property
    asked: Property
    columns: tuple[int, ...]
    cases: tuple[int, ...]

    @cached_property
    def is_tied(self) -> bool:
        """Whether any inputs are equal."""
        return self.property.inputs < self.asked.inputs

    def lifted(self, free: Sequence[Fraction]) -> tuple[Fraction, ...]:
        """All inputs, from the free ones."""
        return tuple(free[column] for column in self.columns)


def reduced(prop: Property, semantics: Semantics) -> Reduced:
    """The property about its free inputs; itself where no inputs are tied."""
    source = sources(prop)
    if source == list(range(prop.inputs)):
        return untied(prop)
    place = {first: column for column, first in enumerate(sorted(set(source)))}
    columns = tuple(place[first] for first in source)
    return _Reduction(prop, columns, semantics is not Semantics.REAL).result()


def untied(prop: Property) -> Reduced:
    """The property as it is."""
    return Reduced(prop, prop, tuple(range(prop.inputs)), tuple(range(len(prop.cases))))


def sources(prop: Property) -> list[int]:
    """For every input the first one that it is tied to: itself where it is free."""
    source = list(range(prop.inputs))
    for i, k in sorted(_common_pairs(prop.cases)):
        first, second = _root(source, i), _root(source, k)
        source[max(first, second)] = min(first, second)
    return [_root(source, i) for i in source]


def _root(source: list[int], i: int) -> int:
    while source[i] != i:
        source[i] = i = source[source[i]]
    return i


def _common_pairs(cases: Iterable[Case]) -> set[tuple[int, int]]:
    """(i, k), i < k, where every disjunct has X_i <= X_k and X_k <= X_i."""
    common: set[tuple[int, int]] | None = None
    known: dict[int, tuple[int, int] | None] = {}  # by identity: the disjuncts of a property share their atoms
    for case in cases:
        for atoms in case.disjuncts:
            known |= {id(atom): _ordered(atom) for atom in atoms if id(atom) not in known}
            below = {pair for atom in atoms if (pair := known[id(atom)]) is not None}
            equal = {(i, k) for i, k in below if i < k and (k, i) in below}
            common = equal if common is None else common & equal
            if not common:
                return set()
    return common or set()


def _ordered(atom: Atom) -> tuple[int, int] | None:
    """(i, k) of the atom a X_i - a X_k <= 0, a > 0."""
    if atom.strict or atom.y or atom.c or len(atom.x) != 2 or atom.x[0][1] + atom.x[1][1]:
        return None
    (i, a), (k, _) = atom.x
    return (i, k) if a > 0 else (k, i)


class _Reduction:
    """Rewrites the cases of one property."""

    def __init__(self, prop: Property, columns: tuple[int, ...], rounded: bool) -> None:
        self.prop = prop
        self.columns = columns
        self.rounded = rounded
        self.classes: list[list[int]] = [[] for _ in range(max(columns) + 1)]
        for i, column in enumerate(columns):
            self.classes[column].append(i)
        self.monomials: dict[Monomial, int] = {}
        self.places = [self._place(monomial) for monomial in prop.monomials]
        self.known: dict[int, Atom | None] = {}  # by identity

    def _place(self, monomial: Monomial) -> int:
        """The number of a monomial over the free inputs."""
        free, inputs = len(self.classes), self.prop.inputs
        factors = (self.columns[k] if k < inputs else k - inputs + free for k in monomial)
        return self.monomials.setdefault(tuple(sorted(factors)), len(self.monomials))

    def result(self) -> Reduced:
        cases, numbers, vacuous = [], [], list(self.prop.vacuous)
        for number, case in enumerate(self.prop.cases):
            box = [self._interval(case, inputs) for inputs in self.classes]
            empty = next((inputs for (low, high), inputs in zip(box, self.classes, strict=True) if low > high), None)
            if empty is not None:
                names = ", ".join(f"X_{i}" for i in empty)
                vacuous.append(f"case {number} is vacuous: {names} are equal, but their bounds have no point in common")
                continue
            disjuncts = tuple(tuple(self._atoms(atoms)) for atoms in case.disjuncts)
            cases.append(Case(tuple(low for low, _ in box), tuple(high for _, high in box), disjuncts))
            numbers.append(number)
        about_free = replace(
            self.prop, inputs=len(self.classes), cases=tuple(cases), vacuous=tuple(vacuous),
            monomials=tuple(self.monomials),
        )  # fmt: skip
        return Reduced(about_free, self.prop, self.columns, tuple(numbers))

    def _interval(self, case: Case, inputs: Sequence[int]) -> Interval:
        """What the intervals of a class have in common; lower > upper when that is nothing."""
        found = list(dict.fromkeys((case.lower[i], case.upper[i]) for i in inputs))
        if len(found) == 1:
            return found[0]
        if self.rounded:
            points = [_on_grid(interval) for interval in found]
            if None in points:
                return found[points.index(None)]
            found = [interval for interval in points if interval is not None]
        return max(low for low, _ in found), min(high for _, high in found)

    def _atoms(self, atoms: Iterable[Atom]) -> Iterable[Atom]:
        for atom in atoms:
            if id(atom) not in self.known:
                self.known[id(atom)] = self._atom(atom)
            found = self.known[id(atom)]
            if found is not None:
                yield found

    def _atom(self, atom: Atom) -> Atom | None:
        """The atom over the free inputs; None for a true statement about constants."""
        outputs = self.prop.outputs
        x = _summed((self.columns[i], a) for i, a in atom.x)
        y = _summed((j if j < outputs else outputs + self.places[j - outputs], b) for j, b in atom.y)
        rewritten = Atom(x, y, atom.c, atom.strict)
        return None if rewritten.is_constant and rewritten.holds((), ()) else rewritten


def _summed(terms: Iterable[tuple[int, Fraction]]) -> Terms:
    """Terms with each index once, ascending, without those that cancel."""
    total: dict[int, Fraction] = {}
    for index, coefficient in terms:
        total[index] = total.get(index, Fraction(0)) + coefficient
    return tuple((index, total[index]) for index in sorted(total) if total[index])


def _on_grid(interval: Interval) -> Interval | None:
    """The binary32 points of an interval, as their first and last; None when it has none."""
    box = binary32_box(interval[:1], interval[1:])
    return None if box.empty else (Fraction(float(box.lower[0])), Fraction(float(box.upper[0])))
