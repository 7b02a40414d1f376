"""The competition's scripts, run as its harness runs them: in one folder, with files, a results file and a timeout."""

import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from onnx import helper

from farkas.batch.records import Row
from farkas.batch.validation import RULES, Standing, Validator
from tests.farkas.queries import ROOT, files, model, prop, wide

SCRIPTS = ROOT / "vnncomp"


def script(name: str, folder: Path, *words: str, venv: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FARKAS_VENV": str(venv or sys.prefix), "PYTHONPATH": str(ROOT)}
    return subprocess.run([str(SCRIPTS / name), *words], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip


def run(folder: Path, onnx: str, vnnlib: str, timeout: str = "20", venv: Path | None = None) -> list[str]:
    """The lines of the results file; the exit code has to be 0, and nothing else may be left."""
    before = {path.name for path in folder.iterdir()}
    done = script("run_instance.sh", folder, "v1", "c", onnx, vnnlib, "out.txt", timeout, venv=venv)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} - before <= {"out.txt"}
    return (folder / "out.txt").read_text().splitlines()


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    files(tmp_path)
    return tmp_path


def fake(folder: Path, text: str) -> Path:
    """An installation whose Python is a few lines of shell."""
    python = folder / "fake" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{text}\n")
    python.chmod(0o755)
    return folder / "fake"


def test_an_instance_is_prepared_and_decided(instance: Path) -> None:
    assert script("prepare_instance.sh", instance, "v1", "c", "absolute.onnx", "unsat.vnnlib").returncode == 0
    assert run(instance, "absolute.onnx", "unsat.vnnlib") == ["unsat"]


def test_a_counterexample_follows_and_stands_under_all_rules(instance: Path) -> None:
    assert run(instance, "absolute.onnx", "sat.vnnlib")[0] == "sat"
    row = Row(0, "c", "absolute.onnx", "sat.vnnlib", str(instance), 20.0)
    judged = [Validator().judge(row, instance / "out.txt", rules).standing for rules in RULES.values()]
    assert judged == [Standing.CORRECT] * 3


def test_compressed_files_are_found_with_and_without_their_ending(instance: Path) -> None:
    for name in ("absolute.onnx", "unsat.vnnlib"):
        (instance / f"{name}.gz").write_bytes(gzip.compress((instance / name).read_bytes()))
        (instance / name).unlink()
    assert run(instance, "absolute.onnx", "unsat.vnnlib.gz") == ["unsat"]
    assert run(instance, "absolute.onnx.gz", "unsat.vnnlib") == ["unsat"]


def test_a_fixed_input_is_printed_as_the_property_has_it(instance: Path) -> None:
    """0.3 is no binary32 number: its nearest lies outside of the box as printed, by 1.2e-8."""
    (instance / "fixed.vnnlib").write_bytes(prop("(>= X_0 0.3)", "(<= X_0 0.3)", "(>= Y_0 0.2)"))
    assert run(instance, "absolute.onnx", "fixed.vnnlib")[:2] == ["sat", "((X_0 0.3)"]
    row = Row(0, "c", "absolute.onnx", "fixed.vnnlib", str(instance), 20.0)
    assert Validator().judge(row, instance / "out.txt", RULES["2026"]).standing is Standing.CORRECT


def test_an_input_that_is_tied_to_a_fixed_one_is_printed_like_it(instance: Path) -> None:
    text = TWO.format(relation="", gap="-0.25").replace("-0.5", "0.3").replace("0.5", "0.3")
    (instance / "tied.vnnlib").write_text(text)
    onnx = "[('f', 'absolute.onnx'), ('g', 'absolute.onnx')]"
    lines = run(instance, onnx, "tied.vnnlib")
    assert lines[lines.index("X real [1,1]") + 1] == lines[lines.index("V real [1,1]") + 1] == "0.3"
    row = Row(0, "c", onnx, "tied.vnnlib", str(instance), 20.0)
    assert Validator().judge(row, instance / "out.txt", RULES["2026"]).standing is Standing.CORRECT


TWO = """(vnnlib-version <2.0>)
(declare-network f (declare-input X real [1,1]) (declare-output Y real [1,1]))
(declare-network g {relation} (declare-input V real [1,1]) (declare-output W real [1,1]))
(assert (and (>= X[0,0] -0.5) (<= X[0,0] 0.5) (== V[0,0] X[0,0])))
(assert (> Y[0,0] (+ W[0,0] {gap})))
"""


@pytest.mark.parametrize("relation", ["", "(equal-to f)", "(isomorphic-to f)"])
def test_a_row_of_several_networks_is_taken_as_the_list_has_it(relation: str, instance: Path) -> None:
    (instance / "onnx").mkdir()
    (instance / "absolute.onnx").rename(instance / "onnx" / "a.onnx")
    (instance / "vnnlib").mkdir()
    onnx = "[('f', 'onnx/a.onnx'), ('g', 'onnx/a.onnx')]"
    for gap, word in (("0.25", "unsat"), ("-0.25", "sat")):
        (instance / "vnnlib" / "q.vnnlib").write_text(TWO.format(relation=relation, gap=gap))
        assert script("prepare_instance.sh", instance, "v1", "c", onnx, "vnnlib/q.vnnlib").returncode == 0
        assert run(instance, onnx, "vnnlib/q.vnnlib")[0] == word
    assert (instance / "out.txt").read_text().startswith("sat\nX real [1,1]\n")
    row = Row(0, "c", onnx, "vnnlib/q.vnnlib", str(instance), 20.0)
    assert Validator().judge(row, instance / "out.txt", RULES["2026"]).standing is Standing.CORRECT


def test_paths_of_a_list_are_found_from_the_folder_above_the_property(instance: Path, tmp_path: Path) -> None:
    (instance / "c" / "vnnlib").mkdir(parents=True)
    (instance / "c" / "vnnlib" / "q.vnnlib").write_bytes((instance / "unsat.vnnlib").read_bytes())
    (instance / "absolute.onnx").rename(instance / "c" / "a.onnx")
    assert run(instance, "a.onnx", "c/vnnlib/q.vnnlib") == ["unsat"]


def test_what_is_hard_is_a_timeout_in_time(instance: Path) -> None:
    (instance / "wide.onnx").write_bytes(wide())
    box = [text for k in range(24) for text in (f"(>= X_{k} -1)", f"(<= X_{k} 1)")]
    (instance / "hard.vnnlib").write_bytes(prop(*box, "(>= Y_0 830)", inputs=24))  # three times what samples reach
    start = time.monotonic()
    assert run(instance, "wide.onnx", "hard.vnnlib", timeout="2") == ["timeout"]
    assert time.monotonic() - start < 4


@pytest.mark.parametrize(
    ("does", "timeout", "said"),
    [
        ("exec sleep 50", "1", "timeout"),
        ("kill -9 $$", "30", "error"),
        ("exit 3", "30", "error"),
        ("exit 0", "30", "error"),
    ],
)
def test_whatever_happens_there_is_a_result_and_exit_code_0(does: str, timeout: str, said: str, instance: Path) -> None:
    assert run(instance, "absolute.onnx", "unsat.vnnlib", timeout, venv=fake(instance, does)) == [said]


def test_what_is_missing_is_skipped_or_an_error(instance: Path) -> None:
    done = script("prepare_instance.sh", instance, "v1", "c", "nothing.onnx", "unsat.vnnlib")
    assert done.returncode != 0 and "nothing.onnx: there is no such file" in done.stderr
    assert run(instance, "nothing.onnx", "unsat.vnnlib") == ["error"]
    (instance / "bad.vnnlib").write_text("(assert")
    assert run(instance, "absolute.onnx", "bad.vnnlib") == ["error"]


def test_what_is_not_supported_is_unknown(instance: Path) -> None:
    sigmoid = helper.make_node("Sigmoid", ["x"], ["y"])
    (instance / "smooth.onnx").write_bytes(model([sigmoid], {}))
    assert run(instance, "smooth.onnx", "unsat.vnnlib") == ["unknown"]


@pytest.mark.parametrize("name", ["install_tool.sh", "prepare_instance.sh", "run_instance.sh"])
def test_another_version_of_the_interface_is_refused(name: str, tmp_path: Path) -> None:
    assert script(name, tmp_path, "v0", "c", "a", "b", "out.txt", "5").returncode != 0
    assert list(tmp_path.iterdir()) == []
