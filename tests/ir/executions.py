"""Random admissible executions of a summation group in plain rationals: the adversary of the error lemma.

Deliberately wider than any one processor: each operation flushes or keeps subnormals as the generator likes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.ir.exact32 import SMALLEST_NORMAL, Flush, round32


@dataclass(frozen=True)
class Group:
    """Products w a and addends b, as summed by one group; their real value and the quantities of the bound."""

    products: tuple[tuple[Fraction, Fraction], ...]
    addends: tuple[Fraction, ...] = ()

    @property
    def count(self) -> int:
        return len(self.products) + len(self.addends)

    @property
    def value(self) -> Fraction:
        return sum((w * a for w, a in self.products), Fraction(0)) + sum(self.addends, Fraction(0))

    @property
    def magnitude(self) -> Fraction:
        return sum((abs(w * a) for w, a in self.products), Fraction(0)) + sum(map(abs, self.addends), Fraction(0))

    @property
    def abs_weight_sum(self) -> Fraction:
        return sum((abs(w) for w, _ in self.products), Fraction(0))

    @property
    def u_sum(self) -> Fraction:
        return sum((abs(a) for _, a in self.products), Fraction(0))


Leaf = tuple[Fraction, Fraction] | Fraction


class Execution:
    """One processor's habits, drawn from `rng`: how it flushes, fuses, splits and orders."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        habits: tuple[tuple[Flush, ...], ...] = (("keep",), ("before",), ("after",), ("keep", "before", "after"))
        self.flushes = rng.choice(habits)
        self.zero_operands = rng.choice((0.0, 1.0, 0.5))
        self.fuse = rng.choice((0.0, 1.0, 0.5))
        self.chain = rng.choice((0.0, 1.0, 0.5))

    def rounded(self, value: Fraction) -> Fraction:
        return round32(value, self.rng.choice(self.flushes))

    def read(self, value: Fraction) -> Fraction:
        """An operand as the operation sees it: a subnormal may be taken for zero."""
        if abs(value) < SMALLEST_NORMAL and self.rng.random() < self.zero_operands:
            return Fraction(0)
        return value

    def add(self, a: Fraction, b: Fraction) -> Fraction:
        return self.rounded(self.read(a) + self.read(b))

    def mul(self, a: Fraction, b: Fraction) -> Fraction:
        return self.rounded(self.read(a) * self.read(b))

    def fma(self, a: Fraction, b: Fraction, c: Fraction) -> Fraction:
        return self.rounded(self.read(a) * self.read(b) + self.read(c))

    def div(self, a: Fraction, b: Fraction) -> Fraction:
        return self.rounded(self.read(a) / self.read(b))

    def sqrt(self, a: Fraction) -> Fraction:
        """Of 2^-60 or more: 400 binary digits tell every number from a tie that it is not."""
        return self.rounded(Fraction(math.isqrt(int(self.read(a) * 2**800)), 2**400))

    def sum(self, group: Group) -> Fraction:
        """The group in a random order and tree, with accumulators that start at zero here and there."""
        leaves: list[Leaf] = [*group.products, *group.addends]
        self.rng.shuffle(leaves)
        return self._tree(leaves)

    def _tree(self, leaves: Sequence[Leaf]) -> Fraction:
        if len(leaves) == 1:
            leaf = leaves[0]
            value = leaf if isinstance(leaf, Fraction) else self.mul(*leaf)
        else:
            cut = len(leaves) - 1 if self.rng.random() < self.chain else self.rng.randrange(1, len(leaves))
            left, last = self._tree(leaves[:cut]), leaves[-1]
            if cut == len(leaves) - 1 and not isinstance(last, Fraction) and self.rng.random() < self.fuse:
                value = self.fma(*last, left)
            else:
                value = self.add(left, self._tree(leaves[cut:]))
        return self.add(value, Fraction(0)) if self.rng.random() < 0.1 else value

    def gemm(self, group: Group, alpha: Fraction, beta: Fraction) -> Fraction:
        """alpha (sum of products) + beta (addends), alpha acting on weights, operands, the sum or parts of it."""
        bias = tuple(self.mul(beta, b) if beta != 1 else b for b in group.addends)
        if alpha == 1:
            return self.sum(Group(group.products, bias))
        where = self.rng.choice(("weights", "operands", "sum", "parts"))
        if where == "weights":
            return self.sum(Group(tuple((self.mul(alpha, w), a) for w, a in group.products), bias))
        if where == "operands":
            return self.sum(Group(tuple((w, self.mul(alpha, a)) for w, a in group.products), bias))
        cut = self.rng.randrange(len(group.products)) if where == "parts" else 0
        parts = [self.sum(Group(p)) for p in (group.products[:cut], group.products[cut:]) if p]
        if len(parts) == 1 and len(bias) == 1 and self.rng.random() < 0.5:
            return self.fma(alpha, parts[0], bias[0])
        return self.sum(Group((), (*(self.mul(alpha, part) for part in parts), *bias)))

    def normalize(self, x: Fraction, scale: Fraction, bias: Fraction, mean: Fraction, total: Fraction) -> Fraction:
        """(x - mean) scale / sqrt(total) + bias in some grouping; total: variance + epsilon, as rounded."""
        root = self.sqrt(total)
        inverse = self.div(Fraction(1), root) if self.rng.random() < 0.5 else None

        def by_root(t: Fraction) -> Fraction:
            return self.div(t, root) if inverse is None else self.mul(t, inverse)

        factor = by_root(scale)
        scaled: Callable[[Fraction], Fraction] = self.rng.choice(
            (
                lambda t: self.mul(t, factor),
                lambda t: by_root(self.mul(t, scale)),
                lambda t: self.mul(by_root(t), scale),
            )
        )
        if self.rng.random() < 0.5:
            centred = self.add(x, -mean)
            return self.fma(centred, factor, bias) if self.rng.random() < 0.3 else self.add(scaled(centred), bias)
        constant = self.add(bias, -scaled(mean))
        return self.fma(x, factor, constant) if self.rng.random() < 0.3 else self.add(scaled(x), constant)
