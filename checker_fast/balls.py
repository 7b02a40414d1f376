"""Rows over ellipsoids of inputs, in arrays: `checker.ellipsoid.least` for many tree nodes and rows.

Coefficients and semi-axes are rounded up to 26 bits, so that their products are exact in float64; these are rounded up
again, so that the sum of their squares fits in int64.  The linear part is a product of limbs like that over a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farkas.checker.ellipsoid import BITS, excess
from farkas.checker.query import Box, F, H, K, S
from farkas.checker_fast.limbs import WORD, Budget, Flags, Floats, Ints, floor_dot


@dataclass(frozen=True)
class Balls:
    """The ellipsoids of B tree nodes; which (B,): row of the arrays that is a node's own.

    centre: at 2^-H.  axes: semi-axes in units of 2^(bits - H), rounded up, 0 where an input is free; all of them where
    a tree node has no ellipsoid.  bad (B,): a centre is too large.
    """

    which: Ints
    centre: Floats
    axes: Floats
    bits: Ints
    bad: Flags


def balls_of(boxes: Sequence[Box], limit: float) -> Balls | None:
    """None where no box has one; limit: for numbers that are kept."""
    distinct = {id(box.ball): box.ball for box in boxes}
    if not any(distinct.values()):
        return None
    inputs = len(boxes[0].lower)
    numbers = {name: n for n, name in enumerate(distinct)}
    which = np.array([numbers[id(box.ball)] for box in boxes])
    centre, axes = np.zeros((len(distinct), inputs)), np.zeros((len(distinct), inputs))
    bits, bad = np.zeros(len(distinct), np.int64), np.zeros(len(distinct), np.bool_)
    for n, ball in enumerate(distinct.values()):
        if ball is None:
            continue
        bad[n] = max(map(abs, ball.centre)) >= limit
        bits[n] = excess(max(ball.axes), BITS)
        if not bad[n]:
            centre[n], axes[n] = ball.centre, [-(-r >> int(bits[n])) for r in ball.axes]
    return Balls(which, centre, axes, bits, bad[which])


def least(
    balls: Balls,
    chosen: Ints,
    coefficients: Floats,
    bound: Floats,
    low: Floats,
    high: Floats,
    step: int,
    budget: Budget,
) -> tuple[Ints, Floats]:
    """(lower bounds (B, R) at 2^-K, what bounds their magnitude (B,)) of rows (B, R, inputs) of the nodes chosen (B,).

    bound (B,): of |coefficients|, which are at 2^-(F+step); low, high (B or 1, inputs): the boxes.
    """
    which = balls.which[chosen]
    centre, axes = balls.centre[which], balls.axes[which][:, None, :]
    beyond = np.where(coefficients > 0, low[:, None, :] < centre[:, None, :], centre[:, None, :] < high[:, None, :])
    held = np.where(beyond & (axes > 0), coefficients, 0.0)
    rest = coefficients - held
    rows = np.concatenate([held, np.maximum(rest, 0.0), np.minimum(rest, 0.0)], axis=2)
    ends = np.concatenate([centre, *(np.broadcast_to(x, centre.shape) for x in (low, high))], axis=1)
    total, reach = floor_dot(rows, bound, ends, F + step + H - K, budget)
    length, large = _lengths(np.abs(held), axes, balls.bits[which], step)
    return total - length, np.where(large, WORD, reach + length.max(axis=1))


def _lengths(held: Floats, axes: Floats, axis_bits: Ints, step: int) -> tuple[Ints, Flags]:
    """`checker.ellipsoid._length` of |coefficients| (B, R, inputs); (B,) where one is too large, and all are zero."""
    bits = np.maximum(0, _bit_lengths(held.max(axis=2)) + (S - step) - BITS)
    sides = np.ceil(np.ldexp(held, (S - step - bits)[:, :, None])) * axes
    last = np.maximum(0, _bit_lengths(sides.max(axis=2)) - (62 - held.shape[2].bit_length()) // 2)
    rounded = np.ceil(np.ldexp(sides, -last[:, :, None])).astype(np.int64)
    roots = root_up((rounded * rounded).sum(axis=2))
    shift = bits + axis_bits[:, None] + last - (F + S + H - K)
    large: Flags = np.asarray(np.any(np.ldexp(roots.astype(np.float64), shift) >= WORD, axis=1))
    kept = np.where(large[:, None], 0, roots)
    up = np.minimum(np.maximum(shift, 0), 62)
    down = np.minimum(np.maximum(-shift, 0), 62)
    return -((-kept << np.where(kept > 0, up, 0)) >> down), large


def _bit_lengths(x: Floats) -> Ints:
    """Of integers >= 0."""
    return np.frexp(x)[1].astype(np.int64)


def root_up(values: Ints) -> Ints:
    """The least integers whose squares are not below the values (below 2^62)."""
    roots = np.floor(np.sqrt(values.astype(np.float64))).astype(np.int64)
    roots += roots * roots < values
    roots -= (roots > 0) & ((roots - 1) * (roots - 1) >= values)
    return roots
