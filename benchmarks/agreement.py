"""Do all ways of deciding agree?  Random small networks and properties, every engine by itself, one table.

    python benchmarks/agreement.py [--count 200] [--seed 0] [--timeout 10] [--fp 20]

Each question is put to input splitting, ReLU splitting, MILP, and SMT over the reals (z3 natively, and through pySMT),
in `real` and, but for the latter two, in `f32-any`; the first `--fp` of the smallest kind also to SMT with the theory
of floating-point numbers in one order.  The table counts answers and CPU seconds by engine; a disagreement is two
engines that decide the same question in the same semantics differently, or a single order that contradicts `f32-any`.
Exit code 1 when there is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.trusted import WORDS
from farkas.engine.verify import verify
from farkas.ir.core import run_float
from farkas.ir.lowering import lower
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Atom, Case, Property, Semantics

ORDER = Semantics.MLAS_K256_FMA
SHAPES = ((2, 4, 1), (2, 6, 2), (3, 6, 6, 2), (4, 8, 8, 2), (5, 10, 10, 3))


@dataclass(frozen=True)
class Engine:
    """One way of deciding, by itself."""

    name: str
    semantics: Semantics
    options: Options


def engines(timeout_s: float, with_fp: bool) -> Iterator[Engine]:
    trust = frozenset(WORDS)
    for semantics in (Semantics.REAL, Semantics.F32_ANY):
        for name in ("input-splitting", "relu-splitting", "milp"):
            yield Engine(name, semantics, Options(timeout_s=timeout_s, engines=frozenset({name}), trust=trust))
    for solver in ("z3", "pysmt"):
        options = Options(timeout_s=timeout_s, engines=frozenset({"lra"}), trust=trust, smt_solver=solver)
        yield Engine(f"lra ({solver})", Semantics.REAL, options)
    if with_fp:
        yield Engine("smt-fp", ORDER, Options(timeout_s=timeout_s, engines=frozenset({"smt-fp"}), trust=trust))


def network(rng: np.random.Generator, sizes: Sequence[int]) -> bytes:
    """Gemm layers with a Relu between them, full-length binary32 weights."""
    nodes, tensors, value = [], [], "x"
    for i, (k, m) in enumerate(pairwise(sizes)):
        weight = (rng.standard_normal((m, k)) * np.sqrt(2 / k)).astype(np.float32)
        bias = (0.3 * rng.standard_normal(m)).astype(np.float32)
        tensors += [numpy_helper.from_array(weight, f"w{i}"), numpy_helper.from_array(bias, f"b{i}")]
        last = i == len(sizes) - 2
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], ["y" if last else f"z{i}"], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [f"z{i}"], [f"a{i}"]))
        value = f"a{i}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", sizes[0]), ("y", sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "random", ends[:1], ends[1:], tensors)
    return onnx.ModelProto(
        graph=graph, ir_version=8, opset_import=[helper.make_opsetid("", 13)]
    ).SerializeToString()  # fmt: skip


def question(rng: np.random.Generator, data: bytes, inputs: int, outputs: int) -> Property:
    """One or two disjuncts of one or two atoms, with thresholds about where the outputs' range ends."""
    program = lower(load_onnx(data))
    centre, radius = rng.uniform(-1, 1, inputs), rng.uniform(0.1, 1.0, inputs)
    lower_end, upper_end = (np.round(v, 3) for v in (centre - radius, centre + radius))
    x = rng.uniform(lower_end, upper_end, (4000, inputs))
    y = np.asarray(run_float(program, x)[program.output])

    def atom() -> Atom:
        row = rng.integers(-3, 4, outputs)
        row[rng.integers(outputs)] = rng.choice([-1, 1])
        values = y @ row
        low, high = values.min(), values.max()
        threshold = low + (high - low) * rng.choice([-0.2, -0.05, -0.01, 0.0, 0.01, 0.05, 0.3])
        terms = tuple((j, Fraction(int(v))) for j, v in enumerate(row) if v)
        return Atom((), terms, Fraction(round(float(threshold), 4)).limit_denominator(10**4), bool(rng.random() < 0.2))

    disjuncts = tuple(tuple(atom() for _ in range(rng.integers(1, 3))) for _ in range(rng.integers(1, 3)))
    low, high = (tuple(Fraction(round(float(v) * 1000), 1000) for v in end) for end in (lower_end, upper_end))
    return Property(inputs, outputs, (Case(low, high, disjuncts),))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--fp", type=int, default=20)
    args = parser.parse_args()
    words: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, list[float]] = defaultdict(list)
    disagreements = 0
    for number in range(args.count):
        rng = np.random.default_rng((args.seed, number))
        sizes = SHAPES[number % len(SHAPES)]
        data = network(rng, sizes)
        asked = question(rng, data, sizes[0], sizes[-1])
        graph = load_onnx(data)
        found: dict[Semantics, set[str]] = defaultdict(set)
        for engine in engines(args.timeout, number % len(SHAPES) == 0 and number < args.fp * len(SHAPES)):
            start = time.process_time()
            verdict = verify(Query(graph, data, asked, engine.semantics), engine.options)
            label = f"{engine.name}, {engine.semantics.value}"
            seconds[label].append(time.process_time() - start)
            words[label][verdict.word] += 1
            if verdict.word in ("sat", "unsat"):
                found[engine.semantics].add(verdict.word)
        if "unsat" in found[Semantics.F32_ANY]:
            found[ORDER].add("unsat")
        for semantics, answers in found.items():
            if len(answers) > 1:
                disagreements += 1
                print(f"disagreement: network {number}, {semantics.value}: {', '.join(sorted(answers))}")
    print(f"{'engine, semantics':40} {'sat':>5} {'unsat':>6} {'open':>5} {'CPU s median':>13} {'max':>7}")
    for label, counts in words.items():
        undecided = sum(counts.values()) - counts["sat"] - counts["unsat"]
        median, most = np.median(seconds[label]), max(seconds[label])
        print(f"{label:40} {counts['sat']:5} {counts['unsat']:6} {undecided:5} {median:13.3f} {most:7.2f}")
    print(f"{args.count} networks and properties, {disagreements} disagreements")
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
