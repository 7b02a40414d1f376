"""Ellipsoids of inputs: what `crown-fp-3` and `crown-fp-4` know beyond the box (docs/certificate.md, section 7).

Where every disjunct of a case has an atom  sum q_i X_i^2 + sum b_i X_i <= c  with all q_i > 0, only points of that
ellipsoid can make a disjunct true.  With m_i = -b_i / (2 q_i) and R^2 = c + sum q_i m_i^2 it is

    sum q_i (X_i - m_i)^2 <= R^2,        and in integers:        sum ((X_i - centre_i) / axis_i)^2 <= 1

with the centre rounded down to 2^-H and the semi-axes made longer by that, rounded up.  Three things follow.

1. *The box* is cut to the ellipsoid's own.
2. *Rows.*  By Cauchy and Schwarz a . (X - centre) >= -sqrt(sum (a_i axis_i)^2) over the ellipsoid.  The sum may leave
   inputs out: those have their minimum over the box, which is better where the box ends on the near side of the centre.
   Products are rounded up to few bits, so that sums of their squares fit in 62 bits.
3. *Leaves.*  A box from which sum ((X_i - centre_i) / axis_i)^2 > 1 holds none of these points.

Every axis is at least one unit; axis 0 stands for an input that the atom does not mention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import isqrt

from farkas.checker.query import Atom, Ball, Box, Case, F, H, K, S

BITS = 26  # of a coefficient, and of a semi-axis
DISTANCE = 40  # fractional bits of squared distances


def ball_of(case: Case) -> Ball | None:
    """The ellipsoid of the first atom that is one and stands, but for its right-hand side, in every disjunct."""
    for atom in case.disjuncts[0] if case.disjuncts else ():
        squares = _squares(atom)
        limits = [_limit(atoms, atom) for atoms in case.disjuncts] if squares else [None]
        found = [c for c in limits if c is not None]
        if len(found) == len(limits):
            return _rounded(len(case.lower), squares, dict(atom.x), max(found))
    return None


def _squares(atom: Atom) -> dict[int, Fraction]:
    """q_i by i; empty where the atom is no ellipsoid."""
    found: dict[int, Fraction] = {}
    for factors, q in atom.products:
        if q <= 0 or len(factors) != 2 or factors[0] != factors[1] or factors[0] % 2:
            return {}
        found[factors[0] // 2] = q
    return {} if atom.y or any(i not in found for i, _ in atom.x) else found


def _limit(atoms: Sequence[Atom], like: Atom) -> Fraction | None:
    """The least right-hand side of the atoms with this left-hand side."""
    return min((a.c for a in atoms if (a.x, a.y, a.products) == (like.x, like.y, like.products)), default=None)


def _rounded(inputs: int, squares: dict[int, Fraction], linear: dict[int, Fraction], limit: Fraction) -> Ball:
    """Integers: distances from the centre grow by that from the true one, in the norm of the ellipsoid."""
    middle = {i: -linear.get(i, Fraction(0)) / (2 * q) for i, q in squares.items()}
    radius = max(Fraction(0), limit + sum(q * middle[i] ** 2 for i, q in squares.items()))
    centre, axes = [0] * inputs, [0] * inputs
    for i in squares:
        centre[i] = (middle[i].numerator << H) // middle[i].denominator
    off = sum((q * (middle[i] * (1 << H) - centre[i]) ** 2 for i, q in squares.items()), Fraction(0))
    for i, q in squares.items():
        axes[i] = max(1, root_up(radius * (1 << 2 * H) / q) + root_up(off / q))
    return Ball(tuple(centre), tuple(axes))


def root_up(value: Fraction) -> int:
    """The least integer >= 0 whose square is not below the value."""
    whole = -((-value.numerator) // value.denominator)
    return isqrt(whole - 1) + 1 if whole > 0 else 0


def cut(box: Box, ball: Ball) -> Box:
    """The box with its ellipsoid, cut to that; as it is where nothing would be left."""
    lower, upper = list(box.lower), list(box.upper)
    for i, (m, r) in enumerate(zip(ball.centre, ball.axes, strict=True)):
        if r:
            lower[i], upper[i] = max(lower[i], m - r), min(upper[i], m + r)
    if any(low > high for low, high in zip(lower, upper, strict=True)):
        return replace(box, ball=ball)
    return Box(tuple(lower), tuple(upper), ball)


def misses(box: Box) -> bool:
    """Whether the box holds no point of its ellipsoid; False where it has none."""
    total = 0
    if box.ball is not None:
        for low, high, m, r in zip(box.lower, box.upper, box.ball.centre, box.ball.axes, strict=True):
            distance = max(0, low - m, m - high)
            if r and distance:
                total += (distance * distance << DISTANCE) // (r * r)
    return total > 1 << DISTANCE


def least(coefficients: Sequence[int], box: Box, ball: Ball) -> int:
    """A lower bound at 2^-K of coefficients (at 2^-(F+S)) . X over the points of the box in the ellipsoid."""
    total = 0
    held: list[tuple[int, int]] = []
    ends = zip(coefficients, box.lower, box.upper, ball.centre, ball.axes, strict=True)
    for c, low, high, m, r in ends:
        if r and (low < m if c > 0 else m < high):
            total += c * m
            held.append((abs(c), r))
        else:
            total += c * (low if c > 0 else high)
    largest = excess(max(ball.axes), BITS)
    return (total >> (F + S + H - K)) - _length(held, largest, len(coefficients))


def _length(held: Sequence[tuple[int, int]], axis_bits: int, inputs: int) -> int:
    """The root of the sum of squares of products (at 2^-(F+S+H)), rounded up to 2^-K.

    axis_bits: that the semi-axes are rounded by.
    """
    bits = excess(max((c for c, _ in held), default=0), BITS)
    sides = [-(-c >> bits) * -(-r >> axis_bits) for c, r in held]
    last = excess(max(sides, default=0), (62 - inputs.bit_length()) // 2)
    squares = sum((-(-side >> last)) ** 2 for side in sides)
    shift = bits + axis_bits + last - (F + S + H - K)
    root = root_up(Fraction(squares))
    return root << shift if shift >= 0 else -(-root >> -shift)


def excess(value: int, bits: int) -> int:
    """By how many bits a number is longer than that."""
    return max(0, value.bit_length() - bits)
