"""Finds a box on which a network obeys an argmin property over the reals and breaks it in binary32.

    python -m tools.find_disagreement examples/networks/avoidance.onnx --lower -1,..  --upper 1,.. [--seed N]

Two random inputs with different lowest outputs enclose a decision boundary; bisection goes to it.  Among the binary32
points around it, one is wanted at which the exact margin (rationals) is positive and every binary32 execution at hand
(three orders, onnxruntime) has another output lowest.  From there the box grows, input by input, in the direction in
which the margin rises, as far as input splitting over the reals still proves the property.  Near a boundary about one
point in thirty has such a disagreement, so this takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.runtime import Runtime
from farkas.engine.verdict import Holds
from farkas.engine.verify import verify
from farkas.ir.algebra import Rational
from farkas.ir.binary32 import ORDERS
from farkas.ir.core import run_float
from farkas.ir.execute import execute
from farkas.ir.graph import Graph
from farkas.ir.lowering import lower
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Atom, Case, Property, Semantics

Vector = npt.NDArray[np.float64]
AROUND = 400  # binary32 points tried at each boundary
ULPS = 64  # how far they lie
GROWTH = (2**14, 2**12, 2**10, 2**8, 2**6)  # ulps by which a side of the box is tried to grow


def exact_outputs(graph: Graph, point: npt.NDArray[np.float32]) -> list[Fraction]:
    inputs = np.array([Fraction(float(v)) for v in point], dtype=object)
    return list(graph.evaluate(Rational(), {graph.inputs[0][0]: inputs})[graph.outputs[0]].ravel())


def lowest_is(number: int, outputs: int, lower: Vector, upper: Vector) -> Property:
    """Unsafe where another output is at or below output `number`."""
    disjuncts = tuple(
        (Atom((), tuple(sorted([(j, Fraction(1)), (number, Fraction(-1))])), Fraction(0)),)
        for j in range(outputs)
        if j != number
    )
    box = tuple(tuple(Fraction(float(v)) for v in end) for end in (lower, upper))
    return Property(len(lower), outputs, (Case(box[0], box[1], disjuncts),))


def holds(graph: Graph, data: bytes, number: int, lower: Vector, upper: Vector) -> bool:
    """Whether the engine proves over the reals that output `number` is the lowest in the whole box."""
    outputs = int(np.prod(graph.shapes[graph.outputs[0]]))
    query = Query(graph, data, lowest_is(number, outputs, lower, upper), Semantics.REAL)
    return isinstance(verify(query, Options(timeout_s=2.0)), Holds)


def search(path: Path, low: Vector, high: Vector, seed: int) -> tuple[int, Vector, Vector, Vector] | None:
    """(number of the output that is lowest over the reals, lower, upper, point that breaks it)."""
    data = path.read_bytes()
    graph = load_onnx(data)
    program, runtime = lower(graph), Runtime(data)
    rng = np.random.default_rng(seed)

    def lowest(x: Vector) -> int:
        return int(np.argmin(run_float(program, x)[program.output]))

    for _ in range(2000):
        a, b = rng.uniform(low, high), rng.uniform(low, high)
        if lowest(a) == lowest(b):
            continue
        for _ in range(60):
            middle = 0.5 * (a + b)
            a, b = (middle, b) if lowest(middle) == lowest(a) else (a, middle)
        number = lowest(a)
        base = a.astype(np.float32)
        for _ in range(AROUND):
            point = (base + rng.integers(-ULPS, ULPS + 1, len(base)) * np.spacing(base)).astype(np.float32)
            runs = [execute(graph, point, order).ravel() for order in ORDERS] + [runtime.run(point).ravel()]
            if not all(np.delete(y, number).min() < y[number] for y in runs):
                continue
            values = exact_outputs(graph, point)
            if min(v for j, v in enumerate(values) if j != number) <= values[number]:
                continue
            lower_end, upper_end = grown(graph, data, program, number, point.astype(np.float64))
            if (lower_end < upper_end).all():
                return number, lower_end, upper_end, point.astype(np.float64)
    return None


def grown(graph: Graph, data: bytes, program: object, number: int, point: Vector) -> tuple[Vector, Vector]:
    """The box from the point in the directions in which the margin rises, as far as it is proved."""
    lower_end, upper_end = point.copy(), point.copy()
    for steps in GROWTH:
        for i in range(len(point)):
            for sign in (-1.0, 1.0):
                near, far = lower_end.copy(), upper_end.copy()
                ulp = float(np.spacing(np.float32(point[i])))
                side = near if sign < 0 else far
                if side[i] != point[i]:
                    continue
                side[i] = float(np.float32(point[i] + sign * steps * abs(ulp)))
                if (near[i] == point[i] or far[i] == point[i]) and holds(graph, data, number, near, far):
                    lower_end, upper_end = near, far
    return lower_end, upper_end


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--lower", required=True, help="comma-separated")
    parser.add_argument("--upper", required=True, help="comma-separated")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    low, high = (np.array([float(v) for v in text.split(",")]) for text in (args.lower, args.upper))
    found = search(args.network, low, high, args.seed)
    if found is None:
        print("none found; try another seed")
        return 1
    number, lower_end, upper_end, point = found
    print(f"output {number} is the lowest over the reals, but not in binary32 at the point")
    for name, values in (("lower", lower_end), ("upper", upper_end), ("point", point)):
        print(f"{name} = {[float(v).hex() for v in values]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
