"""Graph -> IntegerProgram: what a quantised network computes, in exact integers.

While lowering, a tensor is *held*: components of an integer node, in the tensor's shape, each passed through a chain of
binary32 steps.  Integer tensors have no steps.  DequantizeLinear, Cast, scalings, Relu and Clip append steps, data
movement permutes components, QuantizeLinear ends the chain: the whole of it becomes one `Rounded`.  Before the first
QuantizeLinear the chain stands on the network's input and becomes `encode`; what is left at the end becomes `decode`.

Reading `fused`: a MatMul, Gemm or Conv of dequantised codes and dequantised constant codes, followed by QuantizeLinear,
is one integer product with one requantisation, multiplier (s_x s_w) / s_y in binary32.  A runtime that optimises its
graphs computes just that; one that does not multiplies dequantised numbers in binary32, in some order, which is another
function (it differs where a requantised accumulator lies near a tie).  What onnxruntime 1.31.1 was seen to do with all
optimisations, and what is therefore read so:

    DQ, DQ -> MatMul, Gemm, Conv -> Q               one product; Gemm's and Conv's bias are int32 codes of scale s_x s_w
    ... -> Relu -> Q with the least code as zero    the same: saturation is the Relu
    ... -> Clip -> Q, Clip holds all codes' values  the same
    DQ, DQ -> MatMul or Gemm -> network's output    the accumulator times s_x s_w

and refused, because it is computed in binary32 sums there: float biases; Conv without Q; a Relu before a Q with another
zero point; int8 inputs with uint8 weights; a product that is read twice; a Reshape between DQ and MatMul; products of
int8 codes whose DQ does not follow a Q, or whose Q no DQ (such pairs become uint8 codes, and only these are fused);
Gemm with Q where DQ of an operand has no zero point.  A Q right after a DQ of another scale is refused because the two
quantisations are made one, with other bits.  A sum of codes and constant codes (QLinearAdd) is refused because its bits
depend on how onnxruntime was compiled: it computes fma(s_a/s_y, a, fma(s_b/s_y, b, c)) with a constant c whose own
products were contracted, or not.

A MatMul, Gemm or Conv is one summation over codes, so its order does not matter, provided that int32 never overflows:
proved here from the ranges of codes, node by node, or refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from farkas.ir.core import Affine, Term
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.graph import Graph, Node
from farkas.ir.integer import (
    INT32,
    Codes,
    Greatest,
    IntegerNode,
    IntegerProgram,
    Ranges,
    Rounded,
    Sum,
    node_range,
)
from farkas.ir.integer_held import (
    INPUT,
    Held,
    Pending,
    Scaled,
    flat_constant,
    is_common,
    is_same,
    is_scalar,
    same_numbers,
)
from farkas.ir.integer_unary import Arithmetic, Chain, Integers, Kind, Leaky, Nearest, Shift, ToFloat
from farkas.ir.linear import Selection
from farkas.ir.lowering import Builder, Value
from farkas.ir.op import Op
from farkas.ir.ops import quantised
from farkas.ir.ops.activation import Clip, LeakyRelu, Max, Min, Relu
from farkas.ir.ops.affine import Add, Linear, Sub
from farkas.ir.ops.convolution import Conv
from farkas.ir.ops.movement import Expand, Gather, Reshape, Slice, Transpose
from farkas.ir.ops.pooling import MaxPool
from farkas.ir.ops.quantised import RANGES
from farkas.ir.ops.scaling import Neg, Scale

READING = "fused"


def is_quantised(graph: Graph) -> bool:
    """Whether the network computes with codes, so that `int-exact` is its semantics."""
    return bool(graph.elements) or any(isinstance(node.op, quantised.QUANTISED) for node in graph.nodes)


def lower_integer(graph: Graph) -> IntegerProgram:
    """The integer program of a quantised network with one input and one output.

    Raises UnsupportedOperator, naming the node, for what has no exact integer meaning or might overflow int32.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UnsupportedOperator(
            f"the network has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; one of each is supported"
        )
    if graph.dtype != "float32":
        raise UnsupportedOperator(f"the network computes in {graph.dtype}; quantised networks in float32 are supported")
    return _Lowering(graph).program()


class _Lowering:
    """State of one lowering: nodes so far, their ranges, and how every tensor is held."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        ((name, shape),) = graph.inputs
        size = int(np.prod(shape, dtype=np.int64))
        element = graph.elements.get(name)
        self.current = name
        self.nodes: list[IntegerNode] = []
        self.sizes: list[int] = []
        self.names: list[str] = []
        self.ranges: list[Ranges] = []
        self.encode: Chain | None = None
        self.makers = {node.name: node.op for node in graph.nodes}
        self.reads = Counter([operand for node in graph.nodes for operand in node.inputs] + list(graph.outputs))
        index = np.arange(size, dtype=np.int64).reshape(shape)
        if element is None:
            self.held = {name: Held(INPUT, index)}
        else:
            self.held = {name: Held(self.append(Codes(size, *RANGES[element]), size), index, (), element)}

    def program(self) -> IntegerProgram:
        for node in self.graph.nodes:
            self.current = node.name
            self.held[node.name] = self.value(node, [self.held[operand] for operand in node.inputs])
        name = self.graph.outputs[0]
        self.current = name
        last = self.held[name]
        if last.node == INPUT:
            self.refuse("no QuantizeLinear stands between the network's input and this output")
        if last.product is not None:
            last = self.unfused(last)
        output = self.gathered(last)
        decode = self.checked(last.chain, output) if last.steps else None
        nodes, sizes, names = tuple(self.nodes), tuple(self.sizes), tuple(self.names)
        return IntegerProgram(self.encode, nodes, sizes, output, decode, names, READING)

    def refuse(self, reason: str) -> NoReturn:
        raise self.refusal(reason)

    def refusal(self, reason: str) -> UnsupportedOperator:
        return UnsupportedOperator(f"tensor '{self.current}': {reason}")

    def is_dequantised(self, name: str) -> bool:
        """Whether DequantizeLinear reads the tensor, and nothing else."""
        readers = [node.op for node in self.graph.nodes if name in node.inputs]
        return name not in self.graph.outputs and all(isinstance(op, quantised.DequantizeLinear) for op in readers)

    def append(self, node: IntegerNode, size: int) -> int:
        self.ranges.append(node_range(node, self.ranges))
        if isinstance(node, Sum):
            l, u = self.ranges[-1]
            if l.min() < node.low or u.max() > node.high:
                self.refuse(
                    f"its accumulators lie between {l.min()} and {u.max()} and may leave {node.low}..{node.high}; "
                    "quantise with fewer bits (reduce_range)"
                )
        self.nodes.append(node)
        self.sizes.append(size)
        self.names.append(self.current)
        return len(self.nodes) - 1

    # Operators -------------------------------------------------------------------------------------------------------

    def value(self, node: Node, xs: Sequence[Held]) -> Held:
        op = node.op
        if len(xs) != 1:
            self.refuse(f"{op.onnx} of several tensors has no exact integer meaning here yet")
        (x,) = xs
        if x.product is not None:
            return self.after_product(op, x, node.inputs[0])
        match op:
            case quantised.QuantizeLinear():
                return self.quantise(op, x)
            case quantised.DequantizeLinear():
                return self.dequantise(op, x, node.inputs[0])
            case quantised.ToFloat():
                return replace(x, steps=(*x.steps, ToFloat()), element=None)
            case quantised.IntegerProduct():
                return self.product(op.product, op.zero, op.bias, x)
            case quantised.Requantise():
                steps = (ToFloat(), Arithmetic("multiply", flat_constant(op.multiplier, x.shape)))
                return self.rounded(replace(x, steps=steps, element=None), np.array(op.zero), op.element)
            case quantised.Coded(weight=weight) if weight is not None:
                return self.coded(weight, x)
            case Reshape() | Transpose() | Expand() | Slice() | Gather():
                return x.moved(op)
            case MaxPool():
                return self.greatest(op, x)
            case _:
                return self.elementwise(op, x)

    def dequantise(self, op: quantised.DequantizeLinear, x: Held, name: str) -> Held:
        assert x.element is not None and not x.steps, f"DequantizeLinear of '{self.current}', which is no code"
        scale, zero = flat_constant(op.scale, x.shape), flat_constant(op.zero, x.shape)
        steps = (ToFloat(), Arithmetic("multiply", scale))
        if x.element not in RANGES:
            return replace(x, steps=steps, element=None)
        is_input = x.node == 0 and self.encode is None
        paired = isinstance(self.makers.get(name), quantised.QuantizeLinear) and not is_input
        codes = Scaled(scale, zero, x.element, paired=paired, stated=op.stated)
        return replace(x, steps=(Shift(zero), *steps), element=None, codes=codes)

    def elementwise(self, op: Op, x: Held) -> Held:
        if x.element is not None:
            self.refuse(f"{op.onnx} of codes has no exact integer meaning here; dequantise them first")
        zero = np.zeros((), dtype=np.float32)
        match op:
            case Relu():
                return self.arithmetic("maximum", zero, x)
            case Clip(low=low, high=high):
                if low is not None:
                    x = self.arithmetic("maximum", np.array(low), x)
                return x if high is None else self.arithmetic("minimum", np.array(high), x)
            case LeakyRelu(slope=slope) if slope >= 0:
                return replace(x, steps=(*x.steps, Leaky(slope)), codes=None)
            case Scale(factor=factor, divide=divide):
                return self.arithmetic("divide" if divide else "multiply", factor, x)
            case Neg():
                return self.arithmetic("multiply", np.array(-1.0), x)
            case Add(constant=constant) if constant is not None:
                return self.arithmetic("add", constant, x)
            case Sub(constant=constant, reverse=reverse) if constant is not None:
                return self.arithmetic("subtract from" if reverse else "subtract", constant, x)
            case Max(constant=constant) if constant is not None:
                return self.arithmetic("maximum", constant, x)
            case Min(constant=constant) if constant is not None:
                return self.arithmetic("minimum", constant, x)
            case quantised.Coded(inner=inner) if quantised.is_product(inner):
                raise self.refusal(
                    f"{inner.onnx} of codes: the input's codes on the left, constant codes on the right, and one scale "
                    "or one for each column are supported"
                )
            case quantised.Coded(inner=inner):
                raise self.refusal(
                    f"{inner.onnx} of codes and a constant that is given by codes: runtimes differ in how they compute "
                    "it; run onnxruntime.quantization.shape_inference.quant_pre_process first, which makes MatMul and "
                    "Add one Gemm with an int32 bias"
                )
            case _:
                raise self.refusal(f"{op.onnx} has no exact integer meaning here; quantise its operand and its result")

    def arithmetic(self, kind: Kind, constant: Any, x: Held) -> Held:
        shape = np.broadcast_shapes(x.shape, constant.shape)
        if shape != x.shape:
            x = x.at(np.broadcast_to(np.arange(x.index.size).reshape(x.shape), shape))
        number = flat_constant(np.asarray(constant, dtype=np.float32), shape)
        if kind in ("multiply", "divide") and x.node == INPUT and (number == 0).any():
            self.refuse("the network's input is multiplied by zero")
        return replace(x, steps=(*x.steps, Arithmetic(kind, number)), codes=None)

    def greatest(self, op: MaxPool, x: Held) -> Held:
        groups = op.groups(x.shape)
        if x.node == INPUT:
            self.refuse("MaxPool of the network's input before it is quantised is not supported")
        same = all(is_common(step, groups) for step in x.steps)
        if not same or (x.chain.direction < 0).any():
            self.refuse("the elements under a window of MaxPool are scaled differently")
        node = self.append(Greatest(x.index.ravel()[groups], x.node), len(groups))
        first = x.at(groups[:, 0].reshape(op.infer(x.shape)))
        return replace(first, node=node, index=np.arange(len(groups)).reshape(first.shape))

    # Codes -----------------------------------------------------------------------------------------------------------

    def quantise(self, op: quantised.QuantizeLinear, x: Held) -> Held:
        scale, zero = flat_constant(op.scale, x.shape), flat_constant(op.zero, x.shape)
        if x.codes is not None and is_same(x.codes, Scaled(scale, zero, op.element)):
            # match: Q(DQ(q)) with the same scale and zero   result: q   holds in: BINARY32
            # (k s) / s is within 2^-22 of k for |k| <= 255, so it is rounded to k.
            return replace(x, steps=(), element=op.element, codes=None)
        if x.codes is not None:
            self.refuse(
                "codes are dequantised and quantised again with another scale or zero point, which runtimes make one "
                "quantisation; quantise once"
            )
        divided = replace(x, steps=(*x.steps, Arithmetic("divide", scale)), codes=None)
        return self.rounded(divided, zero, op.element)

    def rounded(self, x: Held, zero: Integers, element: str) -> Held:
        """Codes of the tensor, rounded to integers; zero: () or flat."""
        low, high = RANGES[element]
        steps = (*x.steps, Nearest(zero, low, high))
        if x.node == INPUT:
            return self.encoded(replace(x, steps=steps), element)
        if all(is_scalar(step) for step in steps):  # one function for all components: data movement can wait
            function = self.checked(Chain(steps, self.sizes[x.node]), x.node)
            node = self.append(Rounded(x.node, function, low, high), self.sizes[x.node])
            return Held(node, x.index, (), element)
        source = self.gathered(x)
        function = self.checked(Chain(steps, x.index.size), source)
        node = self.append(Rounded(source, function, low, high), x.index.size)
        return Held(node, np.arange(x.index.size).reshape(x.shape), (), element)

    def encoded(self, x: Held, element: str) -> Held:
        if self.nodes:
            self.refuse("the network's input is quantised twice; quantise it once")
        order = np.argsort(x.index.ravel())
        if not np.array_equal(x.index.ravel()[order], np.arange(self.input_size)):
            self.refuse("the network's input is cut or repeated before it is quantised; quantise it first")
        self.encode = x.chain.take(order)
        self.append(Codes(x.index.size, *RANGES[element]), x.index.size)
        return Held(0, x.index, (), element)

    @property
    def input_size(self) -> int:
        return int(np.prod(self.graph.inputs[0][1], dtype=np.int64))

    def gathered(self, x: Held) -> int:
        """A node whose components are the tensor's, in order, before its steps."""
        flat = x.index.ravel()
        size = self.sizes[x.node]
        if np.array_equal(flat, np.arange(size)):
            return x.node
        l, u = self.ranges[x.node]
        moved = Sum((Term(Selection(flat, size), x.node),), np.zeros(flat.size, np.int64), int(l.min()), int(u.max()))
        return self.append(moved, flat.size)

    def checked(self, chain: Chain, node: int) -> Chain:
        """The chain, after a proof that no step overflows: each is monotone, so the ends of the range show it."""
        for values in self.ranges[node]:
            for step in chain.steps:
                values = step(values)
                if not np.isfinite(values).all():
                    self.refuse("its scaled accumulators may overflow binary32")
        return chain

    # Products --------------------------------------------------------------------------------------------------------

    def product(self, op: Linear | Conv, zero: int | Integers, bias: Integers | None, x: Held) -> Held:
        """(x - zero) W + bias in exact integers; bias: (M,)."""
        assert not x.steps, "codes have no steps"
        source = self.gathered(x)
        builder = Builder(x.index.size)
        made = op.lower(builder, Value(0, x.shape))
        affine = builder.nodes[made.node]
        assert isinstance(affine, Affine) and len(affine.terms) == 1, "a product is one affine node"
        weight = affine.terms[0].map
        shape = op.infer(x.shape)
        shift = weight.mv(np.broadcast_to(np.asarray(zero, dtype=np.float64), x.index.size))
        total = -shift.astype(np.int64)
        if bias is not None:
            total = total + np.broadcast_to(quantised.spread_rows(op, bias, len(shape)), shape).ravel()
        node = self.append(Sum((Term(weight, source),), total, *INT32), total.size)
        return Held(node, np.arange(total.size).reshape(shape), (), "int32")

    def coded(self, weight: quantised.CodedWeight, x: Held) -> Held:
        """A float product of dequantised codes, read as a product of the codes."""
        kind = weight.product.onnx
        if x.codes is None:
            self.refuse(f"{kind} multiplies numbers that are not dequantised codes; quantise its operand")
        codes = x.codes
        if not codes.direct:
            self.refuse(
                f"data movement stands between DequantizeLinear and {kind}, so that runtimes multiply in float32; move "
                "the codes, or quantise what is moved"
            )
        if (codes.element, weight.element) == ("int8", "uint8"):
            self.refuse("int8 codes times uint8 weights are multiplied as float32 numbers; use int8 weights")
        if codes.scale.ndim or codes.zero.ndim:
            self.refuse("its operand has a scale for each channel; one for the whole tensor is supported")
        scale = np.asarray(codes.scale * weight.scale, dtype=np.float32)
        if weight.float_bias:
            self.refuse("its bias is a float or scaled; quantise it to int32 with the scale of the products")
        if weight.bias_scale is not None and not same_numbers(weight.bias_scale, scale):
            self.refuse("the scale of its bias is not that of its products, scale of the operand times of the weights")
        held = self.product(weight.product, codes.zero, weight.bias, replace(x, steps=(), codes=None))
        by_row = flat_constant(quantised.spread_rows(weight.product, scale, len(held.shape)), held.shape)
        stated = not weight.is_gemm or (codes.stated and weight.stated)
        pending = Pending(by_row, kind, codes.element, codes.paired, stated)
        return replace(held, element=None, product=pending)

    def after_product(self, op: Op, x: Held, name: str) -> Held:
        """What may follow a product of dequantised codes: Relu or Clip that saturation does, and QuantizeLinear."""
        product = x.product
        assert product is not None, "called for products only"
        if self.reads[name] != 1:
            self.refuse(f"'{name}', a product of dequantised codes, is read {self.reads[name]} times; quantise it once")
        match op:
            case Relu():
                return replace(x, product=replace(product, limits=(*product.limits, (0.0, None))))
            case Clip(low=low, high=high):
                return replace(x, product=replace(product, limits=(*product.limits, (low, high))))
            case quantised.QuantizeLinear(element=element):
                return self.requantise(op, x, product, element)
            case _:
                raise self.refusal(
                    f"{op.onnx} of '{name}', a product of dequantised codes: only Relu, Clip and QuantizeLinear may "
                    "follow one; quantise it first"
                )

    def requantise(self, op: quantised.QuantizeLinear, x: Held, product: Pending, element: str) -> Held:
        low, high = RANGES[element]
        if op.scale.ndim:
            self.refuse("its result has a scale for each channel; one for the whole tensor is supported")
        if element != product.element:
            self.refuse(f"a product of {product.element} codes becomes {element} codes; the types should agree")
        ends = op.scale * np.float32(low - op.zero), op.scale * np.float32(high - op.zero)
        for least, greatest in product.limits:
            if (least is not None and least > ends[0]) or (greatest is not None and greatest < ends[1]):
                self.refuse(
                    "a Relu or Clip between the product and QuantizeLinear changes values that codes can stand for, so "
                    "that runtimes multiply in float32; quantise before it, or let saturation do it"
                )
        if not product.stated:
            self.refuse(
                "Gemm of codes without a stated zero point is multiplied in float32 by runtimes; state the zero points "
                "of both operands, 0 as well, or use MatMul"
            )
        if element == "int8" and not (product.paired and self.is_dequantised(self.current)):
            self.refuse(
                "a product of int8 codes is one of integers only where its operand and its result stand between "
                "QuantizeLinear and DequantizeLinear, with nothing else; otherwise runtimes multiply in float32; use "
                "uint8 codes, or quantise and dequantise both"
            )
        multiplier = np.asarray(product.scale / op.scale, dtype=np.float32)
        plain = replace(x, steps=(ToFloat(), Arithmetic("multiply", multiplier)), product=None)
        return self.rounded(plain, op.zero, element)

    def unfused(self, x: Held) -> Held:
        """A product of dequantised codes as the network's output."""
        product = x.product
        assert product is not None, "called for products only"
        if product.kind == "Conv" or product.limits or self.reads[self.current] != 1:
            self.refuse("only a MatMul or Gemm may give the network's output without QuantizeLinear; quantise it")
        return replace(x, steps=(ToFloat(), Arithmetic("multiply", product.scale)), product=None)
