"""Which disjuncts of the unsafe set are impossible in a box, and by which row.

A disjunct is a conjunction of atoms.  One atom whose lower bound exceeds its threshold refutes it (a strict atom: whose
bound reaches it), and so does a weighted sum of two.  The weights are found on the linear lower bounds of the two rows
over the box (seven ratios, all pairs, all slope rules); the weighted row is then bounded by itself, which is never
worse, for opposite coefficients of one neuron then need one line of it instead of two.

What is not a finite number refutes nothing.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from farkas.engine.problem import Family, Matrix
from farkas.engine.tree import Closing, LeafKind
from farkas.runtime_cuda.backend import Backend
from farkas.runtime_cuda.crown import ADAPTIVE, PARALLEL, ZERO, Boxes, Propagator, Refined, Rows
from farkas.runtime_cuda.native import NativePropagator

RULES = (ADAPTIVE, ZERO, PARALLEL)
OTHER_ROWS = 2.0**-6  # weight of a disjunct's other rows where an input is chosen for bisection
RATIOS = 8  # weights of a pair of atoms are k : RATIOS - k


class Refutations:
    """Which disjuncts of which boxes are refuted, and how; combinations of two atoms are tried on the open ones."""

    def __init__(
        self,
        family: Family,
        margin: float,
        backend: Backend,
        worker: Propagator | NativePropagator,
        refined: Refined,
        rows: Rows,
        thresholds: Any,
    ) -> None:
        """thresholds: (B, R) of each box's case; margin: what a row must clear beyond its threshold."""
        to_numpy = backend.to_numpy
        self._family = family
        self._margin = margin
        self._backend = backend
        self._disjuncts = family.disjuncts
        excess = to_numpy(rows.value) - to_numpy(thresholds)[:, None]  # (B, rules, R)
        constant = family.constant
        excess[:, :, constant] = -to_numpy(thresholds)[:, None, constant]
        excess = np.where(np.isfinite(excess), excess, -np.inf)  # what is no number refutes nothing
        self._rule = excess.argmax(axis=1)
        self._excess = excess.max(axis=1)
        count = excess.shape[0]
        self._empty = to_numpy(refined.empty)
        self._pairs: dict[tuple[int, int], Closing] = {}
        needed = np.where(constant, 0.0, margin)
        # A bound equal to the threshold refutes a strict atom.
        self._refuting = np.where(family.strict, self._excess >= needed, self._excess > needed)
        refuted = np.zeros((count, len(self._disjuncts)), dtype=bool)
        best = np.full((count, len(self._disjuncts)), -np.inf)
        for d, members in enumerate(self._disjuncts):
            if members:
                best[:, d] = self._excess[:, members].max(axis=1)
                refuted[:, d] = self._refuting[:, members].any(axis=1)
        refuted[self._empty] = True
        for d, members in enumerate(self._disjuncts):
            open_boxes = np.flatnonzero(~refuted[:, d])
            if len(members) > 1 and len(open_boxes):
                self._combine(worker, refined, rows, thresholds, d, open_boxes, refuted, best)
        self.closed = refuted.all(axis=1)
        self.worst = np.where(refuted, np.inf, best).min(axis=1, initial=np.inf)
        self.worst_any = best.min(axis=1, initial=np.inf)  # refuted disjuncts count too
        self._refuted = refuted
        # One open row a box: the best row of its worst open disjunct.
        worst = np.where(refuted, np.inf, best).argmin(axis=1) if self._disjuncts else np.zeros(count, dtype=np.int64)
        self.open_row = np.zeros(count, dtype=np.int64)
        for d, members in enumerate(self._disjuncts):
            if members:
                picked = np.asarray(members)[self._excess[:, members].argmax(axis=1)]
                self.open_row = np.where(worst == d, picked, self.open_row)
        self.open_rule = (
            self._rule[np.arange(count), self.open_row] if excess.shape[2] else np.zeros(count, dtype=np.int64)
        )

    def open_weights(self) -> Matrix:
        """(B, R): 1 for the best row of every open disjunct, a little for its others.

        The best row may be as good as it gets: where it depends on few inputs any more, another one has to close.
        """
        weights: Matrix = np.zeros(self._excess.shape)
        for d, members in enumerate(self._disjuncts):
            if members:
                picked = np.asarray(members)[self._excess[:, members].argmax(axis=1)]
                rows = np.flatnonzero(~self._refuted[:, d])
                weights[np.ix_(rows, np.array(members))] = OTHER_ROWS
                weights[rows, picked[rows]] = 1.0
        return weights

    def kind(self, b: int) -> LeafKind:
        """The reasons that close box b, one a disjunct."""
        closings = []
        for d, members in enumerate(self._disjuncts):
            closing = self._pairs.get((b, d))
            if closing is None:
                if members:
                    position = int(np.where(self._refuting[b], self._excess[b], -np.inf)[list(members)].argmax())
                    closing = Closing(int(self._rule[b, members[position]]), ((position, 1),))
                    closing = Closing(RULES[closing.rule], closing.atoms)
                else:
                    closing = Closing(ADAPTIVE, ())  # only an empty box closes an atomless disjunct
            closings.append(closing)
        return tuple(closings)

    def _combine(
        self,
        worker: Propagator | NativePropagator,
        refined: Refined,
        rows: Rows,
        thresholds: Any,
        d: int,
        open_boxes: Any,
        refuted: Any,
        best: Any,
    ) -> None:
        to_numpy, members = self._backend.to_numpy, self._disjuncts[d]
        coef = to_numpy(rows.inputs)[open_boxes][:, :, list(members)]
        const = (
            to_numpy(rows.const)[open_boxes][:, :, list(members)]
            - to_numpy(thresholds)[open_boxes][:, None, list(members)]
        )
        x_lower, x_upper = to_numpy(refined.boxes.x_lower)[open_boxes], to_numpy(refined.boxes.x_upper)[open_boxes]
        if isinstance(worker, NativePropagator):
            value, _, pair, ratio = worker.best_pair(coef, const, x_lower, x_upper, RATIOS)
        else:
            value, _, pair, ratio = best_pair(coef, const, x_lower, x_upper)
        hopeful = np.flatnonzero(value > self._margin)
        if not len(hopeful):
            return
        boxes = open_boxes[hopeful]
        pairs = list(combinations(range(len(members)), 2))
        first = np.array([members[pairs[p][0]] for p in pair[hopeful]])
        second = np.array([members[pairs[p][1]] for p in pair[hopeful]])
        k = ratio[hopeful]
        y_rows = self._family.y_rows[first] * k[:, None] + self._family.y_rows[second] * (RATIOS - k)[:, None]
        x_rows = self._family.x_rows
        if x_rows is not None:
            x_rows = x_rows[first] * k[:, None] + x_rows[second] * (RATIOS - k)[:, None]
        bounds = to_numpy(thresholds)[boxes]
        limit = bounds[np.arange(len(boxes)), first] * k + bounds[np.arange(len(boxes)), second] * (RATIOS - k)
        size = abs(bounds[np.arange(len(boxes)), first]) * k + abs(bounds[np.arange(len(boxes)), second]) * (RATIOS - k)
        limit = limit + size * 2.0**-50
        asarray = self._backend.asarray
        part = select(refined.boxes, asarray(boxes))
        again = worker.bound(
            part, asarray(y_rows[:, None]), None if x_rows is None else asarray(x_rows[:, None]), RULES
        )
        excess = to_numpy(again.value)[:, :, 0] - limit[:, None]
        chosen = excess.argmax(axis=1)
        for i in np.flatnonzero(excess.max(axis=1) > self._margin * RATIOS):
            b = int(boxes[i])
            i1, i2 = pairs[pair[hopeful[i]]]
            self._pairs[b, d] = Closing(RULES[int(chosen[i])], ((i1, int(k[i])), (i2, RATIOS - int(k[i]))))
            refuted[b, d] = True


def best_pair(coef: Matrix, const: Matrix, x_lower: Matrix, x_upper: Matrix) -> tuple[Any, Any, Any, Any]:
    """Per box the pair of rows, ratio and rule whose weighted linear bound is largest over the box.

    coef (B, rules, M, n0), const (B, rules, M); returns value, rule, pair number, weight of the first of the pair.
    """
    count, _, rows, _ = coef.shape
    best = np.full(count, -np.inf)
    rule, pair, ratio = (np.zeros(count, dtype=np.int64) for _ in range(3))
    for number, (i, j) in enumerate(combinations(range(rows), 2)):
        for k in range(1, RATIOS):
            w = k / RATIOS
            a = coef[:, :, i] * w + coef[:, :, j] * (1 - w)
            positive = np.maximum(a, 0.0)
            value = const[:, :, i] * w + const[:, :, j] * (1 - w)
            value = value + (positive @ x_lower[:, :, None] + (a - positive) @ x_upper[:, :, None])[:, :, 0]
            at = value.argmax(axis=1)
            top = value[np.arange(count), at]
            better = top > best
            best = np.where(better, top, best)
            rule, pair, ratio = (np.where(better, n, o) for n, o in ((at, rule), (number, pair), (k, ratio)))
    return best, rule, pair, ratio


def select(boxes: Boxes, index: Any) -> Boxes:
    """The part of a refined batch at the given positions."""

    def pick(values: Any) -> Any:
        return None if values is None else values[index]

    return Boxes(
        boxes.x_lower[index],
        boxes.x_upper[index],
        [pick(v) for v in boxes.lower],
        [pick(v) for v in boxes.upper],
        [pick(v) for v in boxes.magnitude],
        {v: e[index] for v, e in boxes.error.items()},
        {},
        boxes.empty[index],
        None if boxes.ball is None else boxes.ball.take(index),
    )
