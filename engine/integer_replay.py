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
from farkas.ir.integer_unary import Float32
from farkas.specs.boxes import contains
from farkas.specs.query import Semantics

EXECUTOR = "int-exact"


class IntegerExecutor:
    """A quantised network on the exact integer run and on onnxruntime, which is loaded when it is first needed."""

    def __init__(self, program: IntegerProgram, network: bytes) -> None:
        self._program, self._network = program, network
        self._runtime: Runtime | None = None
        self.deviation: str | None = None

    def outputs(self, x: Float32) -> tuple[Fraction, ...] | None:
        """Exact outputs for an input (n0,); None where one is not finite.  onnxruntime is not asked."""
        own = self._run(x)
        return tuple(Fraction(float(v)) for v in own) if np.all(np.isfinite(own)) else None

    def confirm(self, x: Float32) -> str | None:
        """What gave the very bits of the exact run, in words; None, and `deviation` says why, where onnxruntime
        gives others."""
        if self._runtime is None:
            self._runtime = Runtime(self._network, optimised=True, integers=True)
        own, theirs = self._run(x), self._runtime.run(x.astype(self._runtime.input_type)).ravel()
        if _same_bits(own, theirs):
            return self._runtime.describe()
        self.deviation = _deviation(own, theirs, self._runtime.describe())
        return None

    def _run(self, x: Float32) -> Array:
        return run_integer(self._program, x if self._program.encode is not None else x.astype(np.int64))


class IntegerReplayer:
    """Replays candidates of one query."""

    def __init__(self, query: Query, program: IntegerProgram) -> None:
        self._query, self._executor = query, IntegerExecutor(program, query.network)

    @property
    def deviation(self) -> str | None:
        """How onnxruntime differed from the exact run on an input that violates by the latter."""
        return self._executor.deviation

    def attempt(self, number: int, point: npt.NDArray[np.float64]) -> Replay | None:
        """The record of `point` (n0,) against a case; None when it does not violate, or onnxruntime deviates."""
        case = self._query.property.cases[number]
        x = one_zero(point)
        inputs = tuple(Fraction(float(v)) for v in x)
        if not contains(case, inputs, Semantics.INT_EXACT):
            return None
        outputs = self._executor.outputs(x)
        disjunct = None if outputs is None else case.violated_disjunct(inputs, outputs)
        if outputs is None or disjunct is None:
            return None
        runtime = self._executor.confirm(x)
        if runtime is None:
            return None
        return Replay(
            Semantics.INT_EXACT, number, disjunct, EXECUTOR, inputs, outputs, runtime, outputs, False, case
        )  # fmt: skip


def one_zero(point: npt.NDArray[np.float64]) -> Float32:
    """The point in binary32, with +0 for -0, which would print as another decimal than it is read from."""
    return point.astype(np.float32) + np.float32(0.0)


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
