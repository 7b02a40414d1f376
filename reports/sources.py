"""The networks and properties of a run's instances, as long as the files are what they were.

The store has digests of what was asked, not the files themselves.  A report shows what a network computes and what a
property says only if both still have the content that the question is named by; otherwise it says that they have not.
"""

from __future__ import annotations

from dataclasses import dataclass
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
KEPT = 4  # networks in memory


class Unreadable(Exception):
    """Why the files of an instance are not shown."""


@dataclass(frozen=True)
class Source:
    """What an instance is about; nets: by name, "" for a network without one."""

    nets: dict[str, api.Network]
    question: Question


def input_labels(question: Question) -> tuple[str, ...]:
    """The names of the entries of X, as the property spells them."""
    return _labels(question, "input", "X", question.property.inputs)


def output_labels(question: Question) -> tuple[str, ...]:
    """The names of the entries of Y."""
    return _labels(question, "output", "Y", question.property.outputs)


def _labels(question: Question, kind: str, letter: str, count: int) -> tuple[str, ...]:
    if question.document is None:
        return tuple(f"{letter}_{k}" for k in range(count))
    return tuple(question.document.label(kind, k) for k in range(count))


class Sources:
    """Reads the files of instances; the networks read last are kept, for several instances share them."""

    def __init__(self, run: Run) -> None:
        self._plan = Plan(semantics=run.options.get("semantics", ""), options=run.options.get("options", {}))
        self._contents = Contents()
        self._nets: dict[Path, api.Network] = {}

    def question(self, entry: Entry) -> Question:
        """What the property of an instance says, without its networks; raises Unreadable."""
        return self._read(entry, with_networks=False).question

    def source(self, entry: Entry) -> Source:
        """What an instance is about; raises Unreadable."""
        return self._read(entry, with_networks=True)

    def _read(self, entry: Entry, *, with_networks: bool) -> Source:
        row = entry.stored.row
        try:
            if self._plan.question(row, self._contents).key != entry.stored.question:
                raise Unreadable("the files have changed since, or the options of the run are not those of the answer")
            if query(row).stat().st_size > LARGEST_PROPERTY:
                raise Unreadable(f"the property is larger than {LARGEST_PROPERTY >> 20} MiB")
            nets = {name: self._net(path) for name, path in networks(row)} if with_networks else {}
            return Source(nets, load_question(nets or None, query(row)))
        except OSError as error:
            raise Unreadable(f"a file cannot be read: {error.strerror}") from error
        except FarkasError as error:
            raise Unreadable(str(error)) from error

    def _net(self, path: Path) -> api.Network:
        if path not in self._nets:
            if path.stat().st_size > LARGEST_NETWORK:
                raise Unreadable(f"the network is larger than {LARGEST_NETWORK >> 20} MiB")
            while len(self._nets) >= KEPT:
                del self._nets[next(iter(self._nets))]
            self._nets[path] = api.load(path)
        return self._nets[path]
