"""A batch of tree nodes under work: bounds in force as float64 integers, and what a backward pass needs of them.

Neurons that only ReLUs read and that are never positive in the whole batch have coefficient zero everywhere, unless
they are pinned; `keep` leaves them out of all vectors and matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from farkas.checker.kernel import readers_of
from farkas.checker.query import Affine, Input, Network, Relu, S
from farkas.checker_fast.balls import Balls
from farkas.checker_fast.layers import Layer, Operand, layer
from farkas.checker_fast.limbs import Budget, Flags, Floats, Ints
from farkas.checker_fast.matrices import Unsupported
from farkas.checker_fast.packing import Packing

ONE = 1 << S


@dataclass(frozen=True)
class Plan:
    """A network made ready.

    layers: None where a node is not affine.  coarse: coefficients over this node are kept at 2^-F, not at 2^-(F+S).
    places: where a node's bounds are stored in a state; ReLU nodes are not stored, for max(., 0) of the source's bounds
    in force are theirs (bounds only ever tighten from parent to child).  slots: where an affine node that some ReLU
    reads (a layer) stands in the numbering of neurons; ordinals: the nodes of the layers; neurons: how many there are.
    planned: whether the rule is crown-fp-2.  packing: what the last frame cut.
    """

    network: Network
    rounded: bool
    intermediate: tuple[int, ...]
    budget: Budget
    layers: tuple[Layer | None, ...]
    coarse: tuple[bool, ...]
    only_relu: tuple[bool, ...]
    feeds_relu: tuple[bool, ...]
    places: tuple[slice | None, ...]
    width: int
    slots: tuple[slice | None, ...]
    ordinals: tuple[int, ...]
    neurons: int
    columns: Ints
    planned: bool
    packing: Packing


def plan(
    network: Network,
    rounded: bool,
    intermediate: tuple[int, ...],
    budget: Budget,
    columns: Sequence[int] | None = None,
) -> Plan:
    """columns: the neurons that the bytes of a vector speak of; None for crown-fp-1.  Raises Unsupported."""
    if min(network.sizes) == 0:
        raise Unsupported("an empty node")
    nodes, readers = network.nodes, readers_of(network)
    places: list[slice | None] = []
    width = 0
    for node, size in zip(nodes, network.sizes, strict=True):
        places.append(None if isinstance(node, Relu) else slice(width, width + size))
        width += 0 if isinstance(node, Relu) else size
    by_relu = [[isinstance(nodes[r], Relu) for r in readers[v]] for v in range(len(nodes))]
    slots: list[slice | None] = []
    neurons = 0
    for v, node in enumerate(nodes):
        numbered = isinstance(node, Affine) and any(by_relu[v])
        slots.append(slice(neurons, neurons + network.sizes[v]) if numbered else None)
        neurons += network.sizes[v] if numbered else 0
    return Plan(
        network,
        rounded,
        intermediate,
        budget,
        tuple(layer(node, rounded, budget) if isinstance(node, Affine) else None for node in nodes),
        tuple(not isinstance(node, Affine) and not any(by_relu[v]) for v, node in enumerate(nodes)),
        tuple(v != network.output and all(by_relu[v]) for v in range(len(nodes))),
        tuple(any(by_relu[v]) for v in range(len(nodes))),
        tuple(places),
        width,
        tuple(slots),
        tuple(v for v, slot in enumerate(slots) if slot is not None),
        neurons,
        np.array(columns or (), dtype=np.int64),
        columns is not None,
        Packing(),
    )


@dataclass(frozen=True)
class Slopes:
    """Per tree node and kept neuron of a ReLU: slope below, slope above (at 2^-S), intercept above (at 2^-P).

    unstable: where the bounds leave the sign open.
    """

    below: Floats
    above: Floats
    intercept: Floats
    unstable: Flags


@dataclass
class Frame:
    """B tree nodes.

    low, high: (B, size) at 2^-P per network node, in order, as far as known.  errors: (B, size) at 2^-K of affine
    nodes.  box_low, box_high: (B, inputs) at 2^-H, or (1, inputs) for all.  pinned: of neurons by number, those that
    some row pins, or that have a row with pins in its own layer.  balls: of the boxes, if any has one.  before: bounds
    of a node before its row groups, which is what pins on it refer to meanwhile.
    """

    plan: Plan
    box_low: Floats
    box_high: Floats
    pinned: Flags | None = None
    balls: Balls | None = None
    low: list[Floats] = field(default_factory=list)
    high: list[Floats] = field(default_factory=list)
    errors: list[Floats] = field(default_factory=list)
    kept: dict[int, Ints | None] = field(default_factory=dict)
    slopes_of: dict[tuple[int, int], Slopes] = field(default_factory=dict)
    packed_of: dict[int, Layer] = field(default_factory=dict)
    operands_of: dict[int, tuple[Operand, ...]] = field(default_factory=dict)
    exposed_of: dict[int, Floats] = field(default_factory=dict)
    before: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)

    def keep(self, v: int) -> Ints | None:
        """The neurons of node v that take part, at least one; None: all.  A ReLU has those of its source."""
        if v not in self.kept:
            node = self.plan.network.nodes[v]
            if isinstance(node, Relu):
                self.kept[v] = self.keep(node.source)
            elif isinstance(node, Input) or not self.plan.only_relu[v]:
                self.kept[v] = None
            else:
                part: Flags = np.any(self.high[v] > 0, axis=0)
                slot = self.plan.slots[v]
                if self.pinned is not None and slot is not None:
                    part |= self.pinned[slot]
                self.kept[v] = self.plan.packing.keep(v, part)
        return self.kept[v]

    def forget(self, v: int) -> None:
        """The row groups of node v are done: what they took part in is packed anew, by the bounds that they left."""
        self.before.pop(v, None)
        self.kept.pop(v, None)
        self.packed_of.pop(v, None)

    def packed(self, v: int) -> Layer:
        """Affine node v restricted to the neurons that take part."""
        if v not in self.packed_of:
            whole = self.layer(v)
            columns = [self.keep(o.source) for o in whole.operands]
            self.packed_of[v] = self.plan.packing.layer(v, whole, self.keep(v), columns)
        return self.packed_of[v]

    def operands(self, v: int) -> tuple[Operand, ...]:
        """The operands of affine node v, all rows, restricted to the neurons of their sources that take part."""
        if v not in self.operands_of:
            whole = self.layer(v)
            columns = [self.keep(o.source) for o in whole.operands]
            self.operands_of[v] = self.plan.packing.operands(v, whole, columns)
        return self.operands_of[v]

    def layer(self, v: int) -> Layer:
        found = self.plan.layers[v]
        if found is None:
            raise TypeError(f"network node {v} is not affine")
        return found

    def exposed(self, v: int) -> Floats:
        """(B,) at 2^-P: how far the values of node v may be below zero, summed."""
        if v not in self.exposed_of:
            self.exposed_of[v] = -np.minimum(self.low[v], 0.0).sum(axis=1)
        return self.exposed_of[v]

    def slopes(self, v: int, rule: int) -> Slopes:
        """Slopes of the kept neurons of ReLU node v."""
        if (v, rule) not in self.slopes_of:
            node = self.plan.network.nodes[v]
            if not isinstance(node, Relu):
                raise TypeError(f"network node {v} is not a ReLU")
            keep = self.keep(v)
            low, high = self.low[node.source], self.high[node.source]
            if keep is not None:
                low, high = low[:, keep], high[:, keep]
            self.slopes_of[v, rule] = relu_slopes(low, high, rule)
        return self.slopes_of[v, rule]


def relu_slopes(low: Floats, high: Floats, rule: int) -> Slopes:
    """`checker.kernel.relu_slopes` of arrays; |bounds| < 2^52."""
    above = np.where(high > 0, float(ONE), 0.0)
    below = above.copy()
    intercept = np.zeros_like(above)
    unstable = (low < 0) & (high > 0)
    at = np.nonzero(unstable)
    l, u = low[at].astype(np.int64), high[at].astype(np.int64)
    width = u - l
    s = (2 * ONE * u + width) // (2 * width)
    above[at] = s
    intercept[at] = -(-np.maximum(-s * l, (ONE - s) * u) >> S)
    if rule == 0:
        below[at] = np.where(u + l > 0, ONE, 0)
    elif rule == 1:
        below[at] = 0
    elif rule == 2:
        below[at] = s
    return Slopes(below, above, intercept, unstable)
