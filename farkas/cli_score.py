"""`farkas score`: the competition's points for a run, or for results files of any tool, counterexamples replayed.

Standard output gets a table a tool; standard error what cost points and what could not be replayed.  Exit codes: 0
nothing of the first tool is wrong; 1 something is; 2 wrong usage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from farkas.usage import COMPLETED, UNDECIDED, Usage, command_parser, emit, say

if TYPE_CHECKING:
    import argparse

    from farkas.batch.records import Row
    from farkas.batch.scoring import Score
    from farkas.batch.sources import Source

STORE = "farkas-bench.sqlite"
HEADER = ("category", "n", "unsat", "sat", "wrong", "points", "score")
SHOWN = 20


def main(words: list[str], start: float) -> int:
    """Runs `farkas score`."""
    from farkas.batch.recorded import BadResults
    from farkas.batch.scoring import as_json, score
    from farkas.batch.suites import BadSuite
    from farkas.batch.validation import RULES, Validator

    args = _parser(tuple(RULES)).parse_intermixed_args(words)
    try:
        tools = _tools(args.results, args.witnesses)
        rows = _rows(args, next(iter(tools.values())))
    except (BadResults, BadSuite) as error:
        raise Usage(str(error)) from error
    rules = RULES[args.rules]
    scores = score({name: source.answers for name, source in tools.items()}, rows, rules, Validator())
    if args.json:
        emit(json.dumps(as_json(scores, rules), allow_nan=False) + "\n")
    else:
        emit("\n".join(_told(scores, rules.name)) + "\n")
        for message in _notes(scores):
            say(message)
    first = next(one for one in scores if one.tool == next(iter(tools)))
    return UNDECIDED if first.incorrect else COMPLETED


def _tools(results: Sequence[str], folders: Sequence[str]) -> dict[str, Source]:
    """The sources by the names of the tools, their counterexamples found."""
    from dataclasses import replace

    from farkas.batch.recorded import with_witnesses
    from farkas.batch.sources import read_source

    found: dict[str, Source] = {}
    places = dict(map(_named, folders))
    for word in results:
        name, text = _named(word)
        source = read_source(text, Path(STORE))
        name = name or source.name
        if name in found:
            raise Usage(f"two tools are called '{name}'; name one: OTHER={text}")
        if source.run is None:
            folder = places.pop(name, None) or (places.pop("", None) if not found else None)
            place = Path(folder) if folder is not None else Path(text).resolve().parent
            source = replace(source, answers=tuple(with_witnesses(source.answers, place)))
        found[name] = source
    if places:
        raise Usage(f"--witnesses: no results file is called '{next(iter(places))}'; known are {', '.join(found)}")
    return found


def _named(word: str) -> tuple[str, str]:
    """Name and rest of `NAME=REST`; no name for what is a path with a `=`."""
    name, equals, rest = word.partition("=")
    return (name, rest) if equals and "/" not in name and not Path(word).exists() else ("", word)


def _rows(args: argparse.Namespace, first: Source) -> Sequence[Row]:
    from farkas.batch.suites import read_suite, select

    if args.suite is None and not first.rows:
        raise Usage("--suite is wanted: results files do not say where the networks are, nor the timeouts")
    rows = first.rows if args.suite is None else read_suite(args.suite)
    return select(rows, args.filter)


def _told(scores: Sequence[Score], rules: str) -> Iterator[str]:
    from farkas.batch.rows import aligned

    for one in scores:
        yield f"{one.tool}: {one.total:.1f} by the rules of {rules}, {one.incorrect} wrong"
        lines = [
            (c.category, str(c.instances), str(c.verified), str(c.falsified), str(c.incorrect), str(c.points),
             f"{c.score:.1f}") for c in one.categories
        ]  # fmt: skip
        yield from aligned([HEADER, *lines])


def _notes(scores: Sequence[Score]) -> Iterator[str]:
    for one in scores:
        for credit in one.notable[:SHOWN]:
            assert credit.answer is not None, "what is notable was answered"
            yield f"{one.tool}: {credit.answer.title}: {credit.outcome}: {credit.message}"
        if len(one.notable) > SHOWN:
            yield f"{one.tool}: and {len(one.notable) - SHOWN} more; --json has all of them"


def _parser(rules: Sequence[str]) -> argparse.ArgumentParser:
    parser = command_parser(
        "score", "The competition's points, with every counterexample replayed.",
        usage="farkas score [NAME=]RESULTS [[NAME=]RESULTS ...] [options]",
        epilog="Exit code 0: nothing of the first tool is wrong; 1: something is; 2: usage.",
    )  # fmt: skip
    add = parser.add_argument
    add("results", nargs="+", metavar="RESULTS", help="a results.csv (category,onnx,vnnlib,prepare_time,result,"
        "run_time, or with a header), a store (its last run), or STORE@RUN; further ones compete")  # fmt: skip
    add("--rules", choices=rules, default="2026", help="whose tolerances and timeouts (default 2026)")
    add("--suite", type=Path, metavar="SUITE", help="the instances, as for farkas bench (default: those of the run)")
    add("--filter", action="append", default=[], metavar="WORD", help="as for farkas bench")
    add("--witnesses", action="append", default=[], metavar="[NAME=]DIR", help="where a results file's counterexamples "
        "are (default: in its folder): NETWORK_PROPERTY.counterexample, perhaps .gz, by category or not")  # fmt: skip
    add("--json", action="store_true", help="one JSON object")
    return parser
