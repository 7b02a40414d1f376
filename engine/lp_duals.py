"""Dual values of a relaxation's LP as the slopes and pins of one backward pass.

The dual value lambda_j of the row that defines neuron j's pre-activation z_j is the coefficient with which the optimal
proof hands z_j down to the layer below.  Walk the row of the weighted atoms backwards as CROWN
does.  At neuron j it arrives with coefficients P >= 0 and Q <= 0 over relu(z_j) and D over z_j itself; lines turn that
into a P + s Q + D, and the slope a in [0, 1] is chosen such that this is lambda_j.  What no slope can give remains:
gamma_j = a P + s Q + D - lambda_j, a pin, for dual feasibility of the LP makes it nonnegative only where z_j >= l_j is
tight and nonpositive only where z_j <= u_j is.  So the multipliers of the two lower faces of a triangle are the slope,
the reduced costs of the bounds are pins, and where lower and upper face are active at once (at a corner) the excess
becomes a pin of that corner; nothing is lost.  The dual ray of an infeasible LP is the same without atoms.

Slopes are then rounded to bytes.  Where the LP has no pin, the rounding is not pinned either but flows down, and the
slopes below, chosen against the coefficients that really arrive, make up for it; a few steps of ascent repair the rest.
What closes is only `Relaxation.optimise`'s outward bound of the rounded numbers.

Salman et al., A Convex Relaxation Barrier to Tight Robustness Verification of Neural Networks, NeurIPS 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from farkas.engine.problem import Matrix, Vector
from farkas.ir.core import Affine, Input, Product, Relu
from farkas.ir.products import refused
from farkas.ir.relaxation import upper_line
from farkas.runtime_cuda.relaxation import Relaxation

LARGEST_WEIGHT = 256.0  # of an atom, and of a coefficient in a leaf without atoms
FINE_WEIGHT = 65536.0  # of an atom, where 256 steps lose a narrow margin
PIN_NOISE = 1e-9  # relative: smaller multipliers of an LP are zeros


@dataclass(frozen=True, eq=False)
class Descent:
    """A row with the slopes and pins that follow an LP's duals: y_row (n_out,), x_row (n0,) or None, slopes, pins (N,);
    negative (N,): -Q, how much the row leans on each neuron's upper line."""

    y_row: Vector
    x_row: Vector | None
    slopes: Vector
    pins: Vector
    negative: Vector


def descend(
    relaxation: Relaxation, lower: Vector, upper: Vector, y_row: Vector, x_row: Vector | None, targets: Vector
) -> Descent:
    """Follow `targets` (N,), the LP's coefficients over pre-activations, down the network; see the top of the file.

    Two rows walk together: row 0 is the LP's own, which is put back on the target at every neuron and shows where the
    LP has pins; row 1 is the one that will be written down.
    """
    net, full = relaxation.net, relaxation.full
    numpy = full.backend.to_numpy
    slopes, pins, negative = np.zeros(full.width), np.zeros(full.width), np.zeros(full.width)
    direct: dict[int, Any] = {net.program.output: np.stack([y_row, y_row])}
    through: dict[int, tuple[Any, Any]] = {}
    for v in range(len(net.nodes) - 1, 0, -1):
        node = net.nodes[v]
        match node:
            case Input():
                raise AssertionError("the input is node 0")
            case Relu(source=source):
                coef = direct.pop(v, None)
                if coef is not None:
                    old = through.get(source, (0.0, 0.0))
                    through[source] = old[0] + np.maximum(coef, 0.0), old[1] + np.minimum(coef, 0.0)
            case Affine():
                coef = direct.pop(v, np.zeros((2, net.sizes[v])))
                if v in net.slots:
                    at = net.kept[net.slots[v]]
                    positive, below = through.pop(v, (np.zeros_like(coef), np.zeros_like(coef)))
                    step = _Step(lower[at], upper[at], targets[at], coef, positive, below)
                    coef, slopes[at], pins[at] = step.follow()
                    negative[at] = -below[1]
                if coef.any():
                    for operand in net.layers[v].operands:
                        found = numpy(operand.map.rmv(full.backend.asarray(coef)))
                        direct[operand.source] = direct[operand.source] + found if operand.source in direct else found
            case Product():
                raise refused("a linear program")
            case _:
                assert_never(node)
    return Descent(y_row, x_row, slopes, pins, negative)


@dataclass(frozen=True, eq=False)
class _Step:
    """The neurons of one layer: bounds, targets (n,); coefficients (2, n) over z, and over relu(z) by sign."""

    lower: Vector
    upper: Vector
    target: Vector
    direct: Matrix
    positive: Matrix
    negative: Matrix

    def follow(self) -> tuple[Matrix, Vector, Vector]:
        """(coefficients over z (2, n) to hand down, slopes (n,), pins (n,))."""
        line = upper_line(np, self.lower, self.upper)
        rest = self.direct + line.slope * self.negative
        wished = np.divide(self.target - rest, self.positive, out=np.zeros_like(rest), where=self.positive > 0)
        slope = np.where(line.unstable, np.clip(wished, 0.0, 1.0), line.slope)
        lean = slope[0] * self.positive[0] + rest[0]
        size = float(abs(self.target).max(initial=0.0))
        is_pinned = abs(lean - self.target) > PIN_NOISE * size
        code = np.floor(slope[1] * 256 + 0.5)
        byte = np.where(line.unstable, np.where(code >= 255, 1.0, code / 256), slope[1])
        coef = byte * self.positive[1] + rest[1]
        pins = np.where(is_pinned, coef - self.target, 0.0)
        # A pin of the other sign than the LP's would lean on a bound that is not tight.
        pins = np.where(np.sign(pins) == np.sign(lean - self.target), pins, 0.0)
        return np.stack([self.target, coef - pins]), byte, pins


def integers(weights: Vector, rows: Matrix, largest: float = LARGEST_WEIGHT) -> Vector:
    """The weights as integers up to `largest` in nearly the same proportion, at least one of them >= 1.

    Only one is not 0 where a weighted sum of the rows (M, n) might have to be rounded: the row must be the exact one.
    """
    if not len(weights) or weights.max() <= 0:
        return np.asarray(weights * 0.0)
    is_whole = bool((rows == np.floor(rows)).all())
    is_exact = is_whole and float(abs(rows).sum(axis=0).max(initial=0.0)) < 2.0**51 / largest
    if not is_exact or np.count_nonzero(weights > weights.max() / (2 * largest)) == 1:
        return np.asarray((np.arange(len(weights)) == weights.argmax()) * 1.0)
    return np.asarray(np.floor(weights * (largest / weights.max()) + 0.5))
