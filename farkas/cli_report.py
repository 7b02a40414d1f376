"""`farkas report`: what a run in a store came to, as a page and as files for other programs.

Exit codes: 0 written; 1 written, and an answer is wrong or contradictory; 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farkas.usage import COMPLETED, UNDECIDED, Usage, command_parser, emit, say

if TYPE_CHECKING:
    import argparse

    from farkas.batch.store import Store
    from farkas.reports.facts import Report


def main(words: list[str], start: float) -> int:
    """Runs `farkas report`."""
    from farkas.batch.store import BadStore, Store

    args = _parser().parse_intermixed_args(words)
    if not args.store.is_file():
        raise Usage(f"{args.store}: there is no such file; `farkas bench SUITE --store {args.store}` makes one")
    try:
        with Store.open(args.store) as store:
            report = written(store, args.out, args.run, args.against)
    except BadStore as error:
        raise Usage(str(error)) from error
    return UNDECIDED if report.wrong or report.disputed else COMPLETED


def written(store: Store, out: Path, run: str | None, against: str | None = None) -> Report:
    """Writes a report and says where; raises Usage."""
    from farkas.reports.command import PAGE, NoRun, write
    from farkas.reports.figures import correctness, headline
    from farkas.reports.recorded import BadResults

    try:
        report = write(store, out, run, against)
    except (NoRun, BadResults) as error:
        raise Usage(str(error)) from error
    except OSError as error:
        raise Usage(f"--out {out}: cannot be written: {error.strerror}") from error
    emit(f"{headline(report)} {correctness(report)}\n")
    say(f"report: {out / PAGE}")
    return report


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "report", "Write what a run came to: report.html, report.json, report.md, results.csv, junit.xml.",
        epilog="Exit code 0: written; 1: written, and an answer is wrong or contradictory; 2: usage.",
    )  # fmt: skip
    add = parser.add_argument
    add("store", type=Path, metavar="STORE", help="what `farkas bench --store` has written")
    add("--run", metavar="ID", help="which run, by the beginning of its id (default: the last)")
    add("--against", metavar="RUN|FILE.csv", help="compare with another run, or with recorded results: "
        "category, onnx, vnnlib, prepare_time, result, run_time")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="where the files are written")
    return parser
