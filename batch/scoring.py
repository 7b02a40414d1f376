"""The competition's points for the answers of one tool or of several, by the written rules of 2025 and 2026.

An `unsat` earns 10, a `sat` whose counterexample is accepted earns 10, whatever is wrong costs 150, all else is 0:

- a `sat` without a counterexample, or with one that is not accepted, is wrong;
- an `unsat` is wrong where any tool has a counterexample that is correct without the tolerance of acceptance;
- 2026: an answer after the instance's own timeout is a timeout, whatever it says.

Every counterexample is replayed here (farkas.batch.validation), also where no two tools disagree.  One that cannot be
replayed here earns nothing and costs nothing.  There is no bonus for speed.

A category's score is 100 times the tool's points over those of the best tool, at least 0; the total is the sum over the
categories.  `CATEGORY/1.0` and `CATEGORY/2.0` are one category whose lists are parallel: the k-th instances are the
same question, so that a counterexample to one refutes the other; of a tool's two answers to it a wrong one counts, else
the better one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from farkas.batch.comparison import Answer, paired
from farkas.batch.records import DECIDED, Row
from farkas.batch.suites import VERSIONS
from farkas.batch.validation import Judgement, Rules, Standing

RIGHT, WRONG = 10, -150
Place = tuple[str, int]  # a category without its version, and the position in its list


class Judge(Protocol):
    """Who says what a counterexample is worth."""

    def judge(self, row: Row, witness: Path | None, rules: Rules) -> Judgement: ...


class Outcome(StrEnum):
    """What an answer counts as."""

    VERIFIED = "verified"
    FALSIFIED = "falsified"
    INCORRECT = "incorrect"
    NEUTRAL = "not replayed"
    OPEN = "open"


@dataclass(frozen=True)
class Credit:
    """An instance of a tool: answer (None where it gave none), outcome, and why where it is not plain."""

    row: Row
    place: Place
    answer: Answer | None
    outcome: Outcome
    message: str = ""

    @property
    def points(self) -> int:
        return {Outcome.VERIFIED: RIGHT, Outcome.FALSIFIED: RIGHT, Outcome.INCORRECT: WRONG}.get(self.outcome, 0)


@dataclass(frozen=True)
class CategoryScore:
    """Counts and points of a tool in a category; score: 0 to 100, against the best tool."""

    category: str
    instances: int
    verified: int
    falsified: int
    incorrect: int
    points: int
    score: float


@dataclass(frozen=True)
class Score:
    """A tool's categories, and every instance that has cost points or could not be replayed."""

    tool: str
    categories: tuple[CategoryScore, ...]
    notable: tuple[Credit, ...]

    @property
    def total(self) -> float:
        return sum(category.score for category in self.categories)

    @property
    def incorrect(self) -> int:
        return sum(category.incorrect for category in self.categories)


def score(tools: Mapping[str, Sequence[Answer]], rows: Sequence[Row], rules: Rules, judge: Judge) -> list[Score]:
    """The scores of tools on the instances of a suite, the best first."""
    places = _places(rows)
    given = {tool: _given(rows, answers) for tool, answers in tools.items()}
    judged = {
        (tool, i): judge.judge(rows[i], answer.witness, rules)
        for tool, answers in given.items()
        for i, answer in answers.items()
        if answer.verdict == "sat" and not _is_late(answer, rows[i], rules)
    }
    refuted = {places[i]: tool for (tool, i), found in judged.items() if found.standing is Standing.CORRECT}
    credits = {
        tool: [
            _credit(row, place, answers.get(i), judged.get((tool, i)), refuted.get(place), rules)
            for i, (row, place) in enumerate(zip(rows, places, strict=True))
        ]
        for tool, answers in given.items()
    }
    merged = {tool: _merged(found) for tool, found in credits.items()}
    best: dict[str, int] = defaultdict(int)
    for found in merged.values():
        for category, points in _points(found).items():
            best[category] = max(best[category], points)
    scores = [Score(tool, _categories(found, best), _notable(credits[tool])) for tool, found in merged.items()]
    return sorted(scores, key=lambda one: -one.total)


def _places(rows: Sequence[Row]) -> list[Place]:
    counts: dict[str, int] = defaultdict(int)
    found = []
    for row in rows:
        found.append((_bare(row.category), counts[row.category]))
        counts[row.category] += 1
    return found


def _bare(category: str) -> str:
    """The category without its version."""
    head, _, tail = category.rpartition("/")
    return head if head and tail in VERSIONS else category


def _given(rows: Sequence[Row], answers: Sequence[Answer]) -> dict[int, Answer]:
    """The answers by the position of their instance."""
    asked = [Answer(row.category, row.onnx, row.vnnlib, "") for row in rows]
    return {i: answers[k] for i, k in paired(asked, answers).items()}


def _is_late(answer: Answer, row: Row, rules: Rules) -> bool:
    return rules.keeps_timeout and answer.wall_s > row.timeout_s


def _credit(
    row: Row, place: Place, answer: Answer | None, judged: Judgement | None, refuting: str | None, rules: Rules
) -> Credit:
    if answer is None or answer.verdict not in DECIDED:
        return Credit(row, place, answer, Outcome.OPEN)
    if _is_late(answer, row, rules):
        return Credit(row, place, answer, Outcome.OPEN, f"{answer.verdict}, but after the timeout")
    if answer.verdict == "unsat":
        if refuting is None:
            return Credit(row, place, answer, Outcome.VERIFIED)
        return Credit(row, place, answer, Outcome.INCORRECT, f"unsat, but {refuting} has a counterexample")
    assert judged is not None, "every sat in time is judged"
    match judged.standing:
        case Standing.CORRECT:
            return Credit(row, place, answer, Outcome.FALSIFIED)
        case Standing.UP_TO_TOLERANCE:
            return Credit(row, place, answer, Outcome.FALSIFIED, judged.message)
        case Standing.UNSUPPORTED:
            return Credit(row, place, answer, Outcome.NEUTRAL, judged.message)
        case Standing.INVALID | Standing.MISSING:
            return Credit(row, place, answer, Outcome.INCORRECT, f"sat, {judged.standing}: {judged.message}")


def _merged(credits: Sequence[Credit]) -> list[Credit]:
    """One credit a question: a wrong one, else the best."""
    found: dict[Place, Credit] = {}
    for credit in credits:
        known = found.get(credit.place)
        if known is None or credit.points < 0 or (known.points >= 0 and credit.points > known.points):
            found[credit.place] = credit
    return list(found.values())


def _points(credits: Sequence[Credit]) -> dict[str, int]:
    points: dict[str, int] = defaultdict(int)
    for credit in credits:
        points[credit.place[0]] += credit.points
    return points


def _categories(credits: Sequence[Credit], best: Mapping[str, int]) -> tuple[CategoryScore, ...]:
    groups: dict[str, list[Credit]] = defaultdict(list)
    for credit in credits:
        groups[credit.place[0]].append(credit)
    return tuple(_category(name, group, best[name]) for name, group in sorted(groups.items()))


def _category(name: str, group: Sequence[Credit], best: int) -> CategoryScore:
    counts = {outcome: sum(credit.outcome is outcome for credit in group) for outcome in Outcome}
    points = sum(credit.points for credit in group)
    percent = max(0.0, 100 * points / best) if best > 0 else 0.0
    return CategoryScore(
        name,
        len(group),
        counts[Outcome.VERIFIED],
        counts[Outcome.FALSIFIED],
        counts[Outcome.INCORRECT],
        points,
        percent,
    )


def _notable(credits: Sequence[Credit]) -> tuple[Credit, ...]:
    return tuple(credit for credit in credits if credit.message)


def as_json(scores: Sequence[Score], rules: Rules) -> dict[str, Any]:
    """All of it as plain data."""
    return {"rules": rules.name, "tools": [_plain(one) for one in scores]}


def _plain(one: Score) -> dict[str, Any]:
    notes = [
        {"category": c.row.category, "onnx": c.row.onnx, "vnnlib": c.row.vnnlib, "outcome": c.outcome.value,
         "message": c.message} for c in one.notable
    ]  # fmt: skip
    categories = [vars(category) for category in one.categories]
    return {"tool": one.tool, "total": one.total, "incorrect": one.incorrect, "categories": categories, "notes": notes}
