"""Which networks are one graph with different weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from farkas import cli
from farkas.ir.graph import Graph
from farkas.ir.isomorphism import difference
from farkas.ir.onnx_import import load_onnx
from tests.models import make_model
from tests.nets import dense, random_layers
from tests.several import crossed

W = {"w": np.array([[1, 2], [3, 4]], np.float32), "v": np.array([[5, 6], [7, 8]], np.float32)}


def make(kind: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def graph(*nodes: NodeProto, constants: dict[str, np.ndarray] | None = None) -> Graph:
    return load_onnx(make_model(list(nodes), {"x": [1, 2]}, W if constants is None else constants, opset=13))


# y = leaky(x w) - x v
NODES = (make("MatMul", "x w", "a"), make("LeakyRelu", "a", "b", alpha=0.1), make("MatMul", "x v", "c"))
FIRST = graph(*NODES, make("Sub", "b c", "y"))


def test_names_order_and_weights_do_not_matter() -> None:
    renamed = (make("MatMul", "x v", "q"), make("MatMul", "x w", "p"), make("LeakyRelu", "p", "r", alpha=0.2))
    assert difference(FIRST, graph(*renamed, make("Sub", "r q", "y"), constants={k: -v for k, v in W.items()})) is None


@pytest.mark.parametrize("seed", range(3))
def test_networks_of_one_shape_are_isomorphic_and_of_others_are_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    f, g = (dense(random_layers(rng, (3, 4, 4, 2))).graph for _ in range(2))
    assert difference(f, g) is None and difference(g, f) is None
    found = difference(f, dense(random_layers(rng, (3, 4, 5, 2))).graph)
    assert found is not None and found.startswith("Gemm ") and "of shape [4, 4]" in found and "of shape [5, 4]" in found
    assert difference(crossed(rng).graph, crossed(rng).graph) is None
    assert difference(f, crossed(rng).graph) == "the first has 1 inputs, the other 2"


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        (graph(*NODES, make("Add", "b c", "y")), "'y' of the first is Sub, 'y' of the other is Add"),
        (graph(*NODES, make("Sub", "c b", "y")), "'b' of the first is LeakyRelu, 'c' of the other is Gemm"),
        (
            graph(NODES[0], make("Relu", "a", "b"), NODES[2], make("Sub", "b c", "y")),
            "'b' of the first is LeakyRelu, 'b' of the other is Relu",
        ),
        (
            graph(*NODES[:2], make("MatMul", "b v", "c"), make("Sub", "b c", "y")),
            "where the first reads 'x', the other reads 'b'",
        ),
        (
            graph(NODES[0], NODES[2], make("Neg", "x", "n"), make("Sub", "a c", "y")),
            "'b' of the first is LeakyRelu, 'a' of the other is Gemm",
        ),
    ],
)
def test_the_first_difference_is_named(other: Graph, wanted: str) -> None:
    found = difference(FIRST, other)
    assert found is not None and wanted in found
    assert difference(other, FIRST) is not None


def test_one_tensor_read_twice_is_not_two_that_are_alike() -> None:
    shared = graph(NODES[0], make("Sub", "a a", "y"))
    apart = graph(NODES[0], make("MatMul", "x w", "c"), make("Sub", "a c", "y"))
    found = difference(shared, apart), difference(apart, shared)
    assert found[0] == "where the first reads 'a', the other reads 'c', which is not its counterpart elsewhere"
    assert found[1] == "where the first reads 'c', the other reads 'a', which is not its counterpart elsewhere"


def test_attributes_that_are_no_weights_have_to_be_equal() -> None:
    def joined(axis: int) -> Graph:
        return graph(NODES[0], make("Concat", "a x", "c", axis=axis), make("Flatten", "c", "y"))

    assert difference(joined(1), joined(1)) is None
    found = difference(joined(0), joined(1))
    assert found == "Concat 'c' of the first has axis 0, 'c' of the other 1"


def test_a_deep_network_is_followed_without_recursion() -> None:
    f, g = (dense([([[k]], [0.0])] * 2000).graph for k in (1.0, 2.0))
    assert difference(f, g) is None


def test_a_property_of_isomorphic_networks_refuses_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    for name, sizes in (("f", (1, 2, 1)), ("g", (1, 2, 1)), ("h", (1, 3, 1))):
        (tmp_path / f"{name}.onnx").write_bytes(dense(random_layers(rng, sizes)).data)
    (tmp_path / "q.vnnlib").write_text(
        "(vnnlib-version <2.0>)\n"
        "(declare-network f (declare-input X float32 [1,1]) (declare-output Y float32 [1,1]))\n"
        "(declare-network g (isomorphic-to f) (declare-input U float32 [1,1]) (declare-output V float32 [1,1]))\n"
        "(assert (and (>= X[0,0] 0) (<= X[0,0] 1) (== X[0,0] U[0,0]) (>= Y[0,0] 100)))\n"
    )

    def verified(g: str) -> int:
        files = f"f={tmp_path / 'f.onnx'}", f"g={tmp_path / g}"
        return cli.main(["verify", str(tmp_path / "q.vnnlib"), "--network", files[0], "--network", files[1]])

    assert verified("g.onnx") == 0
    assert verified("h.onnx") == 2
    told = capsys.readouterr().err
    assert "line 3: network 'g' is declared isomorphic to 'f', whose graph differs: Gemm 'z0'" in told
