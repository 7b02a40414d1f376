"""Bounds of neurons under the signs decided so far: rows of their own, with pins on the neurons that were split.

A split is a half-space for what lies below it, and a neuron's own bounds feel it only through a multiplier: the row of
z_j takes pins like any other row (adjoint.py), on split neurons of lower layers and of its own, and the best ones are
found by the same ascent.  Where few inputs feed many neurons this is what makes splits worth having; with hundreds of
inputs one half-space cuts too little off the box, and a row with pins costs many plain ones (figures in
engine/relu_refresh.py, which decides by the structure).

Only the pins are looked for; slopes are the adaptive ones, stated explicitly for the checker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farkas.runtime_cuda.adjoint import Passes, Start
from farkas.runtime_cuda.optimise import Allowed, Variables, climb, rounded_pins, rounded_slopes


@dataclass(frozen=True, eq=False)
class PinnedRows:
    """Rows +z_j, then -z_j, of (B, R) neurons: proved lower bounds (B, 2R), slopes as bytes and pins (B, 2R, width)."""

    value: Any
    slopes: Any
    pins: Any


def pinned_rows(sure: Passes, rough: Passes, v: int, index: Any, lower: Any, upper: Any, steps: int) -> PinnedRows:
    """Lower bounds of +z and -z for neurons `index` (B, R) of node v, under bounds in force (B, width).

    Pins stand on neurons with a bound of exactly 0: those whose sign was decided.  All arrays are those of the packed
    program.
    """
    xp = sure.xp
    start = _units(sure, v, index)
    relaxed, coarse = sure.relax(lower, upper, v), rough.relax(lower, upper, v)
    slopes = sure.adaptive(relaxed)
    is_open = ((lower < 0) & (upper > 0))[:, None]
    on_lower = ((lower == 0) & (upper > 0))[:, None]
    on_upper = ((upper == 0) & (lower < 0))[:, None]
    allowed = Allowed(xp.zeros(is_open.shape, dtype=bool), on_lower, on_upper)
    zeros = xp.zeros((lower.shape[0], 1, lower.shape[1]))
    first = Variables(rough.cast(slopes), rough.cast(zeros))
    _, best = climb(rough, rough.cast_start(start), coarse, allowed, first, (lower, upper), steps)
    pins = rounded_pins(xp, best.pins)
    found = sure.descend(start, relaxed, sure.pins(pins, lower, upper), rigorous=True, keep=False)
    code, _ = rounded_slopes(xp, xp.broadcast_to(slopes, pins.shape), is_open)
    return PinnedRows(found.value, code, pins)


def _units(passes: Passes, v: int, index: Any) -> Start:
    """Rows +e_j, then -e_j over the value of node v itself, so that pins of its own layer can meet them."""
    xp = passes.xp
    unit = xp.zeros((*index.shape, passes.net.sizes[v]))
    xp.put_along_axis(unit, index[:, :, None], 1.0, axis=2)
    rows = xp.concatenate([unit, -unit], axis=1)
    return Start({v: rows}, xp.zeros(rows.shape[:2]), v)
