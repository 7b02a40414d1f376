"""The competition's points, from tables made by hand from the written rules."""

from dataclasses import replace
from pathlib import Path

import pytest

from farkas.batch.comparison import Answer
from farkas.batch.records import Row
from farkas.batch.scoring import Outcome, score
from farkas.batch.validation import RULES, Judgement, Rules, Standing, Validator
from tests.farkas.queries import absolute

ROWS = [Row(k, "c", f"n{k}.onnx", "p.vnnlib", ".", 10.0) for k in range(4)]


class Named:
    """Judges a counterexample by what its file is called."""

    def judge(self, row: Row, witness: Path | None, rules: Rules) -> Judgement:
        return Judgement(Standing.MISSING if witness is None else Standing[witness.name])


def said(*words: str, wall_s: float = 1.0, category: str = "c") -> list[Answer]:
    """Answers to the instances in order: a verdict, or for `sat` the standing of its counterexample; `-`: none."""
    found = []
    for k, word in enumerate(words):
        answer = Answer(category, f"n{k}.onnx", "p.vnnlib", word, wall_s=wall_s)
        if word.isupper():
            answer = replace(answer, verdict="sat", witness=None if word == "MISSING" else Path(word))
        if word != "-":
            found.append(answer)
    return found


def points(rules: str, **tools: list[Answer]) -> dict[str, int]:
    found = score(tools, ROWS, RULES[rules], Named())
    return {one.tool: sum(category.points for category in one.categories) for one in found}


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # right answers: ten each; open ones and missing ones: nothing
        (["unsat", "CORRECT", "timed-out", "-"], ["unsat", "unknown", "error", "-"], (20, 10)),
        # a counterexample refutes everybody's unsat
        (["CORRECT", "-", "-", "-"], ["unsat", "unsat", "-", "-"], (10, -140)),
        # one that is correct up to tolerance is paid, and refutes nobody
        (["UP_TO_TOLERANCE", "-", "-", "-"], ["unsat", "-", "-", "-"], (10, 10)),
        # a missing and an invalid one cost, and refute nobody
        (["MISSING", "INVALID", "-", "-"], ["unsat", "unsat", "-", "-"], (-300, 20)),
        # what the validator cannot replay is neutral
        (["UNSUPPORTED", "-", "-", "-"], ["unsat", "-", "-", "-"], (0, 10)),
    ],
)
def test_points_are_those_of_the_table(rules: str, a: list[str], b: list[str], expected: tuple[int, int]) -> None:
    assert points(rules, a=said(*a), b=said(*b)) == dict(zip("ab", expected, strict=True))


def test_an_answer_after_the_timeout_counts_in_2025_and_not_in_2026() -> None:
    late = {"a": said("CORRECT", "INVALID", "unsat", wall_s=10.5), "b": said("unsat", wall_s=10.0)}
    assert points("2025", **late) == {"a": 10 - 150 + 10, "b": -150}
    assert points("2026", **late) == {"a": 0, "b": 10}


def test_a_score_is_a_percentage_of_the_best_tool_and_never_below_zero() -> None:
    rows = [replace(row, category=name) for name in ("c", "d") for row in ROWS]
    tools = {
        "a": said("unsat", "unsat", "unsat", "unsat") + said("unsat", category="d"),
        "b": said("unsat", "-", "-", "-") + said("unsat", "unsat", "CORRECT", category="d"),
        "c": said("MISSING", "unsat", "-", "-"),
    }
    found = {one.tool: one for one in score(tools, rows, RULES["2026"], Named())}
    assert [category.score for category in found["a"].categories] == [100.0, pytest.approx(100 / 3)]
    assert found["b"].total == 25.0 + 100.0
    assert [(one.points, one.score) for one in found["c"].categories] == [(-140, 0.0), (0, 0.0)]
    assert list(found) == ["a", "b", "c"]  # 133.3, 125, 0
    (why,) = found["c"].notable
    assert why.outcome is Outcome.INCORRECT and "missing" in why.message


def test_lists_of_two_versions_are_one_category_and_refute_each_other_by_position() -> None:
    rows = [Row(0, "c/1.0", "a.onnx", "p.vnnlib", ".", 10), Row(1, "c/1.0", "b.onnx", "p.vnnlib", ".", 10),
            Row(2, "c/2.0", "x.onnx", "q.vnnlib", ".", 10), Row(3, "c/2.0", "y.onnx", "q.vnnlib", ".", 10)]  # fmt: skip
    old = [Answer("c/1.0", "a.onnx", "p.vnnlib", "unsat"), Answer("c/1.0", "b.onnx", "p.vnnlib", "unsat")]
    new = [Answer("c/2.0", "x.onnx", "q.vnnlib", "unsat"),
           Answer("c/2.0", "y.onnx", "q.vnnlib", "sat", witness=Path("CORRECT"))]  # fmt: skip
    found = score({"old": old, "new": new, "both": [*old, *new]}, rows, RULES["2026"], Named())
    assert {one.tool: [(c.category, c.instances, c.points) for c in one.categories] for one in found} == {
        "old": [("c", 2, -140)], "new": [("c", 2, 20)], "both": [("c", 2, -140)],
    }  # fmt: skip


# Replays: |x| for x in [-0.1, 0.3], unsafe where |x| >= 0.2.  0.1 and 0.3 are no binary32 numbers.
PROPERTY = """(declare-const X_0 Real)(declare-const Y_0 Real)
(assert (>= X_0 -0.1))(assert (<= X_0 0.3))(assert (>= Y_0 0.2))
"""


@pytest.fixture
def row(tmp_path: Path) -> Row:
    (tmp_path / "net.onnx").write_bytes(absolute())
    (tmp_path / "p.vnnlib").write_text(PROPERTY)
    return Row(0, "c", "net.onnx", "p.vnnlib", str(tmp_path), 10.0)


def judged(row: Row, text: str, rules: str) -> Standing:
    path = Path(row.folder) / "witness"
    path.write_text(text)
    return Validator().judge(row, path, RULES[rules]).standing


GOOD, NEAR, BAD, NONE = Standing.CORRECT, Standing.UP_TO_TOLERANCE, Standing.INVALID, Standing.MISSING


@pytest.mark.parametrize(
    ("x", "y", "of_2025", "of_2025_zero", "of_2026"),
    [
        ("0.25", "0.25", GOOD, GOOD, GOOD),
        # float32(0.3) is 0.300000011920929: above the box by 1.2e-8
        ("0.300000011920929", "0.300000011920929", GOOD, NEAR, NEAR),
        ("0.3", "0.3", GOOD, NEAR, GOOD),  # 2025-zero: the printed output is not that of the run, by 4e-8
        ("0.30005", "0.30005", NEAR, NEAR, NEAR),
        ("0.3002", "0.3002", BAD, BAD, BAD),
        # an output that misses by 5e-5: the tolerance of outputs is that of 2025 alone
        ("0.19995", "0.19995", NEAR, NEAR, BAD),
        # a printed output that is not that of the run: 2026 does not look at it
        ("0.25", "0.26", BAD, BAD, GOOD),
        ("0.25", "0.2501", NEAR, NEAR, GOOD),
        ("0.15", "0.25", BAD, BAD, BAD),
    ],
)
def test_a_counterexample_is_judged_by_box_run_and_property(
    x: str, y: str, of_2025: Standing, of_2025_zero: Standing, of_2026: Standing, row: Row
) -> None:
    text = f"sat\n((X_0 {x})\n(Y_0 {y}))\n"
    assert [judged(row, text, rules) for rules in RULES] == [of_2025, of_2025_zero, of_2026]


@pytest.mark.parametrize("text", ["((X_1 0.25)\n(Y_0 0.25))", "((Y_0 0.25)\n(X_0 0.25))", "X_0 = 0.25", "((X_0 nan))"])
def test_what_is_malformed_is_invalid(text: str, row: Row) -> None:
    assert judged(row, text, "2026") is BAD


def test_an_empty_counterexample_is_none_at_all(row: Row) -> None:
    assert judged(row, "\n", "2026") is NONE


TWO = """(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [1,1]) (declare-output Y float32 [1,1]))
(declare-network g (equal-to f) (declare-input V float32 [1,1]) (declare-output W float32 [1,1]))
(assert (and (>= X[0,0] -0.5) (<= X[0,0] 0.5) (== V[0,0] (+ X[0,0] 0.25))))
(assert (> Y[0,0] W[0,0]))
"""


@pytest.mark.parametrize(
    ("text", "standing"),
    [
        # |-1/4| > |0|
        ("X float32 [1,1]\n-0.25\nY float32 [1,1]\n0.25\nV float32 [1,1]\n0\nW float32 [1,1]\n0\n", GOOD),
        ("X real [1,1]\n-0.25\nY real [1,1]\n7\nV real [1,1]\n0\nW real [1,1]\n8\n", GOOD),  # outputs are recomputed
        ("X float32 [1,1]\n0.25\nY float32 [1,1]\n0.25\nV float32 [1,1]\n0.5\nW float32 [1,1]\n0\n", BAD),
        ("X float32 [1,1]\n-0.25\nV float32 [1,1]\n0\n", BAD),  # outputs are wanted
        ("X float32 [1]\n-0.25\nY float32 [1,1]\n0.25\nV float32 [1,1]\n0\nW float32 [1,1]\n0\n", BAD),
        ("X float64 [1,1]\n-0.25\nY float32 [1,1]\n0.25\nV float32 [1,1]\n0\nW float32 [1,1]\n0\n", BAD),
        ("X float32 [1,1]\n-0.25\nY float32 [1,1]\n0.25\nV float32 [1,1]\n0\nW float32 [1,1]\n0\nmore\n", BAD),
    ],
)
def test_an_assignment_of_version_2_has_every_declared_tensor(text: str, standing: Standing, row: Row) -> None:
    (Path(row.folder) / "p.vnnlib").write_text(TWO)
    assert judged(replace(row, onnx="f=net.onnx"), "sat\n" + text, "2026") is standing


def test_what_cannot_be_replayed_here_is_unsupported(row: Row) -> None:
    (Path(row.folder) / "net.onnx").write_bytes(absolute("float64"))
    assert judged(row, "((X_0 0.25)\n(Y_0 0.25))", "2026") is Standing.UNSUPPORTED
