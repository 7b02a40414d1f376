"""Atoms of a property as statements about the codes of an integer network, exact and in no solver's terms.

An atom is read over the decoded binary32 outputs in exact rationals.  Each of its terms is then a *table*: what a code
contributes, a monotone function of it.  An input contributes through its code too: the points with one code form an
interval, and the end at which the atom's left-hand side is least stands for all of them.  That is exact as long as all
atoms of a disjunct want the same end of an input; where two pull an input in opposite directions, the choice inside
the interval matters, and the disjunct is refused.

By the number of tables an atom is

    0   true or false,
    1   a bound of one code,
    2   a staircase: for each code of one the last allowed code of the other, which is monotone again (for
        `y_0 <= y_1` with one scale and zero point it is the identity, whatever float32 makes of the values),
    3+  a linear inequality over tabulated integers, with one common power of two and denominator.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, lcm

import numpy as np

from farkas.ir.errors import UnsupportedOperator
from farkas.ir.integer import IntegerProgram, Ranges
from farkas.ir.integer_codes import InputCodes
from farkas.ir.integer_unary import Integers
from farkas.ir.staircase import Staircase
from farkas.specs.query import Atom

MOST_CODES = 1 << 16  # of one tabulated output: a rational number each


@dataclass(frozen=True, eq=False)
class Table:
    """coefficient times the value of an output (or input) by its code: codes ascending, values monotone."""

    of_input: bool
    index: int
    codes: Integers
    values: tuple[Fraction, ...]

    @property
    def rises(self) -> bool:
        return self.values[-1] >= self.values[0]

    def allowed(self, limit: Fraction, *, strict: bool) -> int:
        """How many codes contribute at most (strictly: less than) the limit: the first ones, or the last ones."""
        ascending = self.values if self.rises else self.values[::-1]
        return (bisect_left if strict else bisect_right)(ascending, limit)


@dataclass(frozen=True, eq=False)
class Sides:
    """Which end of a code's interval stands for an input: last[i] or first; `free` where no atom reads the input."""

    last: np.ndarray[tuple[int], np.dtype[np.bool_]]
    free: np.ndarray[tuple[int], np.dtype[np.bool_]]


def sides(atoms: Sequence[Atom], inputs: InputCodes) -> Sides:
    """The end of each input that all atoms want; raises UnsupportedOperator where they disagree."""
    n = len(inputs.codes)
    last, free = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
    for atom in atoms:
        for i, a in atom.x:
            disagrees = not free[i] and bool(last[i]) != (a < 0)
            if disagrees and not np.array_equal(inputs.first[i], inputs.last[i]):
                raise UnsupportedOperator(
                    f"two atoms bound X_{i} from both sides together with other variables; for quantised networks "
                    "state the bounds of an input as its interval, or split the property"
                )
            last[i], free[i] = a < 0, False
    return Sides(last, free)


def tables(atom: Atom, program: IntegerProgram, inputs: InputCodes, outputs: Ranges) -> list[Table]:
    """The tables of an atom's terms, inputs first; outputs: bounds of the output node's codes."""
    found = []
    for i, a in atom.x:
        points = inputs.last[i] if a < 0 else inputs.first[i]
        found.append(Table(True, i, inputs.codes[i], tuple(a * Fraction(float(v)) for v in points)))
    for j, b in atom.y:
        low, high = int(outputs[0][j]), int(outputs[1][j])
        if high - low >= MOST_CODES:
            raise UnsupportedOperator(
                f"output Y_{j} takes {high - low + 1} codes on the input set, more than the {MOST_CODES} that are "
                "tabulated; quantise the network's output, or make the input set smaller"
            )
        codes = np.arange(low, high + 1, dtype=np.int64)
        found.append(Table(False, j, codes, tuple(b * value for value in _decoded(program, j, codes))))
    return found


def _decoded(program: IntegerProgram, component: int, codes: Integers) -> list[Fraction]:
    if program.decode is None:
        return [Fraction(int(code)) for code in codes]
    one = program.decode.take(np.array([component], dtype=np.int64))
    return [Fraction(float(value)) for value in one(codes[:, None])[:, 0]]


def codes_within(table: Table, atom: Atom) -> tuple[int, int] | None:
    """The first and last code that makes an atom of one table true; None when there is none."""
    count = table.allowed(atom.c, strict=atom.strict)
    if not count:
        return None
    chosen = table.codes[:count] if table.rises else table.codes[len(table.codes) - count :]
    return int(chosen[0]), int(chosen[-1])


def frontier(first: Table, second: Table, atom: Atom) -> Staircase:
    """For each code of `first` the outermost code of `second` that makes an atom of the two true.

    Codes of `second` up to it (where `second` rises; else from it on) are allowed; it lies one beyond them all where
    none is.
    """
    starts: list[int] = []
    limits: list[int] = []
    codes = second.codes if second.rises else second.codes[::-1]
    none = int(codes[0]) - 1 if second.rises else int(codes[0]) + 1
    for code, value in zip(first.codes.tolist(), first.values, strict=True):
        count = second.allowed(atom.c - value, strict=atom.strict)
        limit = int(codes[count - 1]) if count else none
        if not limits or limit != limits[-1]:
            starts.append(code)
            limits.append(limit)
    return Staircase(tuple(starts), tuple(limits), int(first.codes[-1]))


def scaled(terms: Sequence[Table], atom: Atom) -> tuple[list[list[int]], int]:
    """The tables as integers and the limit of their sum: the atom is `sum <= limit`."""
    scale = lcm(*(value.denominator for table in terms for value in table.values))
    whole = [[int(value * scale) for value in table.values] for table in terms]
    limit = atom.c * scale
    return whole, ceil(limit) - 1 if atom.strict else floor(limit)
