"""ONNX files edited at the level of the wire: what is not touched stays as it is, known to us or not.

A network is extended in front or behind without reading what its operators mean:

- `prepend_affine` puts an exact affine map in front of an input;
- `append_outputs` makes inner tensors outputs of the network.

The affine map is the delicate one, for its rational coefficients are rarely binary32 numbers.  Each row is multiplied
by the least common multiple q of its denominators; integers are what is left.  An integer that has more than 24 bits is
the sum of several binary32 numbers, its limbs, so the matrix becomes several matrices side by side, applied to as many
copies of the vector, and the bias several biases.  Powers of two in q go into the exponents of the limbs, and the rest
of q is divided by, in factors below 2^24, which are binary32 numbers.  So

    x = (W_1 v + W_2 v + ... + b_1 + b_2 + ...) / q_1 / q_2 ...

holds exactly over the reals.  Its execution in binary32 rounds, and rounds otherwise than any program that computes x
in front of the network, so the file says of itself that it is a rewrite that preserves the reals only (`REAL_ONLY`),
and float modes refuse it.  Tried instead: the nearest binary32 coefficients, as every exporter stores them, which
answer the question about another map; and float64 in front of a Cast, which no other tool reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.errors import FarkasError, MalformedNetwork
from farkas.ir.onnx_parts import ELEMENTS, encoded, message, metadata, node, tensor, value_info
from farkas.ir.onnx_wire import DTYPES, ValueInfo, WireModel, decompressed, read_model
from farkas.ir.protobuf import Value, fields
from farkas.ir.protobuf import message as as_message

VERSION, GRAPH, METADATA = 1, 7, 14  # of a model
NODE, INITIALIZER, INPUT, OUTPUT = 1, 5, 11, 12  # of a graph
LISTED = 4  # the IR version since which initializers need not be listed as inputs
REAL_ONLY = "farkas.preserves"  # key of the metadata; its value is then "real"
MAX_FACTOR = 1 << 24
MAX_SHIFT = 100  # limbs are integers over 2^100 at most: no subnormals
MAX_BITS = 120  # of a limb, so that no sum overflows for variables of ordinary size


@dataclass(frozen=True)
class Wire:
    """A model as fields: those around the graph, and those of the graph, in file order; `read`: what they say."""

    around: tuple[tuple[int, Value], ...]
    graph: tuple[tuple[int, Value], ...]
    read: WireModel

    @property
    def version(self) -> int:
        """The IR version."""
        return next((value for field, value in self.around if field == VERSION and isinstance(value, int)), 0)

    def data(self) -> bytes:
        """The bytes of the file."""
        graph = encoded(self.graph)
        return b"".join(
            message(GRAPH, graph) if field == GRAPH else encoded(((field, value),)) for field, value in self.around
        )

    def names(self) -> set[str]:
        """The names of all tensors and nodes."""
        model = self.read
        found = {*model.initializers, *(info.name for info in (*model.inputs, *model.outputs))}
        for wire in model.nodes:
            found |= {wire.name, *wire.inputs, *wire.outputs}
        return found

    def with_graph(self, graph: Iterable[tuple[int, Value]], *around: tuple[int, Value]) -> Wire:
        """The same model with another graph, and more fields around it."""
        made = Wire((*self.around, *around), tuple(graph), self.read)
        return wire(made.data())


def wire(data: bytes) -> Wire:
    """The fields of an ONNX file, gzip-compressed or not; raises MalformedNetwork."""
    raw = decompressed(data)
    read = read_model(raw)
    around = tuple(fields(memoryview(raw), "model"))
    (graph,) = (as_message(value, "model.graph") for field, value in around if field == GRAPH)
    return Wire(around, tuple(fields(graph, "graph")), read)


def variable_inputs(model: WireModel) -> tuple[ValueInfo, ...]:
    """The inputs that no initializer sets, in file order."""
    return tuple(info for info in model.inputs if info.name not in model.initializers)


def shape_of(info: ValueInfo) -> tuple[int, ...]:
    """The shape of an input, where dimensions that are left open are 1; raises MalformedNetwork."""
    if info.dims is None:
        raise MalformedNetwork(f"input '{info.name}' has no shape; export the network with one")
    return tuple(1 if length is None else length for length in info.dims)


def is_real_only(data: bytes) -> bool:
    """Whether the file says that it means what it should over the reals only."""
    wanted = real_only_field()
    return any(found == wanted for found in fields(memoryview(data), "model"))


def real_only_field() -> tuple[int, Value]:
    """The field of a model that says so."""
    return METADATA, memoryview(metadata(REAL_ONLY, "real"))


def fresh(name: str, taken: set[str]) -> str:
    """A name that is not taken, as near to `name` as can be; it is taken then."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def append_outputs(data: bytes, names: Sequence[str]) -> bytes:
    """The network with more outputs: tensors that its nodes produce, behind those that it has.

    Names that are outputs already stay where they are.  Raises MalformedNetwork for a tensor that is not there.
    """
    model = wire(data)
    produced = {name for made in model.read.nodes for name in made.outputs}
    present = {info.name for info in model.read.outputs}
    more: list[tuple[int, Value]] = []
    for name in dict.fromkeys(names):
        if name not in produced:
            raise MalformedNetwork(f"there is no tensor '{name}' that a node produces")
        if name not in present:
            more.append((OUTPUT, memoryview(value_info(name, 0))))
    return model.with_graph((*model.graph, *more)).data()


def prepend_affine(
    data: bytes, input: str, matrix: Sequence[Sequence[Fraction]], bias: Sequence[Fraction], name: str = ""
) -> bytes:
    """The network whose input `input` is computed as `matrix @ v + bias` from a new input v, exactly over the reals.

    matrix: a row of m coefficients for every entry of the input, in row-major order; bias: one number for each; v has
    the shape (m,), stands in the place of the old input, and is called `name` (by default `{input}_parameters`).
    Means the same over the reals only, and the file says so.  Raises FarkasError for numbers that it cannot hold.
    """
    model = wire(data)
    taken = model.names()
    info = next((info for info in variable_inputs(model.read) if info.name == input), None)
    if info is None or info.elem_type not in (1, 11):
        found = ", ".join(info.name for info in variable_inputs(model.read))
        raise MalformedNetwork(f"there is no floating-point input '{input}'; the inputs are {found}")
    shape, columns = shape_of(info), len(matrix[0]) if matrix else 0
    if not columns or len(matrix) != prod(shape) or len(bias) != len(matrix):
        raise FarkasError(f"input '{input}' has {prod(shape)} entries; found {len(matrix)} rows, {len(bias)} constants")
    own = fresh(name or f"{input}_parameters", taken)
    nodes, constants = _affine(own, info, shape, _Limbs(matrix, bias, DTYPES[info.elem_type]), taken)
    graph: list[tuple[int, Value]] = [(NODE, memoryview(made)) for made in nodes]
    graph += [(INITIALIZER, memoryview(tensor(stored, values))) for stored, values in constants.items()]
    place = [info.name for info in model.read.inputs].index(input)
    for field, value in model.graph:
        if field == INPUT:
            value = memoryview(value_info(own, info.elem_type, (columns,))) if place == 0 else value
            place -= 1
        graph.append((field, value))
    if model.version < LISTED:
        listed = (value_info(stored, ELEMENTS[values.dtype.name], values.shape) for stored, values in constants.items())
        graph += [(INPUT, memoryview(made)) for made in listed]
    return model.with_graph(graph, real_only_field()).data()


class _Limbs:
    """A rational matrix and bias as floating-point numbers: sums of `matrices` and `biases`, over `divisors`.

    matrices: (rows, columns) each; biases and divisors: (rows,) each.
    """

    def __init__(self, matrix: Sequence[Sequence[Fraction]], bias: Sequence[Fraction], dtype: np.dtype[Any]) -> None:
        rows = [(*row, constant) for row, constant in zip(matrix, bias, strict=True)]
        bits = np.finfo(dtype).nmant + 1
        scales = [lcm(*(value.denominator for value in row)) for row in rows]
        shifts = [min((scale & -scale).bit_length() - 1, MAX_SHIFT) for scale in scales]
        split = [
            [list(_limbs(int(value * scale), shift, bits)) if value else [] for value in row]
            for row, scale, shift in zip(rows, scales, shifts, strict=True)
        ]
        factors = [_factors(scale >> shift) for scale, shift in zip(scales, shifts, strict=True)]
        self.matrices = _layers([row[:-1] for row in split], 0.0, dtype) or [
            np.zeros((len(rows), len(matrix[0])), dtype)
        ]
        self.biases = [layer[:, 0] for layer in _layers([row[-1:] for row in split], 0.0, dtype)]
        self.divisors = [layer[:, 0] for layer in _layers([[row] for row in factors], 1.0, dtype)]


def _layers(split: Sequence[Sequence[Sequence[float]]], filler: float, dtype: np.dtype[Any]) -> list[npt.NDArray[Any]]:
    """The k-th numbers of all entries, as one array for every k."""
    depth = max(len(entry) for row in split for entry in row)
    return [
        np.array([[entry[k] if k < len(entry) else filler for entry in row] for row in split], dtype=dtype)
        for k in range(depth)
    ]


def _limbs(value: int, shift: int, bits: int) -> Iterator[float]:
    """Floating-point numbers of so many bits, the largest first, that add up to value / 2^shift."""
    while value:
        excess = max(0, abs(value).bit_length() - bits)
        limb = abs(value) >> excess << excess
        limb = -limb if value < 0 else limb
        if limb.bit_length() - shift > MAX_BITS:
            raise FarkasError(f"a coefficient of an input is as large as 2^{limb.bit_length() - shift}; rescale it")
        yield float(Fraction(limb, 1 << shift))
        value -= limb


def _factors(value: int) -> list[float]:
    """Positive integers below 2^24, or powers of two, whose product is the value."""
    found: list[int] = []
    rest = value
    while rest >= MAX_FACTOR and rest % 2 == 0:
        power = min((rest & -rest).bit_length() - 1, MAX_SHIFT)
        found.append(1 << power)
        rest >>= power
    small, prime = 1, 3
    while rest * small >= MAX_FACTOR and prime < 1 << 16:
        if rest % prime:
            prime += 2
            continue
        rest //= prime
        if small * prime >= MAX_FACTOR:
            found.append(small)
            small = 1
        small *= prime
    if rest >= MAX_FACTOR:
        raise FarkasError(f"a coefficient of an input has the denominator {value}, which has too large a prime factor")
    found += [small, rest] if rest * small >= MAX_FACTOR else [small * rest]
    return [float(factor) for factor in found if factor != 1]


def _affine(
    source: str, info: ValueInfo, shape: tuple[int, ...], limbs: _Limbs, taken: set[str]
) -> tuple[list[bytes], dict[str, npt.NDArray[Any]]]:
    """Nodes that compute the tensor `info` from `source`, and their constants by name."""
    columns = limbs.matrices[0].shape[1]
    constants: dict[str, npt.NDArray[Any]] = {}
    nodes: list[bytes] = []
    value = source

    def step(kind: str, constant: npt.NDArray[Any], what: str, result: str = "") -> None:
        nonlocal value
        stored = fresh(f"{info.name}_{what}", taken)
        constants[stored] = constant
        made = result or fresh(f"{stored}_applied", taken)
        nodes.append(node(kind, (value, stored), made, "" if not result else fresh(f"{result}_made", taken)))
        value = made

    if len(limbs.matrices) > 1:
        step("Gather", np.tile(np.arange(columns, dtype=np.int64), len(limbs.matrices)), "copies")
    step("MatMul", np.concatenate([limb.T for limb in limbs.matrices]), "matrix")
    for k, limb in enumerate(limbs.biases):
        step("Add", limb, f"bias_{k}")
    for k, factor in enumerate(limbs.divisors):
        step("Div", factor, f"divisor_{k}")
    step("Reshape", np.array(shape, dtype=np.int64), "shape", info.name)
    return nodes, constants
