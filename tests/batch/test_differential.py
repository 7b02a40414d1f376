"""Other verifiers, contradictions, rulings and the folders that they leave."""

import csv
import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from farkas import cli
from farkas.batch.adjudication import Ruling, ruled, work
from farkas.batch.others import BadCommand, parsed, words
from farkas.batch.records import Row
from farkas.batch.store import Store
from tests.farkas.queries import ROOT, files, prop

# |x| on the box of the property; tests/farkas/queries.py says which property is violated and which is not.
TOOL = """import sys
onnx, vnnlib, timeout, out = sys.argv[1:]
text = open(vnnlib).read()
assert onnx.endswith("absolute.onnx") and float(timeout) == 20
answer = open(vnnlib + ".answer").read()
if answer.startswith("crash"):
    sys.exit("the solver crashed")
open(out, "w").write(answer)
open(vnnlib + ".asked", "a").write("x")
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Two instances about the absolute value, unsat and sat, and another verifier that says what it is told to say."""
    files(tmp_path)
    text = "onnx,vnnlib,timeout,category\nabsolute.onnx,unsat.vnnlib,20,c\nabsolute.onnx,sat.vnnlib,20,c\n"
    (tmp_path / "suite.csv").write_text(text)
    (tmp_path / "tool.py").write_text(TOOL)
    return tmp_path / "suite.csv"


def says(suite: Path, unsat: str, sat: str) -> None:
    """What the other verifier will say about the instances."""
    (suite.parent / "unsat.vnnlib.answer").write_text(unsat)
    (suite.parent / "sat.vnnlib.answer").write_text(sat)


def bench(suite: Path, other: str, *more: str) -> int:
    store = str(suite.parent / "store")
    return cli.main(["bench", str(suite), "--store", store, "--jobs", "1", "--against", other, *more])


def command(suite: Path) -> str:
    tool = shlex.join([sys.executable, str(suite.parent / "tool.py")])
    return f"{tool} {{onnx}} {{vnnlib}} {{timeout}} {{out}}"


def bundles(suite: Path) -> list[Path]:
    return sorted((suite.parent / "store.contradictions").glob("*"))


def test_a_verifier_that_agrees_or_crashes_leaves_no_contradiction(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says(suite, "unsat\n", "crash")
    assert bench(suite, command(suite)) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("against ") and "1 decided by Farkas alone" in told and "contradictory" not in told
    assert bundles(suite) == []
    with Store.open(suite.parent / "store.others") as store:
        (run,) = store.runs()
        first, second = (result.attempt for result in store.results(run.id))
    assert first is not None and first.verdict == "unsat"
    assert second is not None and (second.verdict, second.message) == ("error", "exit code 1: the solver crashed")


def test_what_another_verifier_has_said_is_asked_again_only_where_that_is_wanted(suite: Path) -> None:
    says(suite, "unsat\n", "unsat\n")
    for more, times in (((), "x"), ((), "x"), (("--again",), "xx")):
        assert bench(suite, command(suite), "--filter", "unsat.vnnlib", *more) == 0
        assert (suite.parent / "unsat.vnnlib.asked").read_text() == times


def test_a_false_unsat_is_refuted_by_our_witness_and_the_bundle_shows_it(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says(suite, "unknown\n", "unsat\n")
    assert bench(suite, command(suite)) == 0
    assert "sat, against unsat:\n     the other verifier is wrong" in capsys.readouterr().out
    (place,) = bundles(suite)
    assert "violates the property (f32-any" in (place / "README.md").read_text()
    assert json.loads((place / "ours.json").read_text())["ruling"] == Ruling.THEIRS.value
    for line in (place / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256((place / name).read_bytes()).hexdigest() == sha256


def test_a_false_sat_is_refuted_by_a_certificate_and_the_commands_of_the_bundle_run(suite: Path) -> None:
    says(suite, "sat\n((X_0 0.5)\n(Y_0 0.5))\n", "sat\n")
    assert bench(suite, command(suite)) == 0
    (place,) = bundles(suite)
    readme = (place / "README.md").read_text()
    assert "is accepted by the checker" in readme and "does not violate the property in f32-any" in readme
    codes = {}
    for line in re.findall(r"^farkas .*$", readme, re.MULTILINE):
        told = shlex.split(line, comments=True)
        done = subprocess.run([sys.executable, "-m", *told], cwd=place, env={"PYTHONPATH": str(ROOT)}, check=False,
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        codes[told[1]] = done.returncode, done.stdout.split("\n")[0]
    assert codes["verify"] == (0, "unsat") and codes["check"][0] == 0
    assert codes["score"][0] == 1  # the counterexample of the other verifier is invalid


def test_recorded_results_are_compared_with_their_counterexamples(
    suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = suite.parent / "recorded" / "results.csv"
    recorded.parent.mkdir()
    lines = [("c", "./onnx/absolute.onnx", "./vnnlib/unsat.vnnlib", 0, "violated", 3.5)]
    with recorded.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    (recorded.parent / "absolute_unsat.counterexample").write_text("((X_0 0.5)\n(Y_0 0.5))\n")
    assert bench(suite, str(recorded)) == 0
    out = capsys.readouterr().out
    assert "unsat, against sat:\n     the other verifier is wrong" in out and "1 without an answer of it" in out


@pytest.mark.parametrize(
    ("other", "message"),
    [("tool {net} {vnnlib}", "{net} is no place"), ("tool", "{onnx} and {vnnlib} are wanted"), ("'", "No closing")],
)
def test_a_command_that_cannot_be_is_refused_before_anything_is_run(
    other: str, message: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(suite, other) == 2
    assert message in capsys.readouterr().err
    assert not (suite.parent / "store.others").exists()


def test_places_are_filled_word_by_word() -> None:
    values = {"onnx": "a b.onnx", "vnnlib": "p", "timeout": "5", "out": "o", "category": "c"}
    assert words("run 'x y' {onnx} --prop={vnnlib} {timeout}", values) == ["run", "x y", "a b.onnx", "--prop=p", "5"]
    with pytest.raises(BadCommand):
        words("run {onnx} {vnnlib} {onnx!x", values)


@pytest.mark.parametrize(
    ("text", "verdict", "witness"),
    [
        ("unsat", "unsat", ""), ("holds\n", "unsat", ""), ("VIOLATED\n((X_0 1))\n", "sat", "((X_0 1))"),
        ("loading...\n  timeout  \n", "timed-out", ""), ("", "error", ""), ("sat unsat", "error", ""),
    ],
)  # fmt: skip
def test_a_result_is_read_from_its_first_known_word(text: str, verdict: str, witness: str) -> None:
    assert parsed(text) == (verdict, witness)


def asked(folder: Path, prop: str, **more: object) -> dict[str, object]:
    row = Row(0, "c", "absolute.onnx", prop, str(folder), 20.0)
    given = {"row": list(vars(row).values()), "semantics": "f32-any", "ours": "", "theirs": "", "certificate": "",
             "timeout_s": 20.0}  # fmt: skip
    return {**given, **more}


def written(folder: Path, text: str) -> str:
    (folder / "witness").write_text(text)
    return str(folder / "witness")


def test_rulings_follow_the_evidence() -> None:
    table = {(a, s): ruled(accepted=a, stands=s) for a in (True, False) for s in (True, False)}
    assert table == {
        (True, False): Ruling.THEIRS, (False, True): Ruling.OURS, (True, True): Ruling.BOTH, (False, False): Ruling.OPEN
    }  # fmt: skip


def test_an_unsat_of_ours_that_is_false_is_found(tmp_path: Path) -> None:
    files(tmp_path)
    witness = next_witness(tmp_path)
    found = work(asked(tmp_path, "sat.vnnlib", verdict="unsat", theirs=written(tmp_path, witness)), tmp_path)
    assert found["ruling"] == Ruling.OURS.value
    assert "Farkas says sat" in found["reasons"][0]


def next_witness(folder: Path) -> str:
    """A counterexample to sat.vnnlib, by `farkas verify` in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "farkas", "verify", "absolute.onnx", "sat.vnnlib"], cwd=folder,
                          env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)  # fmt: skip
    return done.stdout


def test_a_sat_of_ours_whose_witness_does_not_violate_is_found(tmp_path: Path) -> None:
    files(tmp_path)
    given = written(tmp_path, "((X_0 0.0)\n(Y_0 0.0))\n")
    found = work(asked(tmp_path, "unsat.vnnlib", verdict="sat", ours=given), tmp_path)
    assert found["ruling"] == Ruling.OURS.value
    found = work(asked(tmp_path, "unsat.vnnlib", verdict="sat"), tmp_path)
    assert found["ruling"] == Ruling.OPEN.value


def test_a_counterexample_that_only_a_tolerance_accepts_decides_nothing(tmp_path: Path) -> None:
    files(tmp_path)
    text = prop("(>= X_0 0)", "(<= X_0 0.3)", "(>= Y_0 0.30001)")
    (tmp_path / "edge.vnnlib").write_bytes(text)
    theirs = written(tmp_path, "((X_0 0.30002)\n(Y_0 0.30002))\n")  # outside of the box by less than 1e-4
    found = work(asked(tmp_path, "edge.vnnlib", verdict="unsat", theirs=theirs), tmp_path)
    assert found["ruling"] == Ruling.THEIRS.value
    assert found["reasons"][-1].startswith("by the rules of 2026 it is correct up to tolerance")
