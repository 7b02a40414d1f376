"""`farkas export`: a query as a file for another solver.

Standard output is the file itself, unless --output names one.  The first lines of the file say what it states.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farkas.cli_verify import networks_and_property, require_writable
from farkas.process import use_threads
from farkas.usage import COMPLETED, command_parser, counted, emit, say

if TYPE_CHECKING:
    import argparse


def main(words: list[str], start: float) -> int:
    """Runs `farkas export`."""
    args = _parser().parse_intermixed_args(words)
    networks, prop = networks_and_property(args)
    require_writable("--output", args.output)
    use_threads(args.threads)
    from farkas import api

    nets = {name: api.load(path) for name, path in networks.items()}
    text = api.export(nets, prop, args.format, semantics=args.semantics, bounds=args.bounds, phases=args.phases)
    if args.output is None:
        emit(text)
    else:
        api.write_bytes(Path(args.output), text.encode())
        say(f"{len(text.encode())} bytes written to {args.output}")
    return COMPLETED


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "export", "Write a query as a file for another solver; unsat or infeasible: the property holds.",
        usage="farkas export NET.onnx QUERY.vnnlib --format smt2-lra|smt2-fp|mps|lp [options]\n"
        "       farkas export QUERY.vnnlib --network f=NET.onnx --format ...",
    )  # fmt: skip
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="network and property; .gz is accepted")
    add("--network", action="append", metavar="f=NET.onnx", help="the file of a network that the property declares")
    add("--format", required=True, choices=("smt2-lra", "smt2-fp", "mps", "lp"), help="smt2-lra: SMT-LIB, arithmetic "
        "over the reals; smt2-fp: SMT-LIB, floating-point theory; mps, lp: mixed-integer programs")  # fmt: skip
    add("--output", metavar="FILE", help="where to (default: standard output)")
    add("--semantics", metavar="MODE", help="real (default), f32-any, or an order (default of smt2-fp: "
        "f32-order:seq-fma)")  # fmt: skip
    add("--bounds", choices=("none", "interval", "crown"), help="what is stated about the neurons beside the network "
        "(default: crown; smt2-fp: interval)")  # fmt: skip
    add("--phases", default="big-m", choices=("big-m", "multiple-choice"), help="how mps and lp state unstable neurons "
        "(default: big-m)")  # fmt: skip
    add("--threads", type=counted, default=1, metavar="N", help="BLAS threads (default 1)")
    return parser
