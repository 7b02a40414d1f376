"""`farkas report` and `farkas bench --report` from their words to their files."""

import csv
import json
from pathlib import Path

import pytest

from farkas import cli
from farkas.batch.store import Store
from tests.farkas.queries import files
from tests.reports.made import answer, row, run

FILES = {"junit.xml", "report.html", "report.json", "report.md", "results.csv"}


def report(*words: object) -> int:
    return cli.main(["report", *map(str, words)])


def test_a_report_is_five_files_and_a_sentence(
    decided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(decided, "--out", tmp_path / "new" / "folder") == 0
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == FILES
    printed = capsys.readouterr()
    assert printed.out == (
        "9 of 10 instances are decided: 4 proved, 5 violated; 1 is not decided. No answer is known to be wrong: "
        "8 answers are as expected, 9 certificates were accepted by a separate process.\n"
    )
    assert str(tmp_path / "new" / "folder" / "report.html") in printed.err


def test_a_run_is_named_by_the_beginning_of_its_id_and_compared_with_another(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        first = run(store, [row(0), row(1)], [answer("unsat", 1.0), answer("sat")])
        second = run(store, [row(0), row(1)], [answer("unsat", 3.0), answer("timed-out", 10.0)])
    assert report(tmp_path / "store", "--run", first[:8], "--against", second, "--out", tmp_path) == 0
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["run"]["id"] == first and found["against"] == {"name": f"run {second}"}
    assert [one["other"] for one in found["instances"]] == [
        {"verdict": "unsat", "time_s": 3.0, "disagreement": ""},
        {"verdict": "timed-out", "time_s": 10.0, "disagreement": ""},
    ]


def test_a_contradiction_is_exit_code_1_and_the_files_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(tmp_path / "store") as store:
        run(store, [row(0)], [answer("unsat")])
    (tmp_path / "others.csv").write_text("cars,x/n0.onnx,y/p0.vnnlib,0,sat,1.5\n")
    assert report(tmp_path / "store", "--against", tmp_path / "others.csv", "--out", tmp_path / "out") == 1
    assert "contradicted by others.csv" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    with Store.open(tmp_path / "wrong") as store:
        run(store, [row(0, expected="sat")], [answer("unsat")])
    assert report(tmp_path / "wrong", "--out", tmp_path / "out") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent"], "there is no such file"),
        (["store", "--run", "zz"], "none of its 2 runs begins with 'zz'"),
        (["store", "--run", ""], "several of its 2 runs"),
        (["store", "--against", "nothing.csv"], "cannot be read"),
        (["store", "--against", "zz"], "begins with 'zz'"),
        (["text"], "is no store"),
        (["empty"], "it has no runs"),
    ],
)
def test_what_cannot_be_reported_is_exit_code_2_and_says_why(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(tmp_path / "store") as store:
        run(store, [], [])
        run(store, [], [])
    Store.open(tmp_path / "empty").close()
    (tmp_path / "text").write_text("no database\n" * 100)
    assert report(*words, "--out", "out") == 2
    assert message in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(tmp_path / "store") as store:
        run(store, [], [])
    (tmp_path / "out").write_text("a file")
    assert report(tmp_path / "store", "--out", tmp_path / "out" / "folder") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_bench_writes_a_report_of_its_run_and_of_one_before(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "suite.csv").write_text("onnx,vnnlib\nabsolute.onnx,unsat.vnnlib\n")
    words = ["bench", str(tmp_path / "suite.csv"), "--store", str(tmp_path / "store"), "--plain"]
    assert cli.main([*words, "--report", str(tmp_path / "one")]) == 0
    again = ["bench", "--store", str(tmp_path / "store"), "--report", str(tmp_path / "two")]
    assert cli.main(again) == 0
    for name in ("one", "two"):
        with (tmp_path / name / "results.csv").open(newline="") as file:
            assert [line[4] for line in csv.reader(file)] == ["unsat"]
