"""Every ONNX operator, in all forms of its attributes and opsets: onnxruntime lies within the proven float32 error.

The model is made with the `onnx` package, imported and lowered by us, and run in float64; onnxruntime runs it in
float32 on the same point.  The allowed distance is the error bound of the lowered program at that point, a few
millionths here, so a wrong pad, axis, divisor or order cannot hide in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import helper

from farkas.ir.lowering import lower
from farkas.ir.onnx_import import folded_operators, load_onnx, supported_operators
from tests.agreement.reference import values_and_radii
from tests.models import make_model, run_onnxruntime, weights

I64 = np.int64


@dataclass(frozen=True)
class Case:
    """One node (or several) applied to the input x; the last one computes y."""

    kind: str
    shape: tuple[int, ...]
    opsets: tuple[int, ...]
    constants: tuple[Any, ...] = ()  # operands after x; None: left out; "x": the input again
    attributes: dict[str, Any] = field(default_factory=dict)
    first: bool = True  # whether x is the first operand
    outputs: tuple[str, ...] = ("y",)

    def model(self, opset: int) -> bytes:
        names, arrays = ["x"] if self.first else [], {}
        for i, constant in enumerate(self.constants):
            if constant is None or isinstance(constant, str):
                names.append(constant or "")
            else:
                arrays[f"c{i}"] = np.asarray(constant)
                names.append(f"c{i}")
        node = helper.make_node(self.kind, names, list(self.outputs), **self.attributes)
        return make_model([node], {"x": self.shape}, arrays, opset=opset)


ALL = (8, 9, 11, 13, 21)
NEW = (13, 18, 21)
OLD = (8, 9, 11)
IMAGE = (2, 4, 6, 7)
ROW = (2, 4, 9)


def ints(*values: int) -> Any:
    return np.array(values, dtype=I64)


def scalar(value: float) -> Any:
    return np.array(value, dtype=np.float32)


def products() -> Iterator[Case]:
    yield Case("MatMul", (1, 5), ALL, (weights((5, 3)),))
    yield Case("MatMul", (2, 3, 5), ALL, (weights((5, 4)),))
    yield Case("MatMul", (5,), ALL, (weights((5, 4)),))
    yield Case("MatMul", (2, 5), ALL, (weights((5,)),))
    yield Case("MatMul", (5,), ALL, (weights((5,)),))
    yield Case("MatMul", (5, 3), ALL, (weights((4, 5)), "x"), first=False)
    yield Case("MatMul", (2, 5, 3), ALL, (weights((4, 5)), "x"), first=False)
    yield Case("MatMul", (5, 3), ALL, (weights((5,)), "x"), first=False)
    yield Case("MatMul", (5,), ALL, (weights((4, 5)), "x"), first=False)
    yield Case("MatMul", (1, 300), (13,), (weights((300, 3)),))
    yield Case("Gemm", (2, 5), ALL, (weights((5, 3)), weights((3,))))
    yield Case("Gemm", (2, 5), NEW, (weights((3, 5)),), {"transB": 1})
    yield Case("Gemm", (5, 2), ALL, (weights((5, 3)), weights((2, 3))), {"transA": 1})
    yield Case("Gemm", (2, 5), ALL, (weights((3, 5)), weights((2, 1))), {"transB": 1, "alpha": 2.7, "beta": -0.3})
    yield Case("Gemm", (2, 5), ALL, (weights((5, 3)), weights((1,))), {"alpha": -0.1})
    yield Case("Gemm", (2, 5), ALL, (weights((5, 3)), weights((1, 3))), {"beta": 0.0})


def sums() -> Iterator[Case]:
    for kind in ("Add", "Sub", "Mul", "Div"):
        for constant in ((3, 4), (4,), (1, 4), (2, 3, 4), ()):
            yield Case(kind, (3, 4), ALL, (weights(constant, 5),))
        if kind != "Div":
            yield Case(kind, (3, 4), ALL, (weights((3, 1)), "x"), first=False)
    for kind in ("Add", "Sub", "Max", "Min", "Sum"):
        yield Case(kind, (3, 4), ALL, ("x",))
    yield Case("Div", (3, 4), ALL, (np.array([0.5, 2, -4, 1], dtype=np.float32),))
    yield Case("Sum", (3, 4), ALL, ("x", weights((4,)), "x"))
    yield Case("Neg", (3, 4), ALL)


def functions() -> Iterator[Case]:
    for kind in ("Relu", "Abs", "LeakyRelu"):
        yield Case(kind, (3, 4), ALL)
    for alpha in (0.3, 0.0, 1.7, -0.4):
        yield Case("LeakyRelu", (3, 4), ALL, attributes={"alpha": alpha})
    for kind in ("Max", "Min"):
        yield Case(kind, (3, 4), ALL, (weights((4,)),))
        yield Case(kind, (3, 4), ALL, (weights((3, 1)), "x", weights((2, 3, 4))), first=False)
        yield Case(kind, (3, 4), ALL)
    for bounds in ({"min": -0.3}, {"max": 0.4}, {"min": -0.3, "max": 0.4}, {}):
        yield Case("Clip", (3, 4), (8, 9, 10), attributes=bounds)
    for constants in ((scalar(-0.3),), (None, scalar(0.4)), (scalar(-0.3), scalar(0.4)), ()):
        yield Case("Clip", (3, 4), (11, 12, 13, 21), constants)
    yield Case("Clip", (3, 4), (13,), (scalar(-np.inf), scalar(np.inf)))
    yield Case("Clip", (3, 4), (13,), (scalar(0.5), scalar(-0.5)))


def convolutions() -> Iterator[Case]:
    kernel = weights((6, 4, 3, 2))
    yield Case("Conv", IMAGE, ALL, (kernel,))
    yield Case("Conv", IMAGE, ALL, (kernel, weights((6,))), {"pads": [0, 1, 2, 3]})
    yield Case("Conv", IMAGE, ALL, (kernel,), {"strides": [2, 3], "pads": [1, 1, 1, 1], "kernel_shape": [3, 2]})
    yield Case("Conv", IMAGE, ALL, (kernel,), {"dilations": [2, 3], "pads": [0, 2, 0, 2]})
    yield Case("Conv", IMAGE, ALL, (weights((6, 2, 3, 2)), weights((6,))), {"group": 2})
    yield Case("Conv", IMAGE, ALL, (weights((8, 1, 3, 3)),), {"group": 4, "pads": [1, 1, 1, 1]})
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"):
        yield Case("Conv", IMAGE, ALL, (kernel,), {"auto_pad": mode, "strides": [2, 2]})
    yield Case("Conv", ROW, ALL, (weights((6, 4, 3)), weights((6,))), {"pads": [2, 1], "strides": [2]})
    yield Case("Conv", ROW, ALL, (weights((6, 4, 3)),), {"dilations": [3], "auto_pad": "VALID"})
    yield Case("Conv", ROW, ALL, (weights((6, 4, 2)),), {"auto_pad": "SAME_UPPER"})
    inverse = weights((4, 3, 3, 2))
    yield Case("ConvTranspose", IMAGE, ALL, (inverse,))
    yield Case("ConvTranspose", IMAGE, ALL, (inverse, weights((3,))), {"strides": [2, 3]})
    yield Case("ConvTranspose", IMAGE, ALL, (inverse,), {"strides": [2, 3], "output_padding": [1, 2]})
    yield Case(
        "ConvTranspose", IMAGE, ALL, (inverse,), {"strides": [2, 2], "pads": [0, 1, 2, 0], "kernel_shape": [3, 2]}
    )
    yield Case("ConvTranspose", IMAGE, ALL, (inverse,), {"dilations": [2, 3]})
    yield Case("ConvTranspose", IMAGE, ALL, (weights((4, 3, 3, 2)), weights((6,))), {"group": 2, "strides": [2, 2]})
    yield Case("ConvTranspose", ROW, ALL, (weights((4, 3, 3)),), {"strides": [2], "pads": [1, 0]})


def poolings() -> Iterator[Case]:
    for kind in ("MaxPool", "AveragePool"):
        yield Case(kind, IMAGE, ALL, attributes={"kernel_shape": [3, 2]})
        yield Case(kind, IMAGE, ALL, attributes={"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 2, 1]})
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
            yield Case(kind, IMAGE, ALL, attributes={"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": mode})
        yield Case(kind, ROW, ALL, attributes={"kernel_shape": [4], "pads": [1, 2]})
        for stride in (2, 3, 4):
            ceil = {"kernel_shape": [3, 3], "strides": [stride, stride], "ceil_mode": 1, "pads": [1, 1, 1, 1]}
            yield Case(kind, IMAGE, (10, 11, 13, 19, 21), attributes=ceil)
        yield Case(kind, ROW, (10, 13), attributes={"kernel_shape": [2], "strides": [2], "ceil_mode": 1})
    dilated = {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [1, 1, 0, 0]}
    yield Case("MaxPool", IMAGE, (10, 11, 13, 21), attributes=dilated)
    yield Case("AveragePool", IMAGE, (19, 21), attributes=dilated)
    for pads in ([1, 1, 1, 1], [0, 1, 2, 0]):
        including = {"kernel_shape": [3, 3], "pads": pads, "count_include_pad": 1}
        yield Case("AveragePool", IMAGE, ALL, attributes=including)
    yield Case("GlobalAveragePool", IMAGE, ALL)
    yield Case("GlobalAveragePool", ROW, ALL)


def reductions() -> Iterator[Case]:
    for kind, last in (("ReduceSum", 11), ("ReduceMean", 13)):
        attribute_opsets = tuple(opset for opset in (8, 9, 11, 13) if opset <= last)
        operand_opsets = (13, 18, 21) if kind == "ReduceSum" else (18, 21)
        for axes in ([1], [-1], [0, 2], [2, 1]):
            for keep in (0, 1):
                yield Case(kind, (2, 3, 5), attribute_opsets, attributes={"axes": axes, "keepdims": keep})
                yield Case(kind, (2, 3, 5), operand_opsets, (ints(*axes),), {"keepdims": keep})
        yield Case(kind, (2, 3, 5), attribute_opsets + operand_opsets)
        yield Case(kind, (2, 3, 5), operand_opsets, (), {"keepdims": 0})


def normalizations() -> Iterator[Case]:
    variance = abs(weights((4,), 3))
    constants = (weights((4,), 0), weights((4,), 1), weights((4,), 2), variance)
    yield Case("BatchNormalization", IMAGE, ALL, constants)
    yield Case("BatchNormalization", IMAGE, (14, 15, 21), constants, {"epsilon": 0.01, "training_mode": 0})
    yield Case("BatchNormalization", ROW, ALL, constants, {"epsilon": 1e-3, "momentum": 0.8})
    yield Case("BatchNormalization", (3, 4), ALL, constants)
    # Mean and bias cancel: the result is small against both, and float32 keeps few digits of it.
    big = np.full(4, 4096.0, dtype=np.float32)
    yield Case("BatchNormalization", (3, 4), ALL, (np.ones(4, np.float32), big, big, variance), {"epsilon": 0.5})


def shapes() -> Iterator[Case]:
    yield Case("Identity", (2, 3), ALL)
    yield Case("Dropout", (2, 3), (8, 9, 10), attributes={"ratio": 0.3})
    yield Case("Dropout", (2, 3), (12, 13, 21), (scalar(0.3),))
    yield Case("Dropout", (2, 3), (12, 13, 21), (scalar(0.3), np.array(False)))
    yield Case("Cast", (2, 3), ALL, attributes={"to": 1})
    for axis in (0, 1, 2, 3):
        yield Case("Flatten", (2, 3, 5), ALL, attributes={"axis": axis})
    yield Case("Flatten", (2, 3, 5), (11, 13, 21), attributes={"axis": -1})
    yield Case("Flatten", (2, 3, 5), ALL)
    for wanted in ((6, 5), (-1,), (0, -1), (5, 0, 2), (2, 1, 15)):
        yield Case("Reshape", (2, 3, 5), ALL, (ints(*wanted),))
    yield Case("Reshape", (2, 3, 5), (14, 21), (ints(3, 10),), {"allowzero": 1})
    yield Case("Transpose", (2, 3, 5), ALL)
    for order in ([0, 2, 1], [2, 0, 1], [1, 2, 0]):
        yield Case("Transpose", (2, 3, 5), ALL, attributes={"perm": order})
    for squeezed in ([0], [2], [0, 2]):
        yield Case("Squeeze", (1, 3, 1), OLD, attributes={"axes": squeezed})
        yield Case("Squeeze", (1, 3, 1), NEW, (ints(*squeezed),))
        yield Case("Unsqueeze", (4, 3), OLD, attributes={"axes": squeezed})
        yield Case("Unsqueeze", (4, 3), NEW, (ints(*squeezed),))
    yield Case("Squeeze", (1, 3, 1), OLD + NEW)
    yield Case("Unsqueeze", (4, 3), NEW, (ints(-1, 0),))
    yield Case("Expand", (3, 1), ALL, (ints(3, 4),))
    yield Case("Expand", (3, 1), ALL, (ints(2, 1, 4),))
    yield Case("Expand", (3, 4), ALL, (ints(1),))


def indexings() -> Iterator[Case]:
    for axis in (0, 1, -1):
        yield Case("Concat", (2, 3), (11, 13, 21) if axis < 0 else ALL, ("x",), {"axis": axis})
    yield Case("Concat", (2, 3), ALL, (weights((1, 3)), "x"), {"axis": 0}, first=False)
    yield Case("Concat", (2, 3), ALL, ("x", weights((2, 2)), "x"), {"axis": 1})
    yield Case("Slice", (5, 6), (8, 9), attributes={"starts": [1, 0], "ends": [4, 5]})
    yield Case("Slice", (5, 6), (8, 9), attributes={"starts": [-3], "ends": [1000], "axes": [1]})
    yield Case("Slice", (5, 6), (10, 13, 21), (ints(1, 0), ints(4, 5)))
    yield Case("Slice", (5, 6), (10, 13, 21), (ints(-3), ints(2**62), ints(-1)))
    yield Case("Slice", (5, 6), (10, 13, 21), (ints(4, 1), ints(-100, 6), ints(0, 1), ints(-2, 3)))
    yield Case("Slice", (5, 6), (10, 13, 21), (ints(100), ints(0), ints(1), ints(-1)))
    yield Case("Slice", (5, 6), (10, 13, 21), (ints(1), ints(4), None, ints(2)))
    for outputs in (("y", "z", "w"), ("z", "y", "w"), ("z", "w", "y")):
        yield Case("Split", (2, 6), (8, 11), attributes={"axis": 1}, outputs=outputs)
        yield Case("Split", (6, 2), (8, 11), attributes={"split": [1, 3, 2]}, outputs=outputs)
        yield Case("Split", (6, 2), NEW, (ints(1, 3, 2),), outputs=outputs)
        yield Case("Split", (2, 7), (18, 21), attributes={"axis": -1, "num_outputs": 3}, outputs=outputs)
    yield Case("Split", (2, 6), (13,), attributes={"axis": 1}, outputs=("z", "y"))
    for indices in (ints(2, 0, -1), np.array(1), np.array([[0, 2], [1, 1]])):
        yield Case("Gather", (3, 4), ALL, (indices,))
        yield Case("Gather", (2, 3), ALL, (indices,), {"axis": 1})
    yield Case("Gather", (2, 3), (11, 13, 21), (np.array([0, 2], dtype=np.int32),), {"axis": -1})
    yield Case("Pad", (2, 3), (8, 10), attributes={"pads": [1, 0, 2, 3], "value": 0.75})
    yield Case("Pad", (2, 3), (8, 10), attributes={"pads": [1, 0, 2, 3], "mode": "constant"})
    yield Case("Pad", (2, 3), (11, 13, 21), (ints(1, 0, 2, 3),))
    yield Case("Pad", (2, 3), (11, 13, 21), (ints(0, -1, 1, 2), scalar(-0.5)))
    yield Case("Pad", (2, 3), (18, 21), (ints(2, 1), scalar(-0.5), ints(1)))
    yield Case("Upsample", (1, 2, 2, 3), (8,), attributes={"scales": [1.0, 1.0, 2.0, 3.0]})
    yield Case("Upsample", (1, 2, 2, 3), (9,), (np.array([1, 1, 2, 3], dtype=np.float32),), {"mode": "nearest"})
    factors, empty = np.array([1, 1, 2, 3], dtype=np.float32), np.zeros(0, dtype=np.float32)
    yield Case("Resize", (1, 2, 2, 3), (10,), (factors,), {"mode": "nearest"})
    asymmetric = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    yield Case("Resize", (1, 2, 2, 3), (11, 13, 19), (empty, factors), asymmetric)
    yield Case("Resize", (1, 2, 2, 3), (13, 19), (None, None, ints(1, 2, 6, 6)), asymmetric)
    yield Case("Resize", (1, 2, 2, 3), (13, 19), (None, factors), {"mode": "nearest"})
    mask = np.array([True, False, True])
    yield Case("Where", (2, 3), (9, 16, 21), (mask, "x", weights((2, 1))), first=False)
    yield Case("Where", (2, 3), (9, 16, 21), (mask, weights((3,)), "x"), first=False)
    yield Case("Where", (2, 3), (9, 16, 21), (mask[:, None][:2], "x", "x"), first=False)


FAMILIES = (products, sums, functions, convolutions, poolings, reductions, normalizations, shapes, indexings)
CASES = [(case, opset) for family in FAMILIES for case in family() for opset in case.opsets]


def named(case: Case, opset: int) -> str:
    return f"{case.kind}-{opset}"


@pytest.mark.parametrize(("case", "opset"), CASES, ids=[named(*pair) for pair in CASES])
def test_onnxruntime_lies_within_the_proven_error(case: Case, opset: int) -> None:
    data = case.model(opset)
    graph = load_onnx(data)
    program = lower(graph)
    for seed in range(3):
        x = np.random.default_rng(seed).uniform(-2, 2, case.shape).astype(np.float32)
        found = run_onnxruntime(data, {"x": x})
        assert graph.shapes["y"] == found.shape
        values, radii = values_and_radii(program, x.ravel().astype(np.float64))
        distance = abs(values[program.output] - found.ravel().astype(np.float64))
        assert (distance <= radii[program.output]).all(), (distance.max(), radii[program.output].max())
        assert radii[program.output].max() < 0.01


def test_every_supported_operator_is_compared_with_onnxruntime() -> None:
    assert {case.kind for case, _ in CASES} == set(supported_operators())


def test_folding_covers_what_exporters_write() -> None:
    wanted = {"Shape", "ConstantOfShape", "Range", "Equal", "Where", "Expand", "Gather", "Concat", "Unsqueeze"}
    wanted |= {"Squeeze", "Slice", "Cast", "Mul", "Add", "Sub", "Div", "Floor"}
    assert wanted <= set(folded_operators())
