"""The command line: finds the command, runs it, and turns what went wrong into a message and an exit code.

Standard output is for machines, standard error for people.  Exit codes: 0 decided or completed; 1 undecided; 2 wrong
usage, or an input file that is missing, malformed or unsupported; 3 certificate rejected; 4 internal error; 130
interrupted.

Start-up is part of every answer, so nothing heavy is imported here and each command's module only when it is asked for.
A command prints to standard output once, after everything that can fail: an internal error never follows a verdict.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from farkas import __version__
from farkas.process import started, use_threads
from farkas.usage import (
    BAD_INPUT,
    COMPLETED,
    INTERNAL,
    INTERRUPTED,
    REJECTED,
    Usage,
    abandon_output,
    command_parser,
    counted,
    emit,
    named_network,
    say,
)

if TYPE_CHECKING:
    from farkas.checker.prover import Kernel

COMMANDS = {
    "verify": ("farkas.cli_verify", "decide whether a network can violate a property"),
    "agree": ("farkas.cli_agree", "decide whether a network and its quantised copy agree on a box"),
    "bench": ("farkas.cli_bench", "decide a suite of instances, a process each, and remember every answer"),
    "diff": ("farkas.cli_diff", "what two runs, or results files, say about the same instances"),
    "score": ("farkas.cli_score", "the competition's points for a run, counterexamples replayed"),
    "report": ("farkas.cli_report", "what a run came to, as a page and as files for other programs"),
    "check": ("farkas.cli", "check a certificate with the independent checker"),
    "run": ("farkas.cli_run", "execute a network on one input, in a declared order"),
    "show": ("farkas.cli_show", "what a network, a property or a certificate contains"),
    "export": ("farkas.cli_export", "a query as a file for another solver"),
    "doctor": ("farkas.cli_doctor", "what is installed, what is missing, and what onnxruntime computes here"),
    "explain": ("farkas.cli_explain", "what the code of a diagnostic means, and what to write instead"),
    "supports": ("farkas.cli_supports", "capabilities, as VNN-LIB 2.0 wants them reported"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line (by default that of the process) and returns its exit code."""
    start = started() if arguments is None else time.monotonic()
    code = COMPLETED  # also of a command whose reader left in the middle
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments), start)
        sys.stdout.flush()  # here, where something can be done about it; at exit nothing can
    except BrokenPipeError:
        abandon_output()
    return code


def _run(words: list[str], start: float) -> int:
    """The exit code of a command, also of one that fails."""
    try:
        return _dispatch(words, start)
    except SystemExit as error:  # argparse has printed already
        return error.code if isinstance(error.code, int) else BAD_INPUT
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the outermost frame: everything becomes a message and an exit code
        return _explain(error)


def _dispatch(words: list[str], start: float) -> int:
    match words:
        case ["--version"]:
            print(__version__)
            return COMPLETED
        case ["--name"]:
            print("Farkas")
            return COMPLETED
        case ["--help" | "-h"] | []:
            print(_overview(), file=sys.stdout if words else sys.stderr)
            return COMPLETED if words else BAD_INPUT
        case [command, *rest] if command in COMMANDS:
            if command == "check":
                return check(rest)
            code: int = import_module(COMMANDS[command][0]).main(rest, start)
            return code
        case _:
            raise Usage(f"there is no command '{words[0]}'; wanted {', '.join(COMMANDS)}, --name, --version or --help")


def _overview() -> str:
    commands = "\n".join(f"  {name:9} {summary}" for name, (_, summary) in COMMANDS.items())
    return f"""Farkas {__version__}: a verifier for neural networks whose every answer can be checked

usage: farkas COMMAND ...        farkas COMMAND --help
{commands}

  farkas verify NET.onnx QUERY.vnnlib --certificate proof.nnc
  farkas check proof.nnc --network NET.onnx --property QUERY.vnnlib"""


def _explain(error: Exception) -> int:
    """Prints the message that belongs to an error; its exit code."""
    from farkas.ir.errors import FarkasError, UnsupportedOperator

    if isinstance(error, Usage):
        say(f"error: {error}")
        return BAD_INPUT
    if isinstance(error, FarkasError):
        from farkas.api import Unsupported

        kind = "unsupported" if isinstance(error, (Unsupported, UnsupportedOperator)) else "error"
        say(f"{kind}: {error}")
        return BAD_INPUT
    if os.environ.get("FARKAS_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    say(
        f"internal error: {type(error).__name__}: {' '.join(str(error).split())} (this is a bug of Farkas "
        f"{__version__}; please report it with the command, its files, and what FARKAS_TRACEBACK=1 prints)"
    )
    return INTERNAL


# `farkas check` stands here because this module is the command line's one door to the checker.


def check(words: list[str]) -> int:
    """`farkas check CERTIFICATE --network [f=]NET... --property QUERY [--tier T] [--semantics S] [--verdict V]`."""
    parser = command_parser(
        "check", "Check a certificate against the bytes of its networks and its property.",
        epilog="Exit code 0: accepted; 2: a file cannot be read; 3: rejected.",
    )  # fmt: skip
    add = parser.add_argument
    add("certificate", metavar="CERTIFICATE", help="the .nnc file")
    add("--network", required=True, action="append", metavar="[f=]NET.onnx",
        help=".gz is accepted too; once for each network of a property in VNN-LIB 2.x, by its name there")  # fmt: skip
    add("--property", required=True, metavar="QUERY.vnnlib", help=".gz is accepted too")
    add("--tier", choices=("exact", "accelerated"), default="exact",
        help="exact: Python's integers (default); accelerated: the same numbers, computed with NumPy")  # fmt: skip
    add("--semantics", choices=("f32-any", "real"), help="what the certificate has to be about "
        "(default: real where the property declares its tensors real, else f32-any)")  # fmt: skip
    add("--verdict", choices=("unsat", "sat"), help="what it has to prove (default: either)")
    add("--threads", type=counted, default=1, metavar="N", help="BLAS threads of the accelerated tier (default 1)")
    args = parser.parse_intermixed_args(words)
    use_threads(args.threads)
    networks = [(name, _contents(path)) for name, path in map(named_network, args.network)]
    files = _contents(args.certificate), networks, _contents(args.property)
    return _check(*files, args.tier, args.semantics, args.verdict)


def _contents(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Usage(f"{path}: cannot be read: {error.strerror}") from error


def _check(
    certificate: bytes,
    networks: Sequence[tuple[str, bytes]],
    prop: bytes,
    tier: str,
    semantics: str | None,
    verdict: str | None,
) -> int:
    """Prints the accepted claim, or where and why it is rejected; the exit code."""
    from farkas.checker.check import check as checked
    from farkas.checker.errors import CertificateRejected, MalformedInput

    try:
        accepted = checked(certificate, networks, prop, semantics=semantics, verdict=verdict, kernel=_kernel(tier))
    except MalformedInput as error:
        raise Usage(str(error)) from error
    except CertificateRejected as error:
        emit("rejected\n")
        say(f"rejected: {error}")
        return REJECTED
    emit("\n".join(accepted.lines()) + "\n")
    return COMPLETED


def _kernel(tier: str) -> Kernel | None:
    """The arithmetic of a tier; None: the checker's own."""
    if tier == "exact":
        return None
    from farkas.checker_fast.kernel import accelerated_kernel

    return accelerated_kernel()
