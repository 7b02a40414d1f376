"""The comparison of two results files, on rows whose ratios are easy to see."""

from pathlib import Path

import pytest

from benchmarks.compare import main

HEADER = "category,onnx,vnnlib,verdict,wall_s,cpu_s\n"


def table(folder: Path, name: str, rows: str) -> str:
    (folder / name).write_text(HEADER + rows)
    return str(folder / name)


def test_what_was_solved_what_was_lost_and_how_times_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = table(tmp_path, "old.csv", "a,1.onnx,p,unsat,4,4\na,2.onnx,p,sat,1,1\na,3.onnx,p,unknown,9,9\n"
                "b,4.onnx,p,sat,1,1\nb,5.onnx,p,sat,1,1\n")  # fmt: skip
    new = table(tmp_path, "new.csv", "a,1.onnx,p,unsat,1,2\na,2.onnx,p,sat,1,2\na,3.onnx,p,unsat,5,5\n"
                "b,4.onnx,p,timed-out,9,9\nb,6.onnx,p,sat,1,1\n")  # fmt: skip
    assert main([old, new]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "solved: a: 3.onnx p: unknown before, unsat now",
        "lost: b: 4.onnx p: sat before, timed-out now",
        "4 instances in both files, 1 only in the old one, 1 only in the new one",
        "solved before 3, now 3, in both 2",
    ]
    # Walls 4 -> 1 and 1 -> 1: ratios 1/4 and 1, geometric mean 1/2, sum 5 -> 2.
    assert lines[4] == (
        "a: wall_s 5.0 -> 2.0 (0.40x), ratio: geometric mean 0.50, median 0.62, smallest 0.25, greatest 1.00, n 2"
    )
    # CPU 4 -> 2 and 1 -> 2: ratios 1/2 and 2, geometric mean 1.
    assert "cpu_s 5.0 -> 4.0 (0.80x), ratio: geometric mean 1.00" in lines[5]


def test_a_contradiction_comes_first_and_is_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = table(tmp_path, "old.csv", "a,1.onnx,p,unknown,1,1\na,2.onnx,p,sat,1,1\n")
    new = table(tmp_path, "new.csv", "a,1.onnx,p,sat,1,1\na,2.onnx,p,unsat,1,1\n")
    assert main([old, new]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "!! a: 2.onnx p: sat before, unsat now"


def test_files_that_are_no_results_are_exit_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = table(tmp_path, "good.csv", "a,1.onnx,p,sat,1,1\n")
    (tmp_path / "bad.csv").write_text("x,y\n1,2\n")
    for words in ([good], [good, str(tmp_path / "none.csv")], [good, str(tmp_path / "bad.csv")]):
        assert main(words) == 2
        assert capsys.readouterr().err
