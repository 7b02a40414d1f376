"""Graph -> Program: each operator lowers itself to core nodes, over the reals, group by group.

A *summation group* is a maximal MatMul, Gemm or Conv followed by its Adds.  Its binary32 error is bounded for every
order of all its products and addends together, so an Add takes over the terms of every operand that is such a group
itself, or elements of one.  Magnitudes of the terms are added, never cancelled.  Merging is sound whatever the runtime
does (it only adds executions); leaving out a merge is not, since a runtime may start its accumulator at the bias: bias
2^24 plus 1000 products of 1, treated as two nodes, misses an error of 1000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from farkas.ir.algebra import Numbers
from farkas.ir.core import Affine, CoreOp, Input, Product, Program, Relu, Rounding, Term, redirected, sources
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.graph import Graph
from farkas.ir.joined import is_single, single
from farkas.ir.linear import Composed, Diagonal, Indices, LinearMap, Selection, Vector, identity
from farkas.ir.op import Shape

Where = Callable[..., npt.NDArray[np.int64]]


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
        self,
        terms: Sequence[tuple[LinearMap, Value]],
        bias: Vector,
        shape: Shape,
        rounding: Rounding,
        magnitude: Vector | None = None,
    ) -> Value:
        """A new Affine node over `terms`, read in `shape`; bias is flat, and magnitude is |bias| unless given."""
        core = tuple(Term(m, v.node) for m, v in terms)
        bias = np.asarray(bias, dtype=np.float64)
        node = Affine(core, bias, rounding, abs(bias) if magnitude is None else magnitude)
        return Value(self.append(node, bias.shape[0]), shape)

    def relu(self, x: Value) -> Value:
        return Value(self.append(Relu(x.node), x.size), x.shape)

    def multiply(self, a: Value, b: Value) -> Value:
        """a b, elementwise and without error; both of one size."""
        return Value(self.append(Product(a.node, b.node), a.size), a.shape)

    def reshape(self, x: Value, shape: Shape) -> Value:
        """The same flat value in another shape: no node."""
        return Value(x.node, shape)

    def rearrange(self, where: Where, xs: Sequence[Value], constants: Sequence[Numbers] = ()) -> Value:
        """Data movement, without error.

        `where` moves arrays as the operator does, given one array per value of `xs` and then one per constant; it is
        run on the positions of their elements.
        """
        shapes = [x.shape for x in xs] + [c.shape for c in constants]
        offsets = np.cumsum([0] + [int(np.prod(shape, dtype=np.int64)) for shape in shapes])
        arrays = (np.arange(a, b).reshape(s) for a, b, s in zip(offsets, offsets[1:], shapes, strict=False))
        target = where(*arrays)
        flat = target.ravel()
        if len(xs) == 1 and np.array_equal(flat, np.arange(xs[0].size)):
            return self.reshape(xs[0], target.shape)
        terms: list[tuple[LinearMap, Value]] = []
        for x, start, stop in zip(xs, offsets, offsets[1:], strict=False):
            terms.append((Selection(np.where((flat >= start) & (flat < stop), flat - start, -1), x.size), x))
        pool = np.concatenate([np.zeros(offsets[len(xs)]), *(c.ravel().astype(np.float64) for c in constants)])
        return self.affine(terms, pool[flat], target.shape, Rounding())

    def maximum(self, a: Value, b: Value) -> Value:
        """max(a, b) = a + relu(b - a), without error: the comparison rounds nothing."""
        size = a.size
        minus = Diagonal(np.full(size, -1.0))
        difference = self.affine([(minus, a), (identity(size), b)], np.zeros(size), a.shape, Rounding())
        gain = self.relu(difference)
        return self.affine([(identity(size), a), (identity(size), gain)], np.zeros(size), a.shape, Rounding())

    def scale(self, x: Value, factors: Vector, bias: Vector, rounding: Rounding) -> Value:
        """factors * x + bias, componentwise; both flat."""
        return self.affine([(Diagonal(np.asarray(factors, dtype=np.float64)), x)], bias, x.shape, rounding)

    def minimum(self, a: Value, b: Value) -> Value:
        """min(a, b) = a - relu(a - b), without error."""
        size = a.size
        minus = Diagonal(np.full(size, -1.0))
        difference = self.affine([(identity(size), a), (minus, b)], np.zeros(size), a.shape, Rounding())
        loss = self.relu(difference)
        return self.affine([(identity(size), a), (minus, loss)], np.zeros(size), a.shape, Rounding())

    def add(self, values: Sequence[Value], constant: Vector | None, shape: Shape) -> Value:
        """The sum of `values` (each broadcast to `shape`) and a flat constant, as one summation group."""
        size = int(np.prod(shape, dtype=np.int64))
        terms: list[Term] = []
        biases: list[Vector] = []
        count, relative, peak, magnitude = 0, 0.0, 0.0, np.zeros(size)
        for value in values:
            index = np.broadcast_to(np.arange(value.size).reshape(value.shape), shape).ravel()
            found = self.group(value.node, index)
            if found is None:
                terms.append(Term(Selection(index, value.size), value.node))
                count += 1
                continue
            node, index = found
            spread = Selection(index, node.bias.size)
            whole = spread.is_identity
            terms.extend(t if whole else Term(Composed(spread, t.map), t.source) for t in node.terms)
            biases.append(node.bias[index])
            magnitude = magnitude + node.magnitude[index]
            count += node.rounding.count
            relative, peak = max(relative, node.rounding.relative), max(peak, node.rounding.peak)
        if constant is not None:
            biases.append(constant)
            magnitude = magnitude + abs(constant)
            count += 1
        bias, exact = _sum_exactly(biases, size)
        # Every float64 addition loses at most 2^-53 of the magnitude; nested Adds lose it again and again.
        losses = (len(values) + 2) * 2.0**-52
        if not exact:
            relative = (relative + losses) * (1 + 2.0**-52)
        magnitude = magnitude * (1 + losses)
        rounding = Rounding(count, relative, is_sum=True, peak=peak)
        return Value(self.append(Affine(tuple(terms), bias, rounding, magnitude), size), shape)

    def group(self, number: int, index: Indices) -> tuple[Affine, Indices] | None:
        """The summation group of which node `number`, read at `index`, is elements, and which; None: of no such group.

        Data movement that only takes elements of one tensor (Transpose, Slice, Gather, Expand) is looked through; what
        joins them with others (Concat, Pad, Where) is not.
        """
        node = self.nodes[number]
        while isinstance(node, Affine) and not node.rounding.is_sum:
            if node.rounding != Rounding() or len(node.terms) != 1 or node.magnitude.any():
                return None
            (term,) = node.terms
            if not isinstance(term.map, Selection) or (term.map.index < 0).any():
                return None
            node, index = self.nodes[term.source], term.map.index[index]
        return (node, index) if isinstance(node, Affine) else None

    def program(self, output: Value) -> Program:
        """The program of the nodes on which `output` depends (an Add leaves the groups it took over unread)."""
        place = self.places(output)
        nodes = tuple(redirected(self.nodes[i], place) for i in place)
        names = tuple(self.names[i] for i in place)
        return Program(nodes, tuple(self.sizes[i] for i in place), place[output.node], names)

    def places(self, output: Value) -> dict[int, int]:
        """Where the nodes on which `output` depends stand in its program, in order."""
        live = {0, output.node}
        for i in range(output.node, -1, -1):
            if i in live:
                live.update(sources(self.nodes[i]))
        return {old: new for new, old in enumerate(sorted(live))}


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
    """The core program of a graph; several inputs are one vector, and several outputs (farkas.ir.joined)."""
    graph = single(graph)
    builder, values = build(graph)
    return builder.program(values[graph.outputs[0]])


def build(graph: Graph) -> tuple[Builder, dict[str, Value]]:
    """All core nodes that the operators of a graph lower to, and where each tensor stands.

    Raises UnsupportedOperator for graphs with several inputs or outputs, which `farkas.ir.joined` makes one of each.
    """
    if not is_single(graph):
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
    return builder, values
