"""`farkas bench` from its words to its files, and what people see while it runs."""

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from farkas import cli
from farkas.batch.panel import Lines, Panel, span
from farkas.batch.records import Attempt, Result, Row
from tests.farkas.queries import files


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Two instances about the absolute value, unsat and sat."""
    files(tmp_path)
    text = "onnx,vnnlib,timeout,expected\nabsolute.onnx,unsat.vnnlib,20,unsat\nabsolute.onnx,sat.vnnlib,20,sat\n"
    (tmp_path / "suite.csv").write_text(text)
    return tmp_path / "suite.csv"


def bench(suite: Path, *words: str) -> int:
    return cli.main(["bench", str(suite), "--store", str(suite.parent / "store"), "--jobs", "1", *words])


def test_a_suite_is_decided_checked_and_exported(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = suite.parent / "out.csv", suite.parent / "out.json"
    assert bench(suite, "--certify", "--export", str(out[0]), "--export", str(out[1])) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("no wrong answer\n") and "solved 2 of 2" in printed.out
    with out[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["verdict"], row["evidence"], row["check"]) for row in rows] == [
        ("unsat", "certified", "accepted"), ("sat", "replayed", "accepted")
    ]  # fmt: skip
    content = json.loads(out[1].read_text())
    assert content["run"]["state"] == "finished" and content["run"]["options"]["certify"] is True
    first, second = (instance["attempt"] for instance in content["instances"])
    assert [file["kind"] for file in first["files"]] == ["certificate"]
    assert {file["kind"] for file in second["files"]} == {"certificate", "witness"}
    witness = next(file for file in second["files"] if file["kind"] == "witness")
    text = (suite.parent / "store.files" / witness["sha256"][:2] / witness["sha256"]).read_text()
    assert text.startswith("((X_0 ")


def test_the_second_run_knows_everything_and_says_so(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(suite) == 0
    capsys.readouterr()
    assert bench(suite, "--filter", "unsat.vnnlib") == 0
    assert capsys.readouterr().err.count("known before") == 1
    out = suite.parent / "later.csv"
    assert cli.main(["bench", "--store", str(suite.parent / "store"), "--export", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 2


def test_a_wrong_answer_comes_first_and_is_exit_code_1(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite.write_text("onnx,vnnlib,timeout,expected\nabsolute.onnx,sat.vnnlib,20,unsat\n")
    assert bench(suite) == 1
    assert capsys.readouterr().out.startswith("!! ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume"], "there is no run of it"),
        (["--filter", "nets"], "no category 'nets'"),
        (["--export", "out.txt"], "the ending is '.txt'"),
        (["--semantics", "f16"], "f16"),
        (["--trust", "oracle"], "oracle"),
        (["--timeout", "0"], "--timeout"),
    ],
)
def test_what_cannot_be_is_exit_code_2_and_says_why(
    words: list[str], message: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(suite, *words) == 2
    assert message in capsys.readouterr().err


def test_a_finished_run_cannot_be_resumed(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(suite) == 0
    assert bench(suite, "--resume") == 2
    assert "is finished" in capsys.readouterr().err


def result(number: int, category: str, verdict: str, expected: str = "") -> Result:
    row = Row(number, category, "n.onnx", "q.vnnlib", "/", 5.0, expected)
    attempt = Attempt(str(number), "run", number, "key", 0.0, 5.0, None, "code", verdict, message="what went wrong")
    return Result(row, "key", attempt, False)


def test_the_panel_counts_categories_and_shows_what_is_wrong() -> None:
    results = [
        result(0, "a", "unsat"),
        result(1, "a", "sat", "unsat"),
        result(2, "b", "timed-out"),
        result(3, "b", "error"),
    ]
    stream = io.StringIO()
    panel = Panel([found.row for found in results] + [Row(4, "b", "n.onnx", "q.vnnlib", "/", 5.0)], stream)
    for found in results:
        panel.done(found)
    panel.tick([Row(4, "b", "late.onnx", "q.vnnlib", "/", 5.0)], 512 << 20)
    console = Console(width=100, file=io.StringIO())
    console.print(panel._render())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    panel.close()
    lines = [line.split() for line in shown.splitlines()]
    assert lines[1][0] == "a" and lines[1][2:] == ["2/2", "1", "1", "0", "0"]
    assert lines[2][0] == "b" and lines[2][2:] == ["2/3", "0", "0", "1", "1"]
    assert "4/5: 2 decided, 1 open, 1 errors or unsupported, 1 WRONG" in shown
    assert "now (512 MB): b: late.onnx q.vnnlib" in shown
    assert "WRONG: sat, expected unsat" in stream.getvalue() and "what went wrong" in stream.getvalue()


def test_without_a_terminal_there_is_a_line_for_every_instance() -> None:
    stream = io.StringIO()
    lines = Lines([result(0, "a", "unsat").row, result(1, "a", "sat").row], stream)
    lines.done(result(0, "a", "unsat"))
    lines.say("the store cannot be written")
    assert stream.getvalue().splitlines()[0].startswith("1/2")
    assert stream.getvalue().splitlines()[1] == "farkas: the store cannot be written"


def test_spans_are_told_as_people_tell_them() -> None:
    assert [span(seconds) for seconds in (42, 600, 11_100)] == ["42 s", "10 min", "3 h 05 min"]
