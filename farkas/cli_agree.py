"""`farkas agree`: do a float32 network and its quantised copy agree on a box?

Standard output: the first line is `agree`, `disagree`, `unknown` or `timed-out`; after `disagree` a line `witness
float` and an assignment of the float network in the format of VNN-COMP, then `witness quantised` and one of the other,
at the same input.  With --json it is one object.  Exit code 0: agree or disagree; 1: neither was found.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from farkas.process import use_threads
from farkas.usage import COMPLETED, UNDECIDED, command_parser, counted, emit, positive, say

if TYPE_CHECKING:
    import argparse

    from farkas.engine.integer_agreement import Agreement, Pieces


def main(words: list[str], start: float) -> int:
    """Runs `farkas agree`; start: when the process began, on the clock of time.monotonic."""
    args = _parser().parse_args(words)
    use_threads(args.threads)
    from farkas import api

    network, quantised = api.load(args.network), api.load(args.quantised)
    left = None if args.timeout is None else max(0.0, args.timeout - (time.monotonic() - start))
    found = api.agree(
        network, quantised, args.box, within=args.within, timeout=left, trust=args.trust, seed=args.seed
    )  # fmt: skip
    word = _word(found)
    if args.json:
        emit(json.dumps(_object(found, word), allow_nan=False) + "\n")
    else:
        emit(f"{word}\n{_witnesses(found)}")
    if not args.quiet:
        say(_told(found, word, args.within))
    return COMPLETED if word in ("agree", "disagree") else UNDECIDED


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "agree", "Decide whether a float32 network and its quantised copy agree on a box, for every admissible "
        "execution of the one and the exact integers of the other.",
    )  # fmt: skip
    add = parser.add_argument
    add("network", metavar="FLOAT.onnx", help="the float32 network")
    add("quantised", metavar="INT8.onnx", help="its copy with quantised products")
    add(
        "box", metavar="BOX.vnnlib", help="a property whose one input box is meant; what it says of outputs is not read"
    )
    add("--within", metavar="EPS", help="outputs differ by no more than this number (default: the same output is the "
        "largest, the lowest index on ties)")  # fmt: skip
    add("--timeout", type=positive, metavar="S", help="seconds of wall clock")
    add("--trust", action="append", default=[], metavar="ENGINE", help="take an engine's word: crown and cp-sat are "
        "needed, for no checker knows this question")  # fmt: skip
    add("--threads", type=counted, default=1, metavar="N", help="BLAS threads (default 1)")
    add("--seed", type=int, default=0, metavar="N", help="of the random points that are tried first (default 0)")
    add("--json", action="store_true", help="one JSON object on standard output")
    add("--quiet", action="store_true", help="nothing on standard error but errors")
    return parser


def _word(found: Agreement) -> str:
    from farkas.engine.integer_agreement import Agree, Disagree

    match found:
        case Agree():
            return "agree"
        case Disagree():
            return "disagree"
        case _:
            return found.word


def _witnesses(found: Agreement) -> str:
    from farkas.engine.integer_agreement import Disagree
    from farkas.specs.witness import write_witness

    if not isinstance(found, Disagree):
        return ""
    other = write_witness(found.inputs, list(found.integer_outputs))
    return f"witness float\n{found.replay.text}witness quantised\n{other}"


def _pieces(pieces: Pieces) -> str:
    return f"{pieces.bounded} pieces bounded, {pieces.closed} closed by bounds, {pieces.cells} as single codes"


def _told(found: Agreement, word: str, within: str | None) -> str:
    from farkas.engine.integer_agreement import Agree, Disagree
    from farkas.engine.verdict import Unknown

    pieces = "" if isinstance(found, Unknown) else _pieces(found.pieces)
    match found:
        case Agree():
            how = "the same output is the largest" if within is None else f"outputs are within {within} of each other"
            every = "for every binary32 input of the box and every admissible execution"
            return f"agree (evidence {found.evidence}): {how}, {every}; {found.time_s:.2f} s, {pieces}"
        case Disagree():
            return (
                f"disagree (evidence replayed): on executor {found.replay.executor} and {found.replay.runtime}, "
                f"against the bits of {found.integer_runtime}; {found.time_s:.2f} s, {pieces}"
            )
        case _:
            return f"{word} (reason {found.reason.value}): {found.detail}"


def _object(found: Agreement, word: str) -> dict[str, Any]:
    from farkas import __version__
    from farkas.engine.integer_agreement import Agree, Disagree

    common: dict[str, Any] = {"verdict": word, "version": __version__}
    match found:
        case Agree():
            told: dict[str, Any] = {"evidence": found.evidence, "witness": None, "reason": None, "detail": None}
        case Disagree():
            told = {"evidence": "replayed", "witness": _witnesses(found), "reason": None, "detail": None}
        case _:
            told = {"evidence": None, "witness": None, "reason": found.reason.value, "detail": found.detail}
            return common | told | {"time_s": found.statistics.time_s, "pieces": None}
    return common | told | {"time_s": found.time_s, "pieces": vars(found.pieces)}
