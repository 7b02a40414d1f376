"""Graph -> Program: each operator lowers itself to core nodes, over the reals, group by group.

A *summation group* is a maximal MatMul, Gemm or Conv followed by its Adds.  Its binary32 error is bounded for every
order of all its products and addends together, so an Add takes over the terms of every operand that is such a group
itself.  Magnitudes of the terms are added, never cancelled.  Merging is sound whatever the runtime does (it only adds
executions); leaving out a merge is not, since a runtime may start its accumulator at the bias: bias 2^24 plus 1000
products of 1, treated as two nodes, misses an error of 1000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from farkas.ir.core import Affine, CoreOp, Input, Program, Relu, Rounding, Term
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.graph import Graph
from farkas.ir.linear import Diagonal, LinearMap, Selection, Vector, identity
from farkas.ir.op import Shape


@dataclass(frozen=True)
class Value:
    """A tensor while lowering: a core node and the shape in which its flat value is read."""

    node: int
    shape: Shape

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


class Builder:
    """Appends core nodes; used by `Op.lower` only."""

    def __init__(self, size: int) -> None:
        self.nodes: list[CoreOp] = [Input(size)]
        self.sizes: list[int] = [size]
        self.names: list[str] = ["input"]
        self.current = "input"

    def append(self, node: CoreOp, size: int) -> int:
        self.nodes.append(node)
        self.sizes.append(size)
        self.names.append(self.current)
        return len(self.nodes) - 1

    def affine(
        self, terms: Sequence[tuple[LinearMap, Value]], bias: Vector, shape: Shape, rounding: Rounding
    ) -> Value:
        """A new Affine node over `terms`, read in `shape`; bias is flat."""
        core = tuple(Term(m, v.node) for m, v in terms)
        bias = np.asarray(bias, dtype=np.float64)
        return Value(self.append(Affine(core, bias, rounding, abs(bias)), bias.shape[0]), shape)

    def relu(self, x: Value) -> Value:
        return Value(self.append(Relu(x.node), x.size), x.shape)

    def reshape(self, x: Value, shape: Shape) -> Value:
        """The same flat value in another shape: no node."""
        return Value(x.node, shape)

    def move(self, parts: Sequence[tuple[npt.NDArray[np.int64], Value]], shape: Shape) -> Value:
        """Data movement, without error: output[i] = part[index[i]], index flat over the output, -1 elsewhere."""
        if len(parts) == 1 and np.array_equal(parts[0][0], np.arange(parts[0][1].size)):
            return self.reshape(parts[0][1], shape)
        terms = [(Selection(np.asarray(index, dtype=np.int64).ravel(), v.size), v) for index, v in parts]
        return self.affine(terms, np.zeros(terms[0][0].rows), shape, Rounding())

    def scale(self, x: Value, factors: Vector, bias: Vector, rounding: Rounding) -> Value:
        """factors * x + bias, componentwise; both flat."""
        return self.affine([(Diagonal(np.asarray(factors, dtype=np.float64)), x)], bias, x.shape, rounding)

    def add(self, values: Sequence[Value], constant: Vector | None, shape: Shape) -> Value:
        """The sum of `values` (all of `shape`) and a flat constant, as one summation group."""
        size = int(np.prod(shape, dtype=np.int64))
        terms: list[Term] = []
        biases: list[Vector] = []
        count, relative, magnitude = 0, 0.0, np.zeros(size)
        for value in values:
            node = self.nodes[value.node]
            if isinstance(node, Affine) and node.rounding.is_sum:
                terms.extend(node.terms)
                biases.append(node.bias)
                magnitude = magnitude + node.magnitude
                count += node.rounding.count
                relative = max(relative, node.rounding.relative)
            else:
                terms.append(Term(identity(size), value.node))
                count += 1
        if constant is not None:
            biases.append(constant)
            magnitude = magnitude + abs(constant)
            count += 1
        bias, exact = _sum_exactly(biases, size)
        if not exact:
            relative = max(relative, 2.0**-50)
        magnitude = magnitude * (1 + 2.0**-50)
        rounding = Rounding(count, relative, is_sum=True)
        return Value(self.append(Affine(tuple(terms), bias, rounding, magnitude), size), shape)

    def program(self, output: Value) -> Program:
        return Program(tuple(self.nodes), tuple(self.sizes), output.node, tuple(self.names))


def _sum_exactly(biases: Sequence[Vector], size: int) -> tuple[Vector, bool]:
    """The float64 sum of the vectors, and whether no addition rounded (Knuth's TwoSum)."""
    total, exact = np.zeros(size), True
    for bias in biases:
        s = total + bias
        virtual = s - total
        exact = exact and not np.any((total - (s - virtual)) + (bias - virtual))
        total = s
    return total, exact


def lower(graph: Graph) -> Program:
    """The core program of a graph with one input and one output.

    Raises UnsupportedOperator for graphs with several inputs or outputs.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UnsupportedOperator(
            f"the network has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; one of each is supported"
        )
    name, shape = graph.inputs[0]
    builder = Builder(int(np.prod(shape, dtype=np.int64)))
    values = {name: Value(0, shape)}
    for node in graph.nodes:
        builder.current = node.name
        value = node.op.lower(builder, *(values[operand] for operand in node.inputs))
        values[node.name] = builder.reshape(value, graph.shapes[node.name])
    return builder.program(values[graph.outputs[0]])
