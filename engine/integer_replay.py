"""The way to `sat` in `int-exact`: the exact integer run of an input, and onnxruntime's on the same input, bit for bit.

A quantised graph leaves a runtime room: which patterns it computes in integers depends on its optimisation level, and
8-bit products on some x86 processors saturate sums of two at 16 bits.  So what onnxruntime gives is compared with the
reference run to the last bit.  Where they differ the reference run still violates, but not the network as deployed
here: no record is made, and `deviation` says what was seen.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from farkas.engine.query import Query
from farkas.engine.replay import Replay
from farkas.engine.runtime import Runtime
from farkas.ir.algebra import Array
from farkas.ir.integer import IntegerProgram, run_integer
from farkas.specs.boxes import contains
from farkas.specs.query import Semantics

EXECUTOR = "int-exact"


class IntegerReplayer:
    """Replays candidates of one query; loads onnxruntime with the first one that violates."""

    def __init__(self, query: Query, program: IntegerProgram) -> None:
        self._query, self._program = query, program
        self._runtime: Runtime | None = None
        self.deviation: str | None = None

    def attempt(self, number: int, point: npt.NDArray[np.float64]) -> Replay | None:
        """The record of `point` (n0,) against a case; None when it does not violate, or onnxruntime deviates."""
        case = self._query.property.cases[number]
        x = point.astype(np.float32) + np.float32(
            0.0
        )  # one zero: -0 would print as another decimal than it is read from
        inputs = tuple(Fraction(float(v)) for v in x)
        if not contains(case, inputs, Semantics.INT_EXACT):
            return None
        own = run_integer(self._program, x if self._program.encode is not None else x.astype(np.int64))
        if not np.all(np.isfinite(own)):
            return None
        outputs = tuple(Fraction(float(v)) for v in own)
        disjunct = case.violated_disjunct(inputs, outputs)
        if disjunct is None:
            return None
        if self._runtime is None:
            self._runtime = Runtime(self._query.network, optimised=True, integers=True)
        theirs = self._runtime.run(x.astype(self._runtime.input_type)).ravel()
        if not _same_bits(own, theirs):
            self.deviation = _deviation(own, theirs, self._runtime.describe())
            return None
        described = self._runtime.describe()
        return Replay(
            Semantics.INT_EXACT, number, disjunct, EXECUTOR, inputs, outputs, described, outputs, False, case
        )  # fmt: skip


def _same_bits(own: Array, theirs: Array) -> bool:
    """Equal as numbers of one type; of the two zeros each equals itself only."""
    if own.dtype.kind != "f":
        return own.shape == theirs.shape and theirs.dtype.kind in "iu" and bool((own == theirs).all())
    return own.shape == theirs.shape and own.astype(np.float32).tobytes() == theirs.astype(np.float32).tobytes()


def _deviation(own: Array, theirs: Array, runtime: str) -> str:
    differing = [j for j in range(len(own)) if not _same_bits(own[j : j + 1], theirs[j : j + 1])]
    j = differing[0] if differing else 0
    return (
        f"an input violates by the exact integers of the graph, but {runtime} computes {theirs[j]!r} for Y_{j} where "
        f"they give {own[j]!r} ({len(differing)} of {len(own)} outputs differ); `farkas doctor` shows how it executes "
        "quantised operators here"
    )
