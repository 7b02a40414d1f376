"""Prints a suite of a few quick public instances: `python tools/public_slice.py MANIFEST`.

From each category named below the instances of either verdict that the fastest tool of the competition solved fastest.
"""

import csv
import sys
from pathlib import Path

COUNTS = {"test": 10, "acasxu_2023": 3, "safenlp_2024": 2, "rl_benchmarks": 2}  # of each verdict
TIMEOUT_S = 30


def quick(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of the slice, in the manifest's order of categories."""
    chosen = []
    for category, count in COUNTS.items():
        for verdict in ("sat", "unsat"):
            fitting = [row for row in rows if row["category"] == category and row["expected"] == verdict]
            chosen += sorted(fitting, key=lambda row: float(row["best_official_time_s"] or "inf"))[:count]
    return chosen


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    manifest = Path(arguments[0]).resolve()
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = quick(list(csv.DictReader(file)))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("category", "onnx", "vnnlib", "timeout", "expected"))
    for row in rows:
        files = manifest.parent / row["onnx"], manifest.parent / row["vnnlib"]
        writer.writerow((row["category"], *files, TIMEOUT_S, row["expected"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
