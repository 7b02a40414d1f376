"""`farkas verify`: one property and its networks, an answer in each semantics that was asked for.

Standard output: the first line is `unsat`, `sat`, `unknown` or `timed-out`; after `sat` the assignment follows in the
format of VNN-COMP, or, for a property in VNN-LIB 2.x, in that of this standard.  With
several semantics there is a line for each, `SEMANTICS WORD`, in the order asked, and after them, for each `sat`, a line
`witness SEMANTICS` and its assignment; the file of --witness gets the same assignments.  With --json it is one object
instead, or an array of them.  All of it is printed at once, when nothing can fail any more.

The timeout is that of the whole process: the engine gets what start-up and reading have left, and an alarm half a
second after the deadline ends whatever has not looked at the clock.  Several semantics share it (farkas.table).
"""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from farkas.process import OutOfTime, alarm, limit_memory, use_threads
from farkas.usage import COMPLETED, UNDECIDED, Usage, command_parser, counted, emit, named_network, positive, say

if TYPE_CHECKING:
    import argparse

    from farkas.api import Network
    from farkas.engine.verdict import Verdict
    from farkas.questions import Question
    from farkas.specs.query import Semantics
    from farkas.table import Verdicts

T = TypeVar("T")
GRACE_S = 0.5  # after the deadline, before the alarm: the engine looks at the clock every quarter of a second
QUEUE_SHARE = 0.5  # of the memory limit that the queue of open boxes may take


def main(words: list[str], start: float) -> int:
    """Runs `farkas verify`; start: when the process began, on the clock of time.monotonic."""
    args = _parser().parse_intermixed_args(words)
    networks, prop = networks_and_property(args)
    asked = _asked(args)
    for option, path in (("--certificate", args.certificate), ("--witness", args.witness)):
        require_writable(option, path)
    use_threads(args.threads)
    run = _Run(args, networks, prop, start)
    verdicts = run.verdicts(asked)
    from farkas.report import as_object, summary

    elapsed = time.monotonic() - start
    is_table = len(asked) > 1
    _serialise(run, verdicts)
    if args.witness is not None:
        _write_witness(verdicts, Path(args.witness), is_table)
    certified = {name: getattr(verdict, "certificate", None) is not None for name, verdict in verdicts.items()}
    told = [(verdict, args.certificate if certified[name] else None) for name, verdict in verdicts.items()]
    if args.json:
        objects = [as_object(verdict, elapsed, certificate) for verdict, certificate in told]
        text = json.dumps(objects if is_table else objects[0], allow_nan=False) + "\n"
    else:
        text = (
            _table(verdicts) if is_table else _answer(*verdicts.values(), silent=args.serialise_assignments is not None)
        )
    emit(text)
    if not args.quiet:
        said: dict[str, None] = {}  # what is the same of several answers is told once
        for verdict, certificate in told:
            own_s = verdict.statistics.time_s if is_table else elapsed
            said |= dict.fromkeys(summary(verdict, own_s, args.certificate, certificate))
        for message in said:
            say(message)
    return COMPLETED if verdicts.are_decided else UNDECIDED


def _answer(verdict: Verdict, *, silent: bool = False) -> str:
    shown = verdict.word == "sat" and not silent
    return verdict.word + "\n" + (getattr(verdict, "witness", "") if shown else "")


def _serialise(run: _Run, verdicts: Verdicts) -> None:
    """The files of --serialise-assignments, where it is given and something is `sat`."""
    folder = run.args.serialise_assignments
    if folder is None or run.question is None:
        return
    from farkas.assignments import write_tensors

    for verdict in verdicts.values():
        if verdict.word == "sat":
            write_tensors(run.question, verdict, Path(folder))


def _table(verdicts: Verdicts) -> str:
    return "".join(f"{name} {verdict.word}\n" for name, verdict in verdicts.items()) + _witnesses(verdicts)


def _witnesses(verdicts: Verdicts) -> str:
    return "".join(f"witness {n}\n{getattr(v, 'witness', '')}" for n, v in verdicts.items() if v.word == "sat")


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "verify", "Decide whether an input of the property's set can drive the network into the unsafe region.",
        usage="farkas verify NET.onnx QUERY.vnnlib [options]\n"
        "       farkas verify QUERY.vnnlib --network f=NET.onnx [--network g=OTHER.onnx] [options]",
        epilog="Exit code 0: decided (unsat or sat); 1: unknown or timed-out; 2: a file or an option cannot be used.",
    )  # fmt: skip
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="network and property; .gz is accepted")
    add("--network", action="append", metavar="f=NET.onnx", help="the file of a network that the property declares")
    add("--timeout", type=positive, metavar="S", help="seconds of wall clock for the whole process")
    add("--semantics", action="append", default=[], metavar="MODE[,MODE...]", help="f32-any (default for float32 "
        "networks), real (for float64 ones), int-exact (for quantised ones), f32-order:seq-fma, f32-order:seq-muladd, "
        "f32-order:mlas-k256-fma; several: a table")  # fmt: skip
    add("--certificate", metavar="FILE", help="write a certificate; unsat is said only once the checker accepted it")
    add("--witness", metavar="FILE", help="write the assignment of a sat to this file too")
    add("--serialise-assignments", metavar="DIR", help="of a property in VNN-LIB 2.x: write the assignment of a sat to "
        "this folder, an ONNX TensorProto for each variable, instead of printing it")  # fmt: skip
    add("--trust", action="append", default=[], metavar="ENGINE", help="take an engine's word where the checker cannot "
        "check: crown (bounds of operators that the checker does not know), z3, pysmt, bitwuzla, cvc5, order-terms, "
        "float-intervals, enumeration, cp-sat")  # fmt: skip
    add("--engine", action="append", metavar="NAME", help="let only these work (default: all): input-splitting, "
        "relu-splitting, milp, lra, order-terms, float-intervals, enumeration, smt-fp, cp-sat")  # fmt: skip
    add("--smt-solver", default="z3", metavar="NAME", help="of the engine lra: z3 (default), pysmt or pysmt:NAME")
    add(
        "--milp-solver", default="highs", metavar="NAME", help="of the engine milp: highs (default) or one of OR-Tools'"
    )
    add("--memory", type=positive, metavar="GB", help="limit of the process, in 2^30 bytes: batches shrink to keep it")
    add("--threads", type=counted, default=1, metavar="N", help="processes that share the boxes of a search and the "
        "checking of its certificate; all else gets as many BLAS threads (default 1)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of the random points that are tried first (default 0)")
    add("--branching", default="sensitivity", choices=("sensitivity", "babsr", "fsb"),
        help="how neurons are chosen where their signs are split (default sensitivity)")  # fmt: skip
    add("--device", default="numpy", choices=("numpy", "cupy"), help="where bounds are computed")
    add("--json", action="store_true", help="one JSON object on standard output")
    add("--quiet", action="store_true", help="nothing on standard error but errors")
    return parser


def _asked(args: argparse.Namespace) -> list[str]:
    """The names of the semantics on the command line; none: the network's default."""
    asked = list(dict.fromkeys(word.strip() for option in args.semantics for word in option.split(",")))
    if len(asked) > 1 and args.certificate is not None:
        raise Usage(f"--certificate is about one semantics; {len(asked)} are asked for: {', '.join(asked)}")
    if len(asked) > 1 and args.serialise_assignments is not None:
        raise Usage(f"--serialise-assignments is about one semantics; {len(asked)} are asked for: {', '.join(asked)}")
    return asked


def networks_and_property(args: argparse.Namespace) -> tuple[dict[str, str], str]:
    """The networks' files by name ("" without one) and the property's, in `files` and the option --network."""
    files, options = args.files, args.network or []
    if not options:
        if len(files) != 2:
            raise Usage(f"network and property are wanted: NET.onnx QUERY.vnnlib; found {' '.join(files)}")
        return {"": files[0]}, files[1]
    if len(files) != 1:
        raise Usage(f"with --network one file is wanted, the property; found {len(files)}: {' '.join(files)}")
    networks: dict[str, str] = {}
    for name, path in map(named_network, options):
        if name in networks:
            what = f"the network '{name}'" if name else "a network without a name"
            raise Usage(f"{what} is given twice, {networks[name]} and {path}; wanted --network NAME=FILE once for each")
        networks[name] = path
    return networks, files[0]


def require_writable(option: str, path: str | None) -> None:
    """Refuses a place where nothing can be written before any work is done."""
    if path is None:
        return
    if Path(path).is_dir():
        raise Usage(f"{option} {path} is a directory; a file is wanted")
    if not Path(path).parent.is_dir():
        raise Usage(f"{option} {path}: there is no folder {Path(path).parent}; make it first")


class _Run:
    """One query from its files to its verdicts; keeps what a verdict needs when it ends early."""

    def __init__(self, args: argparse.Namespace, networks: dict[str, str], prop: str, start: float) -> None:
        self.args = args
        self.networks = networks
        self.prop = prop
        self.start = start
        self.nets: dict[str, Network] = {}
        self.question: Question | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline; None without one."""
        if self.args.timeout is None:
            return None
        return max(0.0, float(self.args.timeout) - (time.monotonic() - self.start))

    def verdicts(self, asked: list[str]) -> Verdicts:
        """The answers in the semantics asked for; none: in the network's own."""
        guarded = _guarded(lambda: self._start(asked), self.left_s)
        if isinstance(guarded, _Ended):
            return self._undecided(asked, guarded)
        from farkas import api
        from farkas.table import Verdicts, decide_all

        if len(guarded) == 1:
            return Verdicts.of([self._verdict(guarded[0], 1.0)])
        return decide_all(guarded, self._verdict, lambda mode: api.require_order(self.nets, mode))

    def _start(self, asked: list[str]) -> list[Semantics]:
        """Load what is needed, and say which semantics are asked for."""
        from farkas import api

        modes = [api.parse_semantics(word) for word in asked]
        if self.args.memory is not None:
            limit_memory(int(self.args.memory * 2**30))
        self.nets = {name: api.load(path) for name, path in self.networks.items()}
        api.make_options(**self._options())
        self.question = api.load_question(self.nets, self.prop)
        if self.args.serialise_assignments is not None:
            if self.question.document is None:
                raise Usage(
                    "--serialise-assignments is for properties in VNN-LIB 2.x; --witness FILE writes this one's"
                )
            if Path(self.args.serialise_assignments).is_file():
                raise Usage(f"--serialise-assignments {self.args.serialise_assignments} is a file; a folder is wanted")
        return modes or [api.question_semantics(self.nets, self.question, None)]

    def _options(self) -> dict[str, Any]:
        args = self.args
        memory = None if args.memory is None else args.memory * QUEUE_SHARE
        names = ("trust", "seed", "device", "branching", "smt_solver", "milp_solver", "threads")
        return {"engines": args.engine, "memory_gb": memory, **{name: getattr(args, name) for name in names}}

    def _verdict(self, mode: Semantics, share: float) -> Verdict:
        """The answer in one semantics, within a share of the time that is left."""
        left = None if self.left_s is None else self.left_s * share
        found = _guarded(lambda: self._decide(mode, left), left)
        return self._undecided([mode.value], found)[mode.value] if isinstance(found, _Ended) else found

    def _decide(self, mode: Semantics, left_s: float | None) -> Verdict:
        from farkas import api

        assert self.question is not None, "files are read before anything is decided"
        report = None
        if not self.args.quiet:
            from farkas.progress import ProgressLine

            report = ProgressLine(sys.stderr, start=self.start)
        try:
            return api.verify(
                self.nets, self.question, timeout=left_s, semantics=mode, certificate=self.args.certificate,
                report=report, **self._options(),
            )  # fmt: skip
        finally:
            if report is not None:
                report.close()

    def _undecided(self, asked: list[str], ended: _Ended) -> Verdicts:
        """`unknown` in all semantics, because the time or the memory is used up."""
        from farkas.engine.verdict import Reason, Unknown
        from farkas.specs.query import Semantics
        from farkas.table import Verdicts

        details = {
            "timeout": f"the {self.args.timeout} s are over; a longer --timeout may help",
            "memory": "out of memory; allow more with --memory, or split the property",
        }
        modes = [Semantics(name) for name in asked or ["f32-any"]]
        return Verdicts.of(Unknown(Reason(ended.reason), details[ended.reason], mode) for mode in modes)


@dataclass(frozen=True)
class _Ended:
    """Work that did not come to its end: `timeout` or `memory`."""

    reason: str


def _guarded(work: Callable[[], T], left_s: float | None) -> T | _Ended:
    """The result of some work, or why it was ended."""
    try:
        with alarm(None if left_s is None else left_s + GRACE_S):
            return work()
    except OutOfTime:
        return _Ended("timeout")
    except (MemoryError, OSError, ImportError) as error:
        if not _is_memory(error):
            raise
        return _Ended("memory")


def _is_memory(error: Exception) -> bool:
    """Whether an allocation failed, also inside the loading of a library."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "failed to map segment" in str(error)


def _write_witness(verdicts: Verdicts, path: Path, is_table: bool) -> None:
    """The assignments of what is `sat`, if anything is."""
    from farkas.api import write_bytes

    if any(verdict.word == "sat" for verdict in verdicts.values()):
        text = _witnesses(verdicts) if is_table else _answer(*verdicts.values())
        write_bytes(path, text.encode("ascii"))
