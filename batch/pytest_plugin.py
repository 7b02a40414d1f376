"""Suites for pytest: `pytest -p farkas.batch.pytest_plugin suite.csv`, a test for each instance.

A CSV file that is named on the command line, and a folder's `instances.csv`, is a suite; the instances that pytest has
selected (`-k`, `--deselect`) are decided together by the batch runner when the first of them is due, with the store
`--farkas-store` (by default one that is forgotten).  A test passes when the verdict is what the suite expects; where it
expects nothing, when it is `unsat`: the property holds.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from farkas.batch import command, procfs
from farkas.batch.plan import Plan
from farkas.batch.records import DECIDED, Result, Row
from farkas.batch.rows import row_of
from farkas.batch.store import Store
from farkas.batch.suites import BadSuite, read_suite, title


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("farkas")
    group.addoption("--farkas-store", metavar="FILE", help="where answers are kept and looked up")
    group.addoption("--farkas-timeout", type=float, metavar="S", help="upper limit for the timeouts of suites")
    group.addoption("--farkas-certify", action="store_true", help="`unsat` counts with an accepted certificate only")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    named = parent.session.isinitpath(file_path) and file_path.suffix == ".csv"
    return Suite.from_parent(parent, path=file_path) if named or file_path.name == "instances.csv" else None


class Suite(pytest.File):
    """A suite; decides its selected instances once."""

    _results: dict[int, Result] | None = None

    def collect(self) -> Iterator[pytest.Item]:
        try:
            rows = read_suite(self.path)
        except BadSuite as error:
            raise self.CollectError(str(error)) from error
        for row in rows:
            item: Instance = Instance.from_parent(self, name=title(row))
            item.row = row
            yield item

    def result(self, number: int) -> Result:
        """The answer to an instance."""
        if self._results is None:
            items = [item for item in self.session.items if isinstance(item, Instance) and item.parent is self]
            self._results = self._decided([item.row for item in items])
        return self._results[number]

    def _decided(self, rows: Sequence[Row]) -> dict[int, Result]:
        option = self.config.getoption
        plan = Plan(timeout_s=option("--farkas-timeout"), jobs=procfs.cores(), certify=bool(option("--farkas-certify")))
        with tempfile.TemporaryDirectory() as folder:
            place = Path(option("--farkas-store") or Path(folder) / "store")
            with Store.open(place) as store, Path(os.devnull).open("w", encoding="utf-8") as nowhere:
                done = command.start(store, self.path, rows, plan, resume=False,
                                     watcher=lambda left: command.for_people(left, nowhere, live=False))  # fmt: skip
                if done.interrupted:
                    raise KeyboardInterrupt
            with Store.open(place) as store:
                return {result.row.number: result for result in store.results(done.run)}


class Instance(pytest.Item):
    """One instance of a suite."""

    row: Row

    def runtest(self) -> None:
        assert isinstance(self.parent, Suite), "instances are collected by suites"
        result = row_of(self.parent.result(self.row.number))
        assert result is not None, "a run that was not interrupted has answered every instance"
        wanted = self.row.expected if self.row.expected in DECIDED else "unsat"
        if result.verdict == "unsupported":
            pytest.skip(result.message)
        if result.verdict != wanted or result.complaints:
            why = "; ".join(result.complaints) or result.message or result.reason
            raise Failed(f"{result.verdict}, wanted {wanted}: {why}".removesuffix(": "))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        return str(excinfo.value) if isinstance(excinfo.value, Failed) else str(excinfo.getrepr())

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


class Failed(Exception):
    """The verdict is not the one that is wanted."""
