"""The gap: boxes that the reals close and that rounding errors keep open for good.

Cutting a box makes its relaxation tighter, but what an execution may round away at a point stays.  So where the bounds
over the reals close a box while the any-order bounds of one of its points do not refute the property at that very
point, no tree of boxes can ever close it: every cut leaves a piece with that point in it.  Such a box is set aside
instead of being cut for ever.  What is left to do there is to look for a witness, or to fix the order of accumulation
(`ladder`); otherwise the answer is `gap`, with the band that the rounding errors may span.

Setting a box aside proves nothing and loses nothing: its case stays open.  Both tests cost more than bounding the box
did, so they are made only for boxes that are open by no more than a few times the rounding errors of a typical point,
and only while they take a small part of the search's time: near a threshold that the network approaches without
reaching it, many boxes are open by little, and a cut closes them.

Without this, the box of 2.7e17 inputs around a disagreement of ACAS Xu 1_1 was cut 640 000 times in 15 s, to no avail.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.engine.problem import Family, Matrix, Vector
from farkas.engine.refutations import RULES, Refutations
from farkas.ir.core import Program
from farkas.runtime_cuda.backend import Backend
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator
from farkas.runtime_cuda.prepared import Prepared, prepare

SUSPICIOUS = 8.0  # times the band of a typical point: boxes that are open by more are cut, whatever the reason
SHARE = 0.03  # of the search's time that the tests may take, after
FIRST_S = 0.02
FIRST_BOXES = 16  # bounded before anything is suspected: most queries end earlier


@dataclass(frozen=True, eq=False)
class Gap:
    """A box that only rounding errors keep open.

    case: position in the family; lower, upper, point (n0,); short: by how much the any-order bound at the point misses;
    margin: what the bounds over the reals leave on the whole box.
    """

    case: int
    lower: Vector
    upper: Vector
    point: Vector
    short: float
    margin: float


@dataclass(eq=False)
class Sieve:
    """Finds the gap boxes among the open ones of a family."""

    program: Program
    net: Prepared
    family: Family
    margin: float
    backend: Backend
    found: list[Gap] = field(default_factory=list)
    seconds: float = 0.0
    _reals: Prepared | None = None
    _band: float | None = None

    def is_due(self, search_s: float) -> bool:
        """Whether the tests have had less than their part of the time of a search."""
        return self.seconds < FIRST_S + SHARE * search_s

    def gaps(self, lower: Matrix, upper: Matrix, case: Any, worst: Vector, corner: Matrix) -> npt.NDArray[np.bool_]:
        """(B,) which of the open boxes to set aside.

        lower, upper (B, n0); case (B,) in the family; worst (B,) by how much each is open (negative); corner (B, n0):
        where its linear bound is least; a gap is shown at the binary32 point there.
        """
        start = time.monotonic()
        mask = self._gaps(lower, upper, case, worst, corner)
        self.seconds += time.monotonic() - start
        return mask

    def _gaps(self, lower: Matrix, upper: Matrix, case: Any, worst: Vector, corner: Matrix) -> npt.NDArray[np.bool_]:
        mask: npt.NDArray[np.bool_] = np.zeros(len(worst), dtype=np.bool_)
        points, inside = _binary32_points(corner, lower, upper)
        chosen = np.flatnonzero(inside & (worst > -SUSPICIOUS * self.band))
        if not len(chosen):
            return mask
        over = self._refuted(self.reals, lower[chosen], upper[chosen], case[chosen], 0.0)
        closed: Any = over.closed
        chosen, margins = chosen[closed], over.worst_any[closed]
        if not len(chosen):
            return mask
        at = self._refuted(self.net, points[chosen], points[chosen], case[chosen], self.margin)
        open_there: Any = ~at.closed
        for i, b in enumerate(chosen.tolist()):
            if open_there[i]:
                mask[b] = True
                self.found.append(
                    Gap(int(case[b]), lower[b], upper[b], points[b], -float(at.worst[i]), float(margins[i]))
                )
        return mask

    @property
    def reals(self) -> Prepared:
        """The network without rounding errors."""
        if self._reals is None:
            self._reals = prepare(self.program, binary32=False, backend=self.backend)
        return self._reals

    @property
    def band(self) -> float:
        """The largest rounding error of a row at the centre of the family's first box."""
        if self._band is None:
            centre = 0.5 * (self.family.lower[:1] + self.family.upper[:1])
            values = [self._rows(net, centre, centre)[1] for net in (self.reals, self.net)]
            difference = values[0] - values[1]
            finite = difference[np.isfinite(difference)]
            self._band = float(finite.max(initial=0.0))
        return self._band

    def _rows(
        self, net: Prepared, lower: Matrix, upper: Matrix, rules: tuple[int, ...] = (ADAPTIVE,), case: Any = None
    ) -> Any:
        asarray = self.backend.asarray
        unknown = np.full((len(lower), net.width), np.inf)
        worker = Propagator(net, rules[:1])
        ball = None if self.family.ball is None or case is None else self.family.ball.on(case, asarray)
        refined = worker.refine(asarray(lower), asarray(upper), asarray(-unknown), asarray(unknown), ball=ball)
        x_rows = None if self.family.x_rows is None else asarray(self.family.x_rows)
        rows = worker.bound(refined.boxes, asarray(self.family.y_rows), x_rows, rules)
        return (worker, refined, rows), self.backend.to_numpy(rows.value)[:, 0]

    def _refuted(self, net: Prepared, lower: Matrix, upper: Matrix, case: Any, margin: float) -> Refutations:
        (worker, refined, rows), _ = self._rows(net, lower, upper, RULES, case)
        thresholds = self.backend.asarray(self.family.thresholds[case])
        return Refutations(self.family, margin, self.backend, worker, refined, rows, thresholds)


def _binary32_points(corner: Matrix, lower: Matrix, upper: Matrix) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """The binary32 points at the corners, moved inside the boxes by at most one step, and which are inside then."""
    near = corner.astype(np.float32)
    near = np.where(near < lower, np.nextafter(near, np.float32(np.inf)), near)
    near = np.where(near > upper, np.nextafter(near, np.float32(-np.inf)), near)
    points: Matrix = near.astype(np.float64)
    inside: Any = ((points >= lower) & (points <= upper)).all(axis=1)
    return points, inside
