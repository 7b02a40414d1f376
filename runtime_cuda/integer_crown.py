"""Bounds of integer networks by backward substitution, for a batch of boxes of input codes.

The idea is that of `crown`, with a clamp in the place of a Relu.  A requantisation y = f(acc) is a clamp between two
parallel lines, k t + p <= y <= k t + q with t = min(max(acc, a), b), which `ir.staircase` finds once for the whole
query from the exact steps of f; q - p is about one code, the rounding.  Over a box, acc in l..u, the clamp has a line
under and a line over it as a Relu has, on each of its two sides.  Where the box moves f by no more than the rounding
does, the constants f(l) and f(u) are the lines.  Bounds of accumulators are integers, so they are rounded inward.

Decoded outputs are one more monotone function, whose distance from a line is measured at every code.

Why it is sound.  Everything is linear arithmetic in float64 about integers.  A product of n terms is off by at most
n 2^-52 times the sum of its absolute values (generously), each line's constant is moved outward by 2^-46 of the
numbers that it is made of, and the errors of a pass are added up (`slack`) and taken off the bound at the end.  Sums
of integers below 2^53 are exact and are counted as if they were not.

Bounds made so rest on no certificate: the checker has no rule for integer networks.

Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions, NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from farkas.ir.integer import Codes, Greatest, IntegerProgram, Ranges, Rounded, Sum, code_ranges, node_range
from farkas.ir.integer_unary import Integers, Unary
from farkas.ir.linear import Vector
from farkas.ir.staircase import extent, line, staircase

ROUNDING = 2.0**-52
OUTWARD = 2.0**-46
MOST_ROWS = 4096  # neurons of a node that get rows of their own; a wider node has its interval bounds
CHUNK = 1 << 22  # coefficients of one pass
MOST_CODES = 1 << 21  # of a decoded output whose distance from a line is measured

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Clamps:
    """k t + p <= f(acc) <= k t + q with t = min(max(acc, a), b), for every component (n,) of a node."""

    k: Vector
    p: Vector
    q: Vector
    a: Vector
    b: Vector


@dataclass(frozen=True, eq=False)
class Lines:
    """under * acc + under_at <= f(acc) <= over * acc + over_at on a batch of boxes, (B, n) each."""

    under: Matrix
    under_at: Matrix
    over: Matrix
    over_at: Matrix


@dataclass(frozen=True, eq=False)
class Bounded:
    """Lower bounds (B, R) of rows over a box, and of what they are made: inputs (B, R, n0) @ codes + const (B, R) is
    one at every vector of codes in the box.
    """

    value: Matrix
    inputs: Matrix
    const: Matrix


class IntegerPropagator:
    """Bounds of one program inside a box of input codes; boxes asked about lie in it."""

    def __init__(self, program: IntegerProgram, low: Integers, high: Integers) -> None:
        self.program = program
        root = code_ranges(program, low, high)
        self._clamps: dict[int, Clamps] = {}
        for v, node in enumerate(program.nodes):
            if isinstance(node, Rounded):
                self._clamps[v] = _clamps(node.function, *root[node.source])
        self.decoding = _decoding(program.decode, *root[program.output])

    def refine(self, low: Integers, high: Integers) -> list[Ranges]:
        """Bounds (B, n) of every node over the boxes low..high, (B, n0)."""
        found: list[Ranges] = []
        for v, node in enumerate(self.program.nodes):
            l, u = node_range(node, found, low, high)
            l, u = (np.broadcast_to(end, (len(low), self.program.sizes[v])) for end in (l, u))
            found.append((l, u))
            if isinstance(node, Sum) and any(t.source for t in node.terms) and l.shape[1] <= MOST_ROWS:
                found[v] = self._tightened(v, found)
        return found

    def _tightened(self, v: int, found: list[Ranges]) -> Ranges:
        """Rows for every neuron of node v and their negations."""
        l, u = found[v]
        batch, n = l.shape
        step = max(1, CHUNK // max(1, batch * max(self.program.sizes)))
        lower, upper = np.array(l), np.array(u)
        for start in range(0, n, step):
            own = np.arange(start, min(n, start + step))
            unit = np.zeros((batch, len(own), n))
            unit[:, np.arange(len(own)), own] = 1.0
            below, above = self._pass(v, unit, found), self._pass(v, -unit, found)
            lower[:, own] = np.maximum(l[:, own], np.ceil(below.value).astype(np.int64))
            upper[:, own] = np.minimum(u[:, own], np.floor(-above.value).astype(np.int64))
        return lower, upper

    def bound(self, rows: Matrix, found: Sequence[Ranges]) -> Bounded:
        """Lower bounds of rows, (R, m) or (B, R, m), over the decoded outputs."""
        v = self.program.output
        lines = _lines(self.decoding, *_values(found[v]), None)
        batch = len(found[v][0])
        wanted = np.broadcast_to(rows, (batch, *rows.shape[-2:]))
        const, slack, through = _through(wanted, lines, _reach(found[v]))
        below = self._pass(v, through, found)
        more = const - slack
        return Bounded(below.value + more, below.inputs, below.const + more)

    def _pass(self, v: int, rows: Matrix, found: Sequence[Ranges]) -> Bounded:
        """Rows (B, R, n) over node v's value, brought down to the input."""
        coefficients: dict[int, Matrix] = {v: rows}
        const: Any = np.zeros(rows.shape[:2])
        slack: Any = np.zeros(rows.shape[:2])
        for w in range(v, 0, -1):
            own = coefficients.pop(w, None)
            if own is None:
                continue
            node = self.program.nodes[w]
            match node:
                case Sum(terms=terms, bias=bias):
                    reach: Any = abs(bias).astype(np.float64)
                    for term in terms:
                        _add(coefficients, term.source, term.map.rmv(own))
                        reach = reach + term.map.absolute().mv(_reach(found[term.source]))
                    const = const + own @ bias.astype(np.float64)
                    slack = slack + _error(own, reach, own.shape[-1] + self._fan_in(node))
                case Rounded(source=source, function=function):
                    lines = _lines(self._clamps[w], *_values(found[source]), (function, found[source]))
                    more, error, through = _through(own, lines, _reach(found[source]))
                    const, slack = const + more, slack + error
                    _add(coefficients, source, through)
                case Greatest(groups=groups, source=source):
                    more, through = _greatest(own, groups, found[source])
                    const = const + more
                    slack = slack + _error(own, _reach(found[w]), own.shape[-1])
                    _add(coefficients, source, through)
                case Codes():
                    raise AssertionError("node 0 alone holds input codes")
                case _:
                    assert_never(node)
        inputs = coefficients.get(0)
        if inputs is None:
            inputs = np.zeros((*rows.shape[:2], self.program.input_size))
        low, high = _values(found[0])
        least = np.maximum(inputs, 0) @ low[..., None] + np.minimum(inputs, 0) @ high[..., None]
        slack = slack + _error(inputs, _reach(found[0]), inputs.shape[-1])
        const = const - slack * (1 + OUTWARD)
        return Bounded(const + least[..., 0], inputs, const)

    def _fan_in(self, node: Sum) -> int:
        return sum(self.program.sizes[term.source] for term in node.terms)


def _add(coefficients: dict[int, Matrix], source: int, more: Matrix) -> None:
    coefficients[source] = coefficients[source] + more if source in coefficients else more


def _values(ranges: Ranges) -> tuple[Matrix, Matrix]:
    return ranges[0].astype(np.float64), ranges[1].astype(np.float64)


def _reach(ranges: Ranges) -> Matrix:
    """Bounds of magnitudes."""
    low, high = _values(ranges)
    return np.maximum(abs(low), abs(high))


def _error(rows: Matrix, reach: Matrix, terms: int) -> Matrix:
    """What products of `terms` summands with rows (B, R, n), of values below reach (B, n) or (n,), may be off by."""
    reach = np.broadcast_to(reach, (len(rows), rows.shape[-1]))
    return np.asarray((abs(rows) @ reach[..., None])[..., 0] * ((terms + 16) * ROUNDING))


def _through(rows: Matrix, lines: Lines, reach: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Rows over f's values as (constant, slack, rows over its operand), each positive coefficient on the line under."""
    up, down = np.maximum(rows, 0), np.minimum(rows, 0)
    const = (up @ lines.under_at[..., None] + down @ lines.over_at[..., None])[..., 0]
    size = np.maximum(abs(lines.under), abs(lines.over)) * reach + np.maximum(abs(lines.under_at), abs(lines.over_at))
    return const, _error(rows, size, rows.shape[-1]), up * lines.under[:, None] + down * lines.over[:, None]


def _greatest(rows: Matrix, groups: Any, ranges: Ranges) -> tuple[Matrix, Matrix]:
    """Maxima: at least the member whose lower bound is largest, at most the largest upper bound."""
    low, high = _values(ranges)
    best = low[:, groups].argmax(axis=2)  # (B, m)
    member = np.take_along_axis(np.broadcast_to(groups, (len(low), *groups.shape)), best[..., None], axis=2)[..., 0]
    up, down = np.maximum(rows, 0), np.minimum(rows, 0)
    through = np.zeros((*rows.shape[:2], low.shape[1]))
    batch, row = np.arange(len(low))[:, None, None], np.arange(rows.shape[1])[None, :, None]
    np.add.at(through, (batch, row, member[:, None, :]), up)
    return (down @ high[:, groups].max(axis=2)[..., None])[..., 0], through


def _clamps(function: Unary, low: Integers, high: Integers) -> Clamps:
    """The clamps of a requantisation whose operands lie in low..high, (n,)."""
    n = len(low)
    k, p, q, a, b = (np.zeros(n) for _ in range(5))
    for j in range(n):
        stairs = staircase(function, j, int(low[j]), int(high[j]))
        p[j], q[j] = stairs.low, stairs.high
        if len(stairs.values) == 1:
            continue
        found = line(stairs.core())
        if found is None:
            continue
        k[j] = found.N / found.D
        a[j], b[j] = extent(stairs, found)
        ends = [-w / found.D for w in found.band]
        outward = OUTWARD * (abs(k[j]) * max(abs(a[j]), abs(b[j])) + max(map(abs, ends)))
        p[j], q[j] = min(ends) - outward, max(ends) + outward
    return Clamps(k, p, q, a, b)


def _decoding(decode: Unary | None, low: Integers, high: Integers) -> Clamps:
    """The same for decoded outputs: lines between their ends, and how far their values are from these."""
    n = len(low)
    k, p, q = np.ones(n), np.zeros(n), np.zeros(n)
    for j in range(n):
        if decode is None:
            continue
        one = decode.take(np.array([j], dtype=np.int64))
        whole = int(high[j] - low[j]) < MOST_CODES
        codes = np.arange(low[j], high[j] + 1) if whole else np.array([low[j], high[j]])
        values = one(codes[:, None])[:, 0].astype(np.float64)
        k[j] = (values[-1] - values[0]) / max(1, int(high[j] - low[j])) if whole else 0.0
        off = values - k[j] * codes
        outward = OUTWARD * float((abs(values) + abs(k[j] * codes)).max())
        p[j], q[j] = off.min() - outward, off.max() + outward
    return Clamps(k, p, q, low.astype(np.float64), high.astype(np.float64))


def _lines(clamps: Clamps, l: Matrix, u: Matrix, exact: tuple[Unary, Ranges] | None) -> Lines:
    """Lines of f over operands in l..u, (B, n)."""
    under, under_at, over, over_at = _clamp_lines(l, u, clamps.a, clamps.b)
    k, rises = clamps.k, clamps.k >= 0
    lower = np.where(rises, k * under, k * over)
    lower_at = np.where(rises, k * under_at, k * over_at) + clamps.p
    upper = np.where(rises, k * over, k * under)
    upper_at = np.where(rises, k * over_at, k * under_at) + clamps.q
    size = abs(l) + abs(u) + abs(clamps.a) + abs(clamps.b)
    outward = OUTWARD * (abs(k) * size + abs(clamps.p) + abs(clamps.q))
    lower_at, upper_at = lower_at - outward, upper_at + outward
    if exact is not None:
        function, (first, last) = exact
        ends = function(first).astype(np.float64), function(last).astype(np.float64)
        least, most = np.minimum(*ends), np.maximum(*ends)
        flat = most - least <= clamps.q - clamps.p  # the rounding is as wide as the whole range
        lower, upper = np.where(flat, 0.0, lower), np.where(flat, 0.0, upper)
        lower_at, upper_at = np.where(flat, least, lower_at), np.where(flat, most, upper_at)
    return Lines(lower, lower_at, upper, upper_at)


def _clamp_lines(l: Matrix, u: Matrix, a: Vector, b: Vector) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Slope and constant of a line under and of one over min(max(z, a), b) for z in l..u.

    Over: from (l, a) to where the clamp ends, (min(u, b), same), where l < a; else the diagonal; or the constant b
    where more of the range lies beyond b than before it.  Under is over of the mirrored clamp.
    """
    over, over_at = _over(l, u, a, b)
    mirrored, mirrored_at = _over(-u, -l, -b, -a)
    return mirrored, -mirrored_at, over, over_at


def _over(l: Matrix, u: Matrix, a: Vector, b: Vector) -> tuple[Matrix, Matrix]:
    corner = np.minimum(u, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(l < a, (corner - a) / (corner - l), 1.0)  # no number where l = u, and flat then
        at = np.where(l < a, a - slope * l, 0.0)
    flat = (u - b > b - l) | (u <= a) | (l >= b)
    level = np.where(u <= a, np.broadcast_to(a, u.shape), np.broadcast_to(b, u.shape))
    return np.where(flat, 0.0, slope), np.where(flat, level, at)
