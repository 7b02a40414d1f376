"""A suite as tests of pytest, in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.farkas.queries import ROOT, files

ROWS = "onnx,vnnlib,timeout,expected\n" + "".join(
    f"absolute.onnx,{name}.vnnlib,20,{expected}\n"
    for name, expected in (("unsat", "unsat"), ("sat", "sat"), ("sat", ""), ("boundary", "unsat"))
)


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "farkas.batch.pytest_plugin", "suite.csv", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_an_instance_passes_when_it_is_what_the_suite_expects(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "suite.csv").write_text(ROWS)
    done = run(tmp_path)
    assert "2 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "sat, wanted unsat" in done.stdout
    assert "unknown, wanted unsat" in done.stdout


def test_only_what_is_selected_is_decided_and_the_store_is_kept(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "suite.csv").write_text(ROWS)
    done = run(tmp_path, "-k", "boundary", "--farkas-store", "kept")
    assert "1 failed, 3 deselected" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "kept.journal").read_text().count('"kind":"attempt"') == 1
