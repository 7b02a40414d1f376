"""Rule 7 of the normal form (docs/certificate.md): inputs that every disjunct says are equal become one free input.

An execution from a point off the equations makes no disjunct true, so nothing is lost; a class of equal inputs takes
the values that all of its intervals have in common, in binary32 semantics those of their binary32 points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from farkas.checker.query import Atom, Case, Property, grid_interval


def reduce(prop: Property, rounded: bool) -> tuple[Property, tuple[int, ...]]:
    """The property about the free inputs; and for every input of `prop`, the free input that it is."""
    least = list(range(prop.inputs))  # the least input of the class, as far as it is known
    pairs = _equal_everywhere(prop.cases)
    moved = True
    while moved:
        moved = False
        for i, k in pairs:
            if least[i] != least[k]:
                least[i] = least[k] = min(least[i], least[k])
                moved = True
    free = sorted(set(least))
    number = {first: column for column, first in enumerate(free)}
    columns = tuple(number[first] for first in least)
    if len(free) == prop.inputs:
        return prop, columns
    classes: list[list[int]] = [[] for _ in free]
    for i, column in enumerate(columns):
        classes[column].append(i)
    rewritten: dict[int, Atom | None] = {}
    cases: list[Case] = []
    vacuous = list(prop.vacuous)
    for place, case in enumerate(prop.cases):
        box = [_common(case, members, rounded) for members in classes]
        if any(lower > upper for lower, upper in box):
            vacuous.append(f"case {place} is vacuous: inputs that it says are equal have no value in common")
            continue
        disjuncts = tuple(_disjunct(atoms, columns, rewritten) for atoms in case.disjuncts)
        cases.append(Case(tuple(lower for lower, _ in box), tuple(upper for _, upper in box), disjuncts))
    return Property(len(free), prop.outputs, tuple(cases), tuple(vacuous)), columns


def _equal_everywhere(cases: Iterable[Case]) -> list[tuple[int, int]]:
    """(i, k), i < k, where every disjunct of every case has a X_i - a X_k <= 0 and b X_k - b X_i <= 0, a, b > 0."""
    found: set[tuple[int, int]] | None = None
    for case in cases:
        for atoms in case.disjuncts:
            signs: dict[tuple[int, int], set[bool]] = {}
            for atom in atoms:
                if len(atom.x) == 2 and not atom.y and not atom.products and atom.c == 0 and not atom.strict:
                    (i, a), (k, b) = atom.x
                    if a == -b:
                        signs.setdefault((i, k), set()).add(a > 0)
            pairs = {pair for pair, both in signs.items() if len(both) == 2}
            found = pairs if found is None else found & pairs
            if not found:
                return []
    return sorted(found or ())


def _common(case: Case, members: Sequence[int], rounded: bool) -> tuple[Fraction, Fraction]:
    """The values of a class; lower > upper when there are none.

    Intervals that are all the same stay as they are; an interval without binary32 numbers is the class's own.
    """
    intervals = [(case.lower[i], case.upper[i]) for i in members]
    if all(interval == intervals[0] for interval in intervals):
        return intervals[0]
    if rounded:
        for position, (lower, upper) in enumerate(intervals):
            points = grid_interval(lower, upper)
            if points is None:
                return lower, upper
            intervals[position] = points
    return max(lower for lower, _ in intervals), min(upper for _, upper in intervals)


def _disjunct(atoms: Sequence[Atom], columns: Sequence[int], rewritten: dict[int, Atom | None]) -> tuple[Atom, ...]:
    """The atoms about the free inputs, without those that are true for want of terms; rewritten: by identity."""
    result = []
    for atom in atoms:
        if id(atom) not in rewritten:
            rewritten[id(atom)] = _rewrite(atom, columns)
        about_free = rewritten[id(atom)]
        if about_free is not None:
            result.append(about_free)
    return tuple(result)


def _rewrite(atom: Atom, columns: Sequence[int]) -> Atom | None:
    total: dict[int, Fraction] = {}
    for i, coefficient in atom.x:
        total[columns[i]] = total.get(columns[i], Fraction(0)) + coefficient
    x = tuple((column, total[column]) for column in sorted(total) if total[column] != 0)
    products = _products(atom, columns)
    if not x and not atom.y and not products and (atom.c > 0 or (atom.c == 0 and not atom.strict)):
        return None
    return Atom(x, atom.y, atom.c, atom.strict, products)


def _products(atom: Atom, columns: Sequence[int]) -> tuple[tuple[tuple[int, ...], Fraction], ...]:
    """The products of the free inputs; those that became equal are added up."""
    total: dict[tuple[int, ...], Fraction] = {}
    for factors, coefficient in atom.products:
        free = tuple(sorted(k if k % 2 else 2 * columns[k // 2] for k in factors))
        total[free] = total.get(free, Fraction(0)) + coefficient
    return tuple((factors, total[factors]) for factors in sorted(total) if total[factors] != 0)
