"""Matrices restricted to the neurons that take part, kept from one batch of tree nodes to the next.

A batch needs its matrices without the neurons that are inactive in all its tree nodes.  Cutting a convolution costs as
much as multiplying a few hundred rows by it, and the next batch needs nearly the same: so what was cut stays as long as
it has all neurons that are needed, and few others.  Others do no harm, for their coefficients are zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farkas.checker_fast.layers import Layer, Operand
from farkas.checker_fast.limbs import Flags, Ints

SPARE = 1.25
"""How many neurons for one that is needed: a fifth of them superfluous costs less than cutting again."""


class Packing:
    """What was cut last, of each network node."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Flags, Ints | None]] = {}
        self._layers: dict[int, tuple[list[Ints | None], Layer]] = {}
        self._operands: dict[int, tuple[list[Ints | None], tuple[Operand, ...]]] = {}

    def keep(self, v: int, needed: Flags) -> Ints | None:
        """Ascending neurons of node v, at least one, the needed ones among them; None: all."""
        if v in self._kept:
            flags, index = self._kept[v]
            if int(flags.sum()) <= SPARE * int(needed.sum()) and not (needed & ~flags).any():
                return index
        flags = needed.copy()
        flags[0] |= not needed.any()
        index = None if flags.all() else np.flatnonzero(flags)
        self._kept[v] = flags, index
        return index

    def layer(self, v: int, whole: Layer, rows: Ints | None, columns: Sequence[Ints | None]) -> Layer:
        """Affine node v restricted to rows, and per operand to columns."""
        key = [rows, *columns]
        if v not in self._layers or not _same(self._layers[v][0], key):
            self._layers[v] = key, whole.packed(rows, columns)
        return self._layers[v][1]

    def operands(self, v: int, whole: Layer, columns: Sequence[Ints | None]) -> tuple[Operand, ...]:
        """The operands of affine node v, all rows, restricted to columns."""
        key = list(columns)
        if v not in self._operands or not _same(self._operands[v][0], key):
            self._operands[v] = key, tuple(o.packed(None, c) for o, c in zip(whole.operands, columns, strict=True))
        return self._operands[v][1]


def _same(left: Sequence[Ints | None], right: Sequence[Ints | None]) -> bool:
    """Whether the index arrays are the same objects."""
    return all(a is b for a, b in zip(left, right, strict=True))
