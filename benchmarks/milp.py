"""What bounds bring to MILP: `python benchmarks/milp.py SUITE [--most 100] [--timeout 20] [--filter CATEGORY]`.

For each instance of a suite whose neurons the CROWN root leaves unstable at most so many times, three ways:

    intervals   the whole query as one MILP (`encoders.whole_query`) with big-M constants from intervals, by HiGHS
    CROWN       the same with constants from CROWN, as the engine has them before any slope is optimised
    engine      `--engine milp` with a certificate: the root, trees guided by linear programs, hunts for incumbents

Of the first two: binaries, nodes, CPU seconds with those of the bounds, and what the solver said.  Its word proves
nothing: `unsat` there is its "infeasible", `sat` is said only of a point that was replayed, and `no witness` where the
solver's point was not.  Both get the same terms for rounding errors, those of CROWN, so that intervals are flattered a
little.  Of the engine: linear programs, leaves of the tree, CPU seconds, verdict; `accepted`: the certificate was
checked and accepted.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.suite import BadSuite, Instance, read_suite, select
from farkas.api import Network, chosen_semantics, load, load_property
from farkas.encoders.highs import MilpLimits, Status, solve_milp
from farkas.encoders.ranges import Range, node_ranges
from farkas.encoders.relu_network import slots
from farkas.encoders.whole_query import encode_query, hull
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.replay import Replayer
from farkas.engine.verdict import Holds
from farkas.engine.verify import verify
from farkas.ir.errors import FarkasError
from farkas.ir.linear import Vector
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.prepared import prepare
from farkas.runtime_cuda.relaxation import Relaxation
from farkas.runtime_cuda.root import Effort
from farkas.specs.tokens import decompressed as property_text

WORDS = {Status.INFEASIBLE: "unsat", Status.LIMIT: "-", Status.FAILED: "failed"}


@dataclass(frozen=True)
class Row:
    """One way on one instance.

    unstable: binaries of a MILP, for the engine the neurons left by its own root (None when a witness came before it);
    nodes: of the solver's tree, for the engine linear programs; leaves: of the engine's proof.
    """

    category: str
    onnx: str
    vnnlib: str
    expected: str
    way: str
    free: int
    unstable: int | None
    nodes: int
    leaves: int
    cpu_s: float
    answer: str
    accepted: bool


class Bounds:
    """A query's input hull, and bounds of its neurons there by CROWN and by intervals."""

    def __init__(self, query: Query) -> None:
        self.query, self.program = query, query.program
        self.box = hull(query.property, query.semantics)
        net = prepare(self.program, binary32=query.semantics.is_binary32, backend=numpy_backend())
        start = time.process_time()
        root = Relaxation(net, *self.box, lambda: None).root(Effort(steps=0))
        self.crown_s = time.process_time() - start
        self.crown: Range = np.asarray(root.lower), np.asarray(root.upper)
        self.errors = {v: np.asarray(error) for v, error in root.ground.error.items()}

    @property
    def unstable(self) -> int:
        return int(((self.crown[0] < 0) & (self.crown[1] > 0)).sum())

    def intervals(self) -> Range:
        """(N,) each, of the neurons that `slots` numbers."""
        ranges = node_ranges(self.program, *self.box, {}, self.errors)
        parts = [ranges[v] for v in slots(self.program)] or [(np.zeros(0), np.zeros(0))]
        return np.concatenate([lower for lower, _ in parts]), np.concatenate([upper for _, upper in parts])


def solved(bounds: Bounds, known: Range, timeout_s: float) -> tuple[int, int, str]:
    """(binaries, nodes, answer) of the whole query as a MILP with these bounds."""
    query = bounds.query
    whole = encode_query(bounds.program, query.property, *bounds.box, *known, bounds.errors, semantics=query.semantics)
    result = solve_milp(whole.model, MilpLimits(time_s=timeout_s))
    answer = WORDS.get(result.status, "-")
    if result.point is not None:
        answer = "sat" if _replays(query, whole.inputs(result.point), whole.choice(result.point)[0]) else "no witness"
    return len(whole.encoding.binary), max(0, result.nodes), answer


def _replays(query: Query, point: Vector, case: int) -> bool:
    """Whether the nearest point of the case's set violates, exactly."""
    near = np.clip(point, *query.sets.points[case])
    replayer = Replayer(query.graph, query.program, query.network, query.semantics)
    return replayer.attempt(case, query.property.cases[case], near) is not None


def measured(instance: Instance, most: int, timeout_s: float) -> list[Row]:
    """The rows of one instance, none if its root leaves too many neurons; raises FarkasError where none can be read."""
    net = load(instance.network)
    query = _query(net, instance)
    if not query.semantics.is_binary32 and query.semantics.value != "real":
        return []
    bounds = Bounds(query)
    if bounds.unstable > most or not np.isfinite(bounds.crown).all():
        return []
    free = int((bounds.box[1] > bounds.box[0]).sum())
    names = (instance.category, instance.onnx, instance.vnnlib, instance.expected)
    rows = []
    for way in ("intervals", "CROWN"):
        start = time.process_time()
        known = bounds.crown if way == "CROWN" else bounds.intervals()
        binaries, nodes, answer = solved(bounds, known, timeout_s)
        spent = time.process_time() - start + (bounds.crown_s if way == "CROWN" else 0.0)
        rows.append(Row(*names, way, free, binaries, nodes, 0, spent, answer, False))
    start = time.process_time()
    verdict = verify(query, Options(timeout_s=timeout_s, certify=True, engines=frozenset({"milp"})))
    spent = time.process_time() - start
    told = verdict.statistics
    accepted = isinstance(verdict, Holds) and verdict.evidence == "certified"
    leaves = verdict.tree.leaves if isinstance(verdict, Holds) else 0
    word = verdict.word if verdict.word in ("sat", "unsat") else "-"
    rows.append(Row(*names, "engine", free, told.unstable, told.programs, leaves, spent, word, accepted))
    return rows


def _query(net: Network, instance: Instance) -> Query:
    text = property_text(instance.query.read_bytes())
    return Query(net.graph, net.data, load_property(text, net), chosen_semantics(net, None), text)


def _line(row: Row) -> str:
    name = f"{row.category}: {Path(row.onnx).name.removesuffix('.gz')} {Path(row.vnnlib).name.removesuffix('.gz')}"
    end = f"{row.leaves} leaves{', accepted' if row.accepted else ''}" if row.way == "engine" else ""
    unstable = "-" if row.unstable is None else row.unstable
    return f"{row.way:>9} {unstable:>5} {row.nodes:>8} {row.cpu_s:>8.2f} s  {row.answer:<6} {name}  {end}".rstrip()


def _summary(rows: Sequence[Row]) -> list[str]:
    """One line a way: decided, nodes and seconds over all, and over the instances that every way decided."""
    instances: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        instances.setdefault((row.category, row.onnx, row.vnnlib), {})[row.way] = row
    decided = ("sat", "unsat")
    common = [ways for ways in instances.values() if all(row.answer in decided for row in ways.values())]
    lines = [f"{len(instances)} instances, {len(common)} of them decided every way"]
    for way in ("intervals", "CROWN", "engine"):
        mine, shared = [ways[way] for ways in instances.values()], [ways[way] for ways in common]
        lines.append(
            f"{way:>9}: {sum(row.answer in decided for row in mine)} decided in {sum(r.cpu_s for r in mine):.1f} s; "
            f"of those decided every way {sum(r.nodes for r in shared)} nodes, {sum(r.unstable or 0 for r in shared)} "
            f"unstable, {sum(r.cpu_s for r in shared):.1f} s"
        )
    proofs = [ways["engine"] for ways in instances.values() if ways["engine"].answer == "unsat"]
    lines.append(f"certificates: {sum(row.accepted for row in proofs)} of {len(proofs)} unsat accepted")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What bounds bring to MILP.")
    add = parser.add_argument
    add("suite", type=Path, metavar="SUITE", help="CSV file with the columns onnx, vnnlib, category")
    add("--filter", action="append", default=[], metavar="CATEGORY", help="only these categories")
    add("--every", type=int, default=1, metavar="N", help="only every N-th instance of a category")
    add("--most", type=int, default=100, metavar="N", help="unstable neurons at the CROWN root (default 100)")
    add("--timeout", type=float, default=20.0, metavar="S", help="of each way on an instance (default 20)")
    add("--out", type=Path, metavar="FILE", help="the rows as CSV")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; the exit code."""
    args = _parser().parse_args(arguments)
    try:
        instances = select(read_suite(args.suite), args.filter, args.every)
    except BadSuite as error:
        print(f"milp.py: {error}", file=sys.stderr)
        return 2
    found: list[Row] = []
    for instance in instances:
        try:
            rows = measured(instance, args.most, args.timeout)
        except FarkasError as error:
            print(f"{instance.name}: {error}", file=sys.stderr)
            continue
        found += rows
        for row in rows:
            print(_line(row), flush=True)
    print("\n".join(_summary(found)))
    if args.out is not None:
        with args.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
