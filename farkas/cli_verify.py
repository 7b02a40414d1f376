"""`farkas verify`: one network, one property, one answer.

Standard output: the first line is `unsat`, `sat`, `unknown` or `timed-out`; after `sat` the assignment follows in the
format of VNN-COMP.  With --json it is one object instead.  All of it is printed at once, when nothing can fail any
more.

The timeout is that of the whole process: the engine gets what start-up and reading have left, and an alarm half a
second after the deadline ends whatever has not looked at the clock.
"""

from __future__ import annotations

import errno
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from farkas.process import OutOfTime, alarm, limit_memory, use_threads
from farkas.usage import COMPLETED, UNDECIDED, Usage, command_parser, counted, emit, network_file, positive, say

if TYPE_CHECKING:
    import argparse

    from farkas.engine.verdict import Verdict
    from farkas.specs.query import Semantics

GRACE_S = 0.5  # after the deadline, before the alarm: the engine looks at the clock every quarter of a second
QUEUE_SHARE = 0.5  # of the memory limit that the queue of open boxes may take


def main(words: list[str], start: float) -> int:
    """Runs `farkas verify`; start: when the process began, on the clock of time.monotonic."""
    args = _parser().parse_intermixed_args(words)
    network, prop = _files(args)
    for option, path in (("--certificate", args.certificate), ("--witness", args.witness)):
        _require_writable(option, path)
    use_threads(args.threads)
    verdict = _Run(args, network, prop, start).verdict()
    from farkas.report import as_object, summary

    if args.witness is not None and verdict.word == "sat":
        _write_witness(verdict, Path(args.witness))
    certificate = args.certificate if getattr(verdict, "certificate", None) is not None else None
    elapsed = time.monotonic() - start
    if args.json:
        text = json.dumps(as_object(verdict, elapsed, certificate), allow_nan=False) + "\n"
    else:
        text = verdict.word + "\n" + (getattr(verdict, "witness", "") if verdict.word == "sat" else "")
    emit(text)
    if not args.quiet:
        for message in summary(verdict, elapsed, args.certificate, certificate):
            say(message)
    return COMPLETED if verdict.word in ("unsat", "sat") else UNDECIDED


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "verify", "Decide whether an input of the property's set can drive the network into the unsafe region.",
        usage="farkas verify NET.onnx QUERY.vnnlib [options]\n"
        "       farkas verify QUERY.vnnlib --network f=NET.onnx [options]",
        epilog="Exit code 0: decided (unsat or sat); 1: unknown or timed-out; 2: a file or an option cannot be used.",
    )  # fmt: skip
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="network and property; .gz is accepted")
    add("--network", action="append", metavar="f=NET.onnx", help="the network, as VNN-LIB 2.x names it")
    add("--timeout", type=positive, metavar="S", help="seconds of wall clock for the whole process")
    add("--semantics", metavar="MODE", help="f32-any (default for float32 networks) or real (for float64 ones)")
    add("--certificate", metavar="FILE", help="write a certificate; unsat is said only once the checker accepted it")
    add("--witness", metavar="FILE", help="write the assignment of a sat to this file too")
    add("--trust", action="append", default=[], metavar="ENGINE", help="take an engine's word where the checker cannot "
        "check: crown (bounds of operators that the checker does not know)")  # fmt: skip
    add("--memory", type=positive, metavar="GB", help="limit of the process, in 2^30 bytes: batches shrink to keep it")
    add("--threads", type=counted, default=1, metavar="N", help="BLAS threads (default 1)")
    add("--seed", type=int, default=0, metavar="N", help="of the random points that are tried first (default 0)")
    add("--branching", default="sensitivity", choices=("sensitivity", "babsr", "fsb"),
        help="how neurons are chosen where their signs are split (default sensitivity)")  # fmt: skip
    add("--device", default="numpy", choices=("numpy", "cupy"), help="where bounds are computed")
    add("--json", action="store_true", help="one JSON object on standard output")
    add("--quiet", action="store_true", help="nothing on standard error but errors")
    return parser


def _files(args: argparse.Namespace) -> tuple[str, str]:
    """Network and property of either form of the command."""
    files, networks = args.files, args.network or []
    if len(networks) > 1:
        raise Usage(f"{len(networks)} networks are given; queries about several networks are not supported yet")
    if networks:
        if len(files) != 1:
            raise Usage(f"with --network one file is wanted, the property; found {len(files)}: {' '.join(files)}")
        return network_file(networks[0]), files[0]
    if len(files) != 2:
        raise Usage(f"network and property are wanted: farkas verify NET.onnx QUERY.vnnlib; found {' '.join(files)}")
    return files[0], files[1]


def _require_writable(option: str, path: str | None) -> None:
    """Refuses a place where nothing can be written before any work is done."""
    if path is None:
        return
    if Path(path).is_dir():
        raise Usage(f"{option} {path} is a directory; a file is wanted")
    if not Path(path).parent.is_dir():
        raise Usage(f"{option} {path}: there is no folder {Path(path).parent}; make it first")


class _Run:
    """One query from its files to its verdict; keeps what a verdict needs when it ends early."""

    def __init__(self, args: argparse.Namespace, network: str, prop: str, start: float) -> None:
        self.args = args
        self.network = network
        self.prop = prop
        self.start = start
        self.semantics: Semantics | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline; None without one."""
        if self.args.timeout is None:
            return None
        return max(0.0, float(self.args.timeout) - (time.monotonic() - self.start))

    def verdict(self) -> Verdict:
        left = self.left_s
        try:
            with alarm(None if left is None else left + GRACE_S):
                return self._decide()
        except OutOfTime:
            return self._ended("timeout", f"the {self.args.timeout:g} s are over; a longer --timeout may help")
        except (MemoryError, OSError, ImportError) as error:
            if not _is_memory(error):
                raise
            return self._ended("memory", "out of memory; allow more with --memory, or split the property")

    def _decide(self) -> Verdict:
        from farkas import api

        args = self.args
        asked = None if args.semantics is None else api.parse_semantics(args.semantics)
        if args.memory is not None:
            limit_memory(int(args.memory * 2**30))
        net = api.load(self.network)
        self.semantics = api.chosen_semantics(net, asked)
        report = None
        if not args.quiet:
            from farkas.progress import ProgressLine

            report = ProgressLine(sys.stderr, start=self.start)
        try:
            return api.verify(
                net, self.prop, timeout=self.left_s, semantics=self.semantics, certificate=args.certificate,
                trust=args.trust, seed=args.seed, device=args.device, report=report, branching=args.branching,
                memory_gb=None if args.memory is None else args.memory * QUEUE_SHARE,
            )  # fmt: skip
        finally:
            if report is not None:
                report.close()

    def _ended(self, reason: str, detail: str) -> Verdict:
        from farkas.engine.verdict import Reason, Unknown
        from farkas.specs.query import Semantics

        return Unknown(Reason(reason), detail, self.semantics or Semantics(self.args.semantics or "f32-any"))


def _is_memory(error: Exception) -> bool:
    """Whether an allocation failed, also inside the loading of a library."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "failed to map segment" in str(error)


def _write_witness(verdict: Verdict, path: Path) -> None:
    from farkas.api import Violated, write_bytes

    if isinstance(verdict, Violated):
        write_bytes(path, f"sat\n{verdict.witness}".encode("ascii"))
