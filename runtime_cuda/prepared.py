"""A program made ready for bound propagation: arrays on the backend, absolute values, error coefficients, packing.

Packing drops neurons that are inactive in every box of a batch: the rows of the layer that makes them and the columns
of the layers that read them.  Late in a search 80 to 95 % of the neurons go, and the tree stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any, assert_never

import numpy as np

from farkas.ir.convolution import Conv2d, Sparse, Transposed
from farkas.ir.core import Affine, CoreOp, Input, Product, Program, Relu, sources
from farkas.ir.error_terms import relative_error, rounding_error, within_range
from farkas.ir.linear import Composed, Dense, Diagonal, Kronecker, LinearMap, Selection
from farkas.runtime_cuda.backend import Backend
from farkas.runtime_cuda.rounding import engine_gamma, up

DENSIFIED = 1 << 16  # entries up to which a map that is not stored as a matrix counts as one
UNDERFLOW = 2.0**-1000  # absolute error of float64 products that underflow, with room for the weights they meet


@dataclass(frozen=True, eq=False)
class Operand:
    """support: 1 wherever a coefficient that a fixed-point checker floors is stored; None: everywhere."""

    map: LinearMap
    absolute: LinearMap
    source: int
    support: LinearMap | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """An Affine node with what its error term needs; arrays live on the backend."""

    operands: tuple[Operand, ...]
    bias: Any
    magnitude: Any
    weight_sum: Any
    fan_in: int
    count: int
    relative: float
    peak: float
    binary32: bool
    resolution: float
    xp: ModuleType

    def magnitudes(self, values: list[Any]) -> Any:
        """(B, n): |W| U + magnitude, rounded up; values[source] are the U of the operands."""
        total = self.magnitude
        for operand in self.operands:
            total = total + operand.absolute.mv(values[operand.source])
        return up(total, self.fan_in + len(self.operands))

    def error(self, values: list[Any]) -> Any:
        """(B, n): E of this node, for the execution and for the engine; infinite where an obligation fails."""
        magnitude = self.magnitudes(values)
        u_sum = self.u_sum(values)
        error = magnitude * (engine_gamma(self.fan_in + len(self.operands)) * (1.0 + self.relative))
        if not self.binary32 or self.count == 0:
            error = error + relative_error(self.relative, magnitude)
        else:
            error = error + rounding_error(self.count, magnitude, self.weight_sum, u_sum, self.relative)
            finite = within_range(self.count, magnitude, self.weight_sum, u_sum, self.relative, self.peak)
            error = self.xp.where(finite, error, self.xp.inf)
        return up(error + self.resolution * self._met(values) + UNDERFLOW)

    def _met(self, values: list[Any]) -> Any:
        """(B, n) or (B, 1): the sum of the magnitudes that each row's stored coefficients meet, rounded up."""
        if not self.resolution or all(o.support is None for o in self.operands):
            return self.u_sum(values)
        total: Any = 0.0
        for o in self.operands:
            met = values[o.source].sum(axis=-1, keepdims=True) if o.support is None else o.support.mv(values[o.source])
            total = total + up(met, o.map.cols)
        return total

    def u_sum(self, values: list[Any]) -> Any:
        """(B, 1): the sum of the operands' magnitudes, rounded up."""
        return sum(up(values[o.source].sum(axis=-1, keepdims=True), o.map.cols) for o in self.operands)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A program on a backend.

    nodes: the core nodes (sizes after packing in `sizes`); layers: by node index; slots: for every refined node (an
    Affine node that a Relu or a Product reads) its columns in the flat storage of bounds; kept: columns of the full
    storage.
    """

    program: Program
    nodes: tuple[CoreOp, ...]
    sizes: tuple[int, ...]
    layers: dict[int, Layer]
    slots: dict[int, slice]
    kept: Any
    backend: Backend
    packable: frozenset[int]
    resolution: float
    widest: int

    @property
    def width(self) -> int:
        """Columns of the flat storage of pre-activation bounds."""
        return sum(self.sizes[v] for v in self.slots)

    @cached_property
    def factors(self) -> frozenset[int]:
        """Nodes that a Product reads: how tight its lines are depends on all of their bounds, whatever the signs."""
        return frozenset(u for node in self.nodes if isinstance(node, Product) for u in sources(node))

    @property
    def is_dense(self) -> bool:
        """Whether every product is with a stored or small matrix: backward rows are then for all neurons at a root."""
        return all(
            isinstance(operand.map, Dense | Diagonal | Selection) or operand.map.rows * operand.map.cols <= DENSIFIED
            for layer in self.layers.values()
            for operand in layer.operands
        )

    def pack(self, alive: Any) -> Prepared:
        """The program without the neurons outside `alive` (bool, full storage width); only from an unpacked one."""
        keep: dict[int, Any] = {}
        for v, slot in self.slots.items():
            if v in self.packable:
                keep[v] = np.flatnonzero(alive[slot])
        for r, node in enumerate(self.nodes):
            if isinstance(node, Relu) and node.source in keep:
                keep[r] = keep[node.source]
        sizes = tuple(len(keep[v]) if v in keep else size for v, size in enumerate(self.sizes))
        layers = {v: _restrict(layer, keep.get(v), keep) for v, layer in self.layers.items()}
        slots, start = {}, 0
        for v in self.slots:
            slots[v] = slice(start, start + sizes[v])
            start += sizes[v]
        kept = np.concatenate(
            [
                np.arange(s.start, s.stop)[keep[v]] if v in keep else np.arange(s.start, s.stop)
                for v, s in self.slots.items()
            ]
        )
        return replace(self, sizes=sizes, layers=layers, slots=slots, kept=kept)


def prepare(program: Program, *, binary32: bool, backend: Backend, resolution: float = 0.0) -> Prepared:
    """Arrays of `program` on `backend`; with `binary32`, error terms cover every admissible binary32 execution.

    resolution: the unit of a fixed-point checker (weights, intercepts and coefficients are cut to it); bounds then
    allow for what the checker loses by flooring, so that it confirms them.
    """
    readers: dict[int, list[int]] = {v: [] for v in range(len(program.nodes))}
    for v, node in enumerate(program.nodes):
        for source in sources(node):
            readers[source].append(v)
    layers: dict[int, Layer] = {}
    slots: dict[int, slice] = {}
    start = 0
    for v, node in enumerate(program.nodes):
        match node:
            case Affine():
                layers[v] = _layer(node, binary32, backend, resolution, max(program.sizes))
                if any(isinstance(program.nodes[r], Relu | Product) for r in readers[v]):
                    slots[v] = slice(start, start + program.sizes[v])
                    start += program.sizes[v]
            case Input() | Relu() | Product():
                pass
            case _:
                assert_never(node)
    packable = frozenset(v for v in slots if _is_packable(program, v, readers))
    return Prepared(
        program,
        program.nodes,
        program.sizes,
        layers,
        slots,
        np.arange(start),
        backend,
        packable,
        resolution,
        max(program.sizes),
    )


def _layer(node: Affine, binary32: bool, backend: Backend, resolution: float, widest: int) -> Layer:
    operands = []
    fan_in = 0
    weight_sum: Any = 0.0
    for term in node.terms:
        absolute = term.map.absolute()
        weight_sum = weight_sum + absolute.mv(np.ones(term.map.cols))
        fan_in += term.map.cols
        support = _support(term.map) if resolution else None
        operands.append(
            Operand(
                term.map.on(backend.asarray),
                absolute.on(backend.asarray),
                term.source,
                None if support is None else support.on(backend.asarray),
            )
        )
    # Backward products sum over the rows of a map, forward ones over its columns.
    fan_in = max(fan_in, widest)
    return Layer(
        tuple(operands),
        backend.asarray(node.bias),
        backend.asarray(node.magnitude),
        backend.asarray(up(weight_sum, fan_in)),
        fan_in,
        node.rounding.count,
        node.rounding.relative,
        node.rounding.peak,
        binary32,
        resolution,
        backend.xp,
    )


def _support(map: LinearMap) -> LinearMap | None:
    """Where coefficients are stored, as a map of ones: what the floor of each row's coefficients may meet."""
    match map:
        case Conv2d():
            return Conv2d(np.ones_like(map.kernel), map.windows, map.image, map.images)
        case Transposed():
            inner = _support(map.map)
            return Transposed(inner) if isinstance(inner, Conv2d) else None
        case Diagonal():
            return Diagonal(np.ones_like(map.factors))
        case Kronecker():
            return Kronecker(np.ones_like(map.matrix), map.outer, map.inner)
        case Sparse():
            return Sparse(map.index, (map.index >= 0).astype(np.float64), map.size, map.readers)
        case Selection():
            return map  # its ones are exact, so that nothing is lost; kept simple
        case Composed():
            inner = _support(map.inner)
            return None if inner is None else Composed(map.outer, inner)
        case _:
            return None


def _is_packable(program: Program, v: int, readers: dict[int, list[int]]) -> bool:
    """Dense in, Relu out, Dense after: dropping a neuron is then dropping a row and a column."""
    node = program.nodes[v]
    if not isinstance(node, Affine) or not all(isinstance(t.map, Dense) for t in node.terms) or v == program.output:
        return False
    for r in readers[v]:
        if not isinstance(program.nodes[r], Relu) or r == program.output:
            return False
        for reader in readers[r]:
            target = program.nodes[reader]
            if not isinstance(target, Affine):
                return False
            if not all(isinstance(t.map, Dense) for t in target.terms if t.source == r):
                return False
    return True


def _restrict(layer: Layer, rows: Any, keep: dict[int, Any]) -> Layer:
    operands = []
    for operand in layer.operands:
        cols = keep.get(operand.source)
        if rows is None and cols is None:
            operands.append(operand)
            continue
        assert isinstance(operand.map, Dense) and isinstance(operand.absolute, Dense), "packed maps are dense"
        matrix, absolute = operand.map.matrix, operand.absolute.matrix
        if rows is not None:
            matrix, absolute = matrix[rows], absolute[rows]
        if cols is not None:
            matrix, absolute = matrix[:, cols], absolute[:, cols]
        operands.append(Operand(Dense(matrix), Dense(absolute), operand.source))
    if rows is None:
        return replace(layer, operands=tuple(operands))
    return replace(
        layer,
        operands=tuple(operands),
        bias=layer.bias[rows],
        magnitude=layer.magnitude[rows],
        weight_sum=layer.weight_sum[rows],
    )
