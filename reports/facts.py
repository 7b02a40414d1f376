"""What a report is about: a run with its instances, how each stands, and what is to be said about it.

Everything here is read from the store and from files that the user names; nothing is decided anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from farkas.batch.records import DECIDED, Attempt, Run
from farkas.batch.records import Result as Stored
from farkas.batch.rows import Result, row_of
from farkas.batch.store import Store
from farkas.batch.suites import networks, query
from farkas.reports.recorded import Answer, Recorded


class Standing(StrEnum):
    """How an instance stands, in the order in which tables show it."""

    PROVED = "proved"
    VIOLATED = "violated"
    OPEN = "open"
    UNSUPPORTED = "unsupported"
    ERROR = "error"
    MISSING = "not run"


_STANDING = {
    "unsat": Standing.PROVED, "sat": Standing.VIOLATED, "unknown": Standing.OPEN, "timed-out": Standing.OPEN,
    "unsupported": Standing.UNSUPPORTED, "error": Standing.ERROR,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """An instance of the run.

    row: its answer in columns, None while there is none; other: what it is compared with says; is_contradictory: one
    attempt in the store says sat and another one unsat.
    """

    stored: Stored
    row: Result | None
    other: Answer | None = None
    is_contradictory: bool = False

    @property
    def number(self) -> int:
        return self.stored.row.number

    @property
    def category(self) -> str:
        return self.stored.row.category

    @property
    def attempt(self) -> Attempt | None:
        return self.stored.attempt

    @property
    def network(self) -> str:
        """The names of its network files, without folders and endings."""
        return "+".join(_stem(path, ".onnx") for _, path in networks(self.stored.row))

    @property
    def query(self) -> str:
        """The name of its property file, without folder and ending."""
        return _stem(Path(self.stored.row.vnnlib), ".vnnlib")

    @property
    def standing(self) -> Standing:
        return Standing.MISSING if self.row is None else _STANDING[self.row.verdict]

    @property
    def is_decided(self) -> bool:
        return self.row is not None and self.row.verdict in DECIDED

    @property
    def complaints(self) -> list[str]:
        """What is wrong about the answer; nothing may be."""
        found = [] if self.row is None else list(self.row.complaints)
        if self.is_contradictory:
            found.append("CONTRADICTION: attempts in this store say sat and unsat")
        return found

    @property
    def disagreement(self) -> str:
        """What it is compared with decides otherwise; "" where it does not."""
        if self.row is None or self.other is None or not self.is_decided or self.other.verdict not in DECIDED:
            return ""
        if self.row.verdict == self.other.verdict:
            return ""
        return f"{self.row.verdict} here, {self.other.verdict} there"

    @property
    def reason(self) -> str:
        """Why it is not decided; "" where it is."""
        if self.row is None:
            return "not run"
        return "" if self.is_decided else self.row.reason or self.row.verdict

    @property
    def warnings(self) -> list[str]:
        """What a reader of the answer should know besides: that a property asks nothing, that inputs were rounded."""
        statistics = {} if self.attempt is None else self.attempt.details.get("statistics") or {}
        found = [str(warning) for warning in statistics.get("warnings") or ()]
        if statistics.get("off_grid"):
            found.append("single numbers of the input set that are no binary32 numbers mean the nearest ones")
        return found

    @property
    def message(self) -> str:
        """What was said where there is no answer, without the folder that a file lies in."""
        said = "" if self.row is None or self.is_decided else self.row.message
        for path in (*(path for _, path in networks(self.stored.row)), query(self.stored.row)):
            said = said.replace(f"{path}: ", "")
        return said

    def file(self, kind: str) -> str | None:
        """The SHA-256 of a stored file."""
        files = () if self.attempt is None else self.attempt.files
        return next((file.sha256 for file in files if file.kind == kind), None)


@dataclass(frozen=True)
class Report:
    """A run, its instances in the order of the suite, and what it is compared with."""

    run: Run
    entries: Sequence[Entry]
    against: Recorded | None = None

    @property
    def wrong(self) -> list[Entry]:
        """The instances about whose answers something is wrong."""
        return [entry for entry in self.entries if entry.complaints]

    @property
    def disputed(self) -> list[Entry]:
        """The instances that what it is compared with decides otherwise."""
        return [entry for entry in self.entries if entry.disagreement]

    @property
    def categories(self) -> Mapping[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.category, []).append(entry)
        return dict(sorted(found.items()))

    @property
    def standings(self) -> Counter[Standing]:
        return counts(self.entries)


def counts(entries: Sequence[Entry]) -> Counter[Standing]:
    """How many stand how."""
    return Counter(entry.standing for entry in entries)


def collect(store: Store, run: Run, against: Recorded | None = None) -> Report:
    """What the store knows about a run; raises what reading it raises."""
    entries = []
    for stored in store.results(run.id):
        contradictory = stored.question is not None and store.is_contradictory(stored.question)
        other = None if against is None else against.answer(stored.row)
        entries.append(Entry(stored, row_of(stored), other, contradictory))
    return Report(run, tuple(entries), against)


def _stem(path: Path, ending: str) -> str:
    return path.name.removesuffix(".gz").removesuffix(ending)
