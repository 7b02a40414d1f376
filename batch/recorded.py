"""Results that somebody has recorded: the files of the competition, ours, and whatever has columns of these names.

The competition writes no header: `category,onnx,vnnlib,prepare_time,result,run_time`.  With a header the columns are
known by name: `onnx`, `vnnlib`, `result` or `verdict`, and perhaps `category`, `run_time` or `wall_s` (or `time_s`),
`timeout_s` or `timeout`, `expected`, `semantics`, `reason`.

Counterexamples lie beside the results as the competition keeps them, `NETWORK_PROPERTY.counterexample`, also with
`.gz`, in the folder, below it, or in a folder named for the category.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from farkas.batch.comparison import Answer
from farkas.batch.suites import BadSuite, pairs_of

COMPETITION = ("category", "onnx", "vnnlib", "prepare_time", "result", "run_time")
WORDS = {
    "sat": "sat", "violated": "sat", "unsat": "unsat", "holds": "unsat", "unknown": "unknown", "timeout": "timed-out",
    "timed-out": "timed-out", "unsupported": "unsupported",
}  # fmt: skip
SUFFIXES = (".counterexample", ".counterexample.gz", ".txt", ".txt.gz")


class BadResults(Exception):
    """A file of results cannot be read; the message says why."""


def read_results(path: Path) -> list[Answer]:
    """The answers in a file; what is no known word is an error.  Raises BadResults."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if any(map(str.strip, line))]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BadResults(f"{path}: cannot be read: {error}") from error
    if not lines:
        raise BadResults(f"{path}: no results")
    names = [name.strip().lower() for name in lines[0]]
    if "onnx" not in names:
        if len(names) != len(COMPETITION) or ".vnnlib" not in lines[0][2]:
            raise BadResults(f"{path}: neither a header with onnx and vnnlib nor lines {','.join(COMPETITION)}")
        names, lines = list(COMPETITION), [[], *lines]
    if "vnnlib" not in names or not {"result", "verdict"} & set(names):
        raise BadResults(f"{path}: the columns vnnlib and result (or verdict) are wanted; found {', '.join(names)}")
    return [_answer(path, dict(zip(names, map(str.strip, line), strict=False))) for line in lines[1:]]


def _answer(path: Path, values: Mapping[str, str]) -> Answer:
    said = values.get("verdict") or values.get("result", "")
    words = said.split()
    verdict = WORDS.get(words[0].lower() if words else "", "error")
    answer = Answer(
        values.get("category", ""), values["onnx"], values.get("vnnlib", ""), verdict,
        values.get("reason") or ("" if verdict != "error" else said[:60]), values.get("semantics", ""),
        _seconds(values, "wall_s", "run_time", "time_s") or 0.0, _seconds(values, "timeout_s", "timeout"),
        values.get("expected", ""),
    )  # fmt: skip
    try:
        pairs_of(answer.onnx)
    except BadSuite as error:
        raise BadResults(f"{path}: {error}") from error
    return answer


def _seconds(values: Mapping[str, str], *names: str) -> float | None:
    for name in names:
        try:
            seconds = float(values.get(name) or "nan")
        except ValueError:
            continue
        if math.isfinite(seconds):
            return seconds
    return None


def with_witnesses(answers: Sequence[Answer], folder: Path) -> list[Answer]:
    """The answers, those of `sat` with the counterexamples of a folder."""
    return [
        replace(answer, witness=next(_candidates(answer, folder), None)) if answer.verdict == "sat" else answer
        for answer in answers
    ]


def _candidates(answer: Answer, folder: Path) -> Iterator[Path]:
    """Where a counterexample may lie; where networks lie in folders of a category, their name may stand in front."""
    places = [folder / answer.category, *(path for path in sorted(folder.glob(f"*{answer.category}")) if path.is_dir())]
    above = PurePosixPath(pairs_of(answer.onnx)[0][1]).parent.name
    for place in (*(places if answer.category else ()), folder):
        for name in (f"{above}_{stem(answer)}", stem(answer)):
            yield from (path for suffix in SUFFIXES if (path := place / (name + suffix)).is_file())


def stem(answer: Answer) -> str:
    """The name of an instance's counterexample: that of the network (several: their names in the property), `_`, that
    of the property."""
    pairs = pairs_of(answer.onnx)
    first = "_".join(name or _bare(path) for name, path in pairs) if len(pairs) > 1 else _bare(pairs[0][1])
    return f"{first}_{_bare(answer.vnnlib)}"


def _bare(path: str) -> str:
    return PurePosixPath(path.removesuffix(".gz")).stem
