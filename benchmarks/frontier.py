"""How far floating-point SMT reaches, and how far the engine does: `python benchmarks/frontier.py [--limit 60]`.

Networks n-k-1 with seeded random weights (one hidden layer of k neurons), inputs in [-1, 1], and the question whether
y >= c.  With M the exact maximum over the reals and R the range of y, c = M + m R asks for `unsat` and c = M - m R for
`sat`, at the relative margin m.

The maximum is found by HiGHS as a mixed-integer program and then made exact: the optimum is a vertex of its piece, so
the box sides and hyperplanes that are tight there are solved for it in rationals.

Two tables come out.  Seconds of CPU time at m = 5 %: those that each solver needs for the raw formula (one order, no
bounds) or, with --presolve, for that with float-exact bounds (`+` in the table), and those that the engine needs in
`f32-any`.  And the least m of 1e-1 .. 1e-8 at which the engine still decides, either way.  A solver that decides no
question of one size is not asked about larger ones; one has four times its CPU limit on the wall clock.  One seed for
each size: read factors, not digits.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import highspy
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from farkas.encoders.fp_solvers import Limits, decide_fp, installed_solvers
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verify import verify
from farkas.ir.algebra import Rational, exact
from farkas.ir.binary32 import ORDERS
from farkas.ir.graph import Graph
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Atom, Case, Property, Semantics

Float32 = npt.NDArray[np.float32]
Exact = tuple[Fraction, ...]
SIZES = ((2, 5), (5, 5), (5, 10), (10, 10))
MARGIN = Fraction(1, 20)
MARGINS = tuple(Fraction(1, 10**k) for k in range(1, 9))


@dataclass(frozen=True, eq=False)
class Net:
    """y = v relu(W x + b) + d: W (k, n), b (k,), v (1, k), d (1,)."""

    w: Float32
    b: Float32
    v: Float32
    d: Float32

    @staticmethod
    def random(inputs: int, neurons: int, seed: int) -> Net:
        rng = np.random.default_rng([inputs, neurons, seed])
        shapes = ((neurons, inputs), (neurons,), (1, neurons), (1,))
        return Net(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))

    @property
    def name(self) -> str:
        return f"{self.w.shape[1]}-{self.w.shape[0]}-1"

    @cached_property
    def onnx(self) -> bytes:
        constants = [numpy_helper.from_array(getattr(self, name), name) for name in ("w", "b", "v", "d")]
        nodes = [
            helper.make_node("Gemm", ["x", "w", "b"], ["z"], transB=1),
            helper.make_node("Relu", ["z"], ["a"]),
            helper.make_node("Gemm", ["a", "v", "d"], ["y"], transB=1),
        ]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, self.w.shape[1]])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])
        graph = helper.make_graph(nodes, "frontier", [x], [y], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        return bytes(model.SerializeToString())

    @cached_property
    def graph(self) -> Graph:
        return load_onnx(self.onnx)

    def value(self, x: Exact) -> Fraction:
        """y over the reals."""
        values = self.graph.evaluate(Rational(), {"x": np.array(x, dtype=object)})
        return Fraction(values["y"].ravel()[0])

    @cached_property
    def ends(self) -> tuple[Fraction, Fraction]:
        """Least and greatest y over the reals."""
        return self.value(self._extreme(-1)), self.value(self._extreme(1))

    def _extreme(self, sign: int) -> Exact:
        """Where sign y is greatest."""
        n = self.w.shape[1]
        h = highspy.Highs()
        h.setOptionValue("output_flag", False)
        h.setOptionValue("mip_rel_gap", 0.0)
        h.setOptionValue("mip_abs_gap", 1e-12)
        x = [h.addVariable(-1.0, 1.0) for _ in range(n)]
        total: Any = 0.0
        for w, b, v in zip(self.w.astype(float), self.b.astype(float), self.v[0].astype(float), strict=True):
            reach = float(abs(w).sum())
            low, high = min(b - reach, 0.0), max(b + reach, 0.0)
            a, on = h.addVariable(0.0, high), h.addBinary()
            z = sum(float(c) * xi for c, xi in zip(w, x, strict=True)) + float(b)
            h.addConstr(a - z >= 0)
            h.addConstr(a - z - low * on <= -low)
            h.addConstr(a - high * on <= 0)
            total = total + float(sign * v) * a
        h.maximize(total)
        point = np.array([h.variableValue(xi) for xi in x])
        return self._vertex(point)

    def _vertex(self, point: npt.NDArray[np.float64]) -> Exact:
        """The exact point where all sides and hyperplanes meet that are tight at `point`."""
        n = point.size
        rows = [(*(Fraction(int(i == j)) for j in range(n)), Fraction(round(point[i]))) for i in range(n)
                if abs(abs(point[i]) - 1) < 1e-6]  # fmt: skip
        z = self.w.astype(float) @ point + self.b
        tight = [j for j in range(z.size) if abs(z[j]) < 1e-6]
        rows += [(*exact(self.w[j]), -Fraction(float(self.b[j]))) for j in tight]
        return solve(rows, n)


def solve(rows: list[tuple[Fraction, ...]], n: int) -> Exact:
    """The solution of n independent ones among linear equations (coefficients, right-hand side)."""
    kept: list[list[Fraction]] = []
    pivots: list[int] = []
    for row in rows:
        rest = list(row)
        for pivot, other in zip(pivots, kept, strict=True):
            rest = [a - rest[pivot] * b for a, b in zip(rest, other, strict=True)]
        nonzero = [j for j in range(n) if rest[j]]
        if nonzero:
            pivot = nonzero[0]
            rest = [a / rest[pivot] for a in rest]
            kept = [[a - other[pivot] * b for a, b in zip(other, rest, strict=True)] for other in kept]
            kept.append(rest)
            pivots.append(pivot)
    assert len(kept) == n, f"{len(kept)} of {n} independent equations: not a vertex"
    return tuple(kept[pivots.index(j)][n] for j in range(n))


@dataclass(frozen=True)
class Row:
    """One measurement; decider: a solver, with `+` for presolve, or `engine`."""

    network: str
    wanted: str
    margin: float
    decider: str
    answer: str
    cpu_s: float


def question(net: Net, wanted: str, margin: Fraction) -> Case:
    """Whether y reaches the maximum plus, or minus, a part of the range; 15 decimals."""
    least, most = net.ends
    limit = most + (margin if wanted == "unsat" else -margin) * (most - least)
    limit = Fraction(round(limit * 10**15), 10**15)
    n = net.w.shape[1]
    return Case((Fraction(-1),) * n, (Fraction(1),) * n, ((Atom((), ((0, Fraction(-1)),), -limit),),))


def by_engine(net: Net, wanted: str, margin: Fraction, limit_s: float) -> Row:
    prop = Property(net.w.shape[1], 1, (question(net, wanted, margin),))
    query = Query(net.graph, net.onnx, prop, Semantics.F32_ANY)
    start = _cpu_s()
    verdict = verify(query, Options(timeout_s=limit_s))
    return Row(net.name, wanted, float(margin), "engine", verdict.word, _cpu_s() - start)


def _cpu_s() -> float:
    """Of this process and those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def by_solver(net: Net, wanted: str, engine: str, order: str, limit_s: float, *, presolve: bool) -> Row:
    limits = Limits(4 * limit_s, processes=1, cpu_s=limit_s)
    case = question(net, wanted, MARGIN)
    decision = decide_fp(
        net.graph, case, order, limits, engines=[engine], presolve=(presolve,), cross_check=False
    )  # fmt: skip
    name = engine + ("+" if presolve else "")
    return Row(net.name, wanted, float(MARGIN), name, decision.answer, sum(run.cpu_s for run in decision.runs))


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """The engine's rows for all sizes and margins, then the solvers'."""
    nets = [Net.random(n, k, options.seed) for n, k in options.sizes]
    by_engine(nets[0], "sat", MARGIN, options.limit)  # loads what the engine loads, onnxruntime among it
    for net in nets:
        for margin in (MARGIN, *MARGINS):
            for wanted in ("unsat", "sat"):
                yield by_engine(net, wanted, margin, options.engine_limit)
    for engine in options.solvers:
        for presolve in {"no": (False,), "yes": (True,), "both": (False, True)}[options.presolve]:
            for net in nets:
                answers = []
                for wanted in ("unsat", "sat"):
                    row = by_solver(net, wanted, engine, options.order, options.limit, presolve=presolve)
                    answers.append(row.answer)
                    yield row
                if answers == ["unknown", "unknown"]:
                    break  # larger ones are not tried


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Both tables as text."""
    deciders = list(dict.fromkeys(row.decider for row in rows))
    networks = list(dict.fromkeys(row.network for row in rows))
    cells = {(row.network, row.wanted, row.decider, row.margin): row for row in rows}
    yield "| network | " + " | ".join(f"{d} {w}" for d in deciders for w in ("unsat", "sat")) + " |"
    yield "|---" * (1 + 2 * len(deciders)) + "|"
    for network in networks:
        shown = [cells.get((network, w, d, float(MARGIN))) for d in deciders for w in ("unsat", "sat")]
        yield f"| {network} | " + " | ".join(_cell(row) for row in shown) + " |"
    yield ""
    yield "| network | least margin, unsat | CPU s | least margin, sat | CPU s |"
    yield "|---" * 5 + "|"
    for network in networks:
        parts = []
        for wanted in ("unsat", "sat"):
            own = [row for row in rows if (row.network, row.wanted, row.decider) == (network, wanted, "engine")]
            decided = [row for row in own if row.answer == wanted]
            least = min(decided, key=lambda row: row.margin, default=None)
            parts += ["-", ""] if least is None else [f"{least.margin:.0e}", f"{least.cpu_s:.2f}"]
        yield f"| {network} | " + " | ".join(parts) + " |"


def _cell(row: Row | None) -> str:
    if row is None:
        return "not tried"
    return f"{row.cpu_s:.2f}" if row.answer == row.wanted else f"{row.answer} ({row.cpu_s:.0f})"


def _sizes(text: str) -> tuple[int, int]:
    n, k, one = text.split("-")
    if one != "1":
        raise argparse.ArgumentTypeError(f"'{text}' is no size of the form N-K-1")
    return int(n), int(k)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=60.0, help="CPU seconds of a solver for one formula")
    parser.add_argument("--engine-limit", type=float, default=10.0, help="seconds of the engine for one query")
    parser.add_argument("--sizes", type=_sizes, nargs="*", default=SIZES, metavar="N-K-1")
    parser.add_argument("--solvers", nargs="*", default=installed_solvers())
    parser.add_argument("--order", choices=ORDERS, default="seq-muladd")
    parser.add_argument("--presolve", choices=("no", "yes", "both"), default="no", help="bounds in the formula")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="file for all rows")
    options = parser.parse_args(arguments)
    rows = []
    for row in measure(options):
        rows.append(row)
        print(
            f"{row.network} {row.wanted} {row.margin:.0e} {row.decider}: {row.answer} {row.cpu_s:.2f}", file=sys.stderr
        )
    if options.csv is not None:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    print("\n".join(tables(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
