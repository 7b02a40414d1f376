"""`farkas score` and `farkas diff` from their words to their tables and exit codes."""

import gzip
import json
from pathlib import Path

import pytest

from farkas import cli
from tests.farkas.queries import files


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite about the absolute value, unsat and sat, and a store with its run."""
    folder = tmp_path_factory.mktemp("score")
    files(folder)
    text = "onnx,vnnlib,timeout,category\nabsolute.onnx,unsat.vnnlib,20,c\nabsolute.onnx,sat.vnnlib,20,c\n"
    (folder / "suite.csv").write_text(text)
    assert cli.main(["bench", str(folder / "suite.csv"), "--store", str(folder / "store"), "--jobs", "1"]) == 0
    return folder


def results(folder: Path, *lines: str) -> str:
    """A results file as the competition writes it."""
    path = folder / "results.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


UNSAT, SAT = "c,./onnx/absolute.onnx,./vnnlib/unsat.vnnlib,0.1", "c,./onnx/absolute.onnx,./vnnlib/sat.vnnlib,0.1"


def test_a_run_is_scored_and_another_tool_competes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = results(tmp_path, f"{UNSAT},timeout,20.1", f"{SAT},unsat,1.5")
    assert cli.main(["score", f"ours={run / 'store'}", f"other={other}", "--json"]) == 0
    tools = {one["tool"]: one for one in json.loads(capsys.readouterr().out)["tools"]}
    assert tools["ours"]["categories"] == [
        {"category": "c", "instances": 2, "verified": 1, "falsified": 1, "incorrect": 0, "points": 20, "score": 100.0}
    ]
    assert tools["other"]["categories"][0]["points"] == -150 and tools["other"]["total"] == 0
    assert tools["other"]["notes"][0]["message"] == "unsat, but ours has a counterexample"


def test_a_results_file_is_scored_with_the_counterexamples_beside_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = results(tmp_path, f"{UNSAT},holds,1", f"{SAT},violated,1.5")
    words = ["score", f"other={other}", "--suite", str(run / "suite.csv")]
    assert cli.main(words) == 1  # no counterexample
    assert "sat, missing" in capsys.readouterr().err
    shown = run / "store.files"
    (witness,) = (path for path in shown.rglob("*") if path.is_file() and path.read_text().startswith("((X_0"))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "absolute_sat.counterexample.gz").write_bytes(gzip.compress(b"sat\n" + witness.read_bytes()))
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith("other: 100.0 by the rules of 2026, 0 wrong\n")
    (tmp_path / "c" / "absolute_sat.counterexample.gz").write_bytes(gzip.compress(b"sat\n((X_0 99.0)\n(Y_0 99.0))\n"))
    assert cli.main(words) == 1
    assert "sat, invalid" in capsys.readouterr().err


def test_a_diff_names_what_is_contradictory_and_worse(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = results(tmp_path, f"{UNSAT},timeout,20.1", f"{SAT},unsat,1.5")
    assert cli.main(["diff", str(run / "store"), other]) == 1
    told = capsys.readouterr().out
    assert "contradictory (1):\n  c: absolute.onnx sat.vnnlib: sat" in told
    assert "worse (1):\n  c: absolute.onnx unsat.vnnlib: unsat" in told
    assert cli.main(["diff", other, str(run / "store"), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["counts"] == {"c": {"better": 1, "contradictory": 1}}


def test_a_run_is_no_different_from_itself(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", str(run / "store"), "--json"]) == 0
    name = json.loads(capsys.readouterr().out)["tools"][0]["tool"].split()[1]
    assert cli.main(["diff", name[:6], f"{run / 'store'}@{name}", "--store", str(run / "store")]) == 0
    assert "median 1.00 of 2 solved in both" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diff", "{store}", "nowhere.csv"], "nowhere.csv: no such file"),
        (["diff", "{store}@zzz", "{store}"], "0 runs are called 'zzz'"),
        (["diff", "{store}", "{store}", "--factor", "0.5"], "--factor 0.5"),
        (["score", "{csv}"], "--suite is wanted"),
        (["score", "{store}", "--witnesses", "x=."], "no results file is called 'x'"),
        (["score", "a={store}", "a={store}"], "two tools are called 'a'"),
        (["score", "{store}", "--filter", "nothing"], "no category 'nothing'"),
    ],
)
def test_what_cannot_be_is_exit_code_2_and_says_why(
    words: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = results(tmp_path, f"{SAT},unsat,1.5")
    assert cli.main([word.format(store=run / "store", csv=csv) for word in words]) == 2
    assert message in capsys.readouterr().err
