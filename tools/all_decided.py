"""Fails unless every instance of a results file was decided as expected: `python tools/all_decided.py RESULTS`.

For suites that are known to be easy; `benchmarks/run.py` itself fails on wrong verdicts only.
"""

import csv
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with Path(arguments[0]).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missed = [row for row in rows if row["verdict"] != row["expected"]]
    for row in missed:
        print(f"{row['onnx']} {row['vnnlib']}: {row['verdict']}, expected {row['expected']}. {row['message']}")
    print(f"{len(rows) - len(missed)} of {len(rows)} decided as expected")
    return int(bool(missed) or not rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
