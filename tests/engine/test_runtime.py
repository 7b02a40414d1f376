"""onnxruntime as second executor: the declared order against its bits, the demonstration cases, its errors."""

from __future__ import annotations

import gzip
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from farkas.engine.fingerprint import FORMS, KINDS, Fingerprint, matches_mlas_k256, one_product, require_mlas_k256
from farkas.engine.runtime import Runtime, RuntimeFailure, runtime_of
from farkas.ir.algebra import Rational, exact
from farkas.ir.binary32 import ORDERS, Float32, Order, same_bits
from farkas.ir.error_terms import error_bound
from farkas.ir.errors import FarkasError, UnsupportedOperator
from farkas.ir.execute import execute
from farkas.ir.graph import Graph
from farkas.ir.joined import Part
from farkas.ir.onnx_import import load_onnx
from tests.several import two_by_two

BIG = 2.0**24


def model(inputs: tuple[int, ...], outputs: tuple[int, ...], nodes: list[onnx.NodeProto], **tensors: Any) -> bytes:
    """A float32 model from `x` to `y`, made with the reference library; integer tensors stay int64."""
    constants = [np.asarray(value) for value in tensors.values()]
    kept = [value if value.dtype == np.int64 else value.astype(np.float32) for value in constants]
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(value, name) for value, name in zip(kept, tensors, strict=True)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(made.SerializeToString())


def one_row(*weights: float) -> bytes:
    """y = w . x, one MatMul."""
    column = np.array(weights, dtype=np.float32)[:, None]
    return model((1, len(weights)), (1, 1), [helper.make_node("MatMul", ["x", "w"], ["y"])], w=column)


def values(network: bytes, x: list[float]) -> dict[str, float]:
    """The only output on every declared order and on onnxruntime."""
    graph, point = load_onnx(network), np.array(x, dtype=np.float32)
    found = {str(order): float(execute(graph, point, order)[0]) for order in ORDERS}
    found["onnxruntime"] = float(Runtime(network).run(point)[0])
    return found


def real(graph: Graph, x: Float32) -> Any:
    """The exact outputs for one point."""
    return graph.evaluate(Rational(), {graph.inputs[0][0]: exact(x)})[graph.outputs[0]].ravel()


# The demonstration cases.


def loud() -> bytes:
    """y = 1000 (relu(relu(x + 2^24) - 2^24) - relu(x)): 0 over the reals."""
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h0"]),
        helper.make_node("Relu", ["h0"], ["r0"]),
        helper.make_node("Gemm", ["r0", "w1", "b1"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "w2"], ["y"]),
    ]
    w0, b0, w1, b1, w2 = [[1.0, 1]], [BIG, 0], [[1.0, 0], [0, 1]], [-BIG, 0], [[1000.0], [-1000]]
    return model((1, 1), (1, 1), nodes, w0=w0, b0=b0, w1=w1, b1=b1, w2=w2)


@pytest.mark.parametrize(("x", "wanted"), [(1.25, 750.0), (1.5, 500.0)])
def test_a_network_that_is_zero_over_the_reals_is_hundreds_in_every_order(x: float, wanted: float) -> None:
    # 2^24 + x lies between 2^24 and 2^24 + 2 and rounds up: 1000 (2 - x).
    assert set(values(loud(), [x]).values()) == {wanted}
    assert real(load_onnx(loud()), np.array([x], dtype=np.float32)).tolist() == [0]
    # The error term of the first layer allows for it: 2 - x at magnitude 2^24 + x.
    assert error_bound(2, 2**24 + Fraction(x), Fraction(1), Fraction(x)) >= 2 - Fraction(x)


def test_the_order_of_a_sum_decides_between_zero_and_one() -> None:
    assert set(values(one_row(BIG, 1, -BIG), [1, 1, 1]).values()) == {0.0}
    assert set(values(one_row(-BIG, 1, BIG), [1, 1, 1]).values()) == {1.0}
    assert error_bound(3, Fraction(2**25 + 1), Fraction(2**25 + 1), Fraction(3)) >= 1


def test_fma_decides_when_the_product_comes_last() -> None:
    # (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24: the last bit survives in an fma only.
    w, x2 = 1 + 2.0**-12, 1 + 2.0**-11
    assert set(values(one_row(w, -1), [w, x2]).values()) == {0.0}
    last = values(one_row(-1, w), [x2, w])
    assert last == {"seq-muladd": 0.0, "seq-fma": 2.0**-24, "mlas-k256-fma": 2.0**-24, "onnxruntime": 2.0**-24}
    assert error_bound(2, Fraction(w) ** 2 + Fraction(x2), Fraction(3), Fraction(3)) >= Fraction(1, 2**24)


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def acasxu(vnncomp: Path) -> list[Path]:
    return sorted(vnncomp.glob("acasxu_2023/onnx/ACASXU_run2a_*.onnx.gz"))


@pytest.mark.vnncomp
def test_an_unmodified_network_decides_otherwise_in_binary32_than_over_the_reals(vnncomp: Path) -> None:
    # ACAS Xu 1_1 near a decision boundary: advisory 4 over the reals by 1.0e-8, advisory 0 on every executor.
    network = unpacked(next(p for p in acasxu(vnncomp) if "_1_1_" in p.name))
    graph = load_onnx(network)
    digits = ("0x1.542f1cp-3", "0x1.da4d4ep-3", "-0x1.5ef248p-3", "-0x1.bad3d0p-2", "0x1.489becp-4")
    x = np.array([float.fromhex(d) for d in digits], dtype=np.float32)
    outputs = real(graph, x)
    assert min(range(5), key=lambda i: outputs[i]) == 4
    assert Fraction(1, 10**8) < outputs[0] - outputs[4] < Fraction(2, 10**8)
    for order in ORDERS:
        assert int(np.argmin(execute(graph, x, order))) == 0
    assert int(np.argmin(Runtime(network).run(x))) == 0


# The declared order against onnxruntime's bits.


@pytest.mark.vnncomp
def test_the_declared_order_has_the_bits_of_onnxruntime_on_all_acas_networks(vnncomp: Path) -> None:
    paths = acasxu(vnncomp)
    assert len(paths) == 45
    rng = np.random.default_rng(0)
    for path in paths:
        network = unpacked(path)
        x = rng.uniform(-0.7, 0.7, (48, 5)).astype(np.float32)
        own = execute(load_onnx(network), x, "mlas-k256-fma")
        assert np.array_equal(own.view(np.int32), Runtime(network).run(x).view(np.int32)), path.name


@pytest.mark.vnncomp
@pytest.mark.parametrize("layers", [2, 4, 6])
def test_the_declared_order_has_the_bits_of_onnxruntime_on_mnist(vnncomp: Path, layers: int) -> None:
    # 784 inputs: more than one block of 256, so the blocks and the place of the bias show.
    network = unpacked(vnncomp / "mnist_fc" / "onnx" / f"mnist-net_256x{layers}.onnx.gz")
    x = np.random.default_rng(layers).uniform(0, 1, (40, 784)).astype(np.float32)
    graph = load_onnx(network)
    stated = Runtime(network).run(x)
    assert np.array_equal(execute(graph, x, "mlas-k256-fma").view(np.int32), stated.view(np.int32))
    assert not np.array_equal(execute(graph, x, "seq-fma"), stated)


@pytest.mark.parametrize("optimised", [False, True])
def test_small_products_match_at_either_optimisation_level(optimised: bool) -> None:
    found = matches_mlas_k256(optimised=optimised)
    assert found.differs["Gemm"] == found.differs["MatMul"] == ()
    assert found.matches is not optimised
    assert found.fuses_bias is optimised
    assert "mlas-k256-fma holds for onnxruntime" in found.describe()


def test_with_optimisation_off_the_bias_of_an_add_comes_last() -> None:
    found = require_mlas_k256()
    assert found.differs["MatMul+Add, bias last"] == ()
    # One block: fl(b + acc) either way.  More blocks: the place shows.
    assert {length for length, _ in found.differs["MatMul+Add, bias first"]} == {257, 512, 784}


def test_a_runtime_that_is_off_by_one_bit_somewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Runtime.run_shaped

    def off_at_50(self: Runtime, x: Float32) -> Float32:
        y = run(self, x)
        if x.shape[1] == 50:
            y[0, 0] = np.nextafter(y[0, 0], np.float32(np.inf))
        return y

    monkeypatch.setattr(Runtime, "run_shaped", off_at_50)
    with pytest.raises(FarkasError, match=r"does not hold for onnxruntime .*Gemm at \(K, batch\) \(50, 1\), \(50, 2\)"):
        require_mlas_k256()


@pytest.mark.parametrize("order", ["seq-muladd", "seq-fma"])
def test_random_products_tell_the_orders_apart(order: Order) -> None:
    # Up to 256 products without a bias seq-fma is the blocks' order; one more, and its bits differ.
    rng = np.random.default_rng(0)
    for length in (50, 257):
        w, b = rng.standard_normal((33, length)).astype(np.float32), np.zeros(33, dtype=np.float32)
        x = rng.standard_normal(length).astype(np.float32)
        graph = load_onnx(one_product("Gemm", w, b))
        same = bool(same_bits(execute(graph, x, order), execute(graph, x, "mlas-k256-fma")).all())
        assert same == (order == "seq-fma" and length == 50)


def test_a_fingerprint_matches_only_without_any_difference() -> None:
    assert Fingerprint("a runtime", dict.fromkeys(FORMS, ())).matches
    for form in FORMS[:3]:
        other = Fingerprint("a runtime", {**dict.fromkeys(FORMS, ()), form: ((5, 1),)})
        assert not other.matches
        assert other.fuses_bias == (form == "MatMul+Add, bias last")


@pytest.mark.parametrize("kind", KINDS)
def test_the_written_bytes_are_a_valid_model(kind: Any) -> None:
    w, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([10, 20], dtype=np.float32)
    data = one_product(kind, w, b)
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    # Row sums of (0 1 2) and (3 4 5), plus the bias where there is one.
    wanted = [3.0, 12.0] if kind == "MatMul" else [13.0, 32.0]
    assert Runtime(data).run(np.ones(3, dtype=np.float32)).tolist() == wanted


# Networks and their execution.


def test_a_convolution_has_no_mlas_order() -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[2, 2])
    network = model((1, 1, 3, 3), (1, 2, 2, 2), [node], w=np.ones((2, 1, 2, 2)), b=[0.0, 1])
    graph, x = load_onnx(network), np.arange(9, dtype=np.float32)
    # Windows of 0..8 in rows of three: 0+1+3+4, 1+2+4+5, ...; the second channel has bias 1.
    sums = [8.0, 12.0, 20.0, 24.0]
    for order in ("seq-muladd", "seq-fma"):
        assert execute(graph, x, order).tolist() == [*sums, *(s + 1 for s in sums)]
    with pytest.raises(UnsupportedOperator, match=r"node 'y' \(Conv\): the order mlas-k256-fma is declared for matrix"):
        execute(graph, x, "mlas-k256-fma")


def test_an_average_has_no_mlas_order() -> None:
    network = model((1, 1, 1, 3), (1, 1, 1, 1), [helper.make_node("GlobalAveragePool", ["x"], ["y"])])
    graph, x = load_onnx(network), np.array([1, 2, 6], dtype=np.float32)
    assert execute(graph, x, "seq-fma").tolist() == [3.0]
    with pytest.raises(UnsupportedOperator, match="mlas-k256-fma is declared for matrix products"):
        execute(graph, x, "mlas-k256-fma")


def test_a_scaled_gemm_has_no_mlas_order() -> None:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=2.0)
    graph = load_onnx(model((1, 2), (1, 1), [node], w=[[1.0], [2]], b=[5.0]))
    x = np.array([3, 4], dtype=np.float32)
    assert execute(graph, x, "seq-fma").tolist() == [27.0]
    with pytest.raises(UnsupportedOperator, match="mlas-k256-fma"):
        execute(graph, x, "mlas-k256-fma")


def test_a_batch_of_points_is_each_point_by_itself_even_when_shapes_could_broadcast() -> None:
    # Two points, and operands of shapes (2, 3) and (3,): a careless batch axis of length 2 would be taken for the 2.
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=0),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    graph = load_onnx(model((2, 3), (2, 3), nodes, axes=np.array([0])))
    x = np.array([[1, 2, 3, 4, 5, 6], [10, 20, 30, 40, 50, 60]], dtype=np.float32)
    # Column sums 5 7 9 are added to both rows.
    wanted = [6.0, 9.0, 12.0, 9.0, 12.0, 15.0]
    assert execute(graph, x, "seq-fma").tolist() == [wanted, [10 * v for v in wanted]]


def test_overflow_gives_infinity_on_every_executor() -> None:
    assert set(values(one_row(2.0**100, 1), [2.0**100, 1]).values()) == {np.inf}


def test_subnormals_are_kept_on_every_executor() -> None:
    assert set(values(one_row(2.0**-20, 0), [2.0**-120, 1]).values()) == {2.0**-140}


def test_a_point_has_the_same_bits_alone_and_among_others() -> None:
    rng = np.random.default_rng(3)
    w, b = rng.standard_normal((4, 300)).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    runtime, x = Runtime(one_product("Gemm", w, b)), rng.standard_normal((2, 3, 300)).astype(np.float32)
    batch = runtime.run(x)
    assert batch.shape == (2, 3, 4)
    assert np.array_equal(batch[1, 2], runtime.run(x[1, 2]))


def test_compressed_bytes_are_read_too() -> None:
    assert Runtime(gzip.compress(one_row(3, 4))).run(np.array([1, 2], dtype=np.float32)).tolist() == [11.0]


def test_the_description_names_version_provider_and_options() -> None:
    text = Runtime(one_row(1)).describe()
    for part in ("onnxruntime ", "CPUExecutionProvider", "1 thread", "graph optimisation off"):
        assert part in text


# Several inputs, outputs, networks.


def test_several_inputs_and_outputs_are_one_vector_each() -> None:
    x = np.array([[-1, 2, 1, 0, -1], [1, 2, 1, 0, -1]], dtype=np.float32)
    assert Runtime(two_by_two().data).run(x).tolist() == [
        [2, 4, 0.25, 1, 0],
        [2, 5, -1, 0, 0],
    ]


def test_several_networks_run_side_by_side() -> None:
    f, g = (Part(name, load_onnx(data), data) for name, data in (("f", one_row(1, 2)), ("g", one_row(3))))
    runtime = runtime_of([f, g, f])
    x = np.array([[1, 2, 3, 4, 5], [0, 1, 0, 1, 0]], dtype=np.float32)
    assert runtime.run(x).tolist() == [[5, 9, 14], [2, 0, 1]]
    assert runtime.describe() == Runtime(f.data).describe()
    assert isinstance(runtime_of([f]), Runtime)
    with pytest.raises(RuntimeFailure, match="take 5 values, not 4"):
        runtime.run(x[:, :4])


# Errors.


def test_bytes_that_are_no_network_are_refused_readably() -> None:
    with pytest.raises(RuntimeFailure, match=r"does not load the network: .*protobuf parsing failed"):
        Runtime(b"garbage")


def test_an_operator_that_the_runtime_has_not_is_refused_readably() -> None:
    network = model((1, 1), (1, 1), [helper.make_node("NoSuchOperator", ["x"], ["y"])])
    with pytest.raises(RuntimeFailure, match="NoSuchOperator"):
        Runtime(network)


def test_inputs_of_a_type_that_is_not_replayed_are_refused() -> None:
    graph = onnx.load_model_from_string(one_row(1)).graph
    graph.input.append(helper.make_tensor_value_info("z", TensorProto.DOUBLE, (1, 1)))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(RuntimeFailure, match=r"'z' has type tensor\(double\)"):
        Runtime(bytes(made.SerializeToString()))


def test_a_point_of_the_wrong_size_or_type_is_refused() -> None:
    runtime = Runtime(one_row(1, 2))
    with pytest.raises(RuntimeFailure, match="takes 2 float32 values, not 3"):
        runtime.run(np.zeros(3, dtype=np.float32))
    wrong: Any = np.zeros(2)
    with pytest.raises(RuntimeFailure, match="of type float64"):
        runtime.run(wrong)
    with pytest.raises(RuntimeFailure, match="fails on an input"):
        runtime.run_shaped(np.zeros((1, 3), dtype=np.float32))


def test_importing_the_module_does_not_load_onnxruntime() -> None:
    code = "import sys, farkas.engine.runtime, farkas.engine.fingerprint; print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
