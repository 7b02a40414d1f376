"""Answers to compare a run with: those of another run, or of any tool, recorded in a CSV file.

Three kinds of file are read: the results of the competition (no header; category, onnx, vnnlib, prepare_time, result,
run_time), the same columns under a header, and what `farkas bench --export` writes.  Instances are matched by category
and the names of their files, without folders and `.gz`, for the folders are those of somebody else's machine.
"""

from __future__ import annotations

import ast
import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farkas.batch.records import Row
from farkas.batch.records import Run as StoredRun
from farkas.batch.rows import row_of
from farkas.batch.store import Store

Key = tuple[str, str, str]
HEADER = ("category", "onnx", "vnnlib", "prepare_time", "result", "run_time")
VERDICTS, TIMES = ("verdict", "result"), ("wall_s", "run_time", "time_s")
WORDS = {
    "holds": "unsat", "violated": "sat", "timeout": "timed-out", "run_instance_timeout": "timed-out",
    "no_result_in_file": "error", "prepare_instance_error_": "error",
}  # fmt: skip
KNOWN = ("sat", "unsat", "unknown", "timed-out", "unsupported", "error")


class BadResults(Exception):
    """The file holds no results; the message says what was found and what was wanted."""


@dataclass(frozen=True)
class Answer:
    """verdict: in our words; time_s: None where none is recorded."""

    verdict: str
    time_s: float | None


@dataclass(frozen=True)
class Recorded:
    """name: for people; answers: by category and the names of the files."""

    name: str
    answers: Mapping[Key, Answer]

    def answer(self, row: Row) -> Answer | None:
        return self.answers.get(key(row.category, row.onnx, row.vnnlib))


def key(category: str, onnx: str, vnnlib: str) -> Key:
    """By what an instance is found again."""
    return category.strip(), _networks(onnx.strip()), _name(vnnlib.strip())


def of_run(store: Store, run: StoredRun) -> Recorded:
    """The answers of another run."""
    found = {}
    for stored in store.results(run.id):
        row = row_of(stored)
        if row is not None:
            found[key(row.category, row.onnx, row.vnnlib)] = Answer(row.verdict, row.wall_s)
    return Recorded(f"run {run.id}", found)


def of_file(path: Path) -> Recorded:
    """The answers in a CSV file; the first one where an instance has several.  Raises BadResults."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if any(map(str.strip, line))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadResults(f"{path}: cannot be read: {error}") from error
    if not lines:
        raise BadResults(f"{path}: no results")
    names, rows = _headed(lines, path)
    verdict, time = _first(names, VERDICTS, path), _first(names, TIMES, path)
    columns = [names.index(name) for name in ("category", "onnx", "vnnlib", verdict, time)]
    found: dict[Key, Answer] = {}
    for number, line in rows:
        if len(line) <= max(columns):
            raise BadResults(f"{path}, line {number}: {len(line)} columns, {max(columns) + 1} are wanted")
        category, onnx, vnnlib, word, seconds = (line[column] for column in columns)
        found.setdefault(key(category, onnx, vnnlib), Answer(_verdict(word), _seconds(seconds)))
    return Recorded(path.name, found)


def _headed(lines: Sequence[list[str]], path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the numbered lines below them."""
    numbered = list(enumerate(lines, 1))
    if "onnx" in map(str.strip, lines[0]):
        return [name.strip() for name in lines[0]], numbered[1:]
    if len(lines[0]) != len(HEADER) or ".vnnlib" not in lines[0][2]:
        raise BadResults(f"{path}: no results: the columns {','.join(HEADER)} are wanted, or a header that names them")
    return list(HEADER), numbered


def _first(names: Sequence[str], wanted: Sequence[str], path: Path) -> str:
    for name in ("category", "onnx", "vnnlib"):
        if name not in names:
            raise BadResults(f"{path}: there is no column '{name}'; found {', '.join(names)}")
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise BadResults(f"{path}: none of the columns {', '.join(wanted)}; found {', '.join(names)}")
    return found


def _verdict(word: str) -> str:
    plain = word.strip().lower()
    known = WORDS.get(plain, plain)
    return known if known in KNOWN else "error"


def _seconds(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _networks(onnx: str) -> str:
    """The names of the network files, however several are written."""
    if onnx.startswith("["):
        try:
            return "+".join(f"{name}={_name(str(path))}" for name, path in ast.literal_eval(onnx))
        except (ValueError, SyntaxError, TypeError):
            return onnx
    if ";" in onnx:
        parts = [part.partition("=") for part in onnx.split(";")]
        return "+".join(f"{name}={_name(path)}" for name, _, path in parts)
    return _name(onnx)


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2].removesuffix(".gz")
