"""Bounds for a search that splits neurons: subproblems of one box, batched, with optimised slopes and pins.

`root` bounds every neuron once over the box.  A subproblem is then a pair of flat bound vectors, phases included;
`refresh` tightens the bounds of chosen neurons under them, `optimise` bounds one row per subproblem with the slopes and
pins that do best.  The error terms of the root hold in every subproblem, for it is the same box.

Only bounds of float64 with every error term leave this module, for slopes and pins rounded as a certificate states
them; all else is search (see adjoint.py).  Where layers are dense, the neurons inactive at the root are packed away:
numbers outside are those of the whole program, and what is packed away reads as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from farkas.ir.core import Relu
from farkas.runtime_cuda.adjoint import Descent, Passes, Relaxed
from farkas.runtime_cuda.ball import Ball
from farkas.runtime_cuda.neurons import neuron_bounds, row_numbers
from farkas.runtime_cuda.optimise import Allowed, Variables, climb, rounded_pins, rounded_slopes
from farkas.runtime_cuda.prepared import Prepared
from farkas.runtime_cuda.root import PIECE, Effort, Root, derive, improve, parts_of
from farkas.runtime_cuda.sensitivity import Losses, Scores, joined, losses, sensitivity

LARGEST_KEPT = 1 << 25  # numbers of the losses of a layer's rows: 128 MB


@dataclass(frozen=True, eq=False)
class Refreshed:
    """Bounds in force after a refresh, (B, N), which subproblems turned out empty (B,), losses by layer if kept."""

    lower: Any
    upper: Any
    empty: Any
    losses: Mapping[int, Losses] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Optimised:
    """Bounds of one row per subproblem, and what they were made of.

    value: (B,) proved for `slopes` (bytes, (B, N)) and `pins` ((B, N), multiples of 2^-24); free_slopes, free_pins: the
    same before rounding, for a child to start from; point: (B, n0) minimising corner; below: (B, N) coefficients over
    the outputs of the neurons; z: (B, N) values of the neurons when the point runs through the row's own lines.
    """

    value: Any
    slopes: Any
    pins: Any
    free_slopes: Any
    free_pins: Any
    point: Any
    below: Any
    z: Any


class Relaxation:
    """Bounds of subproblems of one box: `root` first, then `refresh` and `optimise` as often as wanted.

    x_lower, x_upper: (n0,); tick: called before every pass, may raise to abandon the work; outputs: positions of the
    output that rows will ask about, None for any: in networks of convolutions other neurons keep their interval bounds;
    ball: what else is known of the points of the box that are asked about.
    """

    def __init__(
        self,
        prepared: Prepared,
        x_lower: Any,
        x_upper: Any,
        tick: Callable[[], None],
        outputs: Any = None,
        ball: Ball | None = None,
    ) -> None:
        self.ball = ball
        self.outputs = outputs
        self.full = prepared
        self.xp = prepared.backend.xp
        self.tick = tick
        self.x_lower, self.x_upper = prepared.backend.asarray(x_lower), prepared.backend.asarray(x_upper)
        self.layers = tuple(prepared.slots)  # node of every layer ordinal
        self._root: Root | None = None

    def root(self, effort: Effort, worth: Any = None) -> Root:
        """Bounds of every neuron over the box; packs the program for all that follows.

        A second call goes on from the first.  worth: (N,), what a better bound of a neuron brings, so that the rows
        that matter come first where the effort does not suffice for all.
        """
        known = self._root or derive(self.full, self.x_lower, self.x_upper, self.tick, self.outputs, self.ball)
        found = improve(self.full, known, effort, worth, self.tick) if effort.steps else known
        self.adopt(found)
        return found

    def adopt(self, root: Root) -> None:
        """Work from a root found before, over the same box."""
        self._root = root
        self.net = self.full.pack(self.full.backend.to_numpy(root.upper) > 0) if self.full.packable else self.full
        self.sure = Passes(self.net, self.full, root.ground, self.tick)
        self.rough = Passes(self.net, self.full, root.ground, self.tick, single=True)
        place = self.xp.full(self.full.width, -1)
        place[self.sure.kept] = self.xp.arange(self.net.width)
        self._place = place
        is_open = (root.lower[self.sure.kept] < 0) & (root.upper[self.sure.kept] > 0)
        self._open = {v: self.xp.flatnonzero(is_open[slot]) for v, slot in self.net.slots.items()}

    @property
    def _known(self) -> Root:
        assert self._root is not None, "the root is bounded first"
        return self._root

    def refresh(self, lower: Any, upper: Any, chosen: Mapping[int, Any], *, keep: bool = False) -> Refreshed:
        """Bounds (B, N) intersected with adaptive rows of the chosen neurons: by layer ordinal (B, R) places, -1 pads.

        Layers upwards, each with the lines of the bounds tightened below it.  keep: the rows' losses as well, where
        they are not too many.
        """
        xp = self.xp
        lower, upper = xp.array(lower), xp.array(upper)
        empty = (lower > upper).any(axis=1)
        loads = {k: index.shape[1] * row_numbers(self.sure, self.layers[k]) for k, index in chosen.items()}
        step = max(1, PIECE // (2 * max([*loads.values(), self.net.width])))
        kept = [k for k, load in loads.items() if keep and lower.shape[0] * load <= LARGEST_KEPT]
        parts = []
        for first in range(0, lower.shape[0], step):
            part = slice(first, first + step)
            parts.append(self._refresh(lower[part], upper[part], {k: i[part] for k, i in chosen.items()}, kept))
        empty |= (lower > upper).any(axis=1)
        shared = [k for k in kept if parts and all(k in part for part in parts)]
        return Refreshed(lower, upper, empty, {k: joined(xp, [part[k] for part in parts], 0) for k in shared})

    def _refresh(self, lower: Any, upper: Any, chosen: Mapping[int, Any], kept: Sequence[int]) -> dict[int, Losses]:
        """The same in place, for a part of the batch; what the rows of the layers `kept` lose."""
        xp, found = self.xp, {}
        for k in sorted(chosen):
            v, index = self.layers[k], chosen[k]
            slot, base = self.net.slots[v], self.full.slots[v].start
            number = xp.where(index >= 0, base + xp.maximum(index, 0), -1)
            place = xp.where(number >= 0, self._place[number], -1)
            relaxed = self.sure.relax(lower[:, self.sure.kept], upper[:, self.sure.kept], v)
            most = max(1, PIECE // (2 * index.shape[0] * row_numbers(self.sure, v)))
            pieces = []
            for at in range(0, index.shape[1], most) if (place >= 0).any() or k in kept else ():
                few = slice(at, at + most)
                wanted = place[:, few] >= 0
                value, lost = self._rows(v, xp.where(wanted, place[:, few] - slot.start, 0), relaxed, k in kept)
                count = wanted.shape[1]
                # Places that only pad the list tighten nothing: they are written to a column that is thrown away.
                target = xp.where(wanted, number[:, few], lower.shape[1])
                _raise(xp, lower, target, value[:, :count])
                _raise(xp, upper, target, value[:, count:], negated=True)
                if lost is not None:
                    pieces.append(replace(lost, neurons=xp.where(wanted, number[:, few], -1)))
            if pieces:
                found[k] = joined(xp, pieces, 1)
        return found

    def _rows(self, v: int, index: Any, relaxed: Relaxed, keep: bool) -> tuple[Any, Losses | None]:
        """Lower bounds (B, 2R) of +z and -z for neurons (B, R) of node v, and what the rows lose."""
        value, lost = neuron_bounds(self.sure, v, index, relaxed, self._open if keep else None)
        return value, losses(self.xp, lost, self.net.slots, self._open, index, self.sure.kept) if keep else None

    def _below(self, found: Descent) -> dict[int, Any]:
        """The coefficients (B, R, n) over the outputs of neurons, by their node."""
        sums: dict[int, Any] = {}
        for r, crossing in found.crossings.items():
            node = self.full.program.nodes[r]
            assert isinstance(node, Relu), "rows cross Relus"
            if node.source in self.net.slots:
                sums[node.source] = sums[node.source] + crossing.coef if node.source in sums else crossing.coef
        return sums

    def root_losses(self) -> dict[int, Losses]:
        """What the adaptive rows of the neurons that the root leaves open lose, by layer ordinal, (1, R) each.

        Empty where that would take more than LARGEST_KEPT numbers.
        """
        xp, root = self.xp, self._known
        relaxed = self.sure.relax(root.lower[None, self.sure.kept], root.upper[None, self.sure.kept])
        columns, found = 0, {}
        counts = [len(o) for o in self._open.values()]
        if 2 * sum(count * sum(counts[:k]) for k, count in enumerate(counts)) > LARGEST_KEPT:
            return {}
        for k, v in enumerate(self.layers):
            index, slot = self._open[v], self.net.slots[v]
            pieces = []
            for part in parts_of(index, row_numbers(self.sure, v)) if columns else ():
                _, lost = self._rows(v, part[None], relaxed, True)
                assert lost is not None, "what rows lose was asked for"
                pieces.append(replace(lost, neurons=self.sure.kept[slot][part][None]))
            if pieces:
                found[k] = joined(xp, pieces, 1)
            columns += len(index)
        return found

    def sensitivity(
        self, lower: Any, upper: Any, found: Optimised, root_losses: Mapping[int, Losses], fresh: Mapping[int, Losses]
    ) -> Scores:
        """Scores for branching (sensitivity.py), from the final rows and, by layer, fresh rows or else the root's."""
        rows = [fresh.get(k, root_losses.get(k)) for k in range(len(self.layers))]
        return sensitivity(self.xp, lower, upper, found.below, found.z, [r for r in rows if r is not None])

    def optimise(self, lower: Any, upper: Any, rows: Any, x_rows: Any, slopes: Any, pins: Any, steps: int) -> Optimised:
        """Lower bounds of rows @ y + x_rows @ x, one row for each subproblem (B), from the given slopes and pins.

        rows: (B, n_out), x_rows: (B, n0) or None; slopes, pins: (B, N), or None for the adaptive ones and no pins.
        steps: of ascent; with 0 the given slopes and pins are rounded and bounded.
        """
        xp, kept = self.xp, self.sure.kept
        parts = []
        step = max(1, PIECE // self.net.widest)
        for first in range(0, lower.shape[0], step):
            part = slice(first, first + step)
            xs, a, gamma = (None if given is None else given[part] for given in (x_rows, slopes, pins))
            inside = lower[part][:, kept], upper[part][:, kept]
            parts.append(self._optimise(*inside, rows[part], xs, a, gamma, steps))
        if len(parts) == 1:
            return parts[0]
        return Optimised(*(xp.concatenate([getattr(p, f) for p in parts]) for f in Optimised.__dataclass_fields__))

    def _optimise(
        self, lower: Any, upper: Any, rows: Any, x_rows: Any, slopes: Any, pins: Any, steps: int
    ) -> Optimised:
        xp, kept = self.xp, self.sure.kept
        is_open = ((lower < 0) & (upper > 0))[:, None]
        relaxed = self.sure.relax(lower, upper)
        given = None if slopes is None else slopes[:, kept][:, None]
        adaptive = self.sure.adaptive(relaxed)
        adaptive = xp.broadcast_to(adaptive, (lower.shape[0], *adaptive.shape[1:]))  # one line where no neuron is
        slopes = adaptive if given is None else xp.where(is_open, given, adaptive)
        pins = xp.zeros(slopes.shape) if pins is None else pins[:, kept][:, None]
        start = self.sure.outputs(rows[:, None], None if x_rows is None else x_rows[:, None])
        if steps > 0:
            on_lower = (lower == 0)[:, None] | (pins > 0)
            on_upper = ((upper == 0)[:, None] | (pins < 0)) & ~((lower != 0)[:, None] & (pins > 0))
            first = Variables(self.rough.cast(slopes), self.rough.cast(pins))
            allowed = Allowed(is_open, on_lower, on_upper)
            coarse = self.rough.relax(lower, upper)
            _, best = climb(self.rough, self.rough.cast_start(start), coarse, allowed, first, (lower, upper), steps)
            slopes, pins = best.slopes, best.pins
        code, exact = rounded_slopes(xp, slopes, is_open)
        pinned = rounded_pins(xp, pins)
        relaxed = self.sure.with_slopes(relaxed, exact, is_open)
        held = self.sure.pins(pinned, lower, upper)
        found = self.sure.descend(start, relaxed, held, rigorous=True, keep=True)
        return self._described(found, relaxed, code, pinned, slopes, pins)

    def _described(self, found: Descent, relaxed: Relaxed, code: Any, pinned: Any, slopes: Any, pins: Any) -> Optimised:
        corner, z = self.sure.ascend(found, relaxed)
        sums = self._below(found)
        return Optimised(
            found.value[:, 0], self._whole(code), self._whole(pinned), self._whole(slopes), self._whole(pins),
            corner[:, 0], self._gathered(sums, found), self._gathered(z, found),
        )  # fmt: skip

    def _gathered(self, by_node: dict[int, Any], found: Descent) -> Any:
        """(B, N) from arrays (B, 1, n) by node, zero where there is none."""
        flat = self.xp.zeros((found.value.shape[0], self.full.width))
        for v, slot in self.net.slots.items():
            if v in by_node:
                flat[:, self.sure.kept[slot]] = by_node[v][:, 0]
        return flat

    def _whole(self, packed: Any) -> Any:
        """(B, N) from (B, 1, width) of the packed program, zero elsewhere."""
        flat = self.xp.zeros((packed.shape[0], self.full.width), dtype=packed.dtype)
        flat[:, self.sure.kept] = packed[:, 0]
        return flat


def _raise(xp: Any, bounds: Any, target: Any, found: Any, *, negated: bool = False) -> None:
    """bounds[b, target[b, r]] becomes the larger of itself and found (the smaller of itself and -found), in place.

    A target beyond the last column is ignored, and so is a NaN; targets of one row are distinct but for those.
    """
    wide = xp.concatenate([bounds, xp.zeros((bounds.shape[0], 1))], axis=1)
    old = xp.take_along_axis(wide, target, axis=1)
    new = xp.where(-found < old, -found, old) if negated else xp.where(found > old, found, old)
    xp.put_along_axis(wide, target, new, axis=1)
    bounds[...] = wide[:, :-1]
