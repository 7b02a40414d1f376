"""Backward substitution for many rows at once: `ReferenceProver.row_bound` in arrays (tree nodes, rows, neurons).

Every step bounds its numbers before it computes with them, per tree node; a tree node in which a limit is passed is
marked bad, its numbers are replaced by zeros, and the reference kernel does it again.  Constants are held in int64;
`reach` bounds what they can have become.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from farkas.checker.query import Affine, F, G, H, Input, K, P, Relu, S
from farkas.checker_fast import balls
from farkas.checker_fast.frame import Frame, Slopes
from farkas.checker_fast.layers import Layer, Operand
from farkas.checker_fast.limbs import (
    WORD,
    Flags,
    Floats,
    Ints,
    Term,
    floor_dot,
    floor_scale,
    floor_sum,
    floor_sum_words,
    limbs_of,
    split,
)
from farkas.checker_fast.matrices import times
from farkas.checker_fast.stated import Stated, pin_costs


@dataclass
class Sweep:
    """Rows to bound from below in the tree nodes `chosen` of a frame.

    constant: (B, R) at 2^-K.  reach: (B,) bounds its magnitude.  bad: (B,).  pending: per network node (B, R, kept
    neurons) at 2^-(F+S), or at 2^-F where the plan says coarse.  stated: explicit slopes and pins, beside rule 0.
    """

    frame: Frame
    chosen: Ints
    rule: int
    constant: Ints
    reach: Floats
    bad: Flags
    stated: Stated | None = None
    pending: dict[int, Floats] = field(default_factory=dict)

    def run(self, start: int) -> Ints:
        """Works from node `start` down to the input; the bounds at 2^-K, meaningless where bad."""
        if self.stated is not None:
            self.bad |= self.stated.bad
        for v in range(start, -1, -1):
            if self.stated is not None:
                self._pin(v, self.stated)
            coefficients = self.pending.pop(v, None)
            if coefficients is None:
                continue
            node = self.frame.plan.network.nodes[v]
            match node:
                case Input():
                    self._input(v, coefficients)
                case Relu(source):
                    self._relu(v, source, coefficients)
                case Affine():
                    self._affine(v, coefficients)
                case _:
                    assert_never(node)
        self.bad |= self.reach >= WORD
        return self.constant

    def send(self, v: int, coefficients: Floats) -> None:
        """Adds coefficients (owned, at 2^-F, below 2^(bits-3)) over node v."""
        budget = self.frame.plan.budget
        if not self.frame.plan.coarse[v]:
            self._limit(coefficients, budget.coefficient)
            coefficients *= 2.0**S
        self._add(v, coefficients)

    def _add(self, v: int, coefficients: Floats) -> None:
        known = self.pending.get(v)
        if known is None:
            self.pending[v] = coefficients
        else:
            known += coefficients
            self._limit(known, self.frame.plan.budget.value)

    def _limit(self, x: Floats, limit: float) -> Floats:
        """(B,): max |x|.  Where it is not below the limit, bad, and both are zero."""
        flat = x.reshape(len(x), -1)
        largest: Floats = np.maximum(flat.max(axis=1), -flat.min(axis=1))
        self._reject(largest >= limit, x, largest)
        return largest

    def _reject(self, where: Flags, *arrays: Floats) -> None:
        if where.any():
            self.bad |= where
            for x in arrays:
                x[where] = 0.0

    def _spend(self, constant: Ints, reach: Floats) -> None:
        self.constant += constant
        self.reach += reach

    def _input(self, v: int, coefficients: Floats) -> None:
        frame, budget = self.frame, self.frame.plan.budget
        bound = self._limit(coefficients, budget.value)
        both = np.concatenate([np.maximum(coefficients, 0.0), np.minimum(coefficients, 0.0)], axis=2)
        ends = np.concatenate([frame.box_low, frame.box_high], axis=1)
        if len(ends) > 1:
            ends = ends[self.chosen]
        step = 0 if frame.plan.coarse[v] else S
        constant, reach = floor_dot(both, bound, ends, F + step + H - K, budget)
        if frame.balls is not None:
            low, high = np.split(ends, 2, axis=1)
            other, far = balls.least(frame.balls, self.chosen, coefficients, bound, low, high, step, budget)
            constant, reach = np.maximum(constant, other), np.maximum(reach, far)
        self._spend(constant, reach)

    def _pin(self, v: int, stated: Stated) -> None:
        """The pins of node v.  Those of a node that the rows do not reach are left to the reference kernel."""
        pins, coefficients = stated.pins_of(v), self.pending.get(v)
        if pins is None:
            return
        if coefficients is None:
            self.bad[pins.nodes] = True
            return
        frame, keep = self.frame, self.frame.keep(v)
        at = pins.neurons if keep is None else np.searchsorted(keep, pins.neurons)
        coefficients[pins.nodes, pins.rows, at] -= pins.gammas * 2.0**S
        self._limit(coefficients, frame.plan.budget.value)
        where = self.chosen[pins.nodes], pins.neurons
        low, high = frame.before.get(v, (frame.low[v], frame.high[v]))
        bounds = np.where(pins.gammas > 0, low[where], high[where])
        self._spend(*pin_costs(pins, bounds, (len(self.constant), self.constant.shape[1])))

    def _relu(self, v: int, source: int, coefficients: Floats) -> None:
        frame, budget = self.frame, self.frame.plan.budget
        if not frame.plan.coarse[v]:
            floor_scale(coefficients, S)
        slopes = frame.slopes(v, self.rule)
        negative = np.minimum(coefficients, 0.0)
        coefficients -= negative
        bound = -negative.reshape(len(negative), -1).min(axis=1)
        largest = np.maximum(bound, coefficients.reshape(len(negative), -1).max(axis=1))
        self._reject(largest >= budget.coefficient, coefficients, negative, bound)
        intercept = slopes.intercept[self.chosen]
        if intercept.any():
            self._spend(*floor_dot(negative, bound, intercept, F + P - K, budget))
        coefficients *= self._below(v, source, slopes)
        negative *= slopes.above[self.chosen][:, None, :]
        coefficients += negative
        self._add(source, coefficients)

    def _below(self, v: int, source: int, slopes: Slopes) -> Floats:
        """The slopes below of ReLU node v, (B, 1 or R, kept neurons)."""
        below = slopes.below[self.chosen][:, None, :]
        said = None if self.stated is None else self.stated.below(source, self.frame.keep(v))
        if said is None:
            return below
        result: Floats = np.where((said >= 0) & slopes.unstable[self.chosen][:, None, :], said, below)
        return result

    def _affine(self, v: int, coefficients: Floats) -> None:
        frame, budget = self.frame, self.frame.plan.budget
        layer = frame.packed(v)
        absolute = np.abs(coefficients)
        bound = absolute.reshape(len(absolute), -1).max(axis=1)
        most = max(operand.column_total for operand in layer.operands) * 2.0 ** (1 - S - P)
        self._reject((bound >= budget.value) | (bound * most >= budget.value), coefficients, absolute, bound)
        sums = missing = None
        if not layer.node.bias_exact or not all(operand.exact for operand in layer.operands):
            ones = np.ones(coefficients.shape[2])
            sums = absolute @ ones
            self._reject(sums.max(axis=1) >= budget.value, coefficients, absolute, bound, sums)
            missing = ((coefficients @ ones - sums) * 0.5).reshape(-1, 1)
        if layer.errors or frame.plan.planned:
            self._errors(v, bound, absolute)
        for operand in layer.operands:
            self._loss(operand, sums)
        flat = coefficients.reshape(-1, coefficients.shape[2])
        pieces = split(flat, layer.back, limbs_of(float(bound.max()), layer.back))
        self._biases(layer, bound, pieces, missing)
        for operand in layer.operands:
            terms = _products(operand, layer.back, pieces)
            if missing is not None and not operand.exact:
                terms.append((0, missing if operand.pattern is None else times(np.minimum(flat, 0.0), operand.pattern)))
            self.send(operand.source, floor_sum(terms, S + P).reshape(*coefficients.shape[:2], -1))

    def _biases(self, layer: Layer, bound: Floats, pieces: Floats, missing: Floats | None) -> None:
        """What the biases contribute; missing: per row, the sum of the negative coefficients."""
        shift = F + S + P - K
        terms: list[Term] = [
            (layer.back * k + exponent, piece @ limb)
            for k, piece in enumerate(pieces)
            for exponent, limb in layer.bias_limbs
        ]
        if missing is not None and not layer.node.bias_exact:
            terms.append((0, missing))
        reach = bound * (layer.bias_total + pieces.shape[2]) * 2.0 ** (1 - shift) + 2.0
        self._spend(floor_sum_words(terms, shift).reshape(self.constant.shape), reach)

    def _errors(self, v: int, bound: Floats, absolute: Floats) -> None:
        """What the errors cost: coefficients rounded up to 2^-16, zeros kept."""
        errors, keep = self.frame.errors[v][self.chosen], self.frame.keep(v)
        down = 2.0 ** (G - F - S)
        hats = absolute * down
        np.floor(hats, out=hats)
        hats += 1.0
        np.minimum(hats, absolute, out=hats)
        costs = -(errors if keep is None else errors[:, keep])
        self._spend(*floor_dot(hats, bound * down + 1.0, costs, G, self.frame.plan.budget))

    def _loss(self, operand: Operand, sums: Floats | None) -> None:
        """What flooring the coefficients over the operand's source may cost; sums: per row, of |coefficients|."""
        exposed = self.frame.exposed(operand.source)[self.chosen]
        if not exposed.any():
            return
        if operand.exact or sums is None or self.frame.plan.planned:
            loss = np.ones_like(self.constant)
        else:
            loss = 2 + np.floor(sums * 2.0 ** (-S - P)).astype(np.int64)
        cost = loss.max(axis=1) * exposed
        too_much = (exposed >= self.frame.plan.budget.value) | (cost >= WORD)
        self.bad |= too_much
        whole = np.where(too_much, 0.0, exposed).astype(np.int64)
        shift = F + P - K
        self._spend((-loss * whole[:, None]) >> shift, np.where(too_much, 0.0, cost) * 2.0**-shift + 1.0)


def _products(operand: Operand, base: int, pieces: Floats) -> list[Term]:
    """The terms of coefficients . matrix; pieces: (limbs of `base` bits, N, rows)."""
    terms: list[Term] = []
    for exponent, limb in operand.limbs:
        products = times(pieces.reshape(-1, pieces.shape[2]), limb).reshape(*pieces.shape[:2], -1)
        terms += [(base * k + exponent, products[k]) for k in range(len(pieces))]
    return terms
