"""The compiled kernel of bound propagation: the same bounds as `crown.Propagator` for chains of layers, box by box.

`kernel` compiles nothing: it loads the shared object that the installation built from crown_kernel.c (which says what
it does and why it is sound) and lays out a program for it.  Without that object, with FARKAS_NATIVE=0 in the
environment, on a device, or for a program that is no chain of small affine layers and Relus, it returns None, and the
caller goes on with NumPy.  Nothing is claimed that NumPy would not: the same rows, slopes and error terms, summed in
another order.

Measured in November 2026 on one core of an AMD EPYC with AVX-512, networks of 5-6x50-5, all neurons unstable: 90
microseconds a box where NumPy takes 600 to 700; 200 with vectors of 4 numbers, 390 of 2.  The whole search of property
2 on network 4_2 of ACAS Xu, the same 55 889 boxes: 0.88 CPU seconds (0.87 to 0.93) for 3.84 (3.81 to 4.05); every sixth
instance of properties 1 to 4, files read and attack included: 0.43 for 1.34.
"""

from __future__ import annotations

import ctypes
import os
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt

from farkas.ir.core import Affine, Input, Product, Relu
from farkas.ir.error_terms import OVERFLOW, SMALLEST_NORMAL, gamma
from farkas.ir.linear import Dense
from farkas.runtime_cuda.crown import ADAPTIVE, PARALLEL, TINY, ZERO, Boxes, Refined, Rows
from farkas.runtime_cuda.prepared import DENSIFIED, UNDERFLOW, Layer, Prepared
from farkas.runtime_cuda.rounding import U64, engine_gamma

Matrix: TypeAlias = npt.NDArray[np.float64]

LAYOUT = 1  # of the kernel's source: counts changes of what is handed over
LANES = 8
LARGEST_WORK = 2e9  # multiplications a box, all neurons unstable: a fifth of a second between ticks
RULES = (ADAPTIVE, ZERO, PARALLEL)  # as numbered in the kernel

_I64, _F64 = ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_double)


class _Network(ctypes.Structure):
    """`struct network` of the kernel."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("inputs", "layers", "width", "total", "widest", "lanes")),
        *((name, _I64) for name in ("rows", "cols", "relu", "slot", "start", "matrix_start")),
        *((name, _F64) for name in ("matrix", "bias", "magnitude", "weight_sum")),
        *((name, _F64) for name in ("gamma", "floor", "raise", "peak", "limit")),
        *((name, ctypes.c_double) for name in ("resolution", "raise_intercept", "underflow", "tiny")),
    )


class _Question(ctypes.Structure):
    """`struct question` of the kernel."""

    _fields_ = (
        ("count", ctypes.c_int64), ("rules", ctypes.c_int64), ("rule", ctypes.c_void_p), ("rows", ctypes.c_void_p),
        ("x_rows", ctypes.c_void_p), ("row_stride", ctypes.c_int64), ("x_stride", ctypes.c_int64),
    )  # fmt: skip


class _Answer(ctypes.Structure):
    """`struct answer` of the kernel."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("value", "constant", "inputs", "score"))


@cache
def _library() -> ctypes.CDLL | None:
    path = Path(__file__).resolve().with_name(f"_crown{sysconfig.get_config_var('EXT_SUFFIX')}")
    if not path.is_file():
        return None
    library = ctypes.CDLL(str(path))
    library.farkas_layout.restype = ctypes.c_int64
    if library.farkas_layout() != LAYOUT * 4096 + ctypes.sizeof(_Network):
        return None  # built from another version of the source: build again
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.farkas_examine.argtypes = [pointer, number, *[pointer] * 8]
    library.farkas_bound.argtypes = [pointer, number, *[pointer] * 8]
    library.farkas_best_pair.argtypes = [*[number] * 5, *[pointer] * 6]
    library.farkas_best_pair.restype = None
    return library


def available() -> bool:
    """Whether the compiled kernel was built and is not switched off (FARKAS_NATIVE=0)."""
    return os.environ.get("FARKAS_NATIVE", "1") != "0" and _library() is not None


@dataclass(frozen=True, eq=False)
class Kernel:
    """A chain of layers as the kernel reads it.

    library: the loaded object; network: the C structure; arrays: what its pointers point into; layers: node index of
    every layer; starts: first row of every layer in the stored errors, with one place after its rows for what a
    substitution through the layer cuts off; inputs, outputs: sizes; work: multiplications of one box, at most.
    """

    net: Prepared
    library: ctypes.CDLL
    network: _Network
    arrays: tuple[Any, ...]
    layers: tuple[int, ...]
    starts: tuple[int, ...]
    inputs: int
    outputs: int
    work: float


def kernel(net: Prepared, lanes: int = LANES) -> Kernel | None:
    """The program for the compiled kernel; None when that is absent, switched off, or no match for the program.

    lanes: the most doubles a vector instruction may hold, for tests of the narrower ones.
    """
    library = _library() if available() else None
    if library is None or net.backend.name != "numpy" or not _is_chain(net):
        return None
    layers = [(v, net.layers[v]) for v, node in enumerate(net.nodes) if isinstance(node, Affine)]
    work = _work([(net.sizes[v], net.sizes[layer.operands[0].source]) for v, layer in layers])
    return _lay_out(net, library, layers, work, lanes) if work <= LARGEST_WORK else None


def _is_chain(net: Prepared) -> bool:
    """Every node reads the one before, the output is the last and affine, and all maps are matrices or small."""
    if net.program.output != len(net.nodes) - 1 or not isinstance(net.nodes[-1], Affine):
        return False
    for v, node in enumerate(net.nodes):
        match node:
            case Input():
                if v != 0:
                    return False
            case Relu(source=source):
                if source != v - 1 or not isinstance(net.nodes[source], Affine):
                    return False
            case Affine(terms=terms):
                if len(terms) != 1 or terms[0].source != v - 1:
                    return False
                shape = terms[0].map
                if not isinstance(shape, Dense) and shape.rows * shape.cols > DENSIFIED:
                    return False
            case Product():
                return False
            case _:
                assert_never(node)
    return True


def _work(shapes: Sequence[tuple[int, int]]) -> float:
    """Multiplications of one box when every neuron needs both of its rows."""
    total, below = 0.0, 0.0
    for rows, cols in shapes:
        total += rows * cols * 3 + 2.0 * rows * below
        below += rows * cols
    return total


def _lay_out(net: Prepared, library: ctypes.CDLL, layers: list[tuple[int, Layer]], work: float, lanes: int) -> Kernel:
    rows = np.array([net.sizes[v] for v, _ in layers], dtype=np.int64)
    cols = np.array([net.sizes[layer.operands[0].source] for _, layer in layers], dtype=np.int64)
    relu = np.array([v in net.slots for v, _ in layers], dtype=np.int64)
    slot = np.array([net.slots[v].start if v in net.slots else 0 for v, _ in layers], dtype=np.int64)
    start = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    matrices = [_padded(layer.operands[0].map.dense()) for _, layer in layers]
    matrix_start = np.concatenate([[0], np.cumsum([m.size for m in matrices])]).astype(np.int64)
    widest = int(max(rows.max(), cols.max()))
    # N of the kernel's essay: the longest way of a constant into a bound.
    way = -(-widest // 2) + len(layers) + 32
    factors = [_factors(layer, int(n), way) for (_, layer), n in zip(layers, rows, strict=True)]
    integers = [rows, cols, relu, slot, start, matrix_start]
    reals = [
        np.concatenate([m.ravel() for m in matrices]),
        *(np.concatenate([np.broadcast_to(getattr(layer, name), n) for (_, layer), n in zip(layers, rows, strict=True)])
          for name in ("bias", "magnitude", "weight_sum")),
        *(np.array(column) for column in zip(*factors, strict=True)),
    ]  # fmt: skip
    reals = [np.ascontiguousarray(a, dtype=np.float64) for a in reals]
    network = _Network(
        int(cols[0]), len(layers), net.width, int(start[-1]), widest, lanes,
        *(a.ctypes.data_as(_I64) for a in integers), *(a.ctypes.data_as(_F64) for a in reals),
        net.resolution, 1.0 + 2.0 * (net.widest + 8) * U64, UNDERFLOW, TINY,
    )  # fmt: skip
    return Kernel(
        net, library, network, (*integers, *reals), tuple(v for v, _ in layers),
        tuple(int(s) + k for k, s in enumerate(start)), int(cols[0]), int(rows[-1]), work,
    )  # fmt: skip


def _padded(matrix: Matrix) -> Matrix:
    """Columns filled up with zeros to whole lanes."""
    padded = np.zeros((matrix.shape[0], -(-matrix.shape[1] // LANES) * LANES))
    padded[:, : matrix.shape[1]] = matrix
    return padded


def _factors(layer: Layer, rows: int, way: int) -> tuple[float, float, float, float, float]:
    """gamma, floor, raise, peak and limit of the kernel's error terms, which are those of Layer.error.

    The engine's share covers `rows` products of a substitution and a constant's way beside, which is more than
    Layer.error counts where a layer has many more rows than columns.
    """
    count = max(layer.fan_in + 1, rows + way - 256)
    share = engine_gamma(count) * (1.0 + layer.relative) + layer.relative
    floor, limit = 0.0, np.inf
    if layer.binary32 and layer.count:
        share += float(gamma(layer.count + 2)) * (1.0 + layer.relative)
        floor = 4.0 * (layer.count + 2) * float(SMALLEST_NORMAL) * (1.0 + layer.relative)
        limit = float(OVERFLOW) * (1.0 - 2.0**-48)
    upward = 1.0 + 2.0**-48  # above the few roundings of these lines
    return share * upward, floor * upward, 1.0 + 2.0 * (layer.fan_in + 32) * U64, layer.peak, limit


class NativePropagator:
    """Bounds of one program by the compiled kernel, with the interface of `crown.Propagator`, adaptive slopes inside.

    tick: called before every group of boxes; it may raise to abandon the batch.
    """

    def __init__(self, kernel: Kernel, tick: Callable[[], None]) -> None:
        self.kernel = kernel
        self.tick = tick

    def refine(self, x_lower: Matrix, x_upper: Matrix, lower: Matrix, upper: Matrix) -> Refined:
        """As Propagator.refine, without the influence of the inputs (see `examine`)."""
        nothing = np.zeros((0, self.kernel.outputs))
        return self.examine(x_lower, x_upper, lower, upper, nothing, None, RULES)[0]

    def examine(
        self, x_lower: Matrix, x_upper: Matrix, lower: Matrix, upper: Matrix, rows: Matrix, x_rows: Matrix | None,
        rules: tuple[int, ...],
    ) -> tuple[Refined, Rows, Matrix]:  # fmt: skip
        """`refine`, then `bound` of rows (R, n_out) on the result, and how much each input matters to each row.

        The third value, (B, R, n0), times half the width of the inputs is `branching.sensitivity` of single rows.
        The bounds of an empty box are minus infinity.
        """
        kernel, boxes = self.kernel, x_lower.shape[0]
        x_lower, x_upper = _contiguous(x_lower), _contiguous(x_upper)
        new_lower, new_upper = (np.array(a, dtype=np.float64, order="C") for a in (lower, upper))
        assert x_lower.shape == x_upper.shape == (boxes, kernel.inputs), f"boxes of shape {x_lower.shape}"
        assert new_lower.shape == new_upper.shape == (boxes, kernel.net.width), f"bounds of shape {new_lower.shape}"
        empty = np.zeros(boxes, dtype=np.bool_)
        errors = np.zeros((boxes, kernel.starts[-1]))
        question = _Rows.of(kernel, rows, x_rows, rules)
        assert question.fits(boxes), f"rows for {question.rows.shape[0]} of {boxes} boxes"
        answers = _Answers.of(boxes, question, kernel.inputs, scored=True)
        for part in _parts(boxes, kernel.work):
            self.tick()
            status = kernel.library.farkas_examine(
                ctypes.addressof(kernel.network), part.stop - part.start, _at(x_lower[part]), _at(x_upper[part]),
                _at(new_lower[part]), _at(new_upper[part]), _at(empty[part]), _at(errors[part]),
                question.at(part.start), answers.at(part.start),
            )  # fmt: skip
            _check(status)
        refined = self._refined(x_lower, x_upper, new_lower, new_upper, empty, errors)
        assert answers.score is not None, "scores were asked for"
        return refined, answers.rows(), answers.score

    def bound(self, boxes: Boxes, rows: Matrix, x_rows: Matrix | None, rules: tuple[int, ...]) -> Rows:
        """As Propagator.bound, without the coefficients over the neurons; boxes come from `refine` or `examine`."""
        kernel = self.kernel
        x_lower, x_upper = _contiguous(boxes.x_lower), _contiguous(boxes.x_upper)
        count = x_lower.shape[0]
        question = _Rows.of(kernel, rows, x_rows, rules)
        assert question.fits(count), f"rows for {question.rows.shape[0]} of {count} boxes"
        answers = _Answers.of(count, question, kernel.inputs, scored=False)
        self.tick()
        # Pointers and strides by layer: the bounds may be columns of one array, or gathered one by one.
        held = [(boxes.lower[v], boxes.upper[v], boxes.error[v]) for v in kernel.layers]
        lower, upper, errors = (
            np.array([0 if a is None else _at(a) for a in column]) for column in zip(*held, strict=True)
        )
        strides = np.array([[0 if l is None else _stride(l), _stride(e)] for l, _, e in held])
        assert all(l is None or _stride(l) == _stride(u) for l, u, _ in held), "bounds of a layer are stored alike"
        status = kernel.library.farkas_bound(
            ctypes.addressof(kernel.network), count, _at(x_lower), _at(x_upper), _at(lower), _at(upper), _at(errors),
            _at(strides), question.at(0), answers.at(0),
        )  # fmt: skip
        _check(status)
        return answers.rows()

    def best_pair(
        self, coef: Matrix, const: Matrix, x_lower: Matrix, x_upper: Matrix, ratios: int
    ) -> tuple[Matrix, Any, Any, Any]:
        """Per box the pair of rows, weight and rule whose weighted linear bound is largest over the box.

        coef (B, rules, M, n0), const (B, rules, M); returns value, rule, number of the pair in lexicographic order,
        weight of its first row (of `ratios`).  A hint: the combined row is to be bounded by itself.
        """
        count, rules, rows, inputs = coef.shape
        coef, const, x_lower, x_upper = (_contiguous(a) for a in (coef, const, x_lower, x_upper))
        value, choice = np.full(count, -np.inf), np.zeros((count, 3), dtype=np.int64)
        places = (_at(a) for a in (coef, const, x_lower, x_upper, value, choice))
        self.kernel.library.farkas_best_pair(count, rules, rows, inputs, ratios, *places)
        return value, choice[:, 0], choice[:, 1], choice[:, 2]

    def _refined(
        self, x_lower: Matrix, x_upper: Matrix, lower: Matrix, upper: Matrix, empty: Any, errors: Matrix
    ) -> Refined:
        net, kernel = self.kernel.net, self.kernel
        l: list[Any] = [None] * len(net.nodes)
        u: list[Any] = [None] * len(net.nodes)
        for v, slot in net.slots.items():
            l[v], u[v] = lower[:, slot], upper[:, slot]
        error = {
            v: errors[:, begin:end] for v, (begin, end) in zip(kernel.layers, pairwise(kernel.starts), strict=True)
        }
        boxes = Boxes(x_lower, x_upper, l, u, [None] * len(net.nodes), error, {}, empty)
        return Refined(boxes, lower, upper, empty, {})


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows over the output and the input, one set for all boxes or one a box: (1 or B, R, n)."""

    rows: Matrix
    x_rows: Matrix | None
    rules: npt.NDArray[np.int64]

    @classmethod
    def of(cls, kernel: Kernel, rows: Matrix, x_rows: Matrix | None, rules: tuple[int, ...]) -> _Rows:
        assert set(rules) <= set(RULES), f"unknown slope rules in {rules}"
        rows = _contiguous(rows[None] if rows.ndim == 2 else rows)
        assert rows.shape[2] == kernel.outputs, f"rows of shape {rows.shape} over {kernel.outputs} outputs"
        if x_rows is not None:
            x_rows = _contiguous(x_rows[None] if x_rows.ndim == 2 else x_rows)
            assert x_rows.shape == (*rows.shape[:2], kernel.inputs), f"rows of shape {x_rows.shape} over the input"
        return cls(rows, x_rows, np.array(rules, dtype=np.int64))

    def fits(self, boxes: int) -> bool:
        return self.rows.shape[0] in (1, boxes)

    @property
    def count(self) -> int:
        return int(self.rows.shape[1])

    def at(self, begin: int) -> Any:
        """The kernel's view of it from box `begin` on."""
        row, row_stride = _from(self.rows, begin)
        x_row, x_stride = (0, 0) if self.x_rows is None else _from(self.x_rows, begin)
        return ctypes.byref(
            _Question(self.count, len(self.rules), _at(self.rules), row, x_row or None, row_stride, x_stride)
        )


@dataclass(frozen=True, eq=False)
class _Answers:
    """Where the kernel writes; as it stands, what an empty box gets."""

    value: Matrix
    constant: Matrix
    inputs: Matrix
    score: Matrix | None

    @classmethod
    def of(cls, boxes: int, rows: _Rows, inputs: int, *, scored: bool) -> _Answers:
        shape = (boxes, len(rows.rules), rows.count)
        score = np.zeros((boxes, rows.count, inputs)) if scored else None
        return cls(np.full(shape, -np.inf), np.zeros(shape), np.zeros((*shape, inputs)), score)

    def at(self, begin: int) -> Any:
        """The kernel's view of it from box `begin` on."""
        score = None if self.score is None else _from(self.score, begin)[0]
        return ctypes.byref(_Answer(*(_from(a, begin)[0] for a in (self.value, self.constant, self.inputs)), score))

    def rows(self) -> Rows:
        return Rows(self.value, self.inputs, self.constant, {})


def _parts(boxes: int, work: float) -> Iterator[slice]:
    """Groups of boxes worth at most LARGEST_WORK each."""
    size = max(1, int(LARGEST_WORK / work))
    for begin in range(0, boxes, size):
        yield slice(begin, min(boxes, begin + size))


def _contiguous(values: Any) -> Matrix:
    return np.ascontiguousarray(values, dtype=np.float64)


def _at(values: npt.NDArray[Any]) -> int:
    """The address of an array's first element."""
    return int(values.__array_interface__["data"][0])


def _from(values: Matrix, begin: int) -> tuple[int, int]:
    """The address of an array's data for box `begin`, and elements from box to box: 0 when there is one set for all."""
    stride = 0 if values.shape[0] == 1 else int(np.prod(values.shape[1:]))
    return _at(values) + begin * stride * values.itemsize, stride


def _stride(values: Matrix) -> int:
    """Elements from box to box of an array whose rows are contiguous."""
    assert values.strides[1] == values.itemsize or values.shape[1] < 2, "the rows are contiguous"
    return values.strides[0] // values.itemsize


def _check(status: int) -> None:
    if status != 0:
        raise MemoryError("the compiled kernel has no memory for one box")
