"""A sum that overflows before it is scaled down: the obligation once looked at the scaled sum, and `unsat` came out.

Over the reals every property here holds, and an execution computes infinity or NaN.  A test that runs executions near
the largest number through every operator (tests/ir/test_scaled_groups.py) is the kind that should have found it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from farkas.engine.verdict import Holds, Reason, Unknown
from farkas.specs.query import Semantics
from tests.engine.deciding import decided
from tests.models import make_model, run_onnxruntime
from tests.nets import Net, atom, case

node = helper.make_node
LARGE = 2.0**107  # the first node multiplies by it, inputs being at most 2^20


def full(value: float, *shape: int) -> np.ndarray[Any, Any]:
    return np.full(shape, value, dtype=np.float32)


def reshaped(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    return [node("Reshape", ["h", "image"], ["i"]), *nodes, node("Reshape", ["j", "flat"], ["y"])]


IMAGE = {"image": np.array([1, 1, 2, 2]), "flat": np.array([1, 1])}
# (h scale) / 2^20 = h / 2^10, and h 2^10 overflows.
NORMAL = {"scale": full(2.0**10, 4), "bias": full(1.0, 4), "mean": full(1.0, 4), "variance": full(2.0**40, 4)}
NETS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "AveragePool": (reshaped(node("AveragePool", ["i"], ["j"], kernel_shape=[2, 2])), IMAGE),
    "GlobalAveragePool": (reshaped(node("GlobalAveragePool", ["i"], ["j"])), IMAGE),
    "ReduceMean": ([node("ReduceMean", ["h"], ["y"], axes=[1])], {}),
    "ReduceMean and Add": (
        [node("ReduceMean", ["h"], ["m"], axes=[1]), node("Add", ["m", "c"], ["y"])],
        {"c": full(1.0, 1)},
    ),
    "Gemm": ([node("Gemm", ["h", "w"], ["y"], alpha=2.0**-10)], {"w": full(1.0, 4, 1)}),
    "Gemm with alpha 0": ([node("Gemm", ["h", "w", "c"], ["y"], alpha=0.0)], {"w": full(1.0, 4, 1), "c": full(1.0, 1)}),
    "BatchNormalization": ([node("BatchNormalization", ["h", *NORMAL], ["y"], epsilon=0.0)], NORMAL),
}


def model(name: str, factor: float = LARGE) -> bytes:
    nodes, constants = NETS[name]
    constants = {"factor": full(factor, 1), **constants}
    return make_model([node("Mul", ["x", "factor"], ["h"]), *nodes], {"x": [1, 4]}, constants, opset=13)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
@pytest.mark.parametrize("name", NETS)
def test_a_partial_sum_that_overflows_makes_the_verdict_unknown(name: str) -> None:
    net = Net(model(name))
    unsafe = [case([2.0**19] * 4, [2.0**20] * 4, [atom([1], 0)])]  # every output is at least 1 over the reals
    found = decided(net, unsafe, Semantics.F32_ANY, timeout_s=1.0)
    assert isinstance(found, Unknown) and found.reason is Reason.OVERFLOW
    assert f"'{NETS[name][0][-1].input[0] if 'Pool' in name else 'y'}'" in found.detail
    assert isinstance(decided(Net(model(name, 1.0)), unsafe, Semantics.F32_ANY), Holds)


def test_onnxruntime_overflows_on_the_way_to_a_finite_mean() -> None:
    assert np.isinf(run_onnxruntime(model("ReduceMean"), {"x": full(2.0**20, 1, 4)})).all()
