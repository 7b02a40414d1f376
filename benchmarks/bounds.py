"""Bounds at the root, method by method: `python benchmarks/bounds.py SUITE [--filter CATEGORY] [--every N]`.

For each instance of a suite the margin of its hardest disjunct over the first case's whole box, and what it took:

    IBP         intervals forward, in plain float64
    CROWN       one backward row for each neuron that intervals leave open, then one for each atom
    alpha N     the same with slopes optimised by N steps, the neurons' rows and the atoms' alike
    LP          the triangle relaxation over the neurons' bounds of the method before it, solved to the end

The margin is the least, over the box, of an atom's left-hand side minus its threshold; above 0 it refutes the atom, and
a disjunct is refuted with any of its atoms (the best one counts).  The hardest disjunct is that of CROWN.  Seconds are
those of the method by itself, the bounds that it starts from included but for the LP's; an LP that did not end in time
has -inf.  All but IBP are bounds of every binary32 execution when the network computes in binary32.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt

from benchmarks.suite import BadSuite, Instance, read_suite, select
from farkas.api import chosen_semantics, load, load_property
from farkas.encoders.highs import RelaxedSolver
from farkas.encoders.relu_network import encode
from farkas.encoders.subproblem import Atoms, ask
from farkas.engine.problem import Family
from farkas.engine.query import Query
from farkas.ir.core import Affine, Input, Program, Relu
from farkas.ir.errors import FarkasError
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.prepared import prepare
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.runtime_cuda.root import Effort, Root

Vector = npt.NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One method on one instance; unstable: neurons that its bounds leave open."""

    category: str
    onnx: str
    vnnlib: str
    disjunct: int
    method: str
    margin: float
    seconds: float
    unstable: int


def interval_margins(program: Program, family: Family) -> tuple[Vector, int]:
    """(R,) by intervals for the family's first case, and how many neurons they leave open."""
    low: list[Vector] = []
    high: list[Vector] = []
    unstable = 0
    for node in program.nodes:
        match node:
            case Input():
                low.append(family.lower[0])
                high.append(family.upper[0])
            case Relu(source=source):
                unstable += int(((low[source] < 0) & (high[source] > 0)).sum())
                low.append(np.maximum(low[source], 0.0))
                high.append(np.maximum(high[source], 0.0))
            case Affine():
                middle, radius = node.bias, np.zeros_like(node.bias)
                for term in node.terms:
                    l, u = low[term.source], high[term.source]
                    middle = middle + term.map.mv(0.5 * (l + u))
                    radius = radius + term.map.absolute().mv(0.5 * (u - l))
                low.append(middle - radius)
                high.append(middle + radius)
    least = _least(family.y_rows, low[program.output], high[program.output])
    if family.x_rows is not None:
        least = least + _least(family.x_rows, family.lower[0], family.upper[0])
    return least - family.thresholds[0], unstable


def _least(rows: Vector, low: Vector, high: Vector) -> Vector:
    return np.asarray(np.maximum(rows, 0.0) @ low + np.minimum(rows, 0.0) @ high)


class Table:
    """The methods on one query's first family and case."""

    def __init__(self, query: Query, limit_s: float) -> None:
        self.query, self.limit_s = query, limit_s
        self.family = query.families[0]
        binary32 = query.semantics.is_binary32
        self.net = prepare(query.program, binary32=binary32, backend=numpy_backend())
        self.unstable = 0

    def by_intervals(self) -> Vector:
        margins, self.unstable = interval_margins(self.query.program, self.family)
        return margins

    def by_rows(self, steps: int) -> tuple[Vector, Relaxation, Root]:
        """(R,) margins by backward rows with so many steps of slope optimisation."""
        family = self.family
        relaxation = Relaxation(self.net, family.lower[0], family.upper[0], lambda: None)
        root = relaxation.root(Effort(seconds=self.limit_s, steps=steps))
        count = len(family.thresholds[0])
        lower, upper = (np.repeat(bound[None], count, axis=0) for bound in (root.lower, root.upper))
        found = relaxation.optimise(lower, upper, family.y_rows, family.x_rows, None, None, steps)
        self.unstable = int(((root.lower < 0) & (root.upper > 0)).sum())
        return found.value - family.thresholds[0], relaxation, root

    def by_program(self, relaxation: Relaxation, root: Root, disjunct: int) -> float:
        """The best atom of one disjunct over the triangle relaxation."""
        family, program = self.family, self.query.program
        errors = {v: np.asarray(error) for v, error in root.ground.error.items()}
        box = family.lower[0], family.upper[0]
        encoding = encode(program, *box, root.lower, root.upper, errors)
        best = -np.inf
        for r in family.disjuncts[disjunct]:
            x_rows = None if family.x_rows is None else family.x_rows[r : r + 1]
            atoms = Atoms.of(family.y_rows[r : r + 1], x_rows, family.thresholds[0][r : r + 1], program.input_size)
            solver = RelaxedSolver(ask(encoding, program.output, atoms).model)
            best = max(best, solver.solve(self.limit_s).objective * float(atoms.scale[0]))
        return best

    def rows(self, steps: Sequence[int]) -> Iterator[tuple[str, float, float, int, int]]:
        """Method, margin, seconds, unstable neurons, disjunct."""
        first = self._timed(self.by_intervals)
        intervals, interval_s, interval_open = *first, self.unstable
        (crown, relaxation, root), crown_s = self._timed(partial(self.by_rows, 0))
        best = [max((crown[r] for r in atoms), default=-np.inf) for atoms in self.family.disjuncts]
        hardest = int(np.argmin(best))

        def margin(values: Vector) -> float:
            return float(max(values[r] for r in self.family.disjuncts[hardest]))

        yield "IBP", margin(intervals), interval_s, interval_open, hardest
        yield "CROWN", margin(crown), crown_s, self.unstable, hardest
        for count in steps:
            (values, relaxation, root), seconds = self._timed(partial(self.by_rows, count))
            yield f"alpha {count}", margin(values), seconds, self.unstable, hardest
        value, seconds = self._timed(partial(self.by_program, relaxation, root, hardest))
        yield "LP", value, seconds, self.unstable, hardest

    @staticmethod
    def _timed(action: Callable[[], T]) -> tuple[T, float]:
        start = time.process_time()
        value = action()
        return value, time.process_time() - start


def measured(instance: Instance, steps: Sequence[int], limit_s: float) -> Iterator[Row]:
    """The rows of one instance.  Raises FarkasError where it cannot be read."""
    net = load(instance.network)
    query = Query(net.graph, net.data, load_property(instance.query, net), chosen_semantics(net, None))
    if not query.families or not any(query.families[0].disjuncts):
        return
    for method, margin, seconds, unstable, disjunct in Table(query, limit_s).rows(steps):
        yield Row(instance.category, instance.onnx, instance.vnnlib, disjunct, method, margin, seconds, unstable)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Bounds at the root, method by method.")
    add = parser.add_argument
    add("suite", type=Path, metavar="SUITE", help="CSV file with the columns onnx, vnnlib, category")
    add("--filter", action="append", default=[], metavar="CATEGORY", help="only these categories")
    add("--every", type=int, default=1, metavar="N", help="only every N-th instance of a category")
    add("--count", type=int, metavar="N", help="at most so many instances of a category")
    add("--steps", type=int, nargs="+", default=[20, 100], metavar="N", help="of slope optimisation (default 20 100)")
    add("--limit", type=float, default=60.0, metavar="S", help="for the neurons' rows, and for each LP (default 60)")
    add("--out", type=Path, metavar="FILE", help="the rows as CSV")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; the exit code."""
    args = _parser().parse_args(arguments)
    try:
        instances = select(read_suite(args.suite), args.filter, args.every)
    except BadSuite as error:
        print(f"bounds.py: {error}", file=sys.stderr)
        return 2
    found: list[Row] = []
    seen: dict[str, int] = {}
    for instance in instances:
        seen[instance.category] = seen.get(instance.category, 0) + 1
        if args.count is not None and seen[instance.category] > args.count:
            continue
        try:
            for row in measured(instance, args.steps, args.limit):
                found.append(row)
                print(_line(row), flush=True)
        except FarkasError as error:
            print(f"{instance.name}: {error}", file=sys.stderr)
    if args.out is not None:
        with args.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in found)
    return 0


def _line(row: Row) -> str:
    name = f"{row.category}: {Path(row.onnx).name} {Path(row.vnnlib).name}"
    return f"{row.method:>9}  {row.margin:>12.6g}  {row.seconds:>9.3f} s  {row.unstable:>7} open  {name}"


if __name__ == "__main__":
    sys.exit(main())
