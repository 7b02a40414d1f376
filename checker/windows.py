"""Windows that slide over images: the geometry of convolutions and poolings, over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from farkas.checker.builder import Builder, Shape, pick

Taps = list[list[tuple[int, int]]]
"""Per position of one axis of the result, the (tap, input position) pairs inside the input."""


@dataclass(frozen=True)
class Windows:
    """Lengths, one for each spatial axis; after: the padding behind, pads the one before."""

    space: Shape
    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: Shape
    after: Shape
    counts: Shape

    @property
    def volume(self) -> int:
        return prod(self.kernel)

    def taps(self) -> list[tuple[list[int], tuple[int, ...]]]:
        """Per window, in order: flat input positions inside the image, and the flat numbers of their taps."""
        sizes = zip(self.counts, self.space, self.kernel, self.strides, self.dilations, self.pads, strict=True)
        axes = [_taps(*each) for each in sizes]
        return [flattened(self.space, self.kernel, taps) for taps in product(*axes)]

    @property
    def passes_padding(self) -> bool:
        """Whether some window reaches beyond the padded image (possible with ceil_mode only)."""
        ends = (
            (c - 1) * s + d * (k - 1) >= n + before + behind
            for c, s, d, k, n, before, behind in zip(
                self.counts, self.strides, self.dilations, self.kernel, self.space, self.pads, self.after, strict=True
            )
        )
        return any(ends)


def windows_of(b: Builder, space: Shape, kernel: Shape, attributes: dict[str, Any]) -> Windows:
    """The windows that the attributes describe, all of which it removes."""
    rank = len(space)
    if attributes.pop("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        b.fail("auto_pad is not supported")
    strides, dilations = attributes.pop("strides", [1] * rank), attributes.pop("dilations", [1] * rank)
    pads, ceil = attributes.pop("pads", [0] * 2 * rank), attributes.pop("ceil_mode", 0)
    if rank < 1 or len(kernel) != rank or prod(kernel) < 1 or min((*kernel, *strides, *dilations)) < 1:
        b.fail(f"kernel {kernel}, strides {strides} or dilations {dilations} do not fit {rank} axes")
    if (len(strides), len(dilations), len(pads)) != (rank, rank, 2 * rank) or min(pads) < 0 or ceil not in (0, 1):
        b.fail("strides, dilations, pads or ceil_mode have the wrong length or sign")
    counts: list[int] = []
    for i, n in enumerate(space):
        room = n + pads[i] + pads[i + rank] - dilations[i] * (kernel[i] - 1) - 1
        count = (room + ceil * (strides[i] - 1)) // strides[i] + 1
        if ceil and (count - 1) * strides[i] >= n + pads[i]:  # a last window must begin in the image or before it
            count -= 1
        counts.append(count)
    if min(counts) < 1:
        b.fail(f"no window of {kernel} fits into {space}")
    before, after = tuple(pads[:rank]), tuple(pads[rank:])
    return Windows(space, kernel, tuple(strides), tuple(dilations), before, after, tuple(counts))


def _taps(count: int, size: int, kernel: int, stride: int, dilation: int, before: int) -> Taps:
    starts = [o * stride - before for o in range(count)]
    return [[(t, s + t * dilation) for t in range(kernel) if 0 <= s + t * dilation < size] for s in starts]


def flattened(space: Shape, kernel: Shape, taps: Sequence[list[tuple[int, int]]]) -> tuple[list[int], tuple[int, ...]]:
    """Flat input positions and flat tap numbers of one window, in the order of the taps."""
    positions = pick(range(prod(space)), space, [[p for _, p in axis] for axis in taps])
    return positions, tuple(pick(range(prod(kernel)), kernel, [[t for t, _ in axis] for axis in taps]))
