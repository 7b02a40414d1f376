"""`farkas bench`: a suite of instances, each in a process of its own, with a store that remembers every answer.

Standard output gets the summary, complaints first; standard error the progress.  Exit codes: 0 all instances were run
and no answer is wrong; 1 an answer is wrong (it contradicts what the suite expects, or the checker rejects its
certificate); 2 wrong usage; 130 interrupted, all that was decided being written.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from farkas.usage import COMPLETED, INTERRUPTED, UNDECIDED, Usage, command_parser, counted, emit, positive, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from farkas.batch.bench import Listener
    from farkas.batch.plan import Plan
    from farkas.batch.store import Store
    from farkas.batch.workers import Workers

STORE = "farkas-bench.sqlite"


def main(words: list[str], start: float) -> int:
    """Runs `farkas bench`."""
    from farkas.batch.connection import BadCluster
    from farkas.batch.differential import BadOther, require_others
    from farkas.batch.store import BadStore, Store
    from farkas.batch.suites import BadSuite

    args = _parser().parse_intermixed_args(words)
    _require_forks()
    plan = _plan(args)
    try:
        _require_formats(args)
        require_others(args.against, plan)
        if args.suite is None:
            return _export_only(args)
        with Store.open(args.store) as store:
            return _run(args, store, plan, words)
    except (BadCluster, BadOther, BadSuite, BadStore) as error:
        raise Usage(str(error)) from error


def _run(args: argparse.Namespace, store: Store, plan: Plan, words: list[str]) -> int:
    from farkas.batch import command
    from farkas.batch.stages import Check

    rows = command.chosen(args.suite, args.store, args.filter, memory_bytes=plan.memory_bytes)
    stages = (Check(),) if plan.certify else ()
    done = command.start(store, args.suite, rows, plan, resume=args.resume, stages=stages, cluster=_cluster(args),
                         watcher=lambda left: command.for_people(left, sys.stderr, live=not args.plain))  # fmt: skip
    with type(store).open(args.store) as fresh:  # the run may have made the store anew
        emit("\n".join([*command.told(fresh, done.run), f"run {done.run} in {args.store}"]) + "\n")
        _export(args, fresh, done.run)
        _report(args, fresh, done.run)
        wrong = command.has_complaints(fresh, done.run)
        if args.against and not done.interrupted:
            wrong |= _against(args, fresh, done.run, plan)
    if done.interrupted:
        again = shlex.join(["farkas", "bench", *(word for word in words if word != "--resume"), "--resume"])
        say(f"interrupted; everything decided is in {args.store}; to go on: {again}")
        return INTERRUPTED
    return UNDECIDED if wrong else COMPLETED


def _against(args: argparse.Namespace, store: Store, run: str, plan: Plan) -> bool:
    """Compares with the other verifiers of --against; whether the evidence is against us."""
    from farkas.batch import command
    from farkas.batch.differential import against

    bundles = args.bundles or args.store.with_name(args.store.name + ".contradictions")
    found = against(args.against, store, run, plan, bundles,
                    lambda left: command.for_people(left, sys.stderr, live=not args.plain))  # fmt: skip
    emit("".join(f"{line}\n" for one in found for line in one.lines()))
    return any(one.is_ours for one in found)


def _export_only(args: argparse.Namespace) -> int:
    """Exports the last run of a store, or the one of --run."""
    from farkas.batch.store import Store

    if not args.export and args.report is None:
        raise Usage("a SUITE is wanted, or --store FILE with --export FILE or --report DIR for a run of before")
    if not args.store.is_file():
        raise Usage(f"--store {args.store}: there is no such file")
    with Store.open(args.store) as store:
        runs = store.runs()
        if not runs:
            raise Usage(f"--store {args.store}: it has no runs")
        _export(args, store, args.run or runs[-1].id)
        _report(args, store, args.run or runs[-1].id)
    return COMPLETED


def _export(args: argparse.Namespace, store: Store, name: str) -> None:
    from farkas.batch.export import export

    run = next((run for run in store.runs() if run.id == name), None)
    if run is None:
        raise Usage(f"--run {name}: the store has {', '.join(run.id for run in store.runs())}")
    for path in args.export:
        export(store, run, path)


def _report(args: argparse.Namespace, store: Store, name: str) -> None:
    from farkas.cli_report import written

    if args.report is not None:
        written(store, args.report, name)


def _require_formats(args: argparse.Namespace) -> None:
    from farkas.batch.export import NoFormat, writer
    from farkas.cli_verify import require_writable

    for path in args.export:
        require_writable("--export", str(path))
        try:
            writer(path)
        except NoFormat as error:
            raise Usage(f"--export {error}") from error
    require_writable("--store", str(args.store))


def _require_forks() -> None:
    if not hasattr(os, "fork"):
        raise Usage("bench forks its workers, which this system cannot; it runs on Linux")


def _plan(args: argparse.Namespace) -> Plan:
    from farkas import api
    from farkas.batch.plan import Plan
    from farkas.batch.procfs import cores

    if args.semantics:
        api.parse_semantics(args.semantics)
    device = "" if args.device == "numpy" else args.device
    api.make_options(trust=args.trust, engines=args.engine, device="numpy" if args.cluster else args.device)
    chosen = ("trust", sorted(set(args.trust))), ("engines", args.engine), ("device", device)
    options = {name: value for name, value in chosen if value}
    most = cores()
    if args.jobs is not None and args.jobs > most and not args.cluster:
        say(f"--jobs {args.jobs}: there are {most} cores, so {most} instances run at a time")
    return Plan(
        timeout_s=args.timeout, jobs=most if args.jobs is None else min(args.jobs, most),
        memory_bytes=None if args.memory is None else int(args.memory * 2**30), semantics=args.semantics or "",
        certify=args.certify, again=args.again, options=options,
    )  # fmt: skip


def _cluster(args: argparse.Namespace) -> Callable[[str, Listener], Workers] | None:
    """What connects to the cluster of --cluster, given the digest of this program and who is told what happens."""
    if not args.cluster:
        return None
    from farkas.batch.cluster import Cluster

    return lambda code, listener: Cluster(args.cluster, code, listener, jobs=args.jobs, gpu=args.device == "cupy")


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "bench", "Decide every instance of a suite, each in a process of its own; remember every answer.",
        usage="farkas bench SUITE [options]\n       farkas bench --store FILE --export FILE --report DIR [--run ID]",
        epilog="Exit code 0: all were run, no answer is wrong; 1: an answer is wrong; 2: usage; 130: interrupted.",
    )  # fmt: skip
    add = parser.add_argument
    add("suite", nargs="?", type=Path, metavar="SUITE", help="a CSV file (columns onnx, vnnlib, and perhaps timeout, "
        "expected, category), a folder with instances.csv files, or a Python file with specifications")  # fmt: skip
    add("--filter", action="append", default=[], metavar="WORD", help="only this category, or instances with this word "
        "in their name; repeatable")  # fmt: skip
    add("--timeout", type=positive, metavar="S", help="upper limit for the timeouts of the suite")
    add("--jobs", type=counted, metavar="N", help="instances at a time (default and at most: the cores); with "
        "--cluster the number of workers (default: its cores)")  # fmt: skip
    add("--cluster", default="", metavar="ADDRESS", help="run the instances on a Ray cluster: ray://HOST:PORT, "
        "HOST:PORT, or auto for the one that this machine belongs to")  # fmt: skip
    add("--device", default="numpy", choices=("numpy", "cupy"), help="as for farkas verify; with "
        "--cluster, cupy asks for a GPU for every instance")  # fmt: skip
    add("--memory", type=positive, metavar="GB", help="limit of an instance, in 2^30 bytes of resident memory")
    add("--semantics", metavar="MODE", help="as for farkas verify")
    add("--trust", action="append", default=[], metavar="ENGINE", help="as for farkas verify")
    add("--engine", action="append", metavar="NAME", help="as for farkas verify")
    add("--certify", action="store_true", help="keep a certificate of every answer, checked by a further process")
    add("--store", type=Path, default=Path(STORE), metavar="FILE", help=f"where answers are kept (default {STORE})")
    add("--resume", action="store_true", help="go on with the last run of this suite in the store")
    add("--again", action="store_true", help="solve instances whose answer is known as well")
    add("--export", action="append", default=[], type=Path, metavar="FILE", help="write the results to a .csv, "
        ".json or .parquet file; repeatable")  # fmt: skip
    add("--report", type=Path, metavar="DIR", help="write a page and files for other programs, as `farkas report` does")
    add("--against", action="append", default=[], metavar="CMD|FILE", help="compare with another verifier and rule on "
        "contradictions: a command with {onnx} {vnnlib} {timeout} {out}, or a file of results; repeatable")  # fmt: skip
    add("--bundles", type=Path, metavar="DIR", help="a folder for every contradiction (default STORE.contradictions)")
    add("--run", metavar="ID", help="which run to export (default: the last)")
    add("--plain", action="store_true", help="one line an instance, on a terminal too")
    return parser
