"""int8 copies of a suite's networks, on its properties: `python benchmarks/integer.py SUITE [--timeout 30] [--solver]`.

Each float network is quantised by onnxruntime, calibrated on points of its properties' boxes, and every property is
asked of the copy in `int-exact`.  For each: the verdict with `--trust cp-sat`, CPU seconds, boxes of codes bounded and
runs of CP-SAT; of a `sat`, whether onnxruntime, asked again, gives the witness's outputs bit for bit; with `--solver`
what CP-SAT says by itself, on the bounds of the whole box and without branch and bound, and its seconds.  A copy may
well answer otherwise than the network that it was made of, whose expected answer stands beside it.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.quantise import quantised
from benchmarks.suite import BadSuite, Instance, read_suite
from farkas.api import load, load_property
from farkas.encoders.cp_sat import Answer, CpSatModel, CpSatOptions
from farkas.engine.integer_tasks import tasks
from farkas.engine.options import Options
from farkas.engine.query import Query, input_sets
from farkas.engine.runtime import Runtime
from farkas.engine.verdict import Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.errors import FarkasError
from farkas.ir.integer import IntegerProgram
from farkas.ir.integer_lowering import lower_integer
from farkas.ir.onnx_import import load_onnx
from farkas.runtime_cuda.integer_crown import IntegerPropagator
from farkas.specs.query import Property, Semantics

CALIBRATION = 64  # points a property
STYLES = {"QDQ U8U8": (False, False), "QDQ S8S8": (False, True), "QLinear U8U8": (True, False)}


@dataclass(frozen=True)
class Row:
    """One property of one copy.  float_expected: of the network it was made of; bit_exact: None without a witness."""

    network: str
    style: str
    query: str
    float_expected: str
    verdict: str
    cpu_s: float
    boxes: int
    solves: int
    bit_exact: bool | None
    solver: str = ""
    solver_s: float = 0.0


def calibration(instances: Sequence[Instance], shape: Sequence[int]) -> np.ndarray:
    """Random points of the boxes of all properties, in the network's input shape."""
    rng, points = np.random.default_rng(0), []
    for instance in instances:
        for case in load_property(instance.query).cases[:4]:
            low, high = (np.array([float(v) for v in ends]) for ends in (case.lower, case.upper))
            points.append(rng.uniform(low, high, (CALIBRATION, len(low))))
    return np.concatenate(points).reshape(-1, *shape)


def measured(instance: Instance, style: str, data: bytes, timeout_s: float, solver: bool) -> Row:
    """The verdict about one property of the copy in `data`."""
    prop = load_property(instance.query)
    query = Query(load_onnx(data), data, prop, Semantics.INT_EXACT)
    start = time.process_time()
    verdict = verify(query, Options(timeout_s=timeout_s, trust=frozenset({"cp-sat"})))
    spent = time.process_time() - start
    alone = by_solver(lower_integer(query.graph), prop, timeout_s) if solver else ("", 0.0)
    statistics = verdict.statistics
    return Row(
        instance.network.name, style, instance.query.name, instance.expected, verdict.word, spent, statistics.boxes,
        statistics.programs, bit_exact(data, verdict), *alone,
    )  # fmt: skip


def bit_exact(data: bytes, verdict: Verdict) -> bool | None:
    """Whether onnxruntime, loaded anew, gives the outputs of the witness's record."""
    if not isinstance(verdict, Violated):
        return None
    x = np.array([float(v) for v in verdict.replay.inputs], dtype=np.float32)
    outputs = Runtime(data, optimised=True, integers=True).run(x)
    return [Fraction(float(v)) for v in outputs] == list(verdict.replay.outputs)


def by_solver(program: IntegerProgram, prop: Property, timeout_s: float) -> tuple[str, float]:
    """CP-SAT's own word about all disjuncts, and its CPU seconds with those of the bounds."""
    start, sets = time.process_time(), input_sets(prop, Semantics.INT_EXACT)
    word = "unsat"
    for number, case in enumerate(prop.cases):
        for task in tasks(program, number, case, *sets.points[number]):
            codes = task.inputs.low[None], task.inputs.high[None]
            found = IntegerPropagator(program, task.inputs.low, task.inputs.high).refine(*codes)
            model = CpSatModel(program, task.inputs, [(low[0], high[0]) for low, high in found])
            for atoms in task.atoms:
                left = timeout_s - (time.process_time() - start)
                answer = model.solve(atoms, CpSatOptions(max(0.0, left))).answer
                if answer is Answer.FOUND:
                    return "sat", time.process_time() - start
                if answer is Answer.LIMIT:
                    word = "-"
    return word, time.process_time() - start


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="int8 copies of a suite's networks, on its properties")
    parser.add_argument("suite", type=Path)
    parser.add_argument("--timeout", type=float, default=30.0, metavar="S")
    parser.add_argument("--style", choices=tuple(STYLES), default="QDQ U8U8")
    parser.add_argument("--solver", action="store_true", help="CP-SAT by itself as well")
    parser.add_argument("--out", type=Path, metavar="CSV")
    args = parser.parse_args(arguments)
    try:
        instances = read_suite(args.suite)
    except BadSuite as error:
        print(f"integer.py: {error}", file=sys.stderr)
        return 2
    found: list[Row] = []
    for network in dict.fromkeys(instance.network for instance in instances):
        own = [instance for instance in instances if instance.network == network]
        try:
            source = load(network)
            operators, signed = STYLES[args.style]
            points = calibration(own, source.graph.inputs[0][1])
            data = quantised(source.data, points, operators=operators, signed=signed)
            for instance in own:
                found.append(measured(instance, args.style, data, args.timeout, args.solver))
                print(_line(found[-1]), flush=True)
        except FarkasError as error:
            print(f"{network.name}: {error}", file=sys.stderr)
    print(_summary(found))
    if args.out is not None:
        with args.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in found)
    return 0


def _line(row: Row) -> str:
    exact = {None: "", True: "bit-exact", False: "DIFFERS"}[row.bit_exact]
    alone = f"  CP-SAT alone {row.solver:>5} {row.solver_s:6.2f} s" if row.solver else ""
    return (
        f"{row.network:<16} {row.query:<36} float {row.float_expected:<6} {row.verdict:<9} {row.cpu_s:7.2f} s "
        f"{row.boxes:>7} boxes {exact:<9}{alone}"
    )


def _summary(rows: Sequence[Row]) -> str:
    words = [row.verdict for row in rows]
    witnesses = [row for row in rows if row.bit_exact is not None]
    exact = sum(row.bit_exact is True for row in witnesses)
    return (
        f"{len(rows)} queries: {words.count('unsat')} unsat, {words.count('sat')} sat, "
        f"{len(rows) - words.count('unsat') - words.count('sat')} open; {exact} of {len(witnesses)} witnesses bit-exact"
    )


if __name__ == "__main__":
    sys.exit(main())
