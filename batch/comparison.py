"""Two runs side by side: what got better, worse, slower, and what contradicts.

Instances are paired by their names, as runs of different folders, years and tools write them: first where category and
both paths agree, then the last two parts of the paths, then the names of the files, at last without the category;
`.gz` and `./` count for nothing.  Where a name means several instances on one side, it pairs nothing (the very same
path several times is paired in order).  Files of one name may differ in content from year to year: where both sides
know digests and these differ, nothing is compared.

Contradictory are `sat` and `unsat` where the arithmetic of the `unsat` covers that of the `sat`: a network may well
violate in binary32 what it meets over the reals.  A side that does not say which arithmetic it means is taken to mean
ours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from farkas.batch.records import DECIDED, Row, Run, digest
from farkas.batch.rows import row_of
from farkas.batch.store import Store
from farkas.batch.suites import pairs_of

FACTOR = 1.5  # slower by less is noise on a shared machine
NOISE_S = 0.2


class Change(StrEnum):
    """What became of an instance from the first run to the second."""

    CONTRADICTORY = "contradictory"
    WORSE = "worse"
    BETTER = "better"
    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"
    INCOMPARABLE = "incomparable"  # another question, or another arithmetic, with another answer
    GONE = "gone"
    NEW = "new"


@dataclass(frozen=True)
class Answer:
    """What one verifier says about one instance.

    verdict: as in the store; semantics, content: "" where they are not known; content: a digest of what networks and
    property say; complaints: what is wrong about the answer by itself; witness, certificate: files.
    """

    category: str
    onnx: str
    vnnlib: str
    verdict: str
    reason: str = ""
    semantics: str = ""
    wall_s: float = 0.0
    timeout_s: float | None = None
    expected: str = ""
    content: str = ""
    complaints: tuple[str, ...] = ()
    witness: Path | None = None
    certificate: Path | None = None

    @property
    def is_decided(self) -> bool:
        return self.verdict in DECIDED

    @property
    def rank(self) -> int:
        """A wrong answer is worse than none."""
        return -1 if self.complaints else int(self.is_decided)

    @property
    def title(self) -> str:
        files = "+".join(PurePosixPath(path).name for _, path in pairs_of(self.onnx))
        return f"{self.category}: {files} {PurePosixPath(self.vnnlib).name}"

    @property
    def told(self) -> str:
        """The answer in a few words."""
        words = "; ".join(self.complaints) or ("" if self.is_decided else self.reason)
        return f"{self.verdict}{f' ({words})' if words else ''} {self.wall_s:.2f} s"


@dataclass(frozen=True)
class Pair:
    """An instance with its two answers; one that only one run has has one."""

    first: Answer | None
    second: Answer | None
    change: Change

    @property
    def any(self) -> Answer:
        """One of the answers, the second first."""
        found = self.second or self.first
        assert found is not None, "a pair has at least one answer"
        return found

    @property
    def ratio(self) -> float | None:
        """The second wall-clock time over the first, where both are decided."""
        if self.first is None or self.second is None or not (self.first.is_decided and self.second.is_decided):
            return None
        return self.second.wall_s / self.first.wall_s if self.first.wall_s > 0 else None


@dataclass(frozen=True)
class Comparison:
    """All instances of two runs, in the order of the first; what only the second has comes last."""

    pairs: tuple[Pair, ...]

    def of(self, change: Change) -> list[Pair]:
        return [pair for pair in self.pairs if pair.change is change]

    def counts(self) -> Mapping[str, Counter[Change]]:
        """How many instances of a category changed how."""
        found: defaultdict[str, Counter[Change]] = defaultdict(Counter)
        for pair in self.pairs:
            found[pair.any.category][pair.change] += 1
        return found

    def as_json(self) -> dict[str, Any]:
        """Counts by category, and every instance that changed; plain data."""
        return {
            "counts": {
                name: {change.value: n for change, n in counter.items()} for name, counter in self.counts().items()
            },
            "instances": [
                {"change": pair.change.value, "first": _plain(pair.first), "second": _plain(pair.second)}
                for pair in self.pairs
                if pair.change is not Change.SAME
            ],
        }


def _plain(answer: Answer | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(answer).items()}


def compare(first: Sequence[Answer], second: Sequence[Answer], factor: float = FACTOR) -> Comparison:
    """Two runs; slower and faster are those of the same verdict by this factor and NOISE_S."""
    partner = paired(first, second)
    pairs = [_pair(one, None if (k := partner.get(i)) is None else second[k], factor) for i, one in enumerate(first)]
    taken = set(partner.values())
    return Comparison((*pairs, *(_pair(None, one, factor) for k, one in enumerate(second) if k not in taken)))


def _pair(first: Answer | None, second: Answer | None, factor: float) -> Pair:
    if first is None or second is None:
        return Pair(first, second, Change.NEW if first is None else Change.GONE)
    return Pair(first, second, change(first, second, factor))


def change(first: Answer, second: Answer, factor: float = FACTOR) -> Change:
    """What became of an instance."""
    if first.content and second.content and first.content != second.content:
        return Change.INCOMPARABLE
    if first.is_decided and second.is_decided and first.verdict != second.verdict:
        return Change.CONTRADICTORY if contradict(first, second) else Change.INCOMPARABLE
    if first.rank != second.rank:
        return Change.BETTER if second.rank > first.rank else Change.WORSE
    if not first.is_decided:
        return Change.SAME
    if second.wall_s > factor * first.wall_s and second.wall_s > first.wall_s + NOISE_S:
        return Change.SLOWER
    if first.wall_s > factor * second.wall_s and first.wall_s > second.wall_s + NOISE_S:
        return Change.FASTER
    return Change.SAME


def contradict(first: Answer, second: Answer) -> bool:
    """Whether two answers cannot both be right."""
    if {first.verdict, second.verdict} != set(DECIDED):
        return False
    holds, violated = (first, second) if first.verdict == "unsat" else (second, first)
    if not holds.semantics or not violated.semantics or holds.semantics == violated.semantics:
        return True
    return holds.semantics == "f32-any" and violated.semantics.startswith("f32-")


def paired(first: Sequence[Answer], second: Sequence[Answer]) -> dict[int, int]:
    """Places in the second run by places in the first."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    for level, key in enumerate(_KEYS):
        here = _grouped(key(one) if i not in found else None for i, one in enumerate(first))
        there = _grouped(key(one) if k not in taken else None for k, one in enumerate(second))
        for name, places in here.items():
            others = there.get(name, [])
            if level == 0 or len(places) == len(others) == 1:
                for i, k in zip(places, others, strict=False):
                    found[i] = k
                    taken.add(k)
    return found


def _grouped(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            groups[key].append(place)
    return groups


def _paths(answer: Answer, parts: int) -> tuple[str, ...]:
    """The last parts of the paths of networks and property, without `.gz` and `./`; 0: all of them."""
    texts = [*(path for _, path in pairs_of(answer.onnx)), answer.vnnlib]
    return tuple("/".join(PurePosixPath(text.removesuffix(".gz")).parts[-parts:]) for text in texts)


_KEYS: tuple[Callable[[Answer], Hashable], ...] = (
    lambda answer: (answer.category, _paths(answer, 0)),
    lambda answer: (answer.category, _paths(answer, 2)),
    lambda answer: (answer.category, _paths(answer, 1)),
    lambda answer: _paths(answer, 0),
    lambda answer: _paths(answer, 2),
    lambda answer: _paths(answer, 1),
)


def answers(store: Store, run: Run) -> Iterator[Answer]:
    """The answers of a run of a store; instances without one are left out."""
    for result in store.results(run.id):
        row, attempt = row_of(result), result.attempt
        if row is None or attempt is None:
            continue
        files = {file.kind: store.file_path(file.sha256) for file in attempt.files}
        yield Answer(
            row.category, row.onnx, row.vnnlib, row.verdict, row.reason, row.semantics, row.wall_s, row.timeout_s,
            row.expected, content_of(store, attempt.question), tuple(row.complaints), files.get("witness"),
            files.get("certificate"),
        )  # fmt: skip


def content_of(store: Store, key: str | None) -> str:
    """A digest of networks and property alone, whatever was asked about them."""
    question = None if key is None else store.question(key)
    return "" if question is None else digest([sorted(question.networks), question.property_digest])


def of_row(answer: Answer, row: Row) -> Answer:
    """The answer under the names of a suite."""
    return replace(answer, category=row.category, onnx=row.onnx, vnnlib=row.vnnlib, expected=row.expected)
