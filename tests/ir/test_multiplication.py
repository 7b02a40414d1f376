"""Products of computed tensors: what subnormals cost, and verdicts that turn at exact minima."""

from __future__ import annotations

from fractions import Fraction as Q
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import farkas as fk
from farkas.ir.core import Affine, Product, run_exact
from farkas.ir.error_terms import SMALLEST_NORMAL, error_bound
from farkas.ir.lowering import lower
from farkas.ir.onnx_import import load_onnx
from tests.farkas.queries import model, prop

BOX = ("(>= X_0 -1)", "(<= X_0 2)", "(>= X_1 -1)", "(<= X_1 2)")


def products() -> bytes:
    """p = x0 x1 and q = r r with r = relu(x0 - x1), as y = (p, q)."""
    values = {
        "first": np.array(0), "second": np.array(1), "one": np.array([1, 1]),
        "w": np.array([[1.0], [-1.0]], dtype=np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["a"], axis=1),
        helper.make_node("Gather", ["x", "second"], ["b"], axis=1),
        helper.make_node("Mul", ["a", "b"], ["m"]),
        helper.make_node("Reshape", ["m", "one"], ["p"]),
        helper.make_node("MatMul", ["x", "w"], ["d"]),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("Mul", ["r", "r"], ["q"]),
        helper.make_node("Concat", ["p", "q"], ["y"], axis=1),
    ]
    return model(nodes, values, width=2)


@given(st.tuples(*[st.fractions(-3, 3, max_denominator=20)] * 2))
def test_the_program_of_a_product_is_the_product(x: tuple[Q, Q]) -> None:
    program = lower(load_onnx(products()))
    assert list(run_exact(program, x)) == [x[0] * x[1], max(Q(0), x[0] - x[1]) ** 2]
    assert sum(isinstance(node, Product) for node in program.nodes) == 2


@pytest.mark.parametrize("large", [Q(2) ** 127, Q(1), Q(2) ** -100])
def test_a_factor_that_is_read_as_zero_costs_less_than_the_error_term(large: Q) -> None:
    """The largest subnormal number times another one, which may be so large that all of their product is lost, and far
    above 2^-126; what the lemma adds for operands is left out here."""
    data = model([helper.make_node("Mul", ["a", "b"], ["y"])], {}, inputs=("a", "b"))
    program = lower(load_onnx(data))
    group = program.nodes[program.output]
    while isinstance(group, Affine) and not group.rounding.count:
        group = program.nodes[group.terms[0].source]
    assert isinstance(group, Affine)
    small = SMALLEST_NORMAL - Q(1, 2**149)
    sizes = [small * large, small, small, large, large]
    weights = [abs(Q(float(term.map.dense()[0, 0]))) for term in group.terms]
    magnitude = sum((w * size for w, size in zip(weights, sizes, strict=True)), Q(0))
    assert small * large <= error_bound(group.rounding.count, magnitude, sum(weights, Q(0)), Q(0))


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
@pytest.mark.parametrize(
    ("question", "violated"),
    [
        ("(<= Y_0 -2.001)", False),  # -1 * 2 is the least product
        ("(<= Y_0 -1.999)", True),
        ("(>= Y_0 4.001)", False),
        ("(>= Y_1 9.001)", False),  # (2 - -1)^2
        ("(>= Y_1 8.999)", True),
        ("(<= Y_1 -0.001)", False),  # a square
        ("(<= (+ Y_0 Y_1) -1.1)", True),  # x0 = -1, x1 = 2: -2 + 0
    ],
)
def test_verdicts_turn_at_exact_extrema(tmp_path: Path, semantics: str, question: str, violated: bool) -> None:
    path = tmp_path / "products.onnx"
    path.write_bytes(products())
    answer = fk.verify(
        fk.load(path), prop(*BOX, question, inputs=2, outputs=2), timeout=20, semantics=semantics, trust=["crown"]
    )
    assert isinstance(answer, fk.Violated if violated else fk.Holds), answer
    assert violated or answer.evidence == "trusted:crown"
    untrusted = fk.verify(fk.load(path), prop(*BOX, question, inputs=2, outputs=2), timeout=20, semantics=semantics)
    assert isinstance(untrusted, fk.Violated if violated else fk.Unknown)


def test_overflowing_products_prove_nothing(tmp_path: Path) -> None:
    """x^8 of a million is beyond binary32; over the reals the same is proved."""
    names = ["x", "x2", "x4", "y"]
    nodes = [helper.make_node("Mul", [a, a], [b]) for a, b in pairwise(names)]
    path = tmp_path / "eighth.onnx"
    path.write_bytes(model(nodes, {}))
    asked = prop("(>= X_0 0)", "(<= X_0 1e6)", "(<= Y_0 -1)")
    found = fk.verify(fk.load(path), asked, timeout=3, trust=["crown"])
    assert isinstance(found, fk.Unknown)
    assert isinstance(fk.verify(fk.load(path), asked, timeout=20, semantics="real", trust=["crown"]), fk.Holds)
