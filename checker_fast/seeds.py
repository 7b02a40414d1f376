"""The first step of a backward pass, from the rows that are to be bounded to coefficients over the nodes below.

A row starts with the coefficient row 2^(F+S) over the value of a node.  For an affine node the products with its
weights are divisible by 2^(F+S), so nothing is floored here but the error terms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farkas.checker.query import Affine, Bound, F, G, K, P, S
from farkas.checker_fast.frame import Frame
from farkas.checker_fast.layers import Layer
from farkas.checker_fast.limbs import WORD, Floats, Ints
from farkas.checker_fast.matrices import apply, rows_at, take, times
from farkas.checker_fast.stated import Stated, stated
from farkas.checker_fast.sweep import Sweep


def neuron_seeds(frame: Frame, chosen: Ints, v: int, neurons: Ints, rule: int, said: Stated | None = None) -> Sweep:
    """Rows +1 and then -1 of the neurons (B, R) of affine node v, in the tree nodes chosen (B,)."""
    layer = frame.layer(v)
    bias = layer.bias[neurons]
    more = 0.0 if layer.node.bias_exact else 1.0
    errors = frame.errors[v][chosen[:, None], neurons]
    cost = errors + np.ceil(errors * 2.0**-G)
    constant = np.concatenate([bias, -bias - more], axis=1).astype(np.int64) << (K - P)
    constant -= np.concatenate([cost, cost], axis=1).astype(np.int64)
    reach = (np.abs(bias).max(axis=1) + 1.0) * 2.0 ** (K - P) + cost.max(axis=1)
    sweep = Sweep(frame, chosen, rule, constant, reach, np.zeros(len(chosen), np.bool_), said)
    for operand in frame.operands(v):
        rows = rows_at(operand.weights, neurons)
        mirrored = -rows
        if not operand.exact:
            mirrored -= 1.0 if operand.pattern is None else rows_at(operand.pattern, neurons)
        loss = 1 if operand.exact or frame.plan.planned else 3
        _lose(sweep, operand.source, np.full(len(chosen), loss, np.int64))
        sweep.send(operand.source, np.concatenate([rows, mirrored], axis=1))
    return sweep


def pinned_seeds(frame: Frame, chosen: Ints, v: int, neurons: Ints, said: Stated) -> Sweep:
    """The same rows, over the value of node v itself, so that pins on its own neurons can meet them there."""
    keep = frame.keep(v)
    size = frame.plan.network.sizes[v] if keep is None else len(keep)
    at = neurons if keep is None else np.searchsorted(keep, neurons)
    unit = np.zeros((*neurons.shape, size))
    np.put_along_axis(unit, at[:, :, None], 2.0 ** (F + S), axis=2)
    rows = np.concatenate([unit, -unit], axis=1)
    count = rows.shape[:2]
    bad = np.zeros(count[0], np.bool_)
    sweep = Sweep(frame, chosen, 0, np.zeros(count, np.int64), np.zeros(count[0]), bad, said)
    sweep.pending[v] = rows
    return sweep


def claim_seeds(frame: Frame, chosen: Ints, bounds: Sequence[Bound], rule: int) -> Sweep:
    """One row for each tree node chosen: row . Y + xrow . X of its bound, all by the rule or all by their vectors."""
    network, limit = frame.plan.network, frame.plan.budget.coefficient
    count = len(bounds)
    vectors = [[bound.vector] for bound in bounds if bound.vector is not None]
    said = stated(frame.plan, vectors) if vectors else None
    sweep = Sweep(frame, chosen, rule, np.zeros((count, 1), np.int64), np.zeros(count), np.zeros(count, np.bool_), said)
    distinct = {id(bound): bound for bound in bounds}
    numbers = {name: n for n, name in enumerate(distinct)}
    which = np.array([numbers[id(bound)] for bound in bounds])
    large = np.array([any(abs(c) >= limit for _, c in (*b.row, *b.xrow)) for b in distinct.values()])
    rows, xrows = np.zeros((len(distinct), network.sizes[network.output])), np.zeros((len(distinct), network.sizes[0]))
    for n, bound in enumerate(distinct.values()):
        if not large[n]:
            for matrix, pairs in ((rows, bound.row), (xrows, bound.xrow)):
                for i, c in pairs:
                    matrix[n, i] = c
    sweep.bad |= large[which]
    if isinstance(network.nodes[network.output], Affine):
        _through_output(sweep, rows, which)
    else:
        _scaled(sweep, network.output, rows, which)
    if xrows.any():
        _scaled(sweep, 0, xrows, which)
    return sweep


def _scaled(sweep: Sweep, v: int, rows: Floats, which: Ints) -> None:
    """Rows 2^F over node v."""
    small = np.abs(rows).max(axis=1) * 2.0**F < sweep.frame.plan.budget.value
    sweep.bad |= ~small[which]
    kept = take(np.where(small[:, None], rows, 0.0), sweep.frame.keep(v), 1)
    sweep.send(v, kept[which][:, None, :] * 2.0**F)


def _through_output(sweep: Sweep, rows: Floats, which: Ints) -> None:
    """Rows over the affine output node, handed to the nodes that it reads."""
    frame = sweep.frame
    output = frame.plan.network.output
    layer, limit = frame.layer(output), frame.plan.budget.value
    absolute, negative = np.abs(rows), np.minimum(rows, 0.0)
    heavy = absolute @ np.abs(layer.bias) + absolute.sum(axis=1) >= WORD * 2.0 ** (P - K - 2)
    for operand in layer.operands:
        heavy |= (times(absolute, apply(np.abs, operand.weights)).max(axis=1) + absolute.sum(axis=1)) >= limit
    sweep.bad |= heavy[which]
    if heavy.any():
        rows, absolute, negative = (np.where(heavy[:, None], 0.0, x) for x in (rows, absolute, negative))
    _constants(sweep, layer, rows, absolute, negative, which)
    for operand in frame.operands(output):
        sums = times(rows, operand.weights)
        if not operand.exact:
            sums += negative.sum(axis=1)[:, None] if operand.pattern is None else times(negative, operand.pattern)
        loss = np.ones(len(rows)) if operand.exact or frame.plan.planned else 2.0 + absolute.sum(axis=1)
        _lose(sweep, operand.source, loss.astype(np.int64)[which])
        sweep.send(operand.source, sums[which][:, None, :])


def _constants(sweep: Sweep, layer: Layer, rows: Floats, absolute: Floats, negative: Floats, which: Ints) -> None:
    """What the biases contribute and the rounding errors cost."""
    biases = rows @ layer.bias + (0.0 if layer.node.bias_exact else negative.sum(axis=1))
    constant = biases.astype(np.int64)[which] << (K - P)
    hats = ((absolute.astype(np.int64) << G) + (absolute > 0))[which]
    errors = sweep.frame.errors[sweep.frame.plan.network.output][sweep.chosen]
    large = (hats * errors).sum(axis=1) >= WORD
    sweep.bad |= large
    costs = (hats * np.where(large[:, None], 0.0, errors).astype(np.int64)).sum(axis=1)
    sweep.constant[:, 0] += constant + (-costs >> G)
    sweep.reach += np.abs(constant) + costs * 2.0**-G + 1.0


def _lose(sweep: Sweep, source: int, loss: Ints) -> None:
    """What flooring coefficients over node `source` may cost, loss (B,) for each unit below zero."""
    exposed = sweep.frame.exposed(source)[sweep.chosen]
    large = (exposed >= sweep.frame.plan.budget.value) | (exposed * loss >= WORD)
    sweep.bad |= large
    costs = -(np.where(large, 0.0, exposed).astype(np.int64) * loss) >> (F + P - K)
    sweep.constant += costs[:, None]
    sweep.reach += np.abs(costs)
