"""Open nodes of a ReLU-split search, compactly: what a parent knew is stored once and shared by its two children.

Only neurons that were unstable at the root have a column: what all others contribute never changes below it.  A parent
of 3000 such neurons takes 24 KB for its bounds (binary32, rounded outward, so that they stay bounds), 3 KB for its
slopes (8 bits, as certificates have them), 375 bytes for the neurons worth another row, and a few for its path; each
of its two children a parent's number and a sign.  So a child costs about 14 KB where four float64 arrays of it took 96.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.engine.problem import Matrix

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
NONE = -1
SLOPE_ONE = 255  # the byte of slope 1; any other byte b is b / 256


def rounded_down(values: Matrix) -> npt.NDArray[np.float32]:
    """The largest binary32 numbers that are not above the values."""
    near = values.astype(np.float32)
    return np.where(near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near)


def rounded_up(values: Matrix) -> npt.NDArray[np.float32]:
    return -rounded_down(-values)


def slope_values(slopes: Any) -> Any:
    """Slopes in [0, 1] from their bytes."""
    return slopes * (1.0 / 256.0) + (slopes == SLOPE_ONE) * (1.0 / 256.0)


@dataclass(frozen=True, eq=False)
class Parents:
    """What nodes hand to their children, one line each.

    lower, upper (P, U): bounds in force over the root's unstable neurons; slopes (P, U): bytes of the final row;
    wanted (P, U/8): packed bits, the neurons whose own rows matter; path (P, D): split neurons, NONE pads; pins (P, D):
    their multipliers; weights (P, A): integer weights of the disjunct's atoms.
    """

    lower: npt.NDArray[np.float32]
    upper: npt.NDArray[np.float32]
    slopes: npt.NDArray[np.uint8]
    wanted: npt.NDArray[np.uint8]
    path: npt.NDArray[np.int32]
    pins: npt.NDArray[np.float32]
    weights: npt.NDArray[np.uint8]

    def take(self, index: Any) -> Parents:
        return Parents(*(getattr(self, f.name)[index] for f in fields(self)))

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, f.name).nbytes for f in fields(self))


@dataclass(frozen=True, eq=False)
class Nodes:
    """Open nodes, worst last: a line of `parents` each, and the sign of one more neuron.

    parent (B,); neuron (B,) number over all layers, NONE at a root; active (B,) its sign; node (B,) in the proof tree;
    disjunct (B,); value (B,): the proved margin of the parent; stalled (B,): splits in a row that did not raise it;
    share (B,): of the whole case, halved by every split.
    """

    parents: Parents
    parent: Integers
    neuron: Integers
    active: npt.NDArray[np.bool_]
    node: Integers
    disjunct: Integers
    value: Floats
    stalled: Integers
    share: Floats

    def __len__(self) -> int:
        return int(self.parent.shape[0])

    def take(self, index: Any) -> Nodes:
        """Some of the nodes; the parents are compacted once most of them have no child left."""
        taken = Nodes(self.parents, *(getattr(self, name)[index] for name in _PER_NODE))
        used = np.unique(taken.parent)
        if 2 * len(used) > len(self.parents.lower):
            return taken
        place = np.full(len(self.parents.lower), NONE, dtype=np.int64)
        place[used] = np.arange(len(used))
        rest = [getattr(taken, name) for name in _PER_NODE[1:]]
        return Nodes(self.parents.take(used), place[taken.parent], *rest)

    @property
    def nbytes(self) -> int:
        return self.parents.nbytes + 8 * len(_PER_NODE) * len(self)


_PER_NODE = tuple(f.name for f in fields(Nodes) if f.name != "parents")


def join(parts: Sequence[Nodes]) -> Nodes:
    """One block of several, in their order."""
    if len(parts) == 1:
        return parts[0]
    depth = max(part.parents.path.shape[1] for part in parts)
    columns = []
    for f in fields(Parents):
        arrays = [getattr(part.parents, f.name) for part in parts]
        if f.name in ("path", "pins"):
            fill = NONE if f.name == "path" else 0
            arrays = [np.pad(a, ((0, 0), (0, depth - a.shape[1])), constant_values=fill) for a in arrays]
        columns.append(np.concatenate(arrays))
    starts = np.cumsum([0, *(len(part.parents.lower) for part in parts[:-1])])
    parent = np.concatenate([part.parent + start for part, start in zip(parts, starts, strict=True)])
    rest = [np.concatenate([getattr(part, name) for part in parts]) for name in _PER_NODE[1:]]
    return Nodes(Parents(*columns), parent, *rest)


class Stack:
    """Blocks of open nodes, the worst of the newest on top, and what they take."""

    def __init__(self) -> None:
        self._blocks: list[Nodes] = []
        self.count = 0
        self.share = 0.0
        self.nbytes = 0

    def __len__(self) -> int:
        return self.count

    def push(self, block: Nodes) -> None:
        if len(block):
            self._blocks.append(block)
            self._weigh(block, 1)

    def pop(self, count: int) -> Nodes:
        """Up to `count` nodes from the top; at least one must be there."""
        taken: list[Nodes] = []
        while self._blocks and count > 0:
            block = self._blocks.pop()
            self._weigh(block, -1)
            if len(block) > count:
                self.push(block.take(slice(0, len(block) - count)))
                block = block.take(slice(len(block) - count, None))
            taken.append(block)
            count -= len(block)
        return join(taken[::-1])

    def _weigh(self, block: Nodes, sign: int) -> None:
        self.count += sign * len(block)
        self.share = self.share + sign * float(block.share.sum()) if self._blocks else 0.0
        self.nbytes += sign * block.nbytes

    @property
    def worst(self) -> float:
        """No open node's parent was proved to a worse margin; blocks are sorted, so that the last of each bounds it."""
        return min((float(block.value[-1]) for block in self._blocks), default=np.inf)
