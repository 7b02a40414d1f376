"""The run as the competition's results file: category, onnx, vnnlib, prepare_time, result, run_time; no header."""

from __future__ import annotations

import csv
import io

from farkas.reports.facts import Report

WORDS = {"timed-out": "timeout", "unsupported": "unknown"}


def competition(report: Report) -> str:
    """The text of the file; instances without an answer are left out.

    Nothing is prepared ahead, so that the time of preparation is 0.
    """
    text = io.StringIO(newline="")
    out = csv.writer(text, lineterminator="\n")
    for entry in report.entries:
        row = entry.row
        if row is not None:
            verdict = WORDS.get(row.verdict, row.verdict)
            out.writerow([row.category, row.onnx, row.vnnlib, "0.0", verdict, f"{row.wall_s:.6f}"])
    return text.getvalue()
