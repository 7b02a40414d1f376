"""What many instances add up to, against sums made by hand."""

from pathlib import Path

import pytest

from farkas.batch.store import Store
from farkas.reports.facts import Report, Standing, collect
from farkas.reports.figures import by_evidence, by_reason, correctness, figures, headline
from farkas.reports.recorded import Answer, Recorded
from farkas.reports.sections import evidence
from tests.reports.made import answer, report, row, run

CHECKED = {"evidence": "certified", "details": {"check": "accepted"}}


@pytest.fixture
def mixed(tmp_path: Path) -> Report:
    """Two are proved (in 1 s and 3 s), one is violated (in 2 s) that should not be; one of each other kind."""
    rows = [
        row(0, expected="unsat"),
        row(1),
        row(2, expected="unsat"),
        row(3),
        row(4, "boats"),
        row(5, "boats"),
        row(6),
    ]
    answers = [
        answer("unsat", 1.0, **CHECKED), answer("unsat", 3.0), answer("sat", 2.0), answer("timed-out", 10.0),
        answer("unsupported", 0.1), answer("error", 0.2), None,
    ]  # fmt: skip
    return report(tmp_path, rows, answers)


def test_every_instance_stands_somewhere_and_is_counted_once(mixed: Report) -> None:
    found = figures("all", mixed.entries)
    assert found.standings == (2, 1, 1, 1, 1, 1) and found.total == 7 and found.decided == 3
    assert found.wrong == 1 and found.checked == 1 and found.expected == 2


def test_times_are_of_what_is_solved_and_the_rest_counts_twice_its_limit(mixed: Report) -> None:
    found = figures("all", mixed.entries)
    assert (found.median_s, found.longest_s) == (2.0, 3.0)  # of 1 s and 3 s; the wrong answer is not solved
    assert found.par2_s == pytest.approx(1 + 3 + 5 * 20)


def test_categories_are_apart_and_in_order(mixed: Report) -> None:
    assert [(name, len(group)) for name, group in mixed.categories.items()] == [("boats", 2), ("cars", 5)]
    assert figures("boats", mixed.categories["boats"]).median_s is None


def test_evidence_and_reasons_are_told_apart(mixed: Report) -> None:
    assert by_evidence(mixed) == [
        (Standing.PROVED, "certified", 1, 1), (Standing.PROVED, "checkable", 1, 0),
        (Standing.VIOLATED, "replayed", 1, 0),
    ]  # fmt: skip
    assert dict(by_reason(mixed)) == {"timeout": 1, "unsupported": 1, "input": 1, "not run": 1}


def test_a_wrong_answer_is_said_at_once(mixed: Report) -> None:
    assert headline(mixed) == "3 of 7 instances are decided: 2 proved, 1 violated; 4 are not decided."
    assert correctness(mixed) == "1 answer is wrong or contradictory."
    assert [entry.number for entry in mixed.wrong] == [2]


def test_what_was_compared_is_said_where_nothing_is_wrong(tmp_path: Path) -> None:
    plain = report(tmp_path / "a", [row(0)], [answer("unsat")])
    assert correctness(plain) == "No answer is known to be wrong, but there is nothing to compare with."
    good = report(tmp_path / "b", [row(0, expected="unsat"), row(1)], [answer("unsat", **CHECKED), answer("sat")])
    assert correctness(good) == (
        "No answer is known to be wrong: 1 answer is as expected, 1 certificate was accepted by a separate process."
    )


def test_a_rejected_certificate_is_wrong(tmp_path: Path) -> None:
    found = report(tmp_path, [row(0)], [answer("unsat", details={"check": "exit code 3: leaf 7"})])
    assert found.wrong and "leaf 7" in found.wrong[0].complaints[0]


def test_two_answers_of_one_store_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        run(store, [row(0)], [answer("sat")])
        run(store, [row(0)], [answer("unsat")])
        found = [collect(store, one) for one in store.runs()]
    assert all("sat and unsat" in "".join(one.wrong[0].complaints) for one in found)


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [("sat", "unsat", "sat here, unsat there"), ("sat", "sat", ""), ("timed-out", "sat", ""), ("unsat", "unknown", "")],
)
def test_only_two_decided_answers_disagree(tmp_path: Path, here: str, there: str, expected: str) -> None:
    against = Recorded("the other tool", {("cars", "n0.onnx", "p0.vnnlib"): Answer(there, 1.0)})
    found = report(tmp_path, [row(0)], [answer(here)], against)
    assert found.entries[0].disagreement == expected
    assert bool(found.disputed) == bool(expected)
    assert ("one of the two is wrong" in correctness(found)) == bool(expected)


def test_what_is_said_beside_an_answer_is_told(tmp_path: Path) -> None:
    details = {"statistics": {"warnings": ["case 0 is contradictory: vacuous"], "off_grid": 3}}
    told = report(tmp_path, [row(0)], [answer("unsat", details=details)])
    assert told.entries[0].warnings == [
        "case 0 is contradictory: vacuous",
        "single numbers of the input set that are no binary32 numbers mean the nearest ones",
    ]
    assert "case 0 is contradictory: vacuous" in evidence(told)


def test_messages_are_told_without_the_folders_of_a_machine(tmp_path: Path) -> None:
    said = "nowhere/nets/n0.onnx.gz: ONNX operator 'GridSample' has no encoding"
    told = report(tmp_path, [row(0), row(2)], [answer("unsupported", message=said)] * 2)
    assert [entry.message for entry in told.entries] == ["ONNX operator 'GridSample' has no encoding"] * 2
    assert 'GridSample\' has no encoding<span class="small"> (2)' in evidence(told)
