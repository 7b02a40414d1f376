"""Rows over an ellipsoid of inputs: what the box does not know of an input set in the Euclidean norm.

Where all points that are asked about satisfy sum (x_i - m_i)^2 / s_i <= R^2, a row a x is at least

    a m - R sqrt(sum a_i^2 s_i)

there (Cauchy and Schwarz, and no better bound exists), with the interval's part for inputs that the sum does not
mention.  Every row ends over the input, so that this one line makes all bounds of a pass bounds over the ellipsoid; the
larger of this and the box's minimum counts.  What is bounded so holds on these points alone, which is all that a
property asks where each of its disjuncts has them so (`engine/ball.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farkas.runtime_cuda.rounding import up

NEAR = 1.0 - 2.0**-18  # share of a squared distance that counts: more than up to 2^30 sums lose
TINY_ROOT = 2.0**-480  # above the root of what underflows in up to 2^60 squares, below 2^-1022 each


@dataclass(frozen=True, eq=False)
class Ball:
    """centre (n0,); scale (n0,): s_i rounded up, 0 where an input is not restricted; radius (B,) by box, rounded up."""

    centre: Any
    scale: Any
    radius: Any

    def take(self, index: Any) -> Ball:
        """The same for some of the boxes."""
        return Ball(self.centre, self.scale, self.radius[index])

    def misses(self, xp: Any, x_lower: Any, x_upper: Any) -> Any:
        """(B,): boxes (B, n0) that hold none of its points; none that are near it, for distances are rounded."""
        held, centre = self.scale > 0, xp.broadcast_to(self.centre, x_lower.shape)
        away = xp.maximum(x_lower - centre, centre - x_upper) - (abs(centre) + abs(x_lower) + abs(x_upper)) * 2.0**-50
        away = xp.where(held, xp.maximum(away, 0.0), 0.0)
        squares = (away * away / xp.where(held, self.scale, 1.0)).sum(axis=-1)
        return squares * NEAR > self.radius * self.radius


def span(xp: Any, radius: Any, squares: Any, gamma: float) -> Any:
    """R sqrt(sum a_i^2 s_i), rounded up, from the sum as computed with a relative error of at most gamma."""
    return up(radius * (up(xp.sqrt(squares) * (1.0 + gamma)) + TINY_ROOT))
