"""Lower bounds of +z and -z for chosen neurons of a layer: whole rows, or patches of them (patches.py).

The steps are those of `Passes.descend`, node by node from the top: at a Relu the lines gathered under the patch, at an
Affine node its bias and its error term, then the transposed convolution of the patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, assert_never

from farkas.ir.convolution import Conv2d
from farkas.ir.core import Affine, Input, Product, Relu
from farkas.ir.products import refused
from farkas.runtime_cuda.adjoint import Descent, Passes, Relaxed, Start, sloped
from farkas.runtime_cuda.patches import Patches

Columns: TypeAlias = Mapping[int, Any]  # places by node
Losses: TypeAlias = dict[int, Any]  # (B, 2R, places) by node


def neuron_bounds(
    passes: Passes, v: int, index: Any, relaxed: Relaxed, columns: Columns | None = None
) -> tuple[Any, Losses]:
    """(B, 2R): lower bounds of z_i, then of -z_i, for the listed neurons (B, R) of node v; lines shared by all rows.

    columns: places by node.  For these also, by node, the sizes of the rows' negative coefficients over the outputs of
    neurons, (B, 2R, places) in binary32.
    """
    plan = passes.plan(v)
    if plan is not None:
        return _Walk(passes, plan, index, relaxed, columns).value()
    start = passes.units(v, index)
    found = passes.descend(start, relaxed, rigorous=True, keep=columns is not None)
    return found.value, _negative(passes, found, columns)


def _negative(passes: Passes, found: Descent, columns: Columns | None) -> Losses:
    lost: Losses = {}
    for r, crossing in found.crossings.items() if columns is not None else ():
        node = passes.net.nodes[r]
        assert isinstance(node, Relu), "rows cross Relus"
        if columns is not None and node.source in columns:
            part = passes.xp.maximum(-crossing.coef[:, :, columns[node.source]], 0.0).astype(passes.xp.float32)
            lost[node.source] = lost[node.source] + part if node.source in lost else part
    return lost


def row_numbers(passes: Passes, v: int) -> int:
    """The most coefficients that a row of node v has at any node, for the size of a pass."""
    plan = passes.plan(v)
    return passes.net.widest if plan is None else plan.numbers


class _Walk:
    """Rows +z, -z of (B, R) neurons as patches (B, 2, R, C, height, width) by node, and their constants (B, 2, R)."""

    def __init__(self, passes: Passes, plan: Patches, index: Any, relaxed: Relaxed, columns: Columns | None) -> None:
        xp = self.xp = passes.xp
        self.passes, self.plan, self.relaxed = passes, plan, relaxed
        height, width = plan.views[plan.start].counts
        self.channel = index // (height * width)
        self.position = index // width % height, index % width
        self.batch = xp.arange(index.shape[0])[:, None]
        bias = passes.bias[plan.start][index]
        lost = passes.error[plan.start][index] + passes.floor[plan.start]
        self.const = xp.stack([bias - lost, -bias - lost], axis=1)
        self.held: dict[int, Any] = {}
        self.rows: dict[int, Any] = {}
        self.columns, self.lost = columns, Losses()

    def value(self) -> tuple[Any, Losses]:
        """As neuron_bounds."""
        self.passes.tick()
        plan, xp = self.plan, self.xp
        for i in range(len(self.passes.net.layers[plan.start].operands)):
            rows = self._kernels(i)
            self._hand_down(plan.start, i, xp.stack([rows, -rows], axis=1))
        for v in range(plan.start - 1, -1, -1):
            if v in self.held:
                self._step(v, self.held.pop(v))
        const = self.const.reshape(self.const.shape[0], -1)
        if not self.rows:
            return self.passes.settled(const), self.lost
        flat = {v: rows.reshape(*const.shape, -1) for v, rows in self.rows.items()}
        start = Start(flat, const, max(flat))
        found = self.passes.descend(start, self.relaxed, rigorous=True, keep=self.columns is not None)
        for v, part in _negative(self.passes, found, self.columns).items():
            self.lost[v] = self.lost[v] + part if v in self.lost else part
        return found.value, self.lost

    def _note(self, v: int, source: int, patch: Any) -> None:
        """Add the negative coefficients of the patches of Relu node v to what is lost at the places of its source."""
        xp = self.xp
        if self.columns is None or source not in self.columns:
            return
        count = len(self.columns[source])
        place = xp.zeros((1, self.passes.net.sizes[v]), dtype=int)  # 0: no place, and what lies outside the image
        place[0, self.columns[source]] = xp.arange(1, count + 1)
        shape = (*patch.shape[:3], patch.shape[3] * patch.shape[4] * patch.shape[5])
        target = xp.broadcast_to(self._under(v, place), patch.shape).reshape(shape)
        part = xp.zeros((*shape[:3], count + 1), dtype=xp.float32)
        xp.put_along_axis(part, target, xp.maximum(-patch, 0.0).reshape(shape).astype(xp.float32), axis=3)
        part = part[..., 1:].reshape(shape[0], shape[1] * shape[2], count)
        self.lost[source] = self.lost[source] + part if source in self.lost else part

    def _step(self, v: int, patch: Any) -> None:
        xp, passes, view = self.xp, self.passes, self.plan.views[v]
        if v in self.plan.whole:
            self.rows[v] = view.spread(xp, patch, self.position)
            return
        node = passes.net.nodes[v]
        match node:
            case Input():
                self.const = self.const + self._sum(patch, self._under(v, passes.mid[None]))
                self.const = self.const - self._sum(abs(patch), self._under(v, passes.reach[None]))
            case Relu(source=source):
                self._note(v, source, patch)
                a, s, t = (self._under(v, line[:, 0]) for line in passes.lines_of(v, source, self.relaxed))
                negative = xp.minimum(patch, 0.0)
                self.const = self.const + self._sum(negative, t)
                self._add(source, sloped(patch, negative, a, s))
            case Affine():
                if v in self.plan.unmasked:  # what lies outside the image is no coefficient
                    patch = patch * self._under(v, xp.ones((1, passes.net.sizes[v])))
                self.const = self.const + self._sum(patch, self._under(v, passes.bias[v][None]))
                self.const = self.const - self._sum(abs(patch), self._under(v, passes.error[v][None])) - passes.floor[v]
                for i in range(len(passes.maps[v])):
                    local = self.plan.maps[v, i]
                    flat = local.rmv(patch.reshape(-1, local.rows))
                    self._hand_down(v, i, flat.reshape(*patch.shape[:3], local.channels, *local.image))
            case Product():
                raise refused("neuron splitting")
            case _:
                assert_never(node)

    def _kernels(self, i: int) -> Any:
        """(B, R, C, height, width): term i of the starting rows, the kernel of each neuron's channel."""
        xp, shape = self.xp, self._convolution(self.plan.start, i)
        groups, members, channels, _ = shape.kernel.shape
        w = shape.windows
        group, member = self.channel // members, self.channel % members
        whole = xp.zeros((*self.channel.shape, groups, channels, w.extent(0), w.extent(1)))
        kernels = shape.kernel[group, member].reshape(*self.channel.shape, channels, *w.kernel)
        rows = xp.arange(self.channel.shape[1])[None]
        whole[self.batch, rows, group, :, :: w.dilations[0], :: w.dilations[1]] = kernels
        return whole.reshape(*self.channel.shape, groups * channels, w.extent(0), w.extent(1))

    def _hand_down(self, v: int, i: int, patch: Any) -> None:
        """Add the patch that term i of node v sees to the hull of its source."""
        source = self.passes.net.layers[v].operands[i].source
        seen, view = self.plan.views[v].through(self._convolution(v, i)), self.plan.views[source]
        if seen.size != view.size:
            hull = self.xp.zeros((*patch.shape[:4], *view.size))
            y, x = (o - base for o, base in zip(seen.offset, view.offset, strict=True))
            hull[..., y : y + seen.size[0], x : x + seen.size[1]] = patch
            patch = hull
        self._add(source, patch)

    def _convolution(self, v: int, i: int) -> Conv2d:
        shape = self.passes.net.layers[v].operands[i].map
        assert isinstance(shape, Conv2d), "patches pass convolutions"
        return shape

    def _add(self, v: int, patch: Any) -> None:
        self.held[v] = self.held[v] + patch if v in self.held else patch

    def _under(self, v: int, values: Any) -> Any:
        """What lies under the patches of node v: of (B or 1, n) the part (B or 1, 1, R, C, height, width)."""
        windows = self.plan.views[v].windows(self.xp, values)
        batch = self.batch if values.shape[0] > 1 else self.batch * 0
        return windows[batch, self.position[0], self.position[1]][:, None]

    def _sum(self, patch: Any, values: Any) -> Any:
        return (patch * values).sum(axis=(3, 4, 5))
