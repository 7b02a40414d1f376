"""`farkas diff`: two runs, or results files, side by side: contradictory, worse, better, slower.

Exit codes: 0 nothing is contradictory or worse; 1 something is; 2 wrong usage.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from farkas.usage import COMPLETED, UNDECIDED, Usage, command_parser, emit, positive

if TYPE_CHECKING:
    import argparse

    from farkas.batch.comparison import Comparison, Pair

STORE = "farkas-bench.sqlite"
SHOWN = 50


def main(words: list[str], start: float) -> int:
    """Runs `farkas diff`."""
    from farkas.batch.comparison import Change, compare
    from farkas.batch.recorded import BadResults
    from farkas.batch.sources import read_source

    args = _parser().parse_intermixed_args(words)
    if args.factor < 1:
        raise Usage(f"--factor {args.factor:g}: at least 1 is wanted")
    try:
        first, second = (read_source(word, args.store) for word in (args.first, args.second))
    except BadResults as error:
        raise Usage(str(error)) from error
    found = compare(first.answers, second.answers, args.factor)
    if args.json:
        content = {"first": first.name, "second": second.name, **found.as_json()}
        emit(json.dumps(content, allow_nan=False) + "\n")
    else:
        emit("\n".join([f"{first.name} -> {second.name}", *_told(found)]) + "\n")
    return UNDECIDED if found.of(Change.CONTRADICTORY) or found.of(Change.WORSE) else COMPLETED


def _told(found: Comparison) -> Iterator[str]:
    """What changed, the worst first; then counts by category."""
    from farkas.batch.comparison import Change
    from farkas.batch.rows import aligned

    for change in Change:
        pairs = found.of(change)
        if change is Change.SAME or not pairs:
            continue
        yield f"{change} ({len(pairs)}):"
        yield from (f"  {_line(pair)}" for pair in pairs[:SHOWN])
        if len(pairs) > SHOWN:
            yield f"  and {len(pairs) - SHOWN} more; --json has all of them"
    counts = found.counts()
    used = [change for change in Change if any(counter[change] for counter in counts.values())]
    lines = [(name, *(str(counter[change]) for change in used)) for name, counter in sorted(counts.items())]
    yield from aligned([("category", *map(str, used)), *lines])
    ratios = [pair.ratio for pair in found.pairs if pair.ratio is not None]
    if ratios:
        yield f"wall time, second over first: median {statistics.median(ratios):.2f} of {len(ratios)} solved in both"


def _line(pair: Pair) -> str:
    first, second = ("-" if one is None else one.told for one in (pair.first, pair.second))
    return f"{pair.any.title}: {first} -> {second}"


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "diff", "What two runs, or results files, say about the same instances.",
        epilog="Exit code 0: nothing is contradictory or worse; 1: something is; 2: usage.",
    )  # fmt: skip
    add = parser.add_argument
    what = "a run's id, STORE (its last run), STORE@RUN, or a file of results"
    add("first", metavar="RUN_A", help=what)
    add("second", metavar="RUN_B", help="the same; instances are paired by their names")
    add("--store", type=Path, default=Path(STORE), metavar="FILE", help=f"whose runs are meant by id (default {STORE})")
    add("--factor", type=positive, default=1.5, metavar="F", help="slower and faster begin here (default 1.5), and at "
        "0.2 s")  # fmt: skip
    add("--json", action="store_true", help="one JSON object")
    return parser
