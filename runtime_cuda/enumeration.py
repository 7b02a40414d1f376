"""Very many binary32 runs of a network in one declared order, bit for bit, and properties looked at on all of them.

`Executor` runs points; `sweep` goes through the points of a grid by number and says which of them may violate a
property, in binary64 with an a-priori bound: what it does not flag does not violate, what it flags is for rationals to
decide.  Chains of matrix products, additions of constants and Relus run in the compiled kernel (enumeration_kernel.c),
where it was built; all other networks, and all without it, in `ir.execute`.  Both give the same values, the same flags
up to ties within the bound, and the same digest.

Measured in November 2026 on one core of an AMD EPYC with AVX-512, inputs a CPU second in the order mlas-k256-fma: 6.1
million on 5-6x50-5 (ACAS Xu) at random points, 8.5 million at a corner, where half the neurons are 0 throughout; 0.37
million on 784-2x256-10; vectors of 8 numbers 3.8 and 0.20 million, single numbers 0.065 (ACAS Xu).  `ir.execute`: 2 300
on 784-2x256-10.
"""

from __future__ import annotations

import ctypes
import math
import os
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Array
from farkas.ir.binary32 import ORDERS, Binary32, Float32, parse_order, same_bits, subnormals_are_kept
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.execute import execute
from farkas.ir.float_interval import FloatIntervals, pairs
from farkas.ir.graph import Graph
from farkas.ir.op import Op
from farkas.ir.ops.activation import Relu
from farkas.ir.ops.affine import Add, LeftProduct, Linear, Sub
from farkas.ir.ops.convolution import Conv, ConvTranspose
from farkas.ir.ops.movement import Reshape
from farkas.specs.query import Atom

Float64: TypeAlias = npt.NDArray[np.float64]
Int64: TypeAlias = npt.NDArray[np.int64]

LAYOUT = 2  # of the kernel's source: counts changes of what is handed over
GROUP = 10  # rows of weights stored side by side
LANES = 16
ROOM = 4096  # flagged points of one call of the kernel
BATCH = 2048  # points at a time, of networks for which that is not too much work
LARGEST_BATCH = 1e9, 2e7  # multiplications of a batch, compiled and not: a fraction of a second
LARGEST_WORK = 1e8  # multiplications of a point beyond which no run is worth its time here
PRODUCT, ADD, SUBTRACT_FROM, RECTIFY = range(4)  # as numbered in the kernel
_HASH = np.uint64(0x9E3779B97F4A7C15)


# What is asked ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Question:
    """Disjuncts of atoms as rows: v = x_rows . x + y_rows . y - threshold; an atom is false where v > 0.

    first (disjuncts + 1,): rows of disjunct d are first[d] .. first[d + 1] - 1; x_rows is None when no atom reads an
    input.  v <= 0 is all that an atom promises: strict ones, and thresholds rounded up, are for rationals to decide.
    """

    disjuncts: tuple[tuple[Atom, ...], ...]
    first: Int64
    y_rows: Float64
    x_rows: Float64 | None
    threshold: Float64

    @staticmethod
    def of(disjuncts: Sequence[tuple[Atom, ...]], inputs: int, outputs: int) -> Question | None:
        """The rows of `disjuncts`, scaled to integers; None when a coefficient is too long for binary64."""
        atoms = [atom for disjunct in disjuncts for atom in disjunct]
        x_rows, y_rows = np.zeros((len(atoms), inputs)), np.zeros((len(atoms), outputs))
        threshold = np.zeros(len(atoms))
        for r, atom in enumerate(atoms):
            scale = math.lcm(*(a.denominator for _, a in (*atom.x, *atom.y)))
            for row, terms in ((x_rows, atom.x), (y_rows, atom.y)):
                for i, a in terms:
                    if abs(a * scale) >= 2**500 or Fraction(float(a * scale)) != a * scale:
                        return None
                    row[r, i] = float(a * scale)
            limit = atom.c * scale
            if abs(limit) >= 2**1000:
                return None
            nearest = float(limit)
            threshold[r] = nearest if Fraction(nearest) >= limit else math.nextafter(nearest, math.inf)
        first = np.cumsum([0, *(len(disjunct) for disjunct in disjuncts)]).astype(np.int64)
        return Question(tuple(disjuncts), first, y_rows, x_rows if x_rows.any() else None, threshold)

    def judge(self, x: Float32, y: Float32) -> tuple[npt.NDArray[np.bool_], Float64]:
        """(B,) flags, and per point the least over the disjuncts of the largest v; x (B, n0), y (B, m)."""
        values, rows = y.astype(np.float64), self.y_rows
        if self.x_rows is not None:
            values, rows = np.concatenate([values, x.astype(np.float64)], axis=1), np.hstack([rows, self.x_rows])
        with np.errstate(all="ignore"):
            v = _products(values, rows) - self.threshold
            size = _products(abs(values), abs(rows)) + abs(self.threshold)
            terms = 4 + np.count_nonzero(rows, axis=1)
            false = v > size * (terms * 2.0**-52) + 2.0**-1000
        flags, least = np.zeros(len(y), dtype=np.bool_), np.full(len(y), np.inf)
        for d in range(len(self.disjuncts)):
            part = slice(self.first[d], self.first[d + 1])
            flags |= ~false[:, part].any(axis=1)
            least = np.fmin(least, v[:, part].max(axis=1, initial=-np.inf))
        return flags, least

    def open_over(self, lower: Float32, upper: Float32, low: Float32, high: Float32) -> npt.NDArray[np.bool_]:
        """(B,): the boxes in which some disjunct has no atom that is false throughout.

        lower, upper (B, n0): inputs; low, high (B, m): outputs, of which a NaN makes no atom false.
        """
        ends = [(low.astype(np.float64), high.astype(np.float64), self.y_rows)]
        if self.x_rows is not None:
            ends.append((lower.astype(np.float64), upper.astype(np.float64), self.x_rows))
        with np.errstate(all="ignore"):
            least: Any = -self.threshold
            size: Any = abs(self.threshold)
            terms: Any = 4
            for l, u, rows in ends:
                least = least + _products(l, np.maximum(rows, 0.0)) + _products(u, np.minimum(rows, 0.0))
                size = size + _products(np.maximum(abs(l), abs(u)), abs(rows))
                terms = terms + np.count_nonzero(rows, axis=1)
            false = least > size * (terms * 2.0**-52) + 2.0**-1000
        still = np.zeros(len(low), dtype=np.bool_)
        for d in range(len(self.disjuncts)):
            still |= ~false[:, self.first[d] : self.first[d + 1]].any(axis=1)
        return still

    def holds(self, inputs: Sequence[Fraction], outputs: Sequence[Fraction]) -> bool:
        """Whether all atoms of some disjunct hold, in rationals."""
        return any(all(atom.holds(inputs, outputs) for atom in atoms) for atoms in self.disjuncts)


def _products(values: Float64, rows: Float64) -> Float64:
    """(B, n) and (R, n) -> (B, R), reading only what has a coefficient: 0 infinity is no part of a sum."""
    out = np.zeros((len(values), len(rows)))
    for r, row in enumerate(rows):
        read = np.flatnonzero(row)
        out[:, r] = values[:, read] @ row[read]
    return out


@dataclass(frozen=True, eq=False)
class Points:
    """All binary32 points of a box, numbered with the last input fastest; first: places of its lower ends."""

    first: Int64
    size: Int64

    @staticmethod
    def between(lower: Float32, upper: Float32) -> Points:
        """The points of a box of finite ends, lower <= upper; each zero once."""
        first = places(lower)
        return Points(first, places(upper) - first + 1)

    @cached_property
    def count(self) -> int:
        return math.prod(self.size.tolist())

    def at(self, positions: Sequence[int] | Int64) -> Float32:
        """The points (len(positions), n0) of the given numbers."""
        rest = np.asarray(positions, dtype=np.int64)
        out = np.empty((len(rest), len(self.size)), dtype=np.float32)
        for i in range(len(self.size) - 1, -1, -1):
            rest, digit = np.divmod(rest, self.size[i])
            out[:, i] = at_places(self.first[i] + digit)
        return out


def count_between(lower: Float32, upper: Float32) -> int:
    """How many binary32 points a box has."""
    return Points.between(lower, upper).count


def step_by(x: Float32, ulps: int | Int64) -> Float32:
    """The binary32 numbers `ulps` places from x; both zeros are one place."""
    largest = 0x7F7FFFFF
    return at_places(np.clip(places(x) + ulps, -largest, largest))


def places(x: Float32) -> Int64:
    """Places of finite numbers on the binary32 line, 0 for both zeros."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))


def at_places(places: Int64) -> Float32:
    """The binary32 numbers at places of the line."""
    magnitude = np.abs(places).astype(np.int32).view(np.float32)
    return np.where(places < 0, -magnitude, magnitude).astype(np.float32)


@dataclass(frozen=True)
class Sweep:
    """What was seen of consecutive points of a grid.

    done: how many; digest: sum modulo 2^64 of hashes of their numbers and output bits; flagged: numbers of points that
    may violate; best, best_point: least v met (Question.judge), and where.
    """

    done: int
    digest: int
    flagged: tuple[int, ...]
    best: float
    best_point: int


class Executor(Protocol):
    """A network in one declared order."""

    @property
    def compiled(self) -> bool: ...

    @property
    def batch(self) -> int:
        """How many points to ask for at a time, for an answer in good time."""
        ...

    def run(self, x: Float32) -> Float32:
        """Outputs (B, m) of points (B, n0)."""
        ...

    def ranges(self, lower: Float32, upper: Float32) -> tuple[Float32, Float32]:
        """Least and greatest outputs (B, m) found for boxes (B, n0) of finite ends; NaN both: not bounded."""
        ...

    def sweep(self, points: Points, question: Question, begin: int, count: int) -> Sweep:
        """Look at the points begin .. begin + count - 1, or at fewer of them, at least one."""
        ...


def work(graph: Graph) -> int:
    """Multiplications of one run of the network's matrix products and convolutions."""
    total = 0
    for node in graph.nodes:
        size = math.prod(graph.shapes[node.name])
        match node.op:
            case Linear(weight=weight) | LeftProduct(weight=weight):
                total += size * weight.shape[1]
            case Conv(weight=weight):
                total += size * weight.shape[2] * weight.shape[3]
            case ConvTranspose(weight=weight):
                total += size * weight.shape[1] * weight.shape[3]
            case _:
                pass
    return total


def executor(graph: Graph, order: str, lanes: int = LANES) -> Executor | None:
    """Who runs `graph` in `order`: the kernel, or the reference; None when the order defines no run of this network, or
    one run is too much work.

    lanes: the most numbers of a vector instruction, for tests of narrower ones.
    """
    if work(graph) > LARGEST_WORK:
        return None
    compiled = _compiled(graph, order, lanes) if available() else None
    if compiled is not None:
        return compiled
    try:
        reference = Reference(graph, order)
        reference.run(np.zeros((1, math.prod(graph.inputs[0][1])), dtype=np.float32))
    except UnsupportedOperator:
        return None
    return reference


# The reference ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Reference:
    """`ir.execute`, for any network."""

    graph: Graph
    order: str
    compiled = False

    @property
    def batch(self) -> int:
        return self._batch

    @cached_property
    def _batch(self) -> int:
        values = sum(math.prod(shape) for shape in self.graph.shapes.values())
        return int(max(1, min(BATCH, LARGEST_BATCH[1] / max(1, work(self.graph)), 2**24 / values)))

    def run(self, x: Float32) -> Float32:
        return execute(self.graph, x, self.order)

    def ranges(self, lower: Float32, upper: Float32) -> tuple[Float32, Float32]:
        (name, shape), algebra = self.graph.inputs[0], FloatIntervals(parse_order(self.order))
        env = {name: pairs(lower, upper).reshape(-1, *shape)}
        for node in self.graph.nodes:
            operands, result = [env[operand] for operand in node.inputs], (len(lower), *self.graph.shapes[node.name])
            env[node.name] = _denote(node.op, algebra, operands, result)
        out = env[self.graph.outputs[0]].reshape(len(lower), -1)
        return out["lo"], out["hi"]

    def sweep(self, points: Points, question: Question, begin: int, count: int) -> Sweep:
        return swept(self.run, points, question, begin, min(count, self.batch))


def swept(run: Callable[[Float32], Float32], points: Points, question: Question, begin: int, count: int) -> Sweep:
    """What the kernel's sweep says, with `run` for the outputs (B, m) of points (B, n0)."""
    x = points.at(np.arange(begin, begin + count))
    y = run(x)
    flags, least = question.judge(x, y)
    best = int(np.argmin(np.where(np.isnan(least), np.inf, least)))
    flagged = tuple((begin + np.flatnonzero(flags)).tolist())
    return Sweep(count, _digest(begin, y), flagged, float(least[best]), begin + best)


def _denote(op: Op, algebra: FloatIntervals, operands: list[Array], shape: tuple[int, ...]) -> Array:
    """An operator on boxes along the leading axis: all at once where its meaning carries over, else one by one."""
    if isinstance(op, Reshape):
        return operands[0].reshape(shape)
    if isinstance(op, (Add, Linear, Relu, Sub)) and len({operand.ndim for operand in operands}) == 1:
        value = op.denote(algebra, *operands)
        if value.shape == shape:  # not so for a constant of more axes than the operand
            return value
    return np.stack([op.denote(algebra, *box) for box in zip(*operands, strict=True)]).reshape(shape)


def _digest(begin: int, y: Float32) -> int:
    """The kernel's digest of outputs (B, m) of the points begin, begin + 1, ..."""
    h = np.arange(begin + 1, begin + 1 + len(y), dtype=np.uint64)
    canonical = np.where(np.isnan(y), np.float32(np.nan), y + np.float32(0)).astype(np.float32)
    bits = np.ascontiguousarray(canonical).view(np.uint32).astype(np.uint64)
    bits[np.isnan(y)] = 0x7FC00000
    for column in bits.T:
        h = (h ^ column) * _HASH
        h ^= h >> np.uint64(32)
    return int(h.sum(dtype=np.uint64))


# The kernel ---------------------------------------------------------------------------------------------------------


class _Step(ctypes.Structure):
    """`struct step` of the kernel."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("kind", "order", "rows", "cols", "weights", "bias"))


class _Chain(ctypes.Structure):
    """`struct chain` of the kernel."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "steps", "widest", "lanes")),
        *((name, ctypes.c_void_p) for name in ("step", "numbers")),
    )


class _Grid(ctypes.Structure):
    """`struct grid` of the kernel."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("first", "size"))


class _Question(ctypes.Structure):
    """`struct question` of the kernel."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "disjuncts")),
        *((name, ctypes.c_void_p) for name in ("first", "y_rows", "x_rows", "threshold")),
    )


class _Answer(ctypes.Structure):
    """`struct answer` of the kernel."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("room", "flags", "done", "best_point")),
        ("digest", ctypes.c_uint64), ("best", ctypes.c_double), ("flagged", ctypes.c_void_p),
    )  # fmt: skip


@cache
def _library() -> ctypes.CDLL | None:
    path = Path(__file__).resolve().with_name(f"_enumeration{sysconfig.get_config_var('EXT_SUFFIX')}")
    if not path.is_file():
        return None
    library = ctypes.CDLL(str(path))
    library.farkas_layout.restype = ctypes.c_int64
    if library.farkas_layout() != LAYOUT * 4096 + sum(map(ctypes.sizeof, (_Chain, _Step, _Answer))):
        return None  # built from another version of the source: build again
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.farkas_run.argtypes = [pointer, number, pointer, pointer]
    library.farkas_sweep.argtypes = [pointer, pointer, pointer, number, number, pointer]
    library.farkas_ranges.argtypes = [pointer, number, *[pointer] * 4]
    library.farkas_run.restype = library.farkas_sweep.restype = library.farkas_ranges.restype = ctypes.c_int64
    return library if _rounds_as_declared(library) else None


def _rounds_as_declared(library: ctypes.CDLL) -> bool:
    """Whether the object as it was built keeps products and sums apart, and fuses where it should, on a few numbers."""
    rng = np.random.default_rng(1)
    weight, x = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((3, 40), (50, 40)))
    for order in ORDERS:
        step = _Layer(PRODUCT, weight=weight)
        found = _lay_out(library, order, (step,), 40, LANES).run(x)
        if not same_bits(found, Binary32(order).contract(weight, x, None)).all():
            return False
    return True


def available() -> bool:
    """Whether the kernel was built, rounds as it should here, and is not switched off (FARKAS_NATIVE=0)."""
    return os.environ.get("FARKAS_NATIVE", "1") != "0" and subnormals_are_kept() and _library() is not None


@dataclass(frozen=True, eq=False)
class _Layer:
    """One step of a chain: weight (M, K) and bias (M,) of a product, or the constant of an addition."""

    kind: int
    weight: Float32 | None = None
    constant: Float32 | None = None


@dataclass(frozen=True, eq=False)
class Compiled:
    """A chain as the kernel reads it; arrays: what its pointers point into."""

    library: ctypes.CDLL
    chain: _Chain
    arrays: tuple[Any, ...]
    inputs: int
    outputs: int
    batch: int
    compiled = True

    def run(self, x: Float32) -> Float32:
        x = np.ascontiguousarray(x, dtype=np.float32).reshape(-1, self.inputs)
        y = np.empty((len(x), self.outputs), dtype=np.float32)
        _check(self.library.farkas_run(ctypes.byref(self.chain), len(x), x.ctypes.data, y.ctypes.data))
        return y

    def ranges(self, lower: Float32, upper: Float32) -> tuple[Float32, Float32]:
        lower, upper = (np.ascontiguousarray(end, dtype=np.float32).reshape(-1, self.inputs) for end in (lower, upper))
        low, high = (np.empty((len(lower), self.outputs), dtype=np.float32) for _ in range(2))
        places = (a.ctypes.data for a in (lower, upper, low, high))
        _check(self.library.farkas_ranges(ctypes.byref(self.chain), len(lower), *places))
        return low, high

    def sweep(self, points: Points, question: Question, begin: int, count: int) -> Sweep:
        assert question.y_rows.shape[1] == self.outputs, f"rows over {question.y_rows.shape[1]} outputs"
        assert len(points.size) == self.inputs, f"points of {len(points.size)} coordinates"
        flagged = np.empty(ROOM, dtype=np.int64)
        x_rows = question.x_rows
        asked = _Question(
            len(question.threshold), len(question.disjuncts), question.first.ctypes.data, question.y_rows.ctypes.data,
            None if x_rows is None else x_rows.ctypes.data, question.threshold.ctypes.data,
        )  # fmt: skip
        grid = _Grid(points.first.ctypes.data, points.size.ctypes.data)
        answer = _Answer(room=ROOM, flagged=flagged.ctypes.data)
        places = (ctypes.byref(part) for part in (self.chain, grid, asked))
        _check(self.library.farkas_sweep(*places, begin, count, ctypes.byref(answer)))
        found = tuple(flagged[: answer.flags].tolist())
        return Sweep(answer.done, answer.digest, found, answer.best, answer.best_point)


def _compiled(graph: Graph, order: str, lanes: int) -> Compiled | None:
    library = _library()
    layers = _layers(graph)
    if library is None or layers is None:
        return None
    return _lay_out(library, order, layers, math.prod(graph.inputs[0][1]), lanes)


def _layers(graph: Graph) -> tuple[_Layer, ...] | None:
    """The graph as steps on flat values, one after the other; None when it is something else."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or graph.dtype != "float32":
        return None
    value, shape = graph.inputs[0]
    size, layers = math.prod(shape), []
    for node in graph.nodes:
        if node.inputs != (value,):
            return None
        layer = _layer(node.op, size, math.prod(graph.shapes[node.name]))
        if layer is None:
            return None
        layers += layer
        value, size = node.name, math.prod(graph.shapes[node.name])
    return tuple(layers) if value == graph.outputs[0] else None


def _layer(op: object, size: int, result: int) -> list[_Layer] | None:
    """The steps of an operator on a flat value of `size` numbers."""
    match op:
        case Reshape():
            return []
        case Relu():
            return [_Layer(RECTIFY)]
        case Linear(weight=weight, bias=bias, alpha=1.0, beta=1.0) if weight.shape[1] == size:
            if not _is_plain(weight) or (bias is not None and (bias.ndim != 1 or not _is_plain(bias))):
                return None
            return [_Layer(PRODUCT, weight, None if bias is None else np.broadcast_to(bias, (result,)))]
        case Add(constant=constant) | Sub(constant=constant) if constant is not None and result == size:
            flat = np.asarray(constant).ravel()
            if not _is_plain(flat) or flat.size not in (1, size):
                return None
            reverse = isinstance(op, Sub) and op.reverse
            sign = np.float32(-1 if isinstance(op, Sub) and not reverse else 1)
            return [_Layer(SUBTRACT_FROM if reverse else ADD, constant=np.broadcast_to(flat * sign, (size,)))]
        case _:
            return None


def _is_plain(values: npt.NDArray[Any]) -> bool:
    return values.dtype == np.float32 and bool(np.isfinite(values).all())


def _lay_out(library: ctypes.CDLL, order: str, layers: Sequence[_Layer], inputs: int, lanes: int) -> Compiled:
    code = ORDERS.index(parse_order(order))
    steps = (_Step * max(1, len(layers)))()
    numbers: list[Float32] = []
    place = size = widest = inputs
    place = 0
    for step, layer in zip(steps, layers, strict=False):
        step.kind, step.order, step.bias = layer.kind, code, -1
        if layer.weight is not None:
            step.rows, step.cols = layer.weight.shape
            size = int(step.rows)
            step.weights, place = place, place + _store(numbers, _grouped(layer.weight))
        if layer.constant is not None:
            padded = np.zeros(-(-size // GROUP) * GROUP, dtype=np.float32)
            padded[:size] = layer.constant
            step.bias, place = place, place + _store(numbers, padded)
        widest = max(widest, size)
    stored = np.concatenate([np.zeros(0, dtype=np.float32), *numbers])
    chain = _Chain(
        inputs, size, len(layers), -(-widest // GROUP) * GROUP, lanes, ctypes.addressof(steps), stored.ctypes.data
    )
    batch = int(max(1, min(BATCH, LARGEST_BATCH[0] / max(1, stored.size))))
    return Compiled(library, chain, (steps, stored), inputs, size, batch)


def _store(numbers: list[Float32], values: Float32) -> int:
    numbers.append(values)
    return len(values)


def _grouped(weight: Float32) -> Float32:
    """GROUP rows side by side, column by column, group after group; rows filled up with zeros."""
    rows, cols = weight.shape
    padded = np.zeros((-(-rows // GROUP) * GROUP, cols), dtype=np.float32)
    padded[:rows] = weight
    return np.ascontiguousarray(padded.reshape(-1, GROUP, cols).transpose(0, 2, 1)).ravel()


def _check(status: int) -> None:
    if status != 0:
        raise MemoryError("the compiled kernel has no memory for a tile of points")
