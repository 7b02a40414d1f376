"""How an executor adds up the products of a row, found out by asking it for sums that only a tree can explain.

A row of ones with 2^60 in one place and -2^60 in another: every 1 that meets one of the two before they meet each
other is absorbed (2^60 + 1 rounds to 2^60), and every 1 that is added afterwards counts.  So the result is the number
of terms outside the smallest part of the summation tree that holds both places, whatever the tree is.  Two chains of
such sums, from the first term and from a later one, tell a sequential order from one in blocks, and a bias of -2^60
tells where the bias comes in.  One more sum, with products that need more than 24 bits, tells whether a product is
rounded before it is added.

Sun et al., FPRev: Revealing Floating-Point Accumulation Orders, USENIX ATC 2025, does this for whole trees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from farkas.ir.binary32 import Float32

LARGE = np.float32(2.0**60)
LENGTH = 600  # more than two blocks of 256

Product = Callable[[Float32, Float32, Float32], Float32]  # weight (M, K), x (K,), bias (M,) -> (M,)


@dataclass(frozen=True)
class Accumulation:
    """What a row's sum was found to be.

    fused: products are added unrounded; block: terms of an accumulator, None when one takes all of them, 0 when the
    order is neither; bias: `first`, `last`, or `between`.
    """

    fused: bool
    block: int | None
    bias: str

    def describe(self) -> str:
        if self.block == 0:
            return "a summation tree that is neither sequential nor in blocks"
        blocks = "" if self.block is None else f" in blocks of {self.block}, whose sums are added in order"
        return f"sequential {'fused' if self.fused else 'rounded'} products{blocks}; bias {self.bias}"


def reveal(product: Product, length: int = LENGTH) -> Accumulation:
    """Ask for some thousand sums; `product` computes rows @ x + bias as the executor under test does."""
    sizes = _shared_sizes(product, length, 0)
    block = _block(sizes, length)
    if block:
        count = min(block, length - block)  # terms of the second block, which are to be a chain as well
        if not np.array_equal(_shared_sizes(product, length, block)[: count - 1], np.arange(2, count + 1)):
            block = 0
    return Accumulation(_is_fused(product), block, _bias(product, length, block))


def _shared_sizes(product: Product, length: int, base: int) -> Float32:
    """For j = base + 1, ...: the number of terms in the smallest subtree with both `base` and j (bias 0)."""
    rows = np.ones((length - base - 1, length), dtype=np.float32)
    rows[:, base] = LARGE
    rows[np.arange(len(rows)), np.arange(base + 1, length)] = -LARGE
    outside = product(rows, np.ones(length, dtype=np.float32), np.zeros(len(rows), dtype=np.float32))
    return np.asarray(length - outside, dtype=np.float32)


def _block(sizes: Float32, length: int) -> int | None:
    """The block length that explains the sizes from the first term; None: one block; 0: none does."""
    sequential = np.arange(2, length + 1)
    if np.array_equal(sizes, sequential):
        return None
    block = int(np.flatnonzero(sizes != sequential)[0]) + 1
    terms = np.arange(1, length)
    stated = np.where(terms < block, terms + 1, np.minimum((terms // block + 1) * block, length))
    return block if np.array_equal(sizes, stated) else 0


def _bias(product: Product, length: int, block: int | None) -> str:
    row = np.ones((1, length), dtype=np.float32)
    row[0, 0] = LARGE
    outside = float(product(row, np.ones(length, dtype=np.float32), np.full(1, -LARGE, dtype=np.float32))[0])
    first = length - min(block, length) if block else length - 1
    return {0.0: "last", float(first): "first"}.get(outside, "between")


def _is_fused(product: Product) -> bool:
    """(1 + 2^-12)^2 - (1 + 2^-11) is 2^-24, or 0 when the square is rounded first."""
    row = np.array([[-(1 + 2.0**-11), 1 + 2.0**-12]], dtype=np.float32)
    x = np.array([1.0, 1 + 2.0**-12], dtype=np.float32)
    return bool(product(row, x, np.zeros(1, dtype=np.float32))[0] != 0)
