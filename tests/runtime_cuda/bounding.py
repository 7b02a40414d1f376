"""Bound propagation as the tests call it: one box or several, NumPy in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from farkas.ir.core import Program
from farkas.runtime_cuda.backend import Backend, numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator, Refined
from farkas.runtime_cuda.prepared import Prepared, prepare

Box = tuple[Sequence[Fraction], Sequence[Fraction]]


@dataclass(frozen=True)
class Bounded:
    """Bounds of some boxes, and what is needed to ask for rows."""

    net: Prepared
    worker: Propagator
    refined: Refined

    def node(self, v: int, box: int = 0) -> tuple[Any, Any]:
        """Lower and upper bounds of one node's neurons."""
        numpy = self.net.backend.to_numpy
        return numpy(self.refined.boxes.lower[v])[box], numpy(self.refined.boxes.upper[v])[box]

    def flat(self) -> tuple[Any, Any]:
        """The flat storage of pre-activation bounds, (B, width)."""
        numpy = self.net.backend.to_numpy
        return numpy(self.refined.lower), numpy(self.refined.upper)

    @property
    def empty(self) -> Any:
        return self.net.backend.to_numpy(self.refined.empty)

    def rows(self, y: Any, x: Any = None, rules: tuple[int, ...] = (ADAPTIVE,)) -> Any:
        """(B, rules, R) lower bounds of y @ output + x @ input."""
        asarray = self.net.backend.asarray
        found = self.worker.bound(self.refined.boxes, asarray(y), None if x is None else asarray(x), rules)
        return self.net.backend.to_numpy(found.value)


def bounded(
    program: Program,
    *boxes: Box,
    binary32: bool = False,
    rules: tuple[int, ...] = (ADAPTIVE,),
    backend: Backend | None = None,
    inherited: tuple[Any, Any] | None = None,
    net: Prepared | None = None,
) -> Bounded:
    """Refinement of the boxes; `inherited`: flat bounds (B, width), infinite unless given."""
    if net is None:
        net = prepare(program, binary32=binary32, backend=backend or numpy_backend())
    asarray = net.backend.asarray
    lower = np.array([[float(v) for v in box[0]] for box in boxes])
    upper = np.array([[float(v) for v in box[1]] for box in boxes])
    if inherited is None:
        top = np.full((len(boxes), net.width), np.inf)
        inherited = -top, top
    worker = Propagator(net, rules)
    refined = worker.refine(
        asarray(lower), asarray(upper), asarray(inherited[0]), asarray(inherited[1]), influence=True
    )
    return Bounded(net, worker, refined)
