"""Bounds of every neuron over one box, once per search: intervals, then backward rows where those leave a neuron open.

Layer by layer: interval and error term from what is known below, then rows +z_j and -z_j for the open neurons only,
with the inactive neurons below packed away.  The stable ones need no row, unlike in crown.py where their magnitudes
enter the error terms: over boxes with hundreds of inputs the rows cost more than the error terms gain.

A second derivation optimises the slopes of the rows themselves (alpha-CROWN), each row its own, and starts from the
bounds of the first, in the same order, so that every layer uses the better bounds below it.  How many steps, and for
how many rows, follows from the time that a few rows of each layer take.  Where not all can have their steps, those
that are worth most get them, and the other open neurons get an adaptive row over the better bounds below.  What was
done is recorded so that a certificate can repeat it: rule 0, or slopes by row and neuron.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from farkas.ir.core import Affine, Input, Product, Relu
from farkas.ir.products import refused
from farkas.runtime_cuda.adjoint import Ground, Passes
from farkas.runtime_cuda.ball import Ball
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator, lines
from farkas.runtime_cuda.neurons import neuron_bounds, row_numbers
from farkas.runtime_cuda.optimise import Allowed, Variables, climb, rounded_slopes
from farkas.runtime_cuda.prepared import Prepared
from farkas.runtime_cuda.rounding import up

OVERHEAD = 1.5  # of a step over its two passes
SAMPLE = 8  # neurons whose rows are timed
FEWEST_STEPS = 6  # what a row must get to be worth the trouble
PIECE = 1 << 20  # coefficients of one pass: 8 MB, little beyond the cache and quick to be had from the system


@dataclass(frozen=True)
class Effort:
    """How much may be spent at the root: seconds by `clock`, and steps of slope optimisation at most."""

    seconds: float = 1.0
    steps: int = 20
    clock: Callable[[], float] = time.thread_time


@dataclass(frozen=True, eq=False)
class RowsUsed:
    """Rows of one layer (its ordinal): neurons None means all that were open; slopes (R, 2, N) bytes, None for rule 0.

    slopes[r, 0] are those of the row of z_j, slopes[r, 1] those of the row of -z_j, j = neurons[r].
    """

    layer: int
    neurons: Any
    slopes: Any


@dataclass(frozen=True, eq=False)
class Root:
    """Bounds in force (N,), by node the error terms in force, and the derivations (each with a forward pass) used."""

    lower: Any
    upper: Any
    empty: bool
    ground: Ground
    recipes: tuple[tuple[RowsUsed, ...], ...]
    asked: Any = None  # (N,) the neurons that the outputs asked about depend on; None: all


class _Derivation:
    """One pass in network order: forward interval and error of every node, rows of the open neurons of every layer."""

    def __init__(
        self,
        net: Prepared,
        x_lower: Any,
        x_upper: Any,
        lower: Any,
        upper: Any,
        tick: Callable[[], None],
        ball: Ball | None = None,
    ) -> None:
        self.ball = ball
        self.net, self.xp, self.tick = net, net.backend.xp, tick
        self.x_lower, self.x_upper = x_lower, x_upper
        self.lower, self.upper = lower.copy(), upper.copy()
        self.empty = False
        self.error: dict[int, Any] = {}
        self.floor: dict[int, float] = {}
        self.fixed: dict[int, tuple[Any, Any, Any]] = {}
        self.used: list[RowsUsed] = []
        self.packed = net

    def ground(self) -> Ground:
        return Ground(self.x_lower, self.x_upper, self.error, self.floor, self.fixed, self.ball)

    def run(self, tighten: Callable[[_Derivation, int, int], None]) -> None:
        """tighten(derivation, node, ordinal) may improve the bounds of a layer, everything below being final."""
        xp, net = self.xp, self.net
        low: list[Any] = [None] * len(net.nodes)
        high: list[Any] = [None] * len(net.nodes)
        sizes: list[Any] = [None] * len(net.nodes)
        for v, node in enumerate(net.nodes):
            match node:
                case Input():
                    low[v], high[v] = self.x_lower, self.x_upper
                case Relu(source=source):
                    low[v], high[v] = xp.maximum(low[source], 0.0), xp.maximum(high[source], 0.0)
                    if source not in net.slots:
                        made = lines(xp, low[source][None], high[source][None], (ADAPTIVE,), net.widest, net.resolution)
                        self.fixed[v] = made.lower[0, 0], made.upper[0], made.intercept[0]
                case Affine():
                    low[v], high[v] = self._interval(v, low, high, sizes)
                    if v in net.slots:
                        self._intersect(v, xp.arange(net.sizes[v]), low[v], high[v])
                        tighten(self, v, list(net.slots).index(v))
                        low[v], high[v] = self.lower[net.slots[v]], self.upper[net.slots[v]]
                        self._pack(v)
                case Product():
                    raise refused("neuron splitting")
                case _:
                    assert_never(node)
            low[v], high[v] = xp.minimum(low[v], high[v]), xp.maximum(low[v], high[v])
            sizes[v] = xp.maximum(abs(low[v]), abs(high[v]))[None]

    def _interval(self, v: int, low: list[Any], high: list[Any], sizes: list[Any]) -> tuple[Any, Any]:
        """Interval of an Affine node from its operands (midpoint-radius), its error and floor set."""
        layer = self.net.layers[v]
        error = layer.error(sizes)[0]
        self.error[v] = error
        self.floor[v] = float(layer.resolution * layer.u_sum(sizes)[0, 0]) if layer.resolution else 0.0
        mid, rad = layer.bias[None], 0.0
        for operand in layer.operands:
            l, u = low[operand.source][None], high[operand.source][None]
            m = 0.5 * (l + u)
            mid = mid + operand.map.mv(m)
            rad = rad + operand.absolute.mv(self.xp.maximum(u - m, m - l))
        rad = up(rad, layer.fan_in + 16) + error
        return (mid - rad)[0], (mid + rad)[0]

    def _intersect(self, v: int, index: Any, low: Any, high: Any) -> None:
        """Bounds of the listed neurons of node v, intersected with new ones; NaN bounds nothing."""
        xp, start = self.xp, self.net.slots[v].start
        place = start + index
        self.lower[place] = xp.where(low > self.lower[place], low, self.lower[place])
        self.upper[place] = xp.where(high < self.upper[place], high, self.upper[place])
        self.empty = self.empty or bool((self.lower[place] > self.upper[place]).any())

    def open_neurons(self, v: int, asked: Any = None) -> Any:
        slot = self.net.slots[v]
        is_open = (self.lower[slot] < 0) & (self.upper[slot] > 0)
        return self.xp.flatnonzero(is_open if asked is None else is_open & asked[slot])

    def _pack(self, v: int) -> None:
        """Leave the inactive neurons of node v, whose bounds are final in this pass, out of the rows above it."""
        if v in self.net.packable:
            slots = self.net.slots
            alive = np.ones(self.net.width, dtype=bool)
            for below in slots:
                if below <= v and below in self.net.packable:
                    alive[slots[below]] = self.net.backend.to_numpy(self.upper[slots[below]]) > 0
            self.packed = self.net.pack(alive)

    def passes(self, *, single: bool = False) -> Passes:
        """Passes through what lies below the layer at hand."""
        return Passes(self.packed, self.net, self.ground(), self.tick, single=single)

    def adaptive_rows(self, v: int, k: int, asked: Any = None) -> None:
        """Rule 0 for all open neurons of node v, of those asked about."""
        index = self.open_neurons(v, asked)
        if not len(index):
            return
        passes = self.passes()
        relaxed = passes.relax(self.lower[passes.kept][None], self.upper[passes.kept][None], v)
        for part in parts_of(index, row_numbers(passes, v)):
            found = neuron_bounds(passes, v, part[None], relaxed)[0][0]
            self._intersect(v, part, found[: len(part)], -found[len(part) :])
        listed = None if asked is None or asked.all() else self.net.backend.to_numpy(index)
        self.used.append(RowsUsed(k, listed, None))

    def optimised_rows(self, v: int, k: int, index: Any, steps: int) -> None:
        """The best slopes found for each of the listed neurons' rows, in force as rounded."""
        if not len(index):
            return
        xp, packed = self.xp, self.packed
        rough, sure = self.passes(single=True), self.passes()
        low, high = self.lower[sure.kept][None], self.upper[sure.kept][None]
        relaxed, coarse = sure.relax(low, high, v), rough.relax(low, high, v)
        is_open = ((low < 0) & (high > 0))[:, None]
        never = xp.zeros(is_open.shape, dtype=bool)
        first = rough.adaptive(coarse)
        slopes = np.zeros((len(index), 2, self.net.width), dtype=np.uint8)
        at = 0
        for part in parts_of(index, packed.widest):
            start = Variables(first, xp.zeros(first.shape, dtype=first.dtype))
            allowed = Allowed(is_open, never, never)
            _, best = climb(rough, rough.units(v, part[None]), coarse, allowed, start, (low, high), steps)
            code, exact = rounded_slopes(xp, best.slopes, is_open)
            lines_taken = sure.with_slopes(relaxed, exact, is_open)
            found = sure.descend(sure.units(v, part[None]), lines_taken, rigorous=True, keep=False).value[0]
            count = len(part)
            self._intersect(v, part, found[:count], -found[count:])
            both = self.net.backend.to_numpy(code[0]).reshape(2, count, -1).transpose(1, 0, 2)
            slopes[at : at + count][:, :, packed.kept] = both
            at += count
        self.used.append(RowsUsed(k, self.net.backend.to_numpy(index), slopes))


def parts_of(index: Any, numbers: int) -> list[Any]:
    """Pieces of a list of neurons whose rows, of so many coefficients at a node, fit into one pass."""
    size = max(1, PIECE // (2 * numbers))
    return [index[i : i + size] for i in range(0, len(index), size)]


def derive(
    net: Prepared,
    x_lower: Any,
    x_upper: Any,
    tick: Callable[[], None],
    outputs: Any = None,
    ball: Ball | None = None,
) -> Root:
    """Bounds over the box (n0,) by intervals and adaptive rows; outputs: those that are asked about, None for all.

    ball: of one box; the bounds then hold on its points.
    """
    top = net.backend.xp.full(net.width, net.backend.xp.inf)
    if not net.is_dense:
        return _propagated(net, x_lower, x_upper, -top, top, tick, outputs, ball)
    first = _Derivation(net, x_lower, x_upper, -top, top, tick, ball)
    first.run(_Derivation.adaptive_rows)
    return Root(first.lower, first.upper, first.empty, first.ground(), (tuple(first.used),))


def _propagated(
    net: Prepared,
    x_lower: Any,
    x_upper: Any,
    lower: Any,
    upper: Any,
    tick: Callable[[], None],
    outputs: Any,
    ball: Ball | None,
) -> Root:
    """The same by the short cuts of crown.py; one pass of intervals more gives the error terms for what it found."""
    propagator = Propagator(net, (ADAPTIVE,), tick, outputs)
    refined = propagator.refine(x_lower[None], x_upper[None], lower[None], upper[None], ball=ball)
    known = _Derivation(net, x_lower, x_upper, refined.lower[0], refined.upper[0], tick, ball)
    known.run(lambda derivation, v, k: None)
    used, asked = [], net.backend.xp.ones(net.width, dtype=bool)
    for k, (v, slot) in enumerate(net.slots.items()):
        mask = propagator.asked.get(v)
        if mask is not None:
            asked[slot] = mask
        used.append(RowsUsed(k, None if mask is None else np.flatnonzero(net.backend.to_numpy(mask)), None))
    empty = known.empty or bool(refined.empty[0])
    return Root(known.lower, known.upper, empty, known.ground(), (tuple(used),), asked)


def improve(net: Prepared, known: Root, effort: Effort, worth: Any, tick: Callable[[], None]) -> Root:
    """The same bounds, improved by rows with optimised slopes as far as the effort allows; worth: (N,) or None."""
    if known.empty:
        return known
    steps, chosen = _plan(net, known, effort, worth, tick)
    if not steps or not chosen.any():
        return known
    ground = known.ground
    better = _Derivation(net, ground.x_lower, ground.x_upper, known.lower, known.upper, tick, ground.ball)

    def tighten(derivation: _Derivation, v: int, k: int) -> None:
        if k == 0:  # no slopes below
            return
        index, wanted = derivation.open_neurons(v, known.asked), chosen[net.slots[v]]
        if not wanted[index].all():
            derivation.adaptive_rows(v, k, known.asked)
            index = derivation.open_neurons(v, known.asked)
        derivation.optimised_rows(v, k, index[wanted[index]], steps)

    better.run(tighten)
    recipes = (*known.recipes, tuple(better.used))
    return Root(better.lower, better.upper, better.empty, better.ground(), recipes, known.asked)


def _step_seconds(net: Prepared, known: Root, clock: Callable[[], float], tick: Callable[[], None]) -> Any:
    """(N,): what a step for both rows of a neuron takes, from a few rows of every layer there and back."""
    xp = net.backend.xp
    packed = net.pack(net.backend.to_numpy(known.upper) > 0) if net.packable else net
    rough = Passes(packed, net, known.ground, tick, single=True)
    relaxed = rough.relax(known.lower[rough.kept][None], known.upper[rough.kept][None])
    seconds = xp.zeros(net.width)
    for v in list(net.slots)[1:]:
        if packed.sizes[v]:
            start = rough.units(v, xp.arange(min(packed.sizes[v], SAMPLE))[None])
            times = []
            for _ in range(2):  # the first prepares what the second uses
                began = clock()
                rough.ascend(rough.descend(start, relaxed, rigorous=False, keep=True), relaxed)
                times.append(clock() - began)
            seconds[net.slots[v]] = OVERHEAD * min(times) / min(packed.sizes[v], SAMPLE)
    return seconds


def _plan(net: Prepared, known: Root, effort: Effort, worth: Any, tick: Callable[[], None]) -> tuple[int, Any]:
    """How many steps, and (N,) which neurons' rows are to have them."""
    xp = net.backend.xp
    is_open = (known.lower < 0) & (known.upper > 0)
    if known.asked is not None:
        is_open = is_open & known.asked
    cost = xp.where(is_open, _step_seconds(net, known, effort.clock, tick), 0.0)
    total = float(cost.sum())
    steps = effort.steps if effort.steps * total <= effort.seconds else int(effort.seconds / total)
    if steps >= min(effort.steps, FEWEST_STEPS):
        return steps, is_open
    steps = min(effort.steps, FEWEST_STEPS)
    worth = xp.where(is_open, -known.lower * known.upper if worth is None else worth, 0.0)
    order = xp.argsort(-worth, kind="stable")
    fits = xp.zeros(net.width, dtype=bool)
    fits[order] = steps * xp.cumsum(cost[order]) <= effort.seconds
    return steps, fits & is_open & (worth > 0)
