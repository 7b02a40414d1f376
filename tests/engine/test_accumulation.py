"""How sums are added up, found out from outside: declared orders, orders made for the test, and onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from farkas.engine.accumulation import Accumulation, Product, reveal
from farkas.engine.fingerprint import (
    FORMS,
    PATCHES,
    convolution_orders,
    fingerprints,
    matches_mlas_k256,
    one_convolution,
    one_product,
)  # fmt: skip
from farkas.engine.runtime import Runtime
from farkas.ir.binary32 import ORDERS, Binary32, Float32, Order
from farkas.ir.execute import execute
from farkas.ir.onnx_import import load_onnx


def declared(order: Order) -> Product:
    return lambda weight, x, bias: Binary32(order).contract(weight, x[None], bias)[0]


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("seq-muladd", Accumulation(fused=False, block=None, bias="last")),
        ("seq-fma", Accumulation(fused=True, block=None, bias="last")),
        ("mlas-k256-fma", Accumulation(fused=True, block=256, bias="first")),
    ],
)
def test_the_declared_orders_are_revealed_as_their_definitions_say(order: Order, wanted: Accumulation) -> None:
    assert reveal(declared(order)) == wanted


def in_blocks(weight: Float32, x: Float32, bias: Float32, *, block: int, bias_last: bool) -> Float32:
    """Plain loops: rounded products, an accumulator for each block, the bias at one end."""
    total = np.zeros_like(bias) if bias_last else bias.copy()
    for start in range(0, len(x), block):
        part = np.zeros_like(bias)
        for k in range(start, min(start + block, len(x))):
            part = part + weight[:, k] * x[k]
        total = total + part
    return total + bias if bias_last else total


@pytest.mark.parametrize("block", [4, 64, 100, 200])
@pytest.mark.parametrize("bias_last", [False, True])
def test_block_lengths_and_the_place_of_the_bias_are_found(block: int, bias_last: bool) -> None:
    found = reveal(lambda w, x, b: in_blocks(w, x, b, block=block, bias_last=bias_last), 300)
    assert found == Accumulation(False, block, "last" if bias_last else "first")


def test_trees_that_are_no_chain_are_called_so() -> None:
    def pairwise(w: Float32, x: Float32, b: Float32) -> Float32:
        terms = w * x
        while terms.shape[1] > 1:
            odd = terms[:, -1:] if terms.shape[1] % 2 else terms[:, :0]
            terms = np.concatenate([terms[:, 0:-1:2] + terms[:, 1::2], odd], axis=1)
        return np.asarray(terms[:, 0] + b)

    def backwards(w: Float32, x: Float32, b: Float32) -> Float32:
        return in_blocks(w[:, ::-1], x[::-1], b, block=len(x), bias_last=True)

    for product in (pairwise, backwards):
        found = reveal(product, 40)
        assert found.block == 0 and "neither" in found.describe()


def test_the_runtime_is_revealed_as_the_order_that_its_bits_match() -> None:
    """Two ways to look at onnxruntime that share nothing: every bit of random products, and the shape of the tree."""
    found = fingerprints((False,))
    matching: list[Order] = [order for order in ORDERS if found[False, order].matches]
    assert len(matching) <= 1
    stated = {reveal(declared(order)) for order in matching}

    def gemm(w: Float32, x: Float32, b: Float32) -> Float32:
        return Runtime(one_product("Gemm", w, b)).run_shaped(x[None])[0]

    if stated:
        assert {reveal(gemm)} == stated


def test_every_order_is_compared_at_every_level_and_alone_gives_the_same() -> None:
    found = fingerprints()
    assert set(found) == {(level, order) for level in (False, True) for order in ORDERS}
    assert all(set(print_.differs) == set(FORMS) and print_.order == order for (_, order), print_ in found.items())
    assert found[True, "mlas-k256-fma"].matches == matches_mlas_k256(optimised=True).matches


def test_an_order_that_differs_from_the_runtime_is_told_apart() -> None:
    """Two different orders never both match: at K = 784 the three give different bits for almost every row."""
    for level in (False, True):
        assert sum(found.matches for (at, _), found in fingerprints((level,)).items() if at == level) <= 1


def test_convolutions_match_orders_that_execute_them_alike() -> None:
    orders = convolution_orders()
    channels, window, size = PATCHES[0]
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((8, channels, window, window)).astype(np.float32)
    data = one_convolution(weight, rng.standard_normal(8).astype(np.float32), size)
    x = rng.standard_normal(channels * size * size).astype(np.float32)
    graph, got = load_onnx(data), Runtime(data).run(x)
    each: tuple[Order, ...] = ("seq-fma", "seq-muladd")
    for order in each:
        assert (execute(graph, x, order).ravel() == got).all() == (order in orders)
