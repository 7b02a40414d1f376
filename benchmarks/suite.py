"""Suites of instances: a CSV file with a header, one query a row.

Columns: `onnx`, `vnnlib` (paths relative to the file), `timeout` or `timeout_s` (seconds), `expected` (sat, unsat or
anything else for not known), and perhaps `category`.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

DECIDED = ("sat", "unsat")
DEFAULT_TIMEOUT_S = 60.0


class BadSuite(Exception):
    """The suite cannot be read; the message says why."""


@dataclass(frozen=True)
class Instance:
    """One query.  onnx (perhaps `f=PATH`), vnnlib: as the suite writes them; folder: what they are relative to."""

    category: str
    onnx: str
    vnnlib: str
    timeout_s: float
    expected: str
    folder: Path

    @property
    def key(self) -> tuple[str, str, str]:
        return self.category, self.onnx, self.vnnlib

    @property
    def networks(self) -> list[tuple[str, Path]]:
        """Names ("" for a network without one) and files; several are `f=PATH;g=PATH` or a Python list of pairs."""
        if self.onnx.lstrip().startswith("["):
            pairs = ast.literal_eval(self.onnx.strip())
        else:
            pairs = [_named(text) for text in self.onnx.split(";")]
        return [(name, self.folder / path) for name, path in pairs]

    @property
    def network(self) -> Path:
        """The only network, or the first one."""
        return self.networks[0][1]

    @property
    def query(self) -> Path:
        return self.folder / self.vnnlib

    @property
    def name(self) -> str:
        return f"{self.category}: {'+'.join(path.name for _, path in self.networks)} {Path(self.vnnlib).name}"

    @property
    def is_single(self) -> bool:
        """Whether the query is about one network and no named copies of it."""
        return len(self.networks) == 1 and not self.networks[0][0]


def _named(text: str) -> tuple[str, str]:
    """`f=PATH` as name and path; a path may hold `=` itself."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and name.isidentifier() else ("", text)


def read_suite(path: Path) -> list[Instance]:
    """All instances of a suite; raises BadSuite."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadSuite(f"{path}: cannot be read: {error}") from error
    if not rows:
        raise BadSuite(f"{path}: no instances")
    return [_instance(path, number, row) for number, row in enumerate(rows, 2)]


def _instance(path: Path, number: int, row: dict[str, str]) -> Instance:
    missing = [name for name in ("onnx", "vnnlib") if not row.get(name)]
    if missing:
        raise BadSuite(f"{path}, line {number}: no {missing[0]}; the columns onnx and vnnlib are wanted")
    timeout = row.get("timeout_s") or row.get("timeout") or str(DEFAULT_TIMEOUT_S)
    try:
        seconds = float(timeout)
    except ValueError as error:
        raise BadSuite(f"{path}, line {number}: the timeout is '{timeout}', a number is wanted") from error
    category = row.get("category") or path.resolve().parent.name
    return Instance(category, row["onnx"], row["vnnlib"], seconds, row.get("expected") or "", path.resolve().parent)


def select(instances: list[Instance], categories: Collection[str], every: int) -> list[Instance]:
    """The instances of these categories (none named: all), and of each category every so-manieth, from its first on."""
    unknown = sorted(set(categories) - {instance.category for instance in instances})
    if unknown:
        known = ", ".join(sorted({instance.category for instance in instances}))
        raise BadSuite(f"no category '{unknown[0]}' in the suite; it has {known}")
    seen: dict[str, int] = {}
    chosen = []
    for instance in instances:
        if not categories or instance.category in categories:
            position = seen[instance.category] = seen.get(instance.category, -1) + 1
            if position % every == 0:
                chosen.append(instance)
    return chosen
