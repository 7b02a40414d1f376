"""Bounds in force of many tree nodes at once, network node by network node: `ReferenceProver._derive` in arrays.

Intervals: with mid = l + h and spread = h - l, 2 sum w [l, h] = sum w mid -+ sum |w| spread, and sum |w| max(|l|, |h|)
is the magnitude M of the error lemma.  Then backward bounds (`tighten.py`) for the neurons that the parent left
unsettled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np

from farkas.checker.query import Affine, H, Input, K, P, Relu
from farkas.checker_fast.frame import Frame
from farkas.checker_fast.layers import Layer
from farkas.checker_fast.limbs import Budget, Flags, Floats, Ints, Term, floor_sum, limbs_of, split
from farkas.checker_fast.matrices import apply, times_transposed
from farkas.checker_fast.tighten import Children, Work

UNIT = 1 << 24


@dataclass(frozen=True)
class Interval:
    """(B, rows): bounds at 2^-P, errors at 2^-K; bad (B,): some limit was passed, numbers are meaningless."""

    low: Floats
    high: Floats
    errors: Floats
    bad: Flags


def interval(layer: Layer, lows: list[Floats], highs: list[Floats], budget: Budget, planned: bool) -> Interval:
    """Bounds of the node's value from the bounds (B, columns) of its operands, per operand.

    planned: errors are those of crown-fp-2.
    """
    largest = [np.maximum(h, -l) for l, h in zip(lows, highs, strict=True)]
    peak = np.max([x.max(axis=1) for x in largest], axis=0)
    total = sum(operand.row_total for operand in layer.operands)
    bad = np.max([x.sum(axis=1) for x in largest], axis=0) * 2 * len(largest) >= budget.value
    bad |= peak * total * 2.0 ** (2 - P) >= budget.value
    if bad.any():
        lows, highs, largest = ([np.where(bad[:, None], 0.0, x) for x in xs] for xs in (lows, highs, largest))
        peak = np.where(bad, 0.0, peak)
    count = limbs_of(2 * float(peak.max()), layer.forward)
    middle, spread, magnitude = _terms(layer, lows, highs, largest, count)
    below: list[Term] = [(e, m - s) for (e, m), (_, s) in zip(middle, spread, strict=True)]
    above: list[Term] = [(e, -m - s) for (e, m), (_, s) in zip(middle, spread, strict=True)]
    for operand, l, h, x in zip(layer.operands, lows, highs, largest, strict=True):
        if not operand.exact:
            below.append((0, 2 * operand.missing(np.minimum(l, 0.0))))
            above.append((0, -2 * operand.missing(np.maximum(h, 0.0))))
            magnitude.append((0, operand.missing(x)))
    low = floor_sum(below, P + 1) + layer.bias
    high = layer.bias + (0.0 if layer.node.bias_exact else 1.0) - floor_sum(above, P + 1)
    hidden = np.zeros_like(low)
    if planned:
        exposed = [o.missing(np.maximum(-l, 0.0)) for o, l in zip(layer.operands, lows, strict=True) if not o.exact]
        hidden += np.ceil(sum(exposed, hidden) * 2.0 ** (K - 2 * P))
    if not layer.errors:
        return Interval(low, high, hidden, bad)
    sizes = floor_sum(magnitude, P) + layer.magnitude + 1.0
    errors, large = error_terms(sizes, layer.node.count + 2, budget)
    widths = -np.floor(errors * -(2.0 ** (P - K)))
    return Interval(low - widths, high + widths, errors + hidden, bad | large)


def _terms(
    layer: Layer, lows: list[Floats], highs: list[Floats], largest: list[Floats], count: int
) -> tuple[list[Term], list[Term], list[Term]]:
    """The terms of W mid, |W| spread and |W| largest, summed over the operands exponent by exponent."""
    middle: dict[int, Floats] = {}
    both: dict[int, Floats] = {}
    base, boxes = layer.forward, len(lows[0])
    for operand, l, h, x in zip(layer.operands, lows, highs, largest, strict=True):
        mids = split(l + h, base, count)
        others = split(np.concatenate([h - l, x]), base, count)
        for exponent, limb in operand.limbs:
            absolute = apply(np.abs, limb)
            for k in range(count):
                e = exponent + base * k
                middle[e] = middle.get(e, 0.0) + times_transposed(mids[k], limb)
                both[e] = both.get(e, 0.0) + times_transposed(others[k], absolute)
    exponents = sorted(middle)
    return (
        [(e, middle[e]) for e in exponents],
        [(e, both[e][:boxes]) for e in exponents],
        [(e, both[e][boxes:]) for e in exponents],
    )


def box_bounds(frame: Frame) -> tuple[Floats, Floats]:
    """Bounds of the input from the boxes, (B or 1, inputs)."""
    return np.floor(frame.box_low * 2.0 ** (P - H)), np.ceil(frame.box_high * 2.0 ** (P - H))


def affine_bounds(frame: Frame, v: int, rows: Ints | slice = slice(None)) -> Interval:
    """Bounds of affine node v by interval arithmetic, in the given tree nodes."""
    layer = frame.layer(v)
    lows = [frame.low[operand.source][rows] for operand in layer.operands]
    highs = [frame.high[operand.source][rows] for operand in layer.operands]
    return interval(layer, lows, highs, frame.plan.budget, frame.plan.planned)


def error_terms(sizes: Floats, k: int, budget: Budget) -> tuple[Floats, Flags]:
    """(ceil(size k 2^(K-P) / (2^24 - k)) + 1, (B,) where that is too large); k <= 2^22."""
    limit = min(budget.value, 2.0**60 / k)
    large = sizes.max(axis=1) >= limit
    products = np.where(large[:, None], 0.0, sizes).astype(np.int64) * k
    quotient, remainder = np.divmod(products, UNIT - k)
    errors = (quotient << (K - P)) - ((-(remainder << (K - P))) // (UNIT - k)) + 1
    large |= errors.max(axis=1) >= budget.value
    return np.where(large[:, None], 0, errors).astype(np.float64), large


class Forward:
    """Bounds in force at children by the rule crown-fp-1, node by node."""

    def __init__(self, work: Work) -> None:
        frame = Frame(work.plan, work.box_low, work.box_high, balls=work.balls)
        self.children = Children(frame, work.bad.copy(), np.zeros(len(work.bad), np.bool_), work.chunk)
        self._parents = work.parents

    def run(self) -> Children:
        children, frame = self.children, self.children.frame
        made = frame.plan
        for v, node in enumerate(made.network.nodes):
            errors = np.zeros((len(self._parents), made.network.sizes[v]))
            match node:
                case Input():
                    low, high = box_bounds(frame)
                case Relu(source):
                    low, high = np.maximum(frame.low[source], 0.0), np.maximum(frame.high[source], 0.0)
                case Affine():
                    found = affine_bounds(frame, v)
                    low, high, errors = found.low, found.high, found.errors
                    children.bad |= found.bad
                case _:
                    assert_never(node)
            place = made.places[v]
            unsettled: Flags | None = None
            if place is not None:
                known_low, known_high = self._parents[:, 0, place], self._parents[:, 1, place]
                low, high = np.maximum(low, known_low), np.minimum(high, known_high)
                unsettled = (known_low < 0) & (known_high > 0)
            children.append(v, low, high, errors)
            if unsettled is not None and made.slots[v] is not None and made.intermediate:
                children.tighten(v, unsettled, made.intermediate)
        return children
