"""Which input to bisect: the one whose width costs the bound most.

The bound of a row over a box is A x + c minimised; halving input i gains |A_i| w_i / 2 there directly.  It also
narrows every unstable neuron that depends on input i, and with it the gap of that neuron's relaxation.  The intercept
of the upper line, -u l / (u - l), has the derivatives -(u / (u - l))^2 in l and (l / (u - l))^2 in u, and l and u
themselves are rows over the input whose coefficients were computed on the way.  So

    score_i = sum over open rows [ |A_i| w_i / 2
              + sum over unstable neurons n |A_n| (d_n^2 |L_ni| + (1 - d_n)^2 |U_ni|) w_i / 2 ],   d = u / (u - l),

with A_n the row's coefficient over neuron n and L_n, U_n the input coefficients of its bounds.  The rule |A_i| w_i
alone needed 66 000 boxes where this needs 583: with lower slopes of 0 the final row may not see an input at all that
drives the looseness of every intermediate bound.  One slope set is used throughout; mixing sets ruins the score.
Products have their gap instead: r s between half widths r and s, with the derivatives s and r.
"""

from __future__ import annotations

from typing import Any

from farkas.ir.core import Product, Relu
from farkas.runtime_cuda.crown import Refined, Rows
from farkas.runtime_cuda.prepared import Prepared


def sensitivity(net: Prepared, refined: Refined, rows: Rows, weights: Any) -> Any:
    """(B, n0) scores of the inputs; weights: (B, R) of the rows that are still open (0 for the others)."""
    boxes = refined.boxes
    half = 0.5 * (boxes.x_upper - boxes.x_lower)
    score = (abs(rows.inputs[:, 0]) * weights[:, :, None]).sum(axis=1)
    for r, coef in rows.neurons.items():
        node, xp = net.nodes[r], net.backend.xp
        weight = (abs(coef[:, 0]) * weights[:, :, None]).sum(axis=1)
        if isinstance(node, Product):
            score = score + _of_product(net, refined, node, weight)
            continue
        assert isinstance(node, Relu), "coefficients are kept of Relu and Product nodes"
        if node.source not in refined.influence:
            continue
        index, low, high = refined.influence[node.source]
        l, u = boxes.lower[node.source], boxes.upper[node.source]
        unstable = (l < 0) & (u > 0)
        d = xp.where(unstable, u / xp.where(unstable, u - l, 1.0), 0.0)
        on_low = xp.take_along_axis(weight * unstable * d * d, index, axis=1)
        on_high = xp.take_along_axis(weight * unstable * (1 - d) * (1 - d), index, axis=1)
        score = score + (on_low[:, None] @ abs(low))[:, 0] + (on_high[:, None] @ abs(high))[:, 0]
    return score * half


def _of_product(net: Prepared, refined: Refined, node: Product, weight: Any) -> Any:
    """(B, n0): what narrower factors bring; the lines of x y are at most r s apart from it, r and s the half widths.

    weight (B, n).  A factor's ends count with half the other factor's half width each.
    """
    boxes, xp = refined.boxes, net.backend.xp
    score: Any = 0.0
    for factor, other in ((node.left, node.right), (node.right, node.left)):
        gain = weight * (0.25 * (boxes.upper[other] - boxes.lower[other]))
        gain = xp.where(xp.isfinite(gain), gain, 0.0)
        if factor == 0:
            score = score + 2.0 * gain
            continue
        below = net.nodes[factor]
        source = below.source if isinstance(below, Relu) else factor
        if source in refined.influence:
            index, low, high = refined.influence[source]
            share = xp.take_along_axis(gain, index, axis=1)
            score = score + (share[:, None] @ (abs(low) + abs(high)))[:, 0]
    return score
