"""BINARY32: run a network as its operators say, node by node, under a declared accumulation order.

Nothing is fused: a Gemm has its bias inside the sum, a MatMul and a following Add are two nodes.  That is also what
onnxruntime computes with graph optimisation off; with it on, it turns MatMul and Add into Gemm, so that for K > 256
`mlas-k256-fma` adds the bias at another place (docs/semantics.md).

`mlas-k256-fma` is a fact about matrix products with a constant right-hand side and no more, so other sums under that
name are refused.  `seq-muladd` and `seq-fma` are definitions and hold for every operator.
"""

from __future__ import annotations

import math
from typing import NoReturn

import numpy as np

from farkas.ir.algebra import Array, Numbers
from farkas.ir.binary32 import Binary32, Float32, parse_order
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.graph import Graph, Node
from farkas.ir.joined import single
from farkas.ir.ops.activation import Relu
from farkas.ir.ops.affine import Add, Linear, Sub
from farkas.ir.ops.movement import Reshape

# Operators whose meaning carries over to arrays with one more leading axis; all others are run point by point.
_BATCHED = (Add, Linear, Relu, Sub)


class _NoSums(Binary32):
    """Binary32 for an operator whose sums have no declared order in `mlas-k256-fma`."""

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> NoReturn:
        raise UnsupportedOperator("its sums have no declared order")


def execute(graph: Graph, x: Float32, order: str) -> Float32:
    """Outputs (..., m) for inputs (..., n), flat, of a float32 network; several inputs, or outputs, are one vector.

    Overflow gives infinities and NaN, as it does in a runtime.  Raises UnsupportedOperator for other networks, for
    sums that `order` does not define, and FarkasError for an order that does not exist.
    """
    alg = Binary32(parse_order(order))
    graph = single(graph)
    ((name, shape),), (output,) = graph.inputs, graph.outputs
    if graph.dtype != "float32":
        raise UnsupportedOperator(f"the network computes in {graph.dtype}; only float32 networks have binary32 runs")
    assert x.dtype == np.float32, f"binary32 inputs are wanted, not {x.dtype}"
    assert x.shape[-1] == math.prod(shape), f"inputs of {math.prod(shape)} values are wanted, not {x.shape[-1]}"
    points = x.reshape(-1, *shape)
    env: dict[str, Float32] = {name: points}
    for node in graph.nodes:
        operands = [env[operand] for operand in node.inputs]
        env[node.name] = _apply(alg, node, operands, (points.shape[0], *graph.shapes[node.name]))
    return env[output].reshape(*x.shape[:-1], math.prod(graph.shapes[output]))


def _apply(alg: Binary32, node: Node, operands: list[Float32], shape: tuple[int, ...]) -> Float32:
    """The node's value for each of shape[0] points; operands have the points as their leading axis."""
    if isinstance(node.op, Reshape):
        return operands[0].reshape(shape)
    chosen = alg if alg.order != "mlas-k256-fma" or is_plain_product(node) else _NoSums(alg.order)
    try:
        if isinstance(node.op, _BATCHED) and len({operand.ndim for operand in operands}) == 1:
            value = node.op.denote(chosen, *operands)
            if value.shape == shape:  # not so for a constant of more axes than the operand
                return value
        return np.stack([node.op.denote(chosen, *point) for point in zip(*operands, strict=True)]).reshape(shape)
    except UnsupportedOperator as error:
        if isinstance(chosen, _NoSums):
            raise UnsupportedOperator(
                f"node '{node.name}' ({node.op.onnx}): the order mlas-k256-fma is declared for matrix products with a "
                "constant right-hand side only; seq-fma and seq-muladd are for every sum"
            ) from error
        raise


def is_plain_product(node: Node) -> bool:
    """MatMul by a constant, or Gemm without scaling; a bias per row only."""
    op = node.op
    if not isinstance(op, Linear):
        return False
    return op.alpha == 1.0 and op.beta == 1.0 and (op.bias is None or op.bias.ndim == 1)
