"""The networks and properties of a run's instances, as long as the files are what they were.

The store has digests of what was asked, not the files themselves.  A report shows what a network computes and what a
property says only if both still have the content that the question is named by; otherwise it says that they have not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from farkas import api
from farkas.batch.contents import Contents
from farkas.batch.plan import Plan
from farkas.batch.records import Run
from farkas.batch.suites import networks, query
from farkas.ir.errors import FarkasError
from farkas.properties import load_question
from farkas.questions import Question
from farkas.reports.facts import Entry

LARGEST_NETWORK, LARGEST_PROPERTY = 64 << 20, 4 << 20  # bytes of files that are read for a report


class Unreadable(Exception):
    """Why the files of an instance are not shown."""


@dataclass(frozen=True)
class Source:
    """What an instance is about; nets: by name, "" for a network without one."""

    nets: dict[str, api.Network]
    question: Question

    @cached_property
    def input_labels(self) -> tuple[str, ...]:
        """The names of the entries of X, as the property spells them."""
        return self._labels("input", "X", self.question.property.inputs)

    @cached_property
    def output_labels(self) -> tuple[str, ...]:
        """The names of the entries of Y."""
        return self._labels("output", "Y", self.question.property.outputs)

    def _labels(self, kind: str, letter: str, count: int) -> tuple[str, ...]:
        document = self.question.document
        if document is None:
            return tuple(f"{letter}_{k}" for k in range(count))
        return tuple(document.label(kind, k) for k in range(count))


class Sources:
    """Reads the files of instances; a network that several share is read once."""

    def __init__(self, run: Run) -> None:
        self._plan = Plan(semantics=run.options.get("semantics", ""), options=run.options.get("options", {}))
        self._contents = Contents()
        self._nets: dict[Path, api.Network] = {}

    def source(self, entry: Entry) -> Source:
        """What an instance is about; raises Unreadable."""
        row = entry.stored.row
        try:
            if self._plan.question(row, self._contents).key != entry.stored.question:
                raise Unreadable("the files have changed since, or the options of the run are not those of the answer")
            nets = {name: self._net(path) for name, path in networks(row)}
            if query(row).stat().st_size > LARGEST_PROPERTY:
                raise Unreadable(f"the property is larger than {LARGEST_PROPERTY >> 20} MiB")
            return Source(nets, load_question(nets, query(row)))
        except OSError as error:
            raise Unreadable(f"a file cannot be read: {error.strerror}") from error
        except FarkasError as error:
            raise Unreadable(str(error)) from error

    def _net(self, path: Path) -> api.Network:
        if path not in self._nets:
            if path.stat().st_size > LARGEST_NETWORK:
                raise Unreadable(f"the network is larger than {LARGEST_NETWORK >> 20} MiB")
            self._nets[path] = api.load(path)
        return self._nets[path]
