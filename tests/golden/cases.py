"""The golden cases: questions whose answer depends on the arithmetic, with the right answer in every one of it.

Each answer is derived by hand or in exact rationals, in the comment that goes with it; none was read off this program.
`sat`, `unsat` and `gap` are the answers that may be given; where `unsat` may be out of reach of the bounds, the trusted
rungs (one order at a time) reach it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from onnx import helper

from farkas.engine.query import Query
from farkas.ir.graph import Graph
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.models import make_model
from tests.nets import Net, affine, atom, case, dense

REAL, ANY = Semantics.REAL, Semantics.F32_ANY
MULADD, FMA, MLAS = Semantics.SEQ_MULADD, Semantics.SEQ_FMA, Semantics.MLAS_K256_FMA
TWO_24 = float(2**24)
U = Fraction(1, 2**24)


@dataclass(frozen=True, eq=False)
class Golden:
    """A question, and the answer in each semantics; point: one that violates wherever the answer is `sat` in float."""

    name: str
    make: Callable[[], Net]
    case: Case
    answers: Mapping[Semantics, str]
    point: tuple[float, ...] = ()

    def query(self, semantics: Semantics) -> Query:
        return self.make().query([self.case], semantics)


def every(order: str, real: str, any_order: str) -> dict[Semantics, str]:
    return {REAL: real, ANY: any_order, MULADD: order, FMA: order, MLAS: order}


def vanishing() -> Net:
    """1000 (relu(relu(x + 2^24) - 2^24) - relu(x)): zero over the reals; x + 2^24 is rounded to an even integer."""
    first = [[1.0], [1.0]], [TWO_24, 0.0]
    second = [[1.0, 0.0], [0.0, 1.0]], [-TWO_24, 0.0]
    third = [[1000.0, -1000.0]], [0.0]
    return dense([first, second, third])


# 1.25 + 2^24 lies between the binary32 numbers 2^24 and 2^24 + 2 and rounds to the latter: 1000 (2 - 1.25) = 750.
VANISHING = Golden(
    "vanishing", vanishing, case([0], [Fraction(3, 2)], [atom([-1], Fraction(-1, 10))]),
    every("sat", "unsat", "sat"), (1.25,),
)  # fmt: skip


def cancelling() -> Net:
    """2^24 x1 + x2 - 2^24 x3."""
    return affine([[TWO_24, 1.0, -TWO_24]])


ONES = [1, 1, 1]
# Over the reals the value at (1, 1, 1) is 1.  In order: 2^24 + 1 is a tie and goes to 2^24, which 2^24 cancels: 0.  The
# sum taken backwards is 1 - 2^24 + 2^24 = 1, and is admissible; onnxruntime adds in order.
CANCELLING_HIGH = Golden(
    "cancelling, 1 is unsafe", cancelling, case(ONES, ONES, [atom([-1], Fraction(-1, 2))]), every("unsat", "sat", "gap")
)
CANCELLING_LOW = Golden(
    "cancelling, 0 is unsafe", cancelling, case(ONES, ONES, [atom([1], Fraction(1, 2))]),
    every("sat", "unsat", "sat"), (1.0, 1.0, 1.0),
)  # fmt: skip


def fused() -> Net:
    """-x2 + (1 + 2^-12) x1, the product last."""
    return affine([[-1.0, 1.0 + 2.0**-12]])


AT = [1 + Fraction(1, 2**11), 1 + Fraction(1, 2**12)]
# (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24, half an ulp above 1 + 2^-11, to which it is rounded (even) when the product is an
# operation of its own: 0.  An fma keeps it: 2^-24.  onnxruntime fuses.
FUSED_HIGH = Golden(
    "fused, 2^-24 is unsafe", fused, case(AT, AT, [atom([-1], -Fraction(1, 2**25))]),
    {REAL: "sat", ANY: "sat", MULADD: "unsat", FMA: "sat", MLAS: "sat"}, (1 + 2.0**-11, 1 + 2.0**-12),
)  # fmt: skip
FUSED_LOW = Golden(
    "fused, 0 is unsafe",
    fused,
    case(AT, AT, [atom([1], Fraction(1, 2**25))]),
    {REAL: "unsat", ANY: "gap", MULADD: "sat", FMA: "unsat", MLAS: "unsat"},
)

SMALL = 30


def swallowing() -> Net:
    """x0 + 2^-24 (x1 + ... + x30)."""
    return affine([[1.0] + [2.0**-24] * SMALL])


# In order every addition of 2^-24 to 1 is a tie and goes to 1: the result is 1, and the real value 1 + 30 u.  The error
# is 30 / 32 of the any-order bound, so that half of that bound would prove what is false.
SWALLOWING = Golden(
    "swallowing", swallowing, case([1] * (SMALL + 1), [1] * (SMALL + 1), [atom([1], 1 + SMALL * U / 5)]),
    every("sat", "unsat", "sat"), (1.0,) * (SMALL + 1),
)  # fmt: skip


def identity() -> Net:
    return affine([[1.0]])


def rectified() -> Net:
    """relu(x), which rounds nothing."""
    return Net(make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 1]}, {}, opset=13))


# The nearest binary32 number to 0.7 is below it, and no input; the first one that is is 0.700000047...  Over the reals
# 0.7 itself is an input.
INWARD = Golden(
    "inward box", rectified, case([Fraction(7, 10)], [Fraction(8, 10)], [atom([1], Fraction(7, 10))]),
    every("unsat", "sat", "unsat"),
)  # fmt: skip

# The sum of 1 and 2^-60 is no binary64 number, so a threshold 1 + 2^-60 has to be rounded away from the bound 1: the
# input 1 is below it in any arithmetic.
NARROW = Golden(
    "narrow threshold", identity, case([1], [1], [atom([1], 1 + Fraction(1, 2**60), strict=True)]),
    every("sat", "sat", "sat"), (1.0,),
)  # fmt: skip

OWN = (VANISHING, CANCELLING_HIGH, CANCELLING_LOW, FUSED_HIGH, FUSED_LOW, SWALLOWING, INWARD, NARROW)


# Two trained networks on which the reals and binary32 disagree at a decision boundary ------------------------------


@dataclass(frozen=True, eq=False)
class Boundary:
    """A box in which output `lowest` is the lowest over the reals; at `point` binary32 has another one."""

    path: str
    lowest: int
    lower: tuple[str, ...]
    upper: tuple[str, ...]
    point: tuple[str, ...]

    def load(self, root: Path) -> tuple[Graph, bytes]:
        from farkas.ir.onnx_wire import decompressed

        data = decompressed((root / self.path).read_bytes())
        return load_onnx(data), data

    def query(self, root: Path, semantics: Semantics) -> Query:
        graph, data = self.load(root)
        outputs = int(np.prod(graph.shapes[graph.outputs[0]]))
        disjuncts = tuple(
            (Atom((), tuple(sorted([(j, Fraction(1)), (self.lowest, Fraction(-1))])), Fraction(0)),)
            for j in range(outputs)
            if j != self.lowest
        )
        whole = Case(exact(self.lower), exact(self.upper), disjuncts)
        return Query(graph, data, Property(len(self.lower), outputs, (whole,)), semantics)


def exact(values: tuple[str, ...]) -> tuple[Fraction, ...]:
    return tuple(Fraction(float.fromhex(v)) for v in values)


# Found by tools/find_disagreement.py on an example network as it was trained.
AVOIDANCE = Boundary(
    "avoidance.onnx", 0,
    ("0x1.7a9558p+1", "0x1.9436a8p+0", "-0x1.930db8p-1", "0x1.b26bfep-4", "0x1.06055cp-2"),
    ("0x1.7b1558p+1", "0x1.94b6a8p+0", "-0x1.928db8p-1", "0x1.b2ebfep-4", "0x1.06855cp-2"),
    ("0x1.7a9558p+1", "0x1.94b6a8p+0", "-0x1.930db8p-1", "0x1.b2ebfep-4", "0x1.06055cp-2"),
)  # fmt: skip

# ACAS Xu 1_1 as published: 2.7e17 inputs, a margin of 1.0e-8 over the reals.
ACAS = Boundary(
    "acasxu_2023/onnx/ACASXU_run2a_1_1_batch_2000.onnx.gz", 4,
    ("0x1.5419dap-3", "0x1.da4d4ep-3", "-0x1.5f0838p-3", "-0x1.bad3d0p-2", "0x1.488762p-4"),
    ("0x1.542f1cp-3", "0x1.da6af2p-3", "-0x1.5ef248p-3", "-0x1.bab822p-2", "0x1.489becp-4"),
    ("0x1.542f1cp-3", "0x1.da4d4ep-3", "-0x1.5ef248p-3", "-0x1.bad3d0p-2", "0x1.489becp-4"),
)  # fmt: skip
