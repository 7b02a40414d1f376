"""The run as one JSON object; docs/report.schema.json says what stands in it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from farkas.batch.records import canonical
from farkas.reports.facts import Entry, Report, Standing
from farkas.reports.figures import Figures, by_evidence, by_reason, figures
from farkas.reports.words import is_independent

VERSION = 1


def as_json(report: Report) -> str:
    """The text of the file."""
    return json.dumps(as_object(report), indent=1, allow_nan=False) + "\n"


def as_object(report: Report) -> dict[str, Any]:
    """What the text says; nothing in it is infinite or NaN."""
    run = report.run
    found = {
        "format": "farkas-report",
        "version": VERSION,
        "run": {
            "id": run.id, "suite": run.suite, "state": run.state, "started": run.started, "ended": run.ended,
            "options": run.options, "environment": run.environment,
        },
        "summary": _figures(figures("all", report.entries)),
        "evidence": [
            {"standing": standing.value, "evidence": kind, "count": count, "checked": checked}
            for standing, kind, count, checked in by_evidence(report)
        ],
        "reasons": dict(by_reason(report)),
        "categories": [_figures(figures(name, group)) for name, group in report.categories.items()],
        "against": None if report.against is None else {"name": report.against.name},
        "instances": [_instance(entry) for entry in report.entries],
    }  # fmt: skip
    values: dict[str, Any] = json.loads(canonical(found))
    return {key: values[key] for key in found}


def _figures(one: Figures) -> dict[str, Any]:
    standings = {s.value: count for s, count in zip(Standing, one.standings, strict=True)}
    return {**asdict(one), "standings": standings}


def _instance(entry: Entry) -> dict[str, Any]:
    row, other, stored = entry.row, entry.other, entry.stored
    return {
        "number": entry.number, "category": entry.category, "onnx": stored.row.onnx, "vnnlib": stored.row.vnnlib,
        "timeout_s": stored.row.timeout_s if row is None else row.timeout_s, "expected": stored.row.expected,
        "standing": entry.standing.value, "complaints": entry.complaints, "question": stored.question,
        "reused": stored.reused,
        "answer": None if row is None else {
            "verdict": row.verdict, "reason": row.reason, "evidence": row.evidence, "semantics": row.semantics,
            "message": row.message, "wall_s": row.wall_s, "cpu_s": row.cpu_s, "peak_mb": row.peak_mb,
            "leaves": row.leaves, "boxes": row.boxes, "checked": is_independent(entry), "warnings": entry.warnings,
            "certificate": entry.file("certificate"), "witness": entry.file("witness"),
        },
        "other": None if other is None else {"verdict": other.verdict, "time_s": other.time_s,
                                             "disagreement": entry.disagreement},
    }  # fmt: skip
