"""Integer networks: what a quantised graph computes, in exact integers.

    node := Codes(size, low, high) | Sum(terms, bias) | Rounded(source, function) | Greatest(groups, source)

Node 0 holds the codes of the input, integers of its type.  A Sum is a matrix product, a convolution, or data movement,
in exact integers: no order of summation matters, no rounding happens, and lowering proves that the accumulator's type
(int32) is never left.  A Rounded is what stands between one product and the next: requantisation, Relu, Clip, in the
float32 steps of the graph, but a function of one integer, monotone, hence a staircase (`thresholds`).  float32 appears
at the two ends only: `encode` makes codes of the network's input, `decode` numbers of the last codes or accumulators.

This is `int-exact`: the meaning of a query about a quantised network, its reference run, and what CP-SAT decides.

Why float64 products are exact here: coefficients and operands are integers, and every sum of absolute values of
products is below 2^53, so each partial sum is an integer that float64 has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Array
from farkas.ir.core import Term
from farkas.ir.integer_unary import Integers, Unary
from farkas.ir.linear import Indices

INT32 = (-(2**31), 2**31 - 1)
EXACT = 2**53  # sums of absolute values below this are exact in float64


@dataclass(frozen=True)
class Codes:
    """The input codes, each in low..high, the range of their type."""

    size: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Sum:
    """sum of map_k(source_k) + bias in exact integers; low..high is the range of its type, which nothing leaves.

    terms: maps with integer coefficients (float64 arrays); bias: (m,).
    """

    terms: tuple[Term, ...]
    bias: Integers
    low: int = INT32[0]
    high: int = INT32[1]


@dataclass(frozen=True, eq=False)
class Rounded:
    """function(source), elementwise, with results in low..high."""

    source: int
    function: Unary
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Greatest:
    """The largest of the components groups[i] of the source, (m, k); a component may be listed repeatedly."""

    groups: Indices
    source: int


IntegerNode = Codes | Sum | Rounded | Greatest
Ranges = tuple[Integers, Integers]


@dataclass(frozen=True, eq=False)
class IntegerProgram:
    """Nodes in topological order; node 0 is Codes; `output` is the node whose value, decoded, is the network's.

    encode: None when the network's input is an integer tensor; decode: None when its output is one.
    names: for each node, the tensor of the graph that it computes, or one before it.  reading: how patterns of
    DequantizeLinear and QuantizeLinear were read (farkas.ir.integer_lowering).
    """

    encode: Unary | None
    nodes: tuple[IntegerNode, ...]
    sizes: tuple[int, ...]
    output: int
    decode: Unary | None
    names: tuple[str, ...]
    reading: str

    @property
    def input_size(self) -> int:
        return self.sizes[0]

    @property
    def output_size(self) -> int:
        return self.sizes[self.output]


def node_sources(node: IntegerNode) -> tuple[int, ...]:
    """The nodes that `node` reads."""
    match node:
        case Codes():
            return ()
        case Sum(terms=terms):
            return tuple(term.source for term in terms)
        case Rounded(source=source) | Greatest(source=source):
            return (source,)
        case _:
            assert_never(node)


def run_integer(program: IntegerProgram, x: Array) -> Array:
    """The output (..., m) for inputs (..., n): float32, or integers where the network takes or gives integers."""
    codes = x if program.encode is None else program.encode(_float32(x))
    return decoded(program, run_codes(program, codes)[program.output])


def run_codes(program: IntegerProgram, codes: Array) -> list[Integers]:
    """The value of every node, (..., size), for input codes (..., n)."""
    values: list[Integers] = []
    for node in program.nodes:
        values.append(node_value(node, values, codes))
    return values


def decoded(program: IntegerProgram, output: Integers) -> Array:
    """The network's output for the value of the output node."""
    return output if program.decode is None else program.decode(output)


def node_value(node: IntegerNode, values: Sequence[Integers], codes: Array) -> Integers:
    """The node's value from those of the nodes before it."""
    match node:
        case Codes(size=size, low=low, high=high):
            assert codes.dtype.kind in "iu", f"input codes are integers, not {codes.dtype}"
            assert codes.shape[-1] == size, f"{size} input codes are wanted, not {codes.shape[-1]}"
            return _within(codes.astype(np.int64), low, high)
        case Sum(terms=terms, bias=bias, low=low, high=high):
            total = bias
            for term in terms:
                total = total + term.map.mv(values[term.source].astype(np.float64)).astype(np.int64)
            return _within(total, low, high)
        case Rounded(source=source, function=function, low=low, high=high):
            return _within(function(values[source]), low, high)
        case Greatest(groups=groups, source=source):
            return np.asarray(values[source][..., groups].max(axis=-1))
        case _:
            assert_never(node)


def code_ranges(program: IntegerProgram, low: Integers | None = None, high: Integers | None = None) -> list[Ranges]:
    """For every node, bounds (l, u) of its components: those of single operators, from the input codes low..high."""
    found: list[Ranges] = []
    for node in program.nodes:
        found.append(node_range(node, found, low, high))
    return found


def node_range(
    node: IntegerNode, found: Sequence[Ranges], low: Integers | None = None, high: Integers | None = None
) -> Ranges:
    """Bounds of the node's components, exact for each by itself, from those of the nodes before it."""
    match node:
        case Codes(size=size):
            l = np.full(size, node.low) if low is None else np.maximum(low, node.low)
            u = np.full(size, node.high) if high is None else np.minimum(high, node.high)
            return l.astype(np.int64), u.astype(np.int64)
        case Sum(terms=terms, bias=bias):
            l, u = bias, bias
            for term in terms:
                # Twice the centre and the radius are integers, and so are all products.
                first, last = (end.astype(np.float64) for end in found[term.source])
                centre, radius = term.map.mv(first + last), term.map.absolute().mv(last - first)
                l = l + ((centre - radius) / 2).astype(np.int64)
                u = u + ((centre + radius) / 2).astype(np.int64)
            return l, u
        case Rounded(source=source, function=function):
            ends = function(found[source][0]), function(found[source][1])
            return np.minimum(*ends), np.maximum(*ends)
        case Greatest(groups=groups, source=source):
            l, u = found[source]
            return np.asarray(l[..., groups].max(axis=-1)), np.asarray(u[..., groups].max(axis=-1))
        case _:
            assert_never(node)


def thresholds(function: Unary, component: int, lo: int, hi: int) -> list[tuple[int, int]]:
    """The steps of one component of a Rounded's function over lo..hi: (first input, value from there on), in order.

    By bisection of every interval whose ends have different values; the function is monotone, so an interval whose
    ends agree is constant.
    """
    assert lo <= hi, f"the range {lo}..{hi} is empty"
    one = function.take(np.array([component], dtype=np.int64))
    return [(int(a), int(v)) for a, v in zip(*_jumps(one, lo, hi), strict=True)]


def _jumps(function: Unary, lo: int, hi: int) -> Ranges:
    """Inputs at which a function of one component takes a new value, lo first, and those values."""
    ends = np.array([lo, hi], dtype=np.int64)
    left, right = ends[:1], ends[1:]
    at_left, at_right = _at(function, left), _at(function, right)
    first, value = [left], [at_left]
    while True:  # Invariant: every jump not yet found lies in some (left, right], where the values differ
        open_ = at_left != at_right
        left, right, at_left, at_right = left[open_], right[open_], at_left[open_], at_right[open_]
        found = right - left == 1
        first.append(right[found])
        value.append(at_right[found])
        left, right, at_left, at_right = left[~found], right[~found], at_left[~found], at_right[~found]
        if not left.size:
            break
        middle = left + (right - left) // 2
        at_middle = _at(function, middle)
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        at_left, at_right = np.concatenate([at_left, at_middle]), np.concatenate([at_middle, at_right])
    inputs, values = np.concatenate(first), np.concatenate(value)
    order = np.argsort(inputs)
    return inputs[order], values[order]


def _at(function: Unary, inputs: Integers) -> Integers:
    return np.asarray(function(inputs[:, None])[:, 0], dtype=np.int64)


def _within(values: Integers, low: int, high: int) -> Integers:
    outside = bool(((values < low) | (values > high)).any())
    assert not outside, f"a value between {values.min()} and {values.max()} leaves {low}..{high}"
    return values


def _float32(x: Array) -> npt.NDArray[np.float32]:
    assert x.dtype == np.float32, f"binary32 inputs are wanted, not {x.dtype}"
    return x
