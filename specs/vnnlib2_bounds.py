"""Bounds of inputs that a file ties to other inputs instead of bounding them: `X_g[0] == X_f[0]`.

The normal form needs a box.  An end that no bound gives follows from an atom over inputs alone,

    sum a_i x_i <= c   gives   a_k x_k <= c - sum over i != k of min(a_i x_i),

once all the ends on the right are known.  Rule, the same in the checker: the atoms of the conjunction that have at
least two inputs and no output are gone through in order, again and again until nothing is new; in an atom the inputs
ascend; an end is set once and never moved, and ends that bounds give are not moved at all.

Sound in every semantics: an end on the right enters rounded outward to binary32, because in float modes a point that is
no binary32 number means its nearest one, and the end found leaves rounded outward too, so that it makes no such point
itself.  The box may be too large by this; the atoms stay and say exactly what is meant.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from farkas.specs.boxes import down32, up32
from farkas.specs.dnf import Bound, Conjunction
from farkas.specs.numbers import Number, Numbers
from farkas.specs.query import Atom


def complete(conjunctions: Sequence[Conjunction], inputs: int, numbers: Numbers) -> list[Conjunction]:
    """The conjunctions with the bounds that follow; those that have all their bounds are not touched.

    What no atom bounds stays unbounded.  Conjunctions that shared their bounds, and share the atoms over inputs, share
    the completed bounds as well.
    """
    missing: dict[int, bool] = {}  # by identity of the bounds, which `conjunctions` keeps alive
    known: dict[tuple[int, ...], tuple[Bound, ...]] = {}
    result = []
    for conjunction in conjunctions:
        bounds, atoms = conjunction
        if id(bounds) not in missing:
            missing[id(bounds)] = len({slot for slot, _ in bounds}) < 2 * inputs
        if missing[id(bounds)]:
            ties = [atom for atom in atoms if len(atom.x) > 1 and not atom.y]
            key = id(bounds), *map(id, ties)
            if key not in known:
                known[key] = bounds + _derived(bounds, ties, numbers)
            conjunction = Conjunction(known[key], atoms)
        result.append(conjunction)
    return result


def _derived(bounds: Sequence[Bound], ties: Sequence[Atom], numbers: Numbers) -> tuple[Bound, ...]:
    """The bounds that follow from the ties, in the order in which they are found."""
    ends = _ends(bounds)
    found: list[Bound] = []
    news = -1
    while news != len(found):
        news = len(found)
        for atom in ties:
            for k, a in atom.x:
                slot = 2 * k + (a > 0)
                if slot in ends:
                    continue
                rest = _least(atom, k, ends)
                end = None if rest is None else _outward(slot, (atom.c - rest) / a)
                if end is not None:
                    ends[slot] = end
                    found.append((slot, numbers.intern(end)))
    return tuple(found)


def _ends(bounds: Sequence[Bound]) -> dict[int, Fraction | None]:
    """The strongest bound of every slot, rounded outward; None where no binary32 number lies outside."""
    strongest: dict[int, Number] = {}
    for slot, value in bounds:
        present = strongest.get(slot)
        if present is None or (value < present if slot & 1 else value > present):
            strongest[slot] = value
    return {slot: _outward(slot, q) for slot, (_, q) in strongest.items()}


def _least(atom: Atom, k: int, ends: Mapping[int, Fraction | None]) -> Fraction | None:
    """The least value of the terms of the inputs other than k; None when it is unbounded."""
    total = Fraction(0)
    for i, a in atom.x:
        if i != k:
            end = ends.get(2 * i + (a < 0))
            if end is None:
                return None
            total += a * end
    return total


def _outward(slot: int, q: Fraction) -> Fraction | None:
    """The binary32 number next to q, above it for an upper end and below it for a lower one."""
    value = up32(q) if slot & 1 else down32(q)
    return None if value is None else Fraction(value)
