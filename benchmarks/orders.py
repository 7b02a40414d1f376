"""One declared order: how fast, and how tight, by order: `python benchmarks/orders.py NET.onnx QUERY.vnnlib`.

For the first case of the property, over its box:

    points        runs of points at random, a CPU second
    boxes         runs of boxes (float-exact intervals), a CPU second
    any, order    the largest error of an output that the bounds of CROWN grant to every execution, and to this order;
                  the difference of the outputs' lower bounds over the reals and in binary32
    observed      the largest distance met between a run in this order and the reals, at random points

Rates are of the compiled kernel where it fits the network (`kernel` is 1).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from dataclasses import replace as changed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt

from farkas.api import load, load_property
from farkas.engine.ladder import Piece
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.rung_order_terms import order_terms_rung
from farkas.ir.binary32 import ORDERS, Float32
from farkas.ir.core import run_float
from farkas.ir.errors import FarkasError
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.crown import ADAPTIVE, Propagator
from farkas.runtime_cuda.enumeration import Executor, executor
from farkas.runtime_cuda.prepared import prepare
from farkas.specs.boxes import binary32_box
from farkas.specs.query import Semantics

Vector = npt.NDArray[np.float64]
LEAST_S = 0.3  # of CPU time that a rate is measured for


@dataclass(frozen=True)
class Row:
    """One order on one query."""

    order: str
    kernel: int
    points: float
    boxes: float
    any: float
    terms: float
    observed: float


def rate(run: Callable[[], object], count: int) -> float:
    """How many of `count` things a call does are done in a CPU second."""
    calls, start = 0, time.process_time()
    while (spent := time.process_time() - start) < LEAST_S:
        run()
        calls += 1
    return calls * count / spent


def row(query: Query, runs: Executor, points: int, rng: np.random.Generator) -> Row:
    """Rates of an executor of the query's order, and errors."""
    case, order = query.property.cases[0], query.semantics.order
    assert order is not None, "an order is declared"
    box = binary32_box(case.lower, case.upper)
    x = np.clip(rng.uniform(box.lower, box.upper, (points, len(box.lower))).astype(np.float32), box.lower, box.upper)
    ends = np.minimum(x, x[::-1]), np.maximum(x, x[::-1])
    real = run_float(query.program, x.astype(np.float64))[query.program.output]
    observed = float(abs(runs.run(x).astype(np.float64) - real).max())
    grants = errors(query, box.lower, box.upper)
    speeds = rate(lambda: runs.run(x), points), rate(lambda: runs.ranges(*ends), points)
    return Row(order, int(runs.compiled), *speeds, *grants, observed)


def errors(query: Query, lower: Float32, upper: Float32) -> tuple[float, float]:
    """What bounds lose to rounding in any order, and in the declared one."""
    case = query.property.cases[0]
    rung = order_terms_rung(query, Options())
    if not rung.suits(Piece(0, case, case.lower, case.upper, ())):
        return np.nan, np.nan
    low, high = lower.astype(np.float64)[None], upper.astype(np.float64)[None]
    any_order = prepare(query.program, binary32=True, backend=numpy_backend())
    reals = prepare(query.program, binary32=False, backend=numpy_backend())
    workers = [Propagator(net) for net in (reals, any_order)] + [Propagator(rung.net, execution=rung.execution)]
    unknown, rows = np.full((1, reals.width), np.inf), np.eye(query.property.outputs)
    exact, *granted = (
        worker.bound(worker.refine(low, high, -unknown, unknown).boxes, rows, None, (ADAPTIVE,)).value[0, 0]
        for worker in workers
    )
    first, second = (float((exact - bound).max()) for bound in granted)
    return first, second


def table(query: Query, points: int, seed: int) -> Iterator[Row]:
    for order in ORDERS:
        asked = changed(query, semantics=Semantics(f"f32-order:{order}"))
        runs = executor(query.graph, order)
        if runs is not None:
            yield row(asked, runs, min(points, runs.batch * 8), np.random.default_rng(seed))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("property", type=Path)
    parser.add_argument("--points", type=int, default=4096, help="at random, default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    try:
        network = load(chosen.network)
        query = Query(network.graph, network.data, load_property(chosen.property), Semantics.F32_ANY)
        rows = list(table(query, chosen.points, chosen.seed))
    except (FarkasError, OSError) as error:
        print(f"orders: {error}", file=sys.stderr)
        return 2
    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Row)])
    writer.writeheader()
    for found in rows:
        writer.writerow({name: f"{value:.4g}" if name != "order" else value for name, value in asdict(found).items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
