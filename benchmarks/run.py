"""Runs a suite: `python benchmarks/run.py SUITE.csv [--filter CATEGORY] [--timeout S] [--certify] [--out FILE]`.

Every instance is a process of its own, `python -m farkas verify`, killed some seconds after its timeout.  What it
claims is looked at from outside: a `sat` by a validator that shares no code with Farkas (witness.py), an `unsat` with
--certify by `farkas check` in another process.  Wall-clock time is that of the whole process, start-up included; CPU
time and peak memory are the kernel's.

The results file has one row an instance, written when the instance ends.  Wrong verdicts, invalid witnesses and
rejected certificates are printed first and make the exit status 1; 2 means wrong usage.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # a checkout needs no installation

from benchmarks.measure import Measured, measure  # noqa: E402
from benchmarks.results import Result, line, summary, tallied  # noqa: E402
from benchmarks.suite import DECIDED, BadSuite, Instance, read_suite, select  # noqa: E402
from farkas.certificate_file import MalformedCertificate, read_certificate_file  # noqa: E402
from farkas.specs.vnnlib2 import is_version_2  # noqa: E402

GRACE_S = 10.0  # after the timeout, before the kill
LATE_S = 1.0  # after the timeout, before an answer counts as none
CHECK_LIMIT_S = 3600.0
WITNESS_LIMIT_S = 600.0


class Runner:
    """Runs instances with the options of one command line."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args = args
        self._folder = folder
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._environment = {**os.environ, **threads, "PYTHONPATH": path}

    def run(self, number: int, instance: Instance) -> Result:
        """The row of one instance; never raises for what an instance does."""
        timeout = min(instance.timeout_s, self._args.timeout or instance.timeout_s)
        row: dict[str, Any] = {
            "category": instance.category, "onnx": instance.onnx, "vnnlib": instance.vnnlib, "timeout_s": timeout,
            "expected": instance.expected,
        }  # fmt: skip
        missing = [path for path in (*(path for _, path in instance.networks), instance.query) if not path.is_file()]
        if missing:
            return Result(**row, verdict="error", message=f"no file {missing[0]}")
        certificate = self._folder / f"{number}.nnc"
        done = self._verify(instance, timeout, certificate)
        row |= {"wall_s": done.wall_s, "cpu_s": done.cpu_s, "peak_mb": done.peak_mb}
        row |= _answer(done, timeout)
        if row["verdict"] == "sat":
            row["witness"] = self._validate(number, instance, row)
        row.pop("assignment", None)
        if certificate.is_file():
            if row["verdict"] in DECIDED:
                row |= self._check(instance, row, certificate)
            certificate.unlink()
        return Result(**row)

    def _process(self, words: Sequence[str], limit_s: float) -> Measured:
        return measure([sys.executable, *words], self._environment, str(ROOT), limit_s)

    def _verify(self, instance: Instance, timeout: float, certificate: Path) -> Measured:
        args = self._args
        files = [str(instance.network)] if instance.is_single else _networks(instance)
        words = ["-m", "farkas", "verify", *files, str(instance.query), "--json", "--quiet", "--timeout", str(timeout)]
        if args.certify:
            words += ["--certificate", str(certificate)]
        for option in ("semantics", "memory"):
            if getattr(args, option) is not None:
                words += [f"--{option}", str(getattr(args, option))]
        for engine in args.trust:
            words += ["--trust", engine]
        return self._process(words, timeout + GRACE_S)

    def _validate(self, number: int, instance: Instance, row: dict[str, Any]) -> str:
        if is_version_2(instance.query.read_bytes()):
            return "unread: VNN-LIB 2.x"
        place = self._folder / f"{number}.witness"
        place.write_text(row["assignment"], encoding="ascii")
        script = str(ROOT / "benchmarks" / "witness.py")
        words = [script, str(instance.network), str(instance.query), row["semantics"], str(place)]
        done = self._process(words, WITNESS_LIMIT_S)
        place.unlink()
        return done.out.strip() if done.code == 0 else f"not validated: {_last_line(done.err)}"

    def _check(self, instance: Instance, row: dict[str, Any], certificate: Path) -> dict[str, Any]:
        found: dict[str, Any] = {"certificate_bytes": certificate.stat().st_size}
        try:
            tree = read_certificate_file(certificate.read_bytes()).frame("TREE")
        except MalformedCertificate as error:
            return found | {"check": f"malformed: {error}"}
        if tree is not None:
            found["tree_bytes"] = len(tree.payload)
        words = ["-m", "farkas", "check", str(certificate), *_networks(instance), "--property",
                 str(instance.query), "--tier", "accelerated", "--semantics", row["semantics"],
                 "--verdict", row["verdict"]]  # fmt: skip
        done = self._process(words, CHECK_LIMIT_S)
        check = "accepted" if done.code == 0 else f"exit code {done.code}: {_last_line(done.err)}"
        return found | {"check": check, "check_wall_s": done.wall_s, "check_cpu_s": done.cpu_s}


def _networks(instance: Instance) -> list[str]:
    """The options that name the networks of an instance."""
    named = [f"{name}={path}" if name else str(path) for name, path in instance.networks]
    return [word for one in named for word in ("--network", one)]


def _answer(done: Measured, timeout: float) -> dict[str, Any]:
    """The columns that `farkas verify` itself fills."""
    if done.killed:
        return {"verdict": "timed-out", "reason": "killed", "message": "killed after the timeout"}
    if done.code not in (0, 1):
        message = _last_line(done.err)
        unsupported = done.code == 2 and message.startswith("farkas: unsupported:")
        return {"verdict": "unsupported" if unsupported else "error", "message": message or f"exit code {done.code}"}
    try:
        answer = json.loads(done.out)
        numbers = answer["statistics"]
        columns = {
            "verdict": answer["verdict"], "reason": answer["reason"] or "", "evidence": answer["evidence"] or "",
            "semantics": answer["semantics"], "boxes": numbers["boxes"], "leaves": numbers["leaves"],
            "rules": tallied(numbers.get("rules") or {}),
            "arms": tallied({arm["name"]: round(arm["time_s"], 3) for arm in numbers.get("arms") or ()}),
            "programs": numbers.get("programs"), "attack_s": numbers.get("attack_s"),
            "assignment": answer["witness"] or "", "message": (numbers.get("detail") or "").split("\n")[0],
        }  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        return {"verdict": "error", "message": f"the output is not the object of --json ({type(error).__name__})"}
    if done.wall_s > timeout + LATE_S and columns["verdict"] in DECIDED:
        columns |= {"verdict": "timed-out", "reason": "late", "message": f"{answer['verdict']}, but too late"}
    return columns


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def run_all(instances: Sequence[Instance], args: argparse.Namespace, folder: Path) -> Iterator[Result]:
    """Results in the order in which instances end; with one job, in the order of the suite."""
    runner = Runner(args, folder)
    if args.jobs == 1:
        for number, instance in enumerate(instances):
            yield runner.run(number, instance)
        return
    with ThreadPoolExecutor(args.jobs) as pool:
        waiting = [pool.submit(runner.run, number, instance) for number, instance in enumerate(instances)]
        for done in as_completed(waiting):
            yield done.result()


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not a checkout"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run a suite of instances, each in a process of its own.")
    add = parser.add_argument
    add("suite", type=Path, metavar="SUITE", help="CSV file with the columns onnx, vnnlib, timeout, expected, category")
    add("--filter", action="append", default=[], metavar="CATEGORY", help="only these categories")
    add("--every", type=_count, default=1, metavar="N", help="only every N-th instance of a category")
    add("--timeout", type=float, metavar="S", help="upper limit for the timeouts of the suite")
    add("--jobs", type=_count, default=1, metavar="N", help="instances at a time (default 1)")
    add("--certify", action="store_true", help="write certificates and check them with the accelerated tier")
    add("--semantics", metavar="MODE", help="as for farkas verify")
    add("--memory", type=float, metavar="GB", help="as for farkas verify")
    add("--trust", action="append", default=[], metavar="ENGINE", help="as for farkas verify")
    add("--out", type=Path, default=Path("results.csv"), metavar="FILE", help="results (default results.csv)")
    return parser


def _count(word: str) -> int:
    value = int(word)
    if value < 1:
        raise ValueError
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the suite; the exit code."""
    args = _parser().parse_args(arguments)
    try:
        instances = select(read_suite(args.suite), args.filter, args.every)
        out = args.out.open("w", newline="", encoding="utf-8")
    except (BadSuite, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    results: list[Result] = []
    with out, tempfile.TemporaryDirectory() as folder:
        writer = csv.DictWriter(out, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        try:
            for result in run_all(instances, args, Path(folder)):
                results.append(result)
                writer.writerow(asdict(result))
                out.flush()
                print(f"{len(results)}/{len(instances)} {line(result)}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print(f"interrupted after {len(results)} of {len(instances)} instances", file=sys.stderr)
    print("\n".join(summary(results)))
    print(f"commit {_commit()}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, {args.jobs} at a time")
    return 1 if any(result.complaints for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
