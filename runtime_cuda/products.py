"""Linear lines below and above a product x y over a box, and its interval: McCormick, rounded outward.

For x in [l, u] and y in [m, v] the lines of McCormick follow from (x - l)(y - m) >= 0 and its three sisters:

    x y >= m x + l y - l m      x y >= v x + u y - u v      x y <= v x + l y - l v      x y <= m x + u y - u m

Together they are the convex hull of the product over the box.  A row can take one line below (where its coefficient is
positive) and one above, and which is best depends on what stands further down, so the slope rules of crown.py try
three: ADAPTIVE the line of the two that says more over the box by itself, ZERO the constant (the interval's end, which
no line reaches where both factors change sign), PARALLEL the mean of both, whose slopes are the gradient at the centre.
A square is better known: every tangent is below it, and the chord above; ADAPTIVE and PARALLEL take the tangent at
the centre, ZERO the one at the point nearest to 0, which holds the interval's end.

Why sound: for *any* slopes p, q the function x y - p x - q y is bilinear and so least at a corner of the box; the
constant of a line is that least value (for squares: x^2 - p x >= -p^2 / 4, and largest at an end), and no choice or
rounding of slopes needs a proof.  The constant is lowered by what its own float64 operations lose and by what the sums
lose in which the slopes' share of a row is collected: `engine_gamma` of the magnitude, as in rounding.py.

Cutting a box in two divides the distance between the lines by two (an input of a product) or four (of a square): with
input splitting the relaxation becomes exact in the limit, and nothing else is needed to decide with a margin.

McCormick, Computability of global solutions to factorable nonconvex programs: Part I, Mathematical Programming, 1976.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farkas.runtime_cuda.rounding import U64, engine_gamma, up

TINY = 2.0**-1000  # covers underflow of float64
Ends = tuple[Any, Any]  # bounds (B, n) of a factor
Slopes = tuple[Any, Any]  # of a line in both factors, (B, n)


@dataclass(frozen=True, eq=False)
class Plane:
    """left x + right y + const, by slope rule: (rules, B, n) each."""

    left: Any
    right: Any
    const: Any


@dataclass(frozen=True, eq=False)
class ProductLines:
    """below <= x y <= above over a batch of boxes."""

    below: Plane
    above: Plane


def interval(xp: Any, x: Ends, y: Ends, *, square: bool) -> Ends:
    """Bounds of x y from those of x and y, (B, n) each; of x^2, which is never negative, where y is x."""
    ends = [a * b for a in x for b in y]
    low = xp.minimum(xp.minimum(ends[0], ends[1]), xp.minimum(ends[2], ends[3]))
    high = xp.maximum(xp.maximum(ends[0], ends[1]), xp.maximum(ends[2], ends[3]))
    if square:
        low = xp.where((x[0] <= 0) & (x[1] >= 0), 0.0, xp.minimum(ends[0], ends[3]))
    low, high = low - 2 * U64 * abs(low) - TINY, high + 2 * U64 * abs(high) + TINY
    return (xp.maximum(low, 0.0) if square else low), high


def product_lines(xp: Any, x: Ends, y: Ends, rules: tuple[int, ...], terms: int, *, square: bool) -> ProductLines:
    """Lines of x y by slope rule (0: ADAPTIVE, 1: ZERO, 2: PARALLEL); terms: the longest sum that they enter."""
    pairs = [_square(xp, x, rule) if square else _mccormick(xp, x, y, rule) for rule in rules]
    below = [_plane(xp, x, y, slopes, -1.0, terms, square=square) for slopes, _ in pairs]
    above = [_plane(xp, x, y, slopes, 1.0, terms, square=square) for _, slopes in pairs]
    return ProductLines(*(Plane(*(xp.stack(part) for part in zip(*side, strict=True))) for side in (below, above)))


def _square(xp: Any, x: Ends, rule: int) -> tuple[Slopes, Slopes]:
    """Slopes of a tangent and of the chord, all on the first factor."""
    l, u = x
    at = xp.maximum(l, xp.minimum(u, 0.0)) if rule == 1 else 0.5 * l + 0.5 * u
    return (2.0 * at, 0.0 * at), (l + u, 0.0 * at)


def _mccormick(xp: Any, x: Ends, y: Ends, rule: int) -> tuple[Slopes, Slopes]:
    """Slopes of a line below and of one above."""
    (l, u), (m, v) = x, y
    if rule == 1:
        return (0.0 * l, 0.0 * m), (0.0 * l, 0.0 * m)
    if rule == 2:
        middle = 0.5 * m + 0.5 * v, 0.5 * l + 0.5 * u
        return middle, middle
    low = [xp.minimum(p * l, p * u) + xp.minimum(q * m, q * v) - p * q for p, q in ((m, l), (v, u))]
    high = [xp.maximum(p * l, p * u) + xp.maximum(q * m, q * v) - p * q for p, q in ((v, l), (m, u))]
    below, above = low[0] >= low[1], high[0] <= high[1]
    return (xp.where(below, m, v), xp.where(below, l, u)), (xp.where(above, v, m), xp.where(above, l, u))


def _plane(xp: Any, x: Ends, y: Ends, slopes: Slopes, side: float, terms: int, *, square: bool) -> tuple[Any, Any, Any]:
    """Left, right, constant of the line with these slopes: below the product for side -1, above it for 1."""
    p, q = slopes
    if not square:
        values = [a * b - p * a - q * b for a in x for b in y]
    elif side < 0:
        values = [-0.25 * (p * p)]
    else:
        values = [a * a - p * a for a in x]
    pick = xp.minimum if side < 0 else xp.maximum
    const = values[0]
    for value in values[1:]:
        const = pick(const, value)
    a, b = (xp.maximum(abs(low), abs(high)) for low, high in (x, y))
    magnitude = (a + 0.5 * abs(p)) * (a + 0.5 * abs(p)) if square else a * b + abs(p) * a + abs(q) * b
    const = const + side * (up(2.0 * engine_gamma(terms) * magnitude) + TINY)
    finite = xp.isfinite(const) & xp.isfinite(p) & xp.isfinite(q)
    return xp.where(finite, p, 0.0), xp.where(finite, q, 0.0), xp.where(finite, const, side * xp.inf)
