"""Suites for the other benchmarks: what `farkas.batch.suites` reads, as instances with their files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from farkas.batch import suites
from farkas.batch.records import DECIDED, Row
from farkas.batch.suites import BadSuite

__all__ = ["DECIDED", "BadSuite", "Instance", "read_suite", "select"]


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
    def row(self) -> Row:
        return Row(0, self.category, self.onnx, self.vnnlib, str(self.folder), self.timeout_s, self.expected)

    @property
    def network(self) -> Path:
        """The only network, or the first one."""
        return suites.networks(self.row)[0][1]

    @property
    def query(self) -> Path:
        return suites.query(self.row)

    @property
    def name(self) -> str:
        return suites.title(self.row)

    @property
    def is_single(self) -> bool:
        """Whether the query is about one network and no named copies of it."""
        found = suites.networks(self.row)
        return len(found) == 1 and not found[0][0]


def read_suite(path: Path) -> list[Instance]:
    """All instances of a suite; raises BadSuite."""
    return [_instance(row) for row in suites.read_suite(path)]


def select(instances: list[Instance], categories: Collection[str], every: int) -> list[Instance]:
    """The instances of these categories (none named: all), and of each category every so-manieth, from its first on."""
    return [_instance(row) for row in suites.select([instance.row for instance in instances], categories, every)]


def _instance(row: Row) -> Instance:
    return Instance(row.category, row.onnx, row.vnnlib, row.timeout_s, row.expected, Path(row.folder))
