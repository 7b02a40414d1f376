"""Bounds in force of many tree nodes at once, network node by network node: `ReferenceProver._derive` in arrays.

Intervals: with mid = l + h and spread = h - l, 2 sum w [l, h] = sum w mid -+ sum |w| spread, and sum |w| max(|l|, |h|)
is the magnitude M of the error lemma.  Then backward bounds for the neurons that the parent left unsettled, tree nodes
of like numbers together, so that little is computed twice to fill rectangular arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from farkas.checker.query import Affine, H, Input, K, P, Relu
from farkas.checker_fast.frame import Frame
from farkas.checker_fast.layers import Layer
from farkas.checker_fast.limbs import Budget, Flags, Floats, Ints, Term, floor_sum, limbs_of, split
from farkas.checker_fast.matrices import apply, times_transposed
from farkas.checker_fast.seeds import neuron_seeds

UNIT = 1 << 24


@dataclass(frozen=True)
class Interval:
    """(B, rows): bounds at 2^-P, errors at 2^-K; bad (B,): some limit was passed, numbers are meaningless."""

    low: Floats
    high: Floats
    errors: Floats
    bad: Flags


def interval(layer: Layer, lows: list[Floats], highs: list[Floats], budget: Budget) -> Interval:
    """Bounds of the node's value from the bounds (B, columns) of its operands, per operand."""
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
    if not layer.errors:
        return Interval(low, high, np.zeros_like(low), bad)
    sizes = floor_sum(magnitude, P) + layer.magnitude + 1.0
    errors, large = error_terms(sizes, layer.node.count + 2, budget)
    widths = -np.floor(errors * -(2.0 ** (P - K)))
    return Interval(low - widths, high + widths, errors, bad | large)


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
    """Bounds in force at children, node by node; empty and bad children go on as zeros."""

    def __init__(self, frame: Frame, parents: Floats, bad: Flags, chunk: int) -> None:
        self.frame = frame
        self.bad = bad.copy()
        self.empty = np.zeros(len(bad), np.bool_)
        self._parents = parents
        self._chunk = chunk

    def run(self) -> None:
        frame, made = self.frame, self.frame.plan
        for v, node in enumerate(made.network.nodes):
            errors = np.zeros((len(self.bad), made.network.sizes[v]))
            match node:
                case Input():
                    low, high = np.floor(frame.box_low * 2.0 ** (P - H)), np.ceil(frame.box_high * 2.0 ** (P - H))
                case Relu(source):
                    low, high = np.maximum(frame.low[source], 0.0), np.maximum(frame.high[source], 0.0)
                case Affine():
                    layer = frame.layer(v)
                    sources = [operand.source for operand in layer.operands]
                    found = interval(
                        layer, [frame.low[a] for a in sources], [frame.high[a] for a in sources], made.budget
                    )
                    low, high, errors = found.low, found.high, found.errors
                    self.bad |= found.bad
                case _:
                    assert_never(node)
            place = made.places[v]
            unsettled: Flags | None = None
            if place is not None:
                known_low, known_high = self._parents[:, 0, place], self._parents[:, 1, place]
                low, high = np.maximum(low, known_low), np.minimum(high, known_high)
                unsettled = (known_low < 0) & (known_high > 0)
            frame.low.append(low)
            frame.high.append(high)
            frame.errors.append(errors)
            self._settle(v)
            if unsettled is not None and isinstance(node, Affine) and made.feeds_relu[v]:
                self._tighten(v, unsettled)
                self._settle(v)

    def _settle(self, v: int) -> None:
        """Zeros where a bound is too large."""
        low, high = self.frame.low[v], self.frame.high[v]
        self.bad |= np.maximum(high, -low).max(axis=1) >= self.frame.plan.budget.value
        self._clear(v)

    def _clear(self, v: int) -> None:
        """Notes the children without executions; zeros for what is bad or empty."""
        low, high = self.frame.low[v], self.frame.high[v]
        self.empty |= (low > high).any(axis=1) & ~self.bad
        gone = self.empty | self.bad
        if gone.any():
            low[gone], high[gone], self.frame.errors[v][gone] = 0.0, 0.0, 0.0

    def _tighten(self, v: int, unsettled: Flags) -> None:
        """Backward bounds for the unsettled neurons (B, size) of affine node v, children of like number together."""
        unsettled = unsettled & ~(self.bad | self.empty)[:, None]
        counts = unsettled.sum(axis=1)
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] > 0]
        for chosen in self._parts(order, counts, v):
            most = int(counts[chosen[0]])
            neurons = np.argsort(~unsettled[chosen], axis=1, kind="stable")[:, :most]
            neurons = np.where(
                np.arange(most) < counts[chosen][:, None], neurons, neurons[:, :1]
            )  # fill with the first
            step = max(1, self._chunk // (2 * self._width(v) * len(chosen)))
            for at in range(0, most, step):
                self._bound(v, chosen, neurons[:, at : at + step])

    def _parts(self, order: Ints, counts: Ints, v: int) -> Iterator[Ints]:
        at = 0
        while at < len(order):
            step = max(1, self._chunk // (2 * int(counts[order[at]]) * self._width(v)))
            yield order[at : at + step]
            at += step

    def _width(self, v: int) -> int:
        """The longest coefficient vector below node v."""
        keeps = [self.frame.keep(a) for a in range(v)]
        return max(
            size if keep is None else len(keep)
            for size, keep in zip(self.frame.plan.network.sizes, keeps, strict=False)
        )

    def _bound(self, v: int, chosen: Ints, neurons: Ints) -> None:
        """Intersects the bounds of the neurons (B, R) of node v in the children chosen with their backward bounds."""
        low, high, at = self.frame.low[v], self.frame.high[v], (chosen[:, None], neurons)
        for rule in self.frame.plan.intermediate:
            sweep = neuron_seeds(self.frame, chosen, v, neurons, rule)
            values = (sweep.run(v) >> (K - P)).astype(np.float64)
            self.bad[chosen] |= sweep.bad
            values[sweep.bad] = -np.inf
            count = neurons.shape[1]
            low[at] = np.maximum(low[at], values[:, :count])
            high[at] = np.minimum(high[at], -values[:, count:])
