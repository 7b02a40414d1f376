"""The rule `crown-fp-2`: bounds that are derived where a certificate says so, for networks too wide to derive them all.

A root has the bounds of one forward pass.  Below it the bounds in force of a tree node are its parent's, and each step
changes a few of them: a smaller box those of the input; a phase one neuron's (z <= 0 or z >= 0, of the execution's own
z, so that the two phases cover every execution); a recipe what it lists, by the backward rows of `kernel.py`, network
node by network node.  Everything is intersected with what is in force, so it holds for every execution of the tree node
(those of the box in which all phases on the way down hold), and errors that were derived further up still bound those
of its executions.  A value without an execution, lower > upper, makes the tree node empty.

A child shares with its parent every list that did not change, and what was derived from them: a split costs one list.
Which neurons take part in coefficient vectors is shared as well, although fewer may take part in the child: the others
have slopes zero, which is the same to the unit; when a tenth of a layer is gone, its matrices are packed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import gt

from farkas.checker.errors import CertificateRejected
from farkas.checker.kernel import EMPTY, OPEN, Point, ReferenceProver, ceil_shift, readers_of
from farkas.checker.plan import Recipe, RowGroup, Vector
from farkas.checker.prover import Step
from farkas.checker.query import Affine, Box, Claim, H, K, Network, P, Relu


class ReferencePlanProver:
    """`PlanProver` of the reference kernel; a state is a list of `Point`."""

    wave = 1

    def __init__(self, network: Network, rounded: bool, columns: tuple[int, ...]) -> None:
        self._rows = ReferenceProver(network, rounded, (), columns)
        self._nodes = network.nodes
        self._readers = readers_of(network)

    def begin(self, boxes: Sequence[Box]) -> list[Point]:
        return self._rows.derive(self._rows.start(len(boxes)), boxes)

    def gather(self, rows: Sequence[tuple[list[Point], int]]) -> list[Point]:
        return [state[row] for state, row in rows]

    def advance(self, parents: list[Point], steps: Sequence[Step]) -> list[Point]:
        return [self._advance(parent, step) for parent, step in zip(parents, steps, strict=True)]

    def close(self, state: list[Point], rows: Sequence[int], claims: Sequence[Claim]) -> list[bool]:
        return self._rows.close(state, rows, claims)

    def _advance(self, parent: Point, step: Step) -> Point:
        if parent.status != OPEN:
            return parent
        point = _child(parent, step.box)
        if step.box != parent.box:
            low = [x >> (H - P) for x in step.box.lower]
            high = [ceil_shift(x, H - P) for x in step.box.upper]
            self._tighten(point, 0, low, high)
        if step.phase is not None and point.status == OPEN:
            self._fix(point, *step.phase)
        if step.recipe is not None and point.status == OPEN:
            self._derive(point, step.recipe)
        return point

    def _fix(self, point: Point, neuron: int, active: bool) -> None:
        v, j = self._rows.neuron(neuron)
        low, high = list(point.lower[v]), list(point.upper[v])
        if active:
            low[j] = max(low[j], 0)
        else:
            high[j] = min(high[j], 0)
        self._tighten(point, v, low, high)

    def _derive(self, point: Point, recipe: Recipe) -> None:
        """The recipe's bounds, network node by network node, until one is empty or fails."""
        groups: dict[int, list[RowGroup]] = {}
        for group in recipe.rows:
            groups.setdefault(self._rows.layers[group.layer], []).append(group)
        for v, node in enumerate(self._nodes):
            if not isinstance(node, Affine):
                continue
            if recipe.forward:
                low, high, point.errors[v] = self._rows.interval(point, v, node)
                if point.status == OPEN:
                    self._tighten(point, v, low, high)
            if v in groups and point.status == OPEN:
                self._derive_rows(point, v, groups[v])
            if point.status != OPEN:
                return

    def _derive_rows(self, point: Point, v: int, groups: Sequence[RowGroup]) -> None:
        """Backward rows of affine node v; open are the neurons that were so before the first of the groups."""
        low, high = list(point.lower[v]), list(point.upper[v])
        open_now = [j for j, (x, y) in enumerate(zip(low, high, strict=True)) if x < 0 < y]
        for group in groups:
            for i, j in enumerate(open_now if group.neurons is None else group.neurons):
                below, above = group.vectors[2 * i : 2 * i + 2] if group.vectors else (None, None)
                low[j] = max(low[j], self._bound(point, v, j, 1, group.rule, below))
                high[j] = min(high[j], -self._bound(point, v, j, -1, group.rule, above))
        self._tighten(point, v, low, high)

    def _bound(self, point: Point, v: int, j: int, sign: int, rule: int, vector: Vector | None) -> int:
        """A lower bound at 2^-P of z or -z."""
        if vector is None and rule < 0:
            raise CertificateRejected("kernel", "a row group states vectors that were not resolved")
        return self._rows.row_bound(point, v, ((j, sign),), (), rule, vector) >> (K - P)

    def _tighten(self, point: Point, v: int, low: Iterable[int], high: Iterable[int]) -> None:
        """Intersects the bounds of network node v, and those of the ReLUs that follow it; notices what is empty."""
        lower, upper = list(map(max, low, point.lower[v])), list(map(min, high, point.upper[v]))
        if lower == point.lower[v] and upper == point.upper[v]:
            return
        if any(map(gt, lower, upper)):
            point.status = EMPTY
        waiting = [(v, lower, upper)]
        while waiting:
            v, lower, upper = waiting.pop()
            point.lower[v], point.upper[v] = lower, upper
            for r in self._readers[v]:
                if isinstance(self._nodes[r], Relu):
                    waiting.append((r, [max(x, 0) for x in lower], [max(x, 0) for x in upper]))
                    for key in [key for key in point.slopes if key[0] == r]:
                        del point.slopes[key]
            self._forget(point, v)

    def _forget(self, point: Point, v: int) -> None:
        """Drops what was packed for the neurons of node v, if a tenth of them does not take part any more."""
        live = point.live.get(v)
        if live is None or not isinstance(self._nodes[v], Affine) or not self._rows.only_relu[v]:
            return
        if 10 * sum(x > 0 for x in point.upper[v]) > 9 * sum(live):
            return
        family = {v, *self._chain(v)}
        touched = family | {r for u in family for r in self._readers[u]}
        for u in family:
            point.live.pop(u, None)
        for key in [key for key in point.packed if key[0] in touched]:
            del point.packed[key]

    def _chain(self, v: int) -> set[int]:
        """The ReLUs that read node v, directly or through other ReLUs: they share its live neurons."""
        found: set[int] = set()
        waiting = [v]
        while waiting:
            for r in self._readers[waiting.pop()]:
                if isinstance(self._nodes[r], Relu):
                    found.add(r)
                    waiting.append(r)
        return found


def _child(parent: Point, box: Box) -> Point:
    """The same bounds in force, shared list by list."""
    return Point(
        list(parent.lower), list(parent.upper), list(parent.errors), box, parent.status,
        dict(parent.live), dict(parent.packed), dict(parent.slopes),
    )  # fmt: skip
