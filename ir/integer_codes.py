"""Which input codes the binary32 points of a box have, and which points have a given code.

`encode` is monotone in each component, so the points with one code are the binary32 numbers between a first and a last
one, found by bisection over binary32 numbers in their order.  A code between those of the ends need not occur: where
the scale is finer than the spacing of binary32, some are skipped, and they are no choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from farkas.ir.integer import Codes, IntegerProgram
from farkas.ir.integer_unary import Float32, Integers, Unary
from farkas.ir.linear import Vector


@dataclass(frozen=True, eq=False)
class InputCodes:
    """Per input the codes that occur, ascending, and for each of them the first and the last point that has it.

    Points are float64 copies of binary32 numbers, or the codes themselves where the network takes integers.
    """

    codes: tuple[Integers, ...]
    first: tuple[Vector, ...]
    last: tuple[Vector, ...]

    @property
    def is_empty(self) -> bool:
        return not all(len(own) for own in self.codes)

    @property
    def low(self) -> Integers:
        return np.array([own[0] for own in self.codes], dtype=np.int64)

    @property
    def high(self) -> Integers:
        return np.array([own[-1] for own in self.codes], dtype=np.int64)

    @property
    def count(self) -> int:
        """How many vectors of codes there are."""
        return prod(len(own) for own in self.codes)

    def points(self, codes: Integers) -> Vector:
        """Points (..., n) that have these codes (..., n), away from the borders between codes."""
        return self._choose(codes, self._middles)

    def ends(self, codes: Integers, upper: npt.NDArray[np.bool_]) -> Vector:
        """The first point with these codes in each component, or the last one where `upper` (n,)."""
        table = [last if up else first for up, first, last in zip(upper, self.first, self.last, strict=True)]
        return self._choose(codes, table)

    @property
    def _middles(self) -> list[Vector]:
        middles = []
        for first, last in zip(self.first, self.last, strict=True):
            rounded = (0.5 * first + 0.5 * last).astype(np.float32).astype(np.float64)
            middles.append(np.clip(rounded, first, last))
        return middles

    def _choose(self, codes: Integers, table: list[Vector]) -> Vector:
        chosen = [
            values[np.searchsorted(own, codes[..., i])]
            for i, (own, values) in enumerate(zip(self.codes, table, strict=True))
        ]
        return np.stack(chosen, axis=-1)


def input_codes(program: IntegerProgram, lower: Vector, upper: Vector) -> InputCodes:
    """The codes of the box lower <= x <= upper, (n,) each; ends are binary32 numbers where the network takes these."""
    node = program.nodes[0]
    assert isinstance(node, Codes), "node 0 of an integer program holds the input codes"
    if program.encode is None:
        first, last = np.maximum(np.ceil(lower), node.low), np.minimum(np.floor(upper), node.high)
        own = tuple(np.arange(l, u + 1, dtype=np.int64) for l, u in zip(first, last, strict=True))
        points = tuple(codes.astype(np.float64) for codes in own)
        return InputCodes(own, points, points)
    return _preimages(program.encode, lower.astype(np.float32), upper.astype(np.float32))


def _preimages(encode: Unary, lower: Float32, upper: Float32) -> InputCodes:
    sign = encode.direction.astype(np.int64)
    at_lower, at_upper = sign * encode(lower), sign * encode(upper)
    most = int((at_upper - at_lower).max(initial=0)) + 1
    wanted = at_lower + np.arange(most)[:, None]  # (most, n), nondecreasing functions by `sign`
    start = _first(encode, sign, wanted, lower, upper)
    codes, first, last = [], [], []
    for i in range(len(lower)):
        inside = wanted[:, i] <= at_upper[i]
        begins = start[inside, i]
        occurs = np.append(begins[1:] > begins[:-1], True)  # a skipped code begins where the next one does
        begins = begins[occurs]
        ends = np.append(begins[1:] - 1, _ordinals(upper[i : i + 1]))
        own = sign[i] * wanted[inside, i][occurs]
        order = slice(None, None, int(sign[i]))
        codes.append(own[order])
        first.append(_numbers(begins)[order].astype(np.float64))
        last.append(_numbers(ends)[order].astype(np.float64))
    return InputCodes(tuple(codes), tuple(first), tuple(last))


def _first(encode: Unary, sign: Integers, wanted: Integers, lower: Float32, upper: Float32) -> Integers:
    """Places of the first numbers of lower..upper whose signed code is at least `wanted`; upper where there is none."""
    left = np.broadcast_to(_ordinals(lower), wanted.shape).copy()
    right = np.broadcast_to(_ordinals(upper), wanted.shape).copy()
    while (left < right).any():  # Invariant: what is sought lies in left..right, or is missing
        middle = left + (right - left) // 2
        reached = sign * encode(_numbers(middle)) >= wanted
        right = np.where(reached, middle, right)
        left = np.where(reached, left, np.minimum(middle + 1, right))
    return left


def _ordinals(values: Float32) -> Integers:
    """binary32 numbers counted in their order; both zeros are number 0."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _numbers(ordinals: Integers) -> Float32:
    """The binary32 numbers at these places; 0 is +0."""
    magnitudes = abs(ordinals).astype(np.uint32).view(np.float32)
    return np.where(ordinals < 0, -magnitudes, magnitudes)
