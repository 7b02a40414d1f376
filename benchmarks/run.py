"""Runs a suite: `python benchmarks/run.py SUITE [--filter CATEGORY] [--timeout S] [--certify] [--out FILE]`.

A call of what `farkas bench` calls, with nothing known before, every instance solved, and what it claims looked at
from outside: a `sat` by a validator that shares no code with Farkas (witness.py), an `unsat` with --certify by `farkas
check`, each in a fresh interpreter.  Wall-clock time is that of the instance's process, which is forked from one that
has imported everything; CPU time and peak memory are the kernel's.

The results file has one row an instance, written when the instance ends.  Wrong verdicts, invalid witnesses and
rejected certificates are printed first and make the exit status 1; 2 means wrong usage.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a checkout needs no installation

from farkas.batch import command, procfs  # noqa: E402
from farkas.batch.export import COLUMNS  # noqa: E402
from farkas.batch.plan import VERIFIER, Plan  # noqa: E402
from farkas.batch.records import Result as Stored  # noqa: E402
from farkas.batch.records import Row  # noqa: E402
from farkas.batch.rows import Result, line, row_of, summary  # noqa: E402
from farkas.batch.stages import Check, verified  # noqa: E402
from farkas.batch.store import Store  # noqa: E402
from farkas.batch.suites import BadSuite, networks, query  # noqa: E402
from farkas.batch.tasks import End, Limits, Outcome, Task, last_line, printed  # noqa: E402
from farkas.batch.work import WITNESS  # noqa: E402
from farkas.specs.tokens import decompressed  # noqa: E402
from farkas.specs.vnnlib2 import is_version_2  # noqa: E402

WITNESS_LIMIT_S = 600.0
UNREAD = "unread: VNN-LIB 2.x"


class Validate:
    """The validator on the witness of a `sat`; it reads VNN-LIB 1.0."""

    def task(self, name: str, row: Row, values: Mapping[str, Any], folder: Path) -> Task | None:
        if values["verdict"] != "sat" or _is_version_2(row):
            return None
        place = verified(folder) / WITNESS
        place.touch()  # a `sat` without a witness is invalid, and says so
        script, network = str(ROOT / "benchmarks" / "witness.py"), str(networks(row)[0][1])
        words = (sys.executable, script, network, str(query(row)), values["semantics"], str(place))
        return Task(name, str(folder), Limits(WITNESS_LIMIT_S), command=words)

    def found(self, outcome: Outcome, folder: Path) -> Mapping[str, Any]:
        if outcome.end is End.ITSELF and outcome.code == 0:
            return {"witness": printed(folder, "stdout").strip()}
        return {"witness": f"not validated: {outcome.end.value or last_line(printed(folder, 'stderr'))}"}


def _is_version_2(row: Row) -> bool:
    return is_version_2(decompressed(query(row).read_bytes()))


class Writer:
    """Writes a row when an instance ends, and a line for people."""

    def __init__(self, out: TextIO, total: int) -> None:
        self.results: list[Result] = []
        self._out = out
        self._total = total
        self._rows = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        self._rows.writeheader()

    def done(self, result: Stored) -> None:
        row = row_of(result)
        assert row is not None, "an instance that is done has an attempt"
        if row.verdict == "sat" and not row.witness:
            row = replace(row, witness=UNREAD)
        self.results.append(row)
        self._rows.writerow(asdict(row))
        self._out.flush()
        self.say(f"{len(self.results)}/{self._total} {line(row)}")

    def tick(self, running: Sequence[Row], resident_bytes: int) -> None:
        pass

    def say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


def _commit() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not a checkout"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run a suite of instances, each in a process of its own.")
    add = parser.add_argument
    add("suite", type=Path, metavar="SUITE", help="as for farkas bench: a CSV file, a folder, a Python file")
    add("--filter", action="append", default=[], metavar="CATEGORY", help="only these categories")
    add("--every", type=_count, default=1, metavar="N", help="only every N-th instance of a category")
    add("--timeout", type=float, metavar="S", help="upper limit for the timeouts of the suite")
    add("--jobs", type=_count, default=1, metavar="N", help="instances at a time (default 1, at most the cores)")
    add("--certify", action="store_true", help="write certificates and check them with the accelerated tier")
    add("--semantics", metavar="MODE", help="as for farkas verify")
    add("--memory", type=float, metavar="GB", help="limit of an instance, in 2^30 bytes of resident memory")
    add("--trust", action="append", default=[], metavar="ENGINE", help="as for farkas verify")
    add("--out", type=Path, default=Path("results.csv"), metavar="FILE", help="results (default results.csv)")
    return parser


def _count(word: str) -> int:
    value = int(word)
    if value < 1:
        raise ValueError
    return value


def _plan(args: argparse.Namespace) -> Plan:
    return Plan(
        timeout_s=args.timeout, jobs=min(args.jobs, procfs.cores()), semantics=args.semantics or "",
        memory_bytes=None if args.memory is None else int(args.memory * 2**30), certify=args.certify, again=True,
        options={"trust": args.trust} if args.trust else {}, verifier=VERIFIER,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the suite; the exit code."""
    args = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "store"
        try:
            rows = command.chosen(args.suite, place, args.filter, args.every)
            out = args.out.open("w", newline="", encoding="utf-8")
        except (BadSuite, OSError) as error:
            print(f"run.py: {error}", file=sys.stderr)
            return 2
        with out, Store.open(place) as store:
            writer = Writer(out, len(rows))
            stages = (Validate(), Check())
            done = command.start(
                store, args.suite, rows, _plan(args), resume=False, stages=stages, watcher=lambda _: writer
            )
    if done.interrupted:
        print(f"interrupted after {len(writer.results)} of {len(rows)} instances", file=sys.stderr)
    print("\n".join(summary(writer.results)))
    print(f"commit {_commit()}, Python {sys.version.split()[0]}, {procfs.cores()} cores, {args.jobs} at a time")
    return 1 if any(result.complaints for result in writer.results) else 0


if __name__ == "__main__":
    sys.exit(main())
