"""Suites of many easy instances, made from the smallest networks and properties of the examples.

Every copy of a property ends in a comment of its own, so that each is a question of its own.  What is expected is what
the suite of the examples says.
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NETWORKS = ("wave.onnx", "pendulum.onnx")
TIMEOUT_S = 20


def easy_suite(folder: Path, count: int) -> Path:
    """Writes the properties of so many instances, and a suite of them; its file."""
    with (EXAMPLES / "suite.csv").open(newline="", encoding="utf-8") as file:
        chosen = [row for row in csv.DictReader(file) if Path(row["onnx"]).name in NETWORKS]
    (folder / "properties").mkdir(parents=True, exist_ok=True)
    path = folder / "suite.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("onnx", "vnnlib", "timeout", "expected", "category"))
        for number, row in zip(range(count), itertools.cycle(chosen)):
            text = (EXAMPLES / row["vnnlib"]).read_text(encoding="utf-8")
            query = f"properties/{number}.vnnlib"
            (folder / query).write_text(f"{text}; instance {number}\n", encoding="utf-8")
            out.writerow((EXAMPLES / row["onnx"], query, TIMEOUT_S, row["expected"], Path(row["onnx"]).stem))
    return path
