"""The importer's summation groups are the checker's: two readings of the same file, written apart.

Counts and numbers of terms are also stated by hand, so that both cannot be wrong alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from farkas.checker import query
from farkas.checker.integer import integer_network
from farkas.checker.network import read_network
from farkas.ir.core import Affine
from farkas.ir.lowering import lower
from farkas.ir.onnx_import import load_onnx
from tests.models import make_model, weights

Groups = list[tuple[int, int]]  # (count, number of terms) of every affine node that rounds, in order

PRODUCT = helper.make_node("Gemm", ["x", "w", "b"], ["p"])  # 3 x 4, of 2 products and a bias each
RELU = helper.make_node("Relu", ["x"], ["r"])
CONSTANTS: dict[str, Any] = {
    "w": weights((2, 4)),
    "b": weights((4,)),
    "c": weights((1,)),
    "start": np.array([1]),
    "stop": np.array([3]),
    "one": np.array([1]),
    "two": np.array([2]),
    "six": np.array([6]),
    "rows": np.array([2, 0, 2]),
    "sizes": np.array([1, 3]),
    "flat": np.array([12]),
}


@dataclass(frozen=True)
class Case:
    """What stands between the product p and y = q + c: nodes from p to q, and the groups that result."""

    name: str
    nodes: tuple[onnx.NodeProto, ...]
    groups: Groups

    @property
    def model(self) -> bytes:
        last = [helper.make_node("Add", ["q", "c"], ["y"])]
        return make_model([PRODUCT, *self.nodes, *last], {"x": (3, 2)}, CONSTANTS, opset=13)


def one(kind: str, *operands: str, groups: Groups, outputs: Sequence[str] = ("q",), **attributes: Any) -> Case:
    return Case(kind, (helper.make_node(kind, ["p", *operands], list(outputs), **attributes),), groups)


MERGED: Groups = [(4, 1)]  # 2 products, their bias, and c
APART: Groups = [(3, 1), (2, 1)]  # the product; an addend and c

CASES = [
    one("Identity", groups=MERGED),
    one("Reshape", "flat", groups=MERGED),
    one("Transpose", groups=MERGED),
    one("Slice", "start", "stop", "one", groups=MERGED),
    one("Gather", "rows", groups=MERGED, axis=0),
    one("Split", "sizes", groups=MERGED, outputs=("unread", "q"), axis=1),
    one("Concat", groups=MERGED, axis=0),
    Case(
        "Transpose of a Slice",
        (helper.make_node("Slice", ["p", "start", "stop"], ["s"]), helper.make_node("Transpose", ["s"], ["q"])),
        MERGED,
    ),
    Case("Concat of two", (RELU, helper.make_node("Concat", ["p", "r"], ["q"], axis=1)), APART),
    Case(
        "Slice of a Concat of two",
        (
            RELU,
            helper.make_node("Concat", ["r", "p"], ["s"], axis=1),
            helper.make_node("Slice", ["s", "start", "stop", "one"], ["q"]),
        ),
        APART,
    ),
    one("Mul", "c", groups=[(3, 1), (1, 1), (2, 1)]),
    one("Sub", "c", groups=[(3, 1), (2, 1), (2, 1)]),
    one("Neg", groups=APART),
    one("Relu", groups=APART),
    one("Add", "c", groups=[(5, 1)]),
    Case(
        "Add of a Transpose",
        (
            helper.make_node("Add", ["p", "c"], ["s"]),
            helper.make_node("Transpose", ["s"], ["t"]),
            helper.make_node("Transpose", ["p"], ["u"]),
            helper.make_node("Add", ["t", "u"], ["q"]),
        ),
        [(4 + 3 + 1, 2)],
    ),
]


def checked(data: bytes) -> Groups:
    nodes = integer_network(read_network(data)).nodes
    found = [(node.count, len(node.operands)) for node in nodes if isinstance(node, query.Affine)]
    return [group for group in found if group[0]]


def lowered(data: bytes) -> Groups:
    nodes = lower(load_onnx(data)).nodes
    found = [(node.rounding.count, len(node.terms)) for node in nodes if isinstance(node, Affine)]
    return [group for group in found if group[0]]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_add_behind_other_operators_takes_over_what_the_checker_takes_over(case: Case) -> None:
    assert lowered(case.model) == case.groups
    assert checked(case.model) == case.groups


def test_the_checker_sees_through_a_concatenation_that_is_undone_and_takes_over_more() -> None:
    # Columns 2 to 5 of (r, p) are p; more merging means more executions, so the checker's groups are the safe ones.
    undone = Case(
        "undone",
        (
            RELU,
            helper.make_node("Concat", ["r", "p"], ["s"], axis=1),
            helper.make_node("Slice", ["s", "two", "six", "one"], ["q"]),
        ),
        MERGED,
    )
    assert checked(undone.model) == MERGED
    assert lowered(undone.model) == APART
