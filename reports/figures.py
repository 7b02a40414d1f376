"""What many instances add up to: counts by standing, evidence and reason, times, and a headline."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from farkas.batch.records import DECIDED
from farkas.reports.facts import Entry, Report, Standing, counts
from farkas.reports.words import evidence_of, is_independent


@dataclass(frozen=True)
class Figures:
    """Of one category, or of all.

    standings: in the order of Standing; checked: certificates that the checker accepted in a process of its own;
    median_s, longest_s: over what is decided, None where nothing is; par2_s: what is not decided counts twice its
    timeout; expected: how many have an expected verdict.
    """

    name: str
    total: int
    standings: tuple[int, ...]
    wrong: int
    checked: int
    expected: int
    median_s: float | None
    longest_s: float | None
    cpu_s: float
    par2_s: float
    peak_mb: float

    def count(self, standing: Standing) -> int:
        return self.standings[list(Standing).index(standing)]

    @property
    def decided(self) -> int:
        return self.count(Standing.PROVED) + self.count(Standing.VIOLATED)


def figures(name: str, entries: Sequence[Entry]) -> Figures:
    """The numbers of a table's row."""
    standing = counts(entries)
    rows = [entry.row for entry in entries if entry.row is not None]
    times = [e.row.wall_s for e in entries if e.row is not None and e.row.is_solved and not e.complaints]
    return Figures(
        name=name, total=len(entries), standings=tuple(standing[one] for one in Standing),
        wrong=sum(bool(entry.complaints) for entry in entries), checked=sum(map(is_independent, entries)),
        expected=sum(entry.stored.row.expected in DECIDED for entry in entries),
        median_s=statistics.median(times) if times else None, longest_s=max(times, default=None),
        cpu_s=sum(row.cpu_s for row in rows), peak_mb=max((row.peak_mb for row in rows), default=0.0),
        par2_s=sum(times) + sum(2 * _timeout(entry) for entry in entries if not _counts(entry)),
    )  # fmt: skip


def _counts(entry: Entry) -> bool:
    return entry.row is not None and entry.row.is_solved and not entry.complaints


def _timeout(entry: Entry) -> float:
    return entry.stored.row.timeout_s if entry.row is None else entry.row.timeout_s


def by_evidence(report: Report) -> list[tuple[Standing, str, int, int]]:
    """Standing, kind of evidence, how many, and how many of these the checker confirmed independently."""
    found: Counter[tuple[Standing, str]] = Counter()
    checked: Counter[tuple[Standing, str]] = Counter()
    for entry in report.entries:
        if entry.is_decided:
            kind = entry.standing, evidence_of(entry)
            found[kind] += 1
            checked[kind] += is_independent(entry)
    order = list(Standing)
    return [(*kind, found[kind], checked[kind]) for kind in sorted(found, key=lambda k: (order.index(k[0]), k[1]))]


def by_reason(report: Report) -> list[tuple[str, int]]:
    """Why instances are not decided, the most frequent reason first."""
    found = Counter(entry.reason for entry in report.entries if not entry.is_decided)
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def headline(report: Report) -> str:
    """The run in a sentence."""
    all_ = figures("all", report.entries)
    proved, violated = all_.count(Standing.PROVED), all_.count(Standing.VIOLATED)
    rest = all_.total - all_.decided
    left = "none is left open" if not rest else f"{rest} {'is' if rest == 1 else 'are'} not decided"
    return f"{all_.decided} of {all_.total} instances are decided: {proved} proved, {violated} violated; {left}."


def correctness(report: Report) -> str:
    """What is known to be wrong, or what was looked at that could have shown it."""
    if report.wrong:
        count = len(report.wrong)
        return f"{counted(count, 'answer is', 'answers are')} wrong or contradictory."
    if report.disputed and report.against is not None:
        many = counted(len(report.disputed), "answer is", "answers are")
        return f"{many} contradicted by {report.against.name}: one of the two is wrong."
    looked = []
    expected = sum(entry.is_decided and entry.stored.row.expected in DECIDED for entry in report.entries)
    if expected:
        looked.append(f"{counted(expected, 'answer is', 'answers are')} as expected")
    checked = sum(map(is_independent, report.entries))
    if checked:
        looked.append(f"{counted(checked, 'certificate was', 'certificates were')} accepted by a separate process")
    if report.against is not None:
        both = [e for e in report.entries if e.is_decided and e.other is not None and e.other.verdict in DECIDED]
        looked.append(f"{counted(len(both), 'answer agrees', 'answers agree')} with {report.against.name}")
    found = f": {', '.join(looked)}" if looked else ", but there is nothing to compare with"
    return f"No answer is known to be wrong{found}."


def counted(count: int, one: str, many: str) -> str:
    """`1 answer`, `2 answers`."""
    return f"{count} {one if count == 1 else many}"
