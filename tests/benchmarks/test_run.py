"""The benchmark script on suites of tiny queries whose truth is known, and on programs that misbehave."""

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from onnx import helper

from benchmarks import run
from benchmarks.suite import BadSuite, Instance, read_suite, select
from farkas.batch.rows import Result, summary
from tests.farkas.queries import ROOT, Files, files, model, write

Rows = list[dict[str, str]]


@pytest.fixture
def tiny(tmp_path: Path) -> Files:
    return files(tmp_path)


def suite(folder: Path, rows: Sequence[Sequence[object]], header: str = "onnx,vnnlib,timeout,expected") -> Path:
    with (folder / "suite.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return folder / "suite.csv"


def bench(path: Path, *options: str) -> tuple[int, Rows]:
    out = path.parent / "results.csv"
    code = run.main([str(path), "--out", str(out), *options])
    with out.open(newline="") as file:
        return code, list(csv.DictReader(file))


def test_right_answers_fill_every_column_and_give_exit_status_0(
    tiny: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = suite(tmp_path, [("absolute.onnx", "unsat.vnnlib", 20, "unsat"), ("absolute.onnx", "sat.vnnlib", 20, "sat")])
    code, rows = bench(path, "--certify")
    assert code == 0
    assert [row["verdict"] for row in rows] == ["unsat", "sat"]
    unsat, sat = rows
    assert (unsat["evidence"], unsat["check"], unsat["semantics"]) == ("certified", "accepted", "f32-any")
    assert int(unsat["certificate_bytes"]) > int(unsat["tree_bytes"]) >= 1
    assert int(unsat["boxes"]) >= int(unsat["leaves"]) >= 1
    assert sat["witness"] == "valid" and sat["check"] == "accepted"
    for row in rows:
        assert 0 < float(row["cpu_s"]) <= float(row["wall_s"]) * (os.cpu_count() or 1) + 0.1
        assert float(row["check_cpu_s"]) > 0
        assert 5 < float(row["peak_mb"]) < 2000
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "no wrong answer"
    assert printed[2].split()[:9] == [tmp_path.name, "2", "1", "1", "0", "0", "0", "0", printed[2].split()[8]]


def test_a_wrong_verdict_is_printed_first_and_is_exit_status_1(
    tiny: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claims = [("unsat.vnnlib", "unsat"), ("sat.vnnlib", "unsat")]
    code, rows = bench(suite(tmp_path, [("absolute.onnx", name, 20, claim) for name, claim in claims]))
    assert code == 1
    assert [row["verdict"] for row in rows] == ["unsat", "sat"]
    assert capsys.readouterr().out.startswith(
        f"!! {tmp_path.name}: absolute.onnx sat.vnnlib: WRONG: sat, expected unsat\n1 wrong answers\n"
    )


def test_what_cannot_be_run_is_a_row_and_no_crash(tiny: Files, tmp_path: Path) -> None:
    write(tmp_path, "sine.onnx", model([helper.make_node("Sin", ["x"], ["y"])], {}))
    write(tmp_path, "later.vnnlib", b"(vnnlib-version <2.0>)\n")
    write(tmp_path, "broken.onnx", b"\x08")
    rows = [
        ("[('f', 'absolute.onnx'), ('g', 'absolute.onnx')]", "later.vnnlib", 5, "sat"),
        ("f=absolute.onnx;g=absolute.onnx", "later.vnnlib", 5, "sat"),
        ("f=absolute.onnx", "later.vnnlib", 5, "sat"),
        ("sine.onnx", "unsat.vnnlib", 5, "unsat"),
        ("broken.onnx", "unsat.vnnlib", 5, "unsat"),
        ("none.onnx", "unsat.vnnlib", 5, "unsat"),
    ]
    code, found = bench(suite(tmp_path, rows))
    assert code == 0
    by_file = {row["onnx"]: row for row in found}
    assert {name: row["verdict"] for name, row in by_file.items()} == {
        name: "unsupported" if name == "sine.onnx" else "error" for name, *_ in rows
    }
    assert "'Sin'" in by_file["sine.onnx"]["message"]
    assert "none.onnx" in by_file["none.onnx"]["message"]


COPIES = """(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [1,1]) (declare-output Y float32 [1,1]))
(declare-network g (equal-to f) (declare-input A float32 [1,1]) (declare-output B float32 [1,1]))
(assert (and (>= X[0,0] 0.0) (<= X[0,0] 1.0) (>= A[0,0] 2.0) (<= A[0,0] 3.0)))
(assert (RELATION Y[0,0] B[0,0]))
"""


def test_rows_of_several_networks_are_run_and_their_certificates_checked(tiny: Files, tmp_path: Path) -> None:
    """Of the absolute value: |x| <= 1 < 2 <= |a|."""
    for name, relation in (("never.vnnlib", ">="), ("always.vnnlib", "<=")):
        write(tmp_path, name, COPIES.replace("RELATION", relation).encode())
    onnx = "f=absolute.onnx"
    code, found = bench(
        suite(tmp_path, [(onnx, "never.vnnlib", 20, "unsat"), (onnx, "always.vnnlib", 20, "sat")]), "--certify"
    )
    assert code == 0
    assert [(row["verdict"], row["check"]) for row in found] == [("unsat", "accepted"), ("sat", "accepted")]


def test_jobs_run_at_a_time_and_all_are_reported(tiny: Files, tmp_path: Path) -> None:
    names = ("unsat.vnnlib", "sat.vnnlib", "boundary.vnnlib")
    path = suite(tmp_path, [("absolute.onnx", name, 20, "") for name in names])
    code, rows = bench(path, "--jobs", "3")
    assert code == 0
    assert {(row["vnnlib"], row["verdict"]) for row in rows} == {
        ("unsat.vnnlib", "unsat"), ("sat.vnnlib", "sat"), ("boundary.vnnlib", "unknown")
    }  # fmt: skip


def test_the_script_runs_from_any_folder(tiny: Files, tmp_path: Path) -> None:
    path = suite(tmp_path, [("absolute.onnx", "unsat.vnnlib", 20, "unsat")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "run.py"), str(path)], cwd=tmp_path, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results.csv").is_file()


def test_a_suite_that_cannot_be_read_is_exit_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([str(tmp_path / "none.csv")]) == 2
    assert "none.csv: cannot be read" in capsys.readouterr().err
    path = suite(tmp_path, [("a.onnx", "b.vnnlib", 5, "sat")])
    assert run.main([str(path), "--filter", "nets"]) == 2
    assert "no category 'nets'" in capsys.readouterr().err


# Verifiers that misbehave (tests/batch has more of them)


def replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the function that decides; the validator still runs."""
    monkeypatch.setattr(run, "VERIFIER", f"tests.batch.misbehaving:{name}")


@pytest.mark.parametrize(
    ("name", "verdict", "message"),
    [
        ("exits", "error", "exit code 4"),
        ("raises", "error", "boom"),
        ("faults", "error", "SIGSEGV"),
        ("nonsense", "error", "no verdict"),
        ("sleeps_natively", "timed-out", "killed"),
        ("half_certified", "error", "exit code 4"),
    ],
)
def test_a_verifier_that_misbehaves_gives_no_verdict(
    name: str, verdict: str, message: str, tiny: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(name, monkeypatch)
    code, rows = bench(suite(tmp_path, [("absolute.onnx", "unsat.vnnlib", 0.5, "unsat")]), "--certify")
    assert (code, rows[0]["verdict"]) == (0, verdict)
    assert message in rows[0]["message"]
    assert (rows[0]["check"], rows[0]["certificate_bytes"]) == ("", "")


@pytest.mark.parametrize(
    "witness",
    [None, "((X_0 0.5)\n(Y_0 0.5))", "((X_0 2.5)\n(Y_0 2.5))", "((X_0 1.75)\n(Y_0 1.5))", "nonsense"],
    ids=["none", "not unsafe", "outside", "other outputs", "no assignment"],
)
def test_an_invalid_witness_is_printed_first_and_is_exit_status_1(
    witness: str | None, tiny: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if witness is not None:
        (tmp_path / "witness").write_text(witness)
    replaced("witnessed", monkeypatch)
    code, rows = bench(suite(tmp_path, [("absolute.onnx", "sat.vnnlib", 20, "sat")]))
    assert code == 1
    assert rows[0]["witness"].startswith("invalid: ")
    assert capsys.readouterr().out.startswith("!! ")


def test_a_rejected_certificate_is_a_wrong_answer() -> None:
    good = Result("c", "n.onnx", "q.vnnlib", 5.0, "unsat", "unsat", check="accepted")
    bad = Result("c", "n.onnx", "q.vnnlib", 5.0, "unsat", "unsat", check="exit code 3: rejected: TREE")
    assert good.complaints == [] and good.is_solved
    assert bad.complaints == ["CERTIFICATE: exit code 3: rejected: TREE"] and not bad.is_solved
    assert next(summary([good, bad])).startswith("!! c: n.onnx q.vnnlib: CERTIFICATE")


# Suites


def instances(names: str) -> list[Instance]:
    return [Instance(name[0], name, "q", 1.0, "", Path()) for name in names.split()]


def test_every_nth_instance_is_counted_within_its_category() -> None:
    rows = instances("a1 a2 b1 a3 b2 a4 b3")
    assert [i.onnx for i in select(rows, [], 2)] == ["a1", "b1", "a3", "b3"]
    assert [i.onnx for i in select(rows, ["b"], 1)] == ["b1", "b2", "b3"]
    with pytest.raises(BadSuite, match="no category 'c'"):
        select(rows, ["c"], 1)


def test_suites_of_both_forms_are_read(tmp_path: Path) -> None:
    header = "category,onnx,vnnlib,timeout_s,expected"
    path = suite(tmp_path, [("nets", "nets/a.onnx.gz", "p.vnnlib", 116, "sat")], header)
    (first,) = read_suite(path)
    assert (first.category, first.timeout_s, first.expected) == ("nets", 116.0, "sat")
    assert first.network == tmp_path / "nets" / "a.onnx.gz"
    (second,) = read_suite(suite(tmp_path, [("n/t_n=2.onnx", "p.vnnlib", "", "")]))
    assert (second.category, second.timeout_s) == (tmp_path.name, 60.0)
    assert second.network == tmp_path / "n" / "t_n=2.onnx"


@pytest.mark.parametrize(
    ("text", "message"),
    [("onnx,vnnlib\n", "no instances"), ("net,vnnlib\na,b\n", "line 2: no onnx"), ("onnx,vnnlib\na,\n", "no vnnlib"),
     ("onnx,vnnlib,timeout\na,b,soon\n", "timeout is 'soon'")],
)  # fmt: skip
def test_a_malformed_suite_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "suite.csv").write_text(text)
    with pytest.raises(BadSuite, match=message):
        read_suite(tmp_path / "suite.csv")
