"""Compares two results files of run.py: `python benchmarks/compare.py OLD.csv NEW.csv`.

Prints contradictions first (one says sat, the other unsat), then what was gained and lost, then the ratios of times
over the instances that both solved.  Exit status 1 when there is a contradiction, 2 when a file cannot be read.
"""

from __future__ import annotations

import csv
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

DECIDED = ("sat", "unsat")
Key = tuple[str, str, str]
Rows = Mapping[Key, Mapping[str, str]]
SMALLEST_S = 0.01  # the kernel counts CPU time in hundredths of a second


class BadResults(Exception):
    """A results file cannot be read; the message says why."""


def read_results(path: Path) -> Rows:
    """Rows by (category, onnx, vnnlib)."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {(row["category"], row["onnx"], row["vnnlib"]): row for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadResults(f"{path}: cannot be read: {error}") from error
    except KeyError as error:
        raise BadResults(f"{path}: no column {error}; a results file of run.py is wanted") from error


def contradictions(old: Rows, new: Rows) -> list[Key]:
    """Instances that one calls sat and the other unsat."""
    return [key for key in old if key in new and {old[key]["verdict"], new[key]["verdict"]} == set(DECIDED)]


def compare(old: Rows, new: Rows) -> Iterator[str]:
    """The lines of the comparison."""
    common = [key for key in old if key in new]
    for key in contradictions(old, new):
        yield f"!! {_name(key)}: {old[key]['verdict']} before, {new[key]['verdict']} now"
    solved = {key: (old[key]["verdict"] in DECIDED, new[key]["verdict"] in DECIDED) for key in common}
    for word, wanted in (("solved", (False, True)), ("lost", (True, False))):
        for key in (key for key in common if solved[key] == wanted):
            yield f"{word}: {_name(key)}: {old[key]['verdict']} before, {new[key]['verdict']} now"
    both = [key for key in common if solved[key] == (True, True)]
    yield (
        f"{len(common)} instances in both files, {len(old) - len(common)} only in the old one, "
        f"{len(new) - len(common)} only in the new one"
    )
    before, now = (sum(pair[side] for pair in solved.values()) for side in (0, 1))
    yield f"solved before {before}, now {now}, in both {len(both)}"
    for category in (*sorted({key[0] for key in both}), ""):
        keys = [key for key in both if category in ("", key[0])]
        if keys:
            yield from _ratios(category or "all", [(old[key], new[key]) for key in keys])


def _ratios(name: str, pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]]) -> Iterator[str]:
    for column in ("wall_s", "cpu_s"):
        before = [max(float(a[column]), SMALLEST_S) for a, _ in pairs]
        after = [max(float(b[column]), SMALLEST_S) for _, b in pairs]
        ratios = [b / a for a, b in zip(before, after, strict=True)]
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        yield (
            f"{name}: {column} {sum(before):.1f} -> {sum(after):.1f} ({sum(after) / sum(before):.2f}x), "
            f"ratio: geometric mean {mean:.2f}, median {statistics.median(ratios):.2f}, "
            f"smallest {min(ratios):.2f}, greatest {max(ratios):.2f}, n {len(pairs)}"
        )


def _name(key: Key) -> str:
    return f"{key[0]}: {Path(key[1]).name} {Path(key[2]).name}"


def main(arguments: Sequence[str]) -> int:
    """Prints the comparison; the exit code."""
    if len(arguments) != 2:
        print("usage: python benchmarks/compare.py OLD.csv NEW.csv", file=sys.stderr)
        return 2
    try:
        old, new = (read_results(Path(name)) for name in arguments)
    except BadResults as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 2
    print("\n".join(compare(old, new)))
    return 1 if contradictions(old, new) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
