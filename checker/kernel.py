"""The rule `crown-fp-1`: bounds of a network over a box in fixed-point arithmetic, every rounding outward.

Interval bounds of every node, then backward substitution (CROWN) for the neurons that are still unstable, then at a
leaf one backward pass per disjunct.  All numbers are Python integers at the scales of `query.py`; nothing here can
overflow, and no division decides soundness.  docs/certificate.md states the rule; the four facts that it rests on:

1. *Intervals.*  With w = (wf + d) 2^-P, 0 <= d <= 1:  wf a + min(0, a) <= w a 2^P <= wf a + max(0, a).
2. *Rounding.*  A group of `count` products and addends computed in binary32, in any order, is W a + b + e with
   |e| <= gamma_{count+2} M + 4 (count+2) 2^-126 (1 + sum|w| + sum U), M = |W| U + |b| (docs/semantics.md).  E is that
   bound at 2^-K, rounded up; its `+ 1` covers the second term, which is checked to be below 2^-K.
3. *Relaxation.*  For l < 0 < u:  a z <= relu(z) for every a in [0, 1], and relu(z) <= s z + t when s l + t >= 0 and
   s u + t >= u (the function is convex, so its ends suffice).
4. *Flooring.*  A coefficient c of a value v may be replaced by A <= c at a cost of (c - A) max(0, -v): nothing after a
   ReLU, and otherwise `loss` times the proved lower bound.

An upper bound is the negated lower bound of the negated row, so there is one direction only.

Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions, NeurIPS 2018;
Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1 (gamma_n).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress
from operator import add, gt, mul
from typing import Any

from farkas.checker.ellipsoid import least
from farkas.checker.errors import CertificateRejected
from farkas.checker.plan import Vector
from farkas.checker.products import Column, add_products, add_to, columns_of, combine_rows, exposed_rows, pack
from farkas.checker.prover import PlanProver
from farkas.checker.query import Affine, Box, Claim, F, G, H, Input, K, Matrix, Network, P, Relu, S

OPEN, EMPTY, FAILED = 0, 1, 2
"""Status of a tree node: bounds hold; the box holds no execution; an obligation failed, so nothing is claimed."""

MAX_COUNT = (1 << 22) - 2
OVERFLOW = ((1 << 128) - (1 << 104)) << K
UNDERFLOW = 1 << (126 + P - K)


@dataclass
class Point:
    """One tree node: bounds in force (2^-P) and errors (2^-K) per network node, and what is derived from them once."""

    lower: list[list[int]] = field(default_factory=list)
    upper: list[list[int]] = field(default_factory=list)
    errors: list[list[int]] = field(default_factory=list)
    box: Box | None = None
    status: int = OPEN
    live: dict[int, list[bool]] = field(default_factory=dict)
    packed: dict[tuple[int, int], list[Column]] = field(default_factory=dict)
    slopes: dict[tuple[int, int], Slopes] = field(default_factory=dict)


@dataclass(frozen=True)
class Slopes:
    """Per live neuron of a ReLU: slope below, slope above (at 2^-S), intercept above (at 2^-P).

    explicit: (position among the live neurons, place in a vector's bytes) of the open neurons that have a place.
    """

    below: list[int]
    above: list[int]
    intercept: list[int]
    explicit: list[tuple[int, int]]

    def with_slopes(self, stated: bytes) -> Slopes:
        """With the slopes below that a vector states."""
        below = list(self.below)
        for position, place in self.explicit:
            if place < len(stated):
                below[position] = 1 << S if stated[place] == 255 else (stated[place] << S) >> 8
        return Slopes(below, self.above, self.intercept, self.explicit)


class Reference:
    """The reference kernel: plain integers, one tree node at a time."""

    tier = "exact"
    wave = 1

    def prepare(self, network: Network, rounded: bool, intermediate: tuple[int, ...]) -> ReferenceProver:
        return ReferenceProver(network, rounded, intermediate)

    def prepare_plan(self, network: Network, rounded: bool, columns: tuple[int, ...]) -> PlanProver[Any]:
        from farkas.checker.refine import ReferencePlanProver  # it builds on this module

        return ReferencePlanProver(network, rounded, columns)


def ceil_shift(x: int, bits: int) -> int:
    """ceil(x / 2^bits)."""
    return -(-x >> bits)


def check_counts(network: Network) -> None:
    """The static obligation of the error lemma: (count + 2) 2^-24 <= 1/4.  Raises CertificateRejected."""
    for v, node in enumerate(network.nodes):
        if isinstance(node, Affine) and node.count > MAX_COUNT:
            raise CertificateRejected(f"network node {v}", f"a summation group of {node.count} terms is too long")


def readers_of(network: Network) -> tuple[tuple[int, ...], ...]:
    """For every node the nodes that read it, ascending."""
    readers: list[list[int]] = [[] for _ in network.nodes]
    for v, node in enumerate(network.nodes):
        if isinstance(node, Relu):
            readers[node.source].append(v)
        elif isinstance(node, Affine):
            for _, a in node.operands:
                readers[a].append(v)
    return tuple(map(tuple, readers))


def neuron_layers(network: Network) -> tuple[int, ...]:
    """The affine nodes that some ReLU reads: their values, in this order, are the neurons that have numbers."""
    readers = readers_of(network)
    return tuple(
        v
        for v, node in enumerate(network.nodes)
        if isinstance(node, Affine) and any(isinstance(network.nodes[r], Relu) for r in readers[v])
    )


def relu_slopes(low: int, high: int, rule: int) -> tuple[int, int, int]:
    """(slope below, slope above, intercept above) of relu over [low, high], low <= high at 2^-P."""
    one = 1 << S
    if high <= 0:
        return 0, 0, 0
    if low >= 0:
        return one, one, 0
    width = high - low
    s = (2 * one * high + width) // (2 * width)
    t = ceil_shift(max(-s * low, (one - s) * high), S)
    if rule == 0:
        return (one if high + low > 0 else 0), s, t
    return (0, s, one)[rule - 1], s, t


class ReferenceProver:
    """`Prover` of the reference kernel; a state is a list of `Point`.

    columns: None for crown-fp-1; else the neurons that a vector's bytes are for, and errors have their hidden part.
    """

    def __init__(
        self, network: Network, rounded: bool, intermediate: tuple[int, ...], columns: tuple[int, ...] | None = None
    ) -> None:
        if rounded:
            check_counts(network)
        self.nodes = network.nodes
        self.sizes = network.sizes
        self.output = network.output
        self.rounded = rounded
        self.intermediate = intermediate
        self.planned = columns is not None
        readers = readers_of(network)
        self.feeds_relu = [any(isinstance(self.nodes[r], Relu) for r in readers[v]) for v in range(len(readers))]
        self.only_relu = [
            v != network.output and all(isinstance(self.nodes[r], Relu) for r in readers[v])
            for v in range(len(readers))
        ]
        matrices = {
            (v, k): matrix
            for v, node in enumerate(self.nodes)
            if isinstance(node, Affine)
            for k, (matrix, _) in enumerate(node.operands)
        }
        self.columns = {key: columns_of(matrix) for key, matrix in matrices.items()}
        self.layers = neuron_layers(network)
        self.first = list(accumulate((self.sizes[v] for v in self.layers), initial=0))
        self.places: dict[int, list[tuple[int, int]]] = {}
        for place, neuron in enumerate(columns or ()):
            v, j = self.neuron(neuron)
            self.places.setdefault(v, []).append((j, place))
        self.absolutes = {key: [list(map(abs, row)) for row in matrix.weights] for key, matrix in matrices.items()}

    def neuron(self, number: int) -> tuple[int, int]:
        """(network node, position in it) of a neuron."""
        k = bisect_right(self.first, number) - 1
        return self.layers[k], number - self.first[k]

    def operand(self, v: int, k: int) -> tuple[Matrix, int]:
        """Operand k of affine node v."""
        node = self.nodes[v]
        if not isinstance(node, Affine):
            raise CertificateRejected("kernel", f"network node {v} is not affine")
        return node.operands[k]

    def start(self, count: int) -> list[Point]:
        return [Point() for _ in range(count)]

    def gather(self, rows: Sequence[tuple[list[Point], int]]) -> list[Point]:
        return [state[row] for state, row in rows]

    def derive(self, parents: list[Point], boxes: Sequence[Box]) -> list[Point]:
        return [self._derive(parent, box) for parent, box in zip(parents, boxes, strict=True)]

    def close(self, state: list[Point], rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        return [self.closes(state[row], claim) for row, claim in zip(rows, claims, strict=True)]

    # Bounds in force ------------------------------------------------------------------------------------------------

    def _derive(self, parent: Point, box: Box) -> Point:
        """The bounds in force at a child; stops at the first empty or failed network node."""
        point = Point(box=box, status=parent.status)
        for v, node in enumerate(self.nodes):
            if point.status != OPEN:
                break
            errors: list[int] = []
            match node:
                case Input():
                    low = [x >> (H - P) for x in box.lower]
                    high = [ceil_shift(x, H - P) for x in box.upper]
                case Relu(source):
                    low = [max(x, 0) for x in point.lower[source]]
                    high = [max(x, 0) for x in point.upper[source]]
                case Affine():
                    low, high, errors = self.interval(point, v, node)
            point.errors.append(errors)
            if parent.lower:
                low = list(map(max, low, parent.lower[v]))
                high = list(map(min, high, parent.upper[v]))
            point.lower.append(low)
            point.upper.append(high)
            if point.status == OPEN and isinstance(node, Affine) and self.feeds_relu[v]:
                self._tighten(point, v, _unsettled(parent, v, len(low)))
            if point.status == OPEN and any(map(gt, low, high)):
                point.status = EMPTY
        return point

    def interval(self, point: Point, v: int, node: Affine) -> tuple[list[int], list[int], list[int]]:
        """(lower, upper at 2^-P, errors at 2^-K) of an affine node; sets the status FAILED when an obligation fails.

        By crown-fp-2 errors have a hidden part: what rows may lose between w and wf.
        Per row: sum w [l, h] = (sum w (l + h) -+ sum |w| (h - l)) / 2, all operands before the one shift.
        """
        rows = len(node.bias)
        twice_low, twice_high, magnitude, weight = [0] * rows, [0] * rows, [0] * rows, [0] * rows
        reach = 0
        for k, (matrix, a) in enumerate(node.operands):
            lower, upper = point.lower[a], point.upper[a]
            largest = list(map(max, map(abs, lower), map(abs, upper)))
            reach += sum(largest)
            add_products(matrix, self.absolutes[v, k], lower, upper, largest, twice_low, twice_high, magnitude, weight)
        slack = 0 if node.bias_exact else 1
        low = [(x >> 1) + (b << P) for x, b in zip(twice_low, node.bias, strict=True)]
        high = [(x >> 1) + ((b + slack) << P) for x, b in zip(twice_high, node.bias, strict=True)]
        hidden = [ceil_shift(x, 2 * P - K) for x in exposed_rows(node, point.lower)] if self.planned else [0] * rows
        if not self.rounded or node.count == 0:
            return [x >> P for x in low], [ceil_shift(x, P) for x in high], hidden
        k = node.count + 2
        magnitude = [((m + (c << P)) >> P) + 1 for m, c in zip(magnitude, node.magnitude, strict=True)]
        errors = [-((-m * k << (K - P)) // ((1 << 24) - k)) + 1 for m in magnitude]
        if 4 * k * ((1 << P) + max(weight, default=0) + reach) >= UNDERFLOW:
            point.status = FAILED
        if any((m << (K - P)) + e >= OVERFLOW for m, e in zip(magnitude, errors, strict=True)):
            point.status = FAILED
        widths = [ceil_shift(e, K - P) for e in errors]
        return (
            [(x >> P) - e for x, e in zip(low, widths, strict=True)],
            [ceil_shift(x, P) + e for x, e in zip(high, widths, strict=True)],
            list(map(add, errors, hidden)),
        )

    def _tighten(self, point: Point, v: int, unstable: Sequence[int]) -> None:
        """Intersects the bounds of the listed neurons of affine node v with their backward bounds."""
        low, high = point.lower[v], point.upper[v]
        for j in unstable:
            for rule in self.intermediate:
                low[j] = max(low[j], self.row_bound(point, v, ((j, 1),), (), rule) >> (K - P))
                high[j] = min(high[j], -(self.row_bound(point, v, ((j, -1),), (), rule) >> (K - P)))

    # Backward substitution ------------------------------------------------------------------------------------------

    def closes(self, point: Point, claim: Claim) -> bool:
        if point.status != OPEN:
            return point.status == EMPTY
        return all(
            bound is not None
            and bound.closed_by(self.row_bound(point, self.output, bound.row, bound.xrow, bound.rule, bound.vector))
            for bound in claim
        )

    def row_bound(
        self,
        point: Point,
        start: int,
        row: Iterable[tuple[int, int]],
        xrow: Iterable[tuple[int, int]],
        rule: int,
        vector: Vector | None = None,
    ) -> int:
        """A lower bound at 2^-K of row . (value of node `start`) + xrow . X over the executions in the box of `point`.

        vector: explicit slopes instead of the rule, and pins, on nodes up to `start`.
        pending[v]: coefficients (at 2^-(F+S)) of the live neurons of node v; complete when v is reached from above.
        Invariant: row . value + xrow . X >= constant + sum over v of pending[v] . (value of v).
        """
        stated = None if vector is None else vector.slopes
        pins = {} if vector is None else self._pins_by_node(vector)
        rule = 0 if vector is not None else rule
        pending: dict[int, list[int]] = {}
        constant = 0
        first = self.nodes[start]
        if isinstance(first, Affine):
            js, scaled = [j for j, _ in row], [c << (F + S) for _, c in row]
            if start in pins:
                constant, scaled, beyond = _pin(point, start, js, scaled, pins[start])
                js, scaled = [*js, *beyond], [*scaled, *beyond.values()]
            constant += _affine_constant(first, point.errors[start], js, scaled)
            for matrix, a in first.operands:
                sums = list(compress(combine_rows(matrix, js, scaled), self._live(point, a)))
                constant += self._send(point, matrix, a, scaled, sums, pending)
        else:
            add_to(pending, start, list(compress(_scatter(row, self.sizes[start]), self._live(point, start))))
        if xrow:
            add_to(pending, 0, _scatter(xrow, self.sizes[0]))
        for v in range(start, -1, -1):
            coefficients = pending.pop(v, None)
            pinned = pins.get(v) if v < start else None
            if pinned is not None and coefficients is None:
                coefficients = [0] * sum(self._live(point, v))
            if coefficients is None:
                continue
            node = self.nodes[v]
            match node:
                case Input():
                    constant += _input_constant(point, coefficients)
                case Relu(source):
                    constant += self._through_relu(point, v, source, coefficients, rule, stated, pending)
                case Affine():
                    constant += self._through_affine(point, v, node, coefficients, pinned, pending)
        return constant

    def _pins_by_node(self, vector: Vector) -> dict[int, dict[int, int]]:
        """The pins of every network node that has any, by position in it."""
        pins: dict[int, dict[int, int]] = {}
        for number, gamma in vector.pins:
            v, j = self.neuron(number)
            pins.setdefault(v, {})[j] = gamma
        return pins

    def _through_relu(
        self,
        point: Point,
        v: int,
        source: int,
        coefficients: list[int],
        rule: int,
        stated: bytes | None,
        pending: dict[int, list[int]],
    ) -> int:
        """Replaces relu(z) by its line: below where the coefficient is positive, above where it is negative."""
        slopes = point.slopes.get((v, rule))
        if slopes is None:
            slopes = point.slopes[v, rule] = self._slopes(point, v, source, rule)
        if stated is not None:
            slopes = slopes.with_slopes(stated)
        floored = [c >> S for c in coefficients]
        add_to(
            pending,
            source,
            [c * (a if c > 0 else s) for c, a, s in zip(floored, slopes.below, slopes.above, strict=True)],
        )
        intercepts = sum(c * t for c, t in zip(floored, slopes.intercept, strict=True) if c < 0)
        return intercepts >> (F + P - K)

    def _through_affine(
        self,
        point: Point,
        v: int,
        node: Affine,
        coefficients: list[int],
        pinned: dict[int, int] | None,
        pending: dict[int, list[int]],
    ) -> int:
        js = list(compress(range(self.sizes[v]), self._live(point, v)))
        constant = 0
        beyond: dict[int, int] = {}
        if pinned is not None:
            constant, coefficients, beyond = _pin(point, v, js, coefficients, pinned)
        every, all_js = [*coefficients, *beyond.values()], [*js, *beyond]
        constant += _affine_constant(node, point.errors[v], all_js, every)
        for k, (matrix, a) in enumerate(node.operands):
            sums = self._sums(point, v, k, js, coefficients)
            if beyond:
                more = compress(combine_rows(matrix, list(beyond), list(beyond.values())), self._live(point, a))
                sums = list(map(add, sums, more))
            constant += self._send(point, matrix, a, every, sums, pending)
        return constant

    def _sums(self, point: Point, v: int, k: int, js: list[int], coefficients: list[int]) -> list[int]:
        """`combine_rows` of operand k of affine node v for its live rows js, at the live columns.

        By rows when few coefficients are not zero (rows of a convolution), else by packed columns.
        """
        matrix, a = self.operand(v, k)
        live = self._live(point, a)
        some = [i for i, c in enumerate(coefficients) if c]
        if 3 * len(some) * matrix.columns < len(coefficients) * sum(live):
            return list(compress(combine_rows(matrix, [js[i] for i in some], [coefficients[i] for i in some]), live))
        columns = point.packed.get((v, k))
        if columns is None:
            columns = point.packed[v, k] = pack(self.columns[v, k], self._live(point, v), live)
        sums = [
            sum(map(mul, coefficients if at is None else map(coefficients.__getitem__, at), weights))
            for at, weights in columns
        ]
        if matrix.exact:
            return sums
        negative = [min(0, c) for c in coefficients]
        extra = (sum(negative if at is None else map(negative.__getitem__, at)) for at, _ in columns)
        return list(map(add, sums, extra))

    def _send(
        self,
        point: Point,
        matrix: Matrix,
        a: int,
        coefficients: list[int],
        sums: list[int],
        pending: dict[int, list[int]],
    ) -> int:
        """Hands the sums (at 2^-(F+S+P)) to node a, floored to 2^-F; returns minus what flooring may cost."""
        add_to(pending, a, [q >> (S + P) << S for q in sums])
        exposed = -sum(x for x in point.lower[a] if x < 0)
        if exposed == 0:
            return 0
        loss = 1 if matrix.exact or self.planned else 2 + (sum(map(abs, coefficients)) >> (S + P))
        return -ceil_shift(loss * exposed, F + P - K)

    def _live(self, point: Point, v: int) -> list[bool]:
        """Which neurons of v are kept in coefficient vectors: those of v that only ReLUs read are zero when high <= 0.

        A ReLU and its source share one answer, so that coefficients pass between them unchanged in length.
        """
        live = point.live.get(v)
        if live is None:
            node = self.nodes[v]
            if isinstance(node, Relu):
                live = self._live(point, node.source)
            elif isinstance(node, Affine) and self.only_relu[v]:
                live = [x > 0 for x in point.upper[v]]
            else:
                live = [True] * self.sizes[v]
            point.live[v] = live
        return live

    def _slopes(self, point: Point, v: int, source: int, rule: int) -> Slopes:
        """Slopes of the live neurons of ReLU node v, in the order of the live neurons of its source."""
        live = self._live(point, v)
        lower, upper = compress(point.lower[source], live), compress(point.upper[source], live)
        triples = [relu_slopes(x, y, rule) for x, y in zip(lower, upper, strict=True)]
        position = list(accumulate(live))
        explicit = [
            (position[j] - 1, place)
            for j, place in self.places.get(source, ())
            if live[j] and point.lower[source][j] < 0 < point.upper[source][j]
        ]
        return Slopes([a for a, _, _ in triples], [s for _, s, _ in triples], [t for _, _, t in triples], explicit)


def _unsettled(parent: Point, v: int, size: int) -> Sequence[int]:
    """The neurons of node v whose sign the parent's bounds leave open: all of them at a root.

    Stable neurons get a backward bound once, where they become stable: their magnitudes enter the error terms.
    """
    if not parent.lower:
        return range(size)
    return [j for j, (x, y) in enumerate(zip(parent.lower[v], parent.upper[v], strict=True)) if x < 0 < y]


def _pin(
    point: Point, v: int, js: list[int], coefficients: list[int], pinned: dict[int, int]
) -> tuple[int, list[int], dict[int, int]]:
    """Takes gamma (z - b) >= 0 from a row: (constant, coefficients of the live neurons js, those of other neurons)."""
    row = dict(zip(js, coefficients, strict=True))
    total = 0
    for j, gamma in pinned.items():
        row[j] = row.get(j, 0) - (gamma << S)
        total += gamma * (point.lower[v][j] if gamma > 0 else point.upper[v][j])
    values = list(row.values())
    return total >> (F + P - K), values[: len(js)], dict(list(row.items())[len(js) :])


def _affine_constant(node: Affine, errors: list[int], js: list[int], coefficients: list[int]) -> int:
    """What the bias and the error terms of the neurons js contribute, rounded down."""
    products = sum(c * node.bias[j] for j, c in zip(js, coefficients, strict=True))
    if not node.bias_exact:
        products += sum(min(0, c) for c in coefficients)
    lost = sum(((abs(c) >> (F + S - G)) + 1) * errors[j] for j, c in zip(js, coefficients, strict=True) if c)
    return (products >> (F + S + P - K)) - ceil_shift(lost, G)


def _input_constant(point: Point, coefficients: list[int]) -> int:
    """The minimum of coefficients . X over the box, rounded down to 2^-K; or over its ellipsoid, where that is more."""
    box = point.box
    if box is None:
        raise CertificateRejected("kernel", "a bound was asked of a tree node without a box")
    ends = zip(coefficients, box.lower, box.upper, strict=True)
    constant = sum(c * (x if c > 0 else y) for c, x, y in ends) >> (F + S + H - K)
    return constant if box.ball is None else max(constant, least(coefficients, box, box.ball))


def _scatter(row: Iterable[tuple[int, int]], size: int) -> list[int]:
    vector = [0] * size
    for i, c in row:
        vector[i] += c << (F + S)
    return vector
