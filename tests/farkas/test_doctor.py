"""`farkas doctor`: what it says, and that nothing that is missing or broken stops it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from farkas import cli
from farkas.cli_doctor import text
from farkas.engine import doctor
from farkas.engine.doctor import OPTIONAL, REQUIRED, Finding, examine
from farkas.engine.runtime import Runtime
from farkas.ir.execute import execute
from farkas.ir.onnx_import import load_onnx
from tests.farkas.queries import ROOT

Capture = pytest.CaptureFixture[str]
TOPICS = {"packages", "solvers", "machine", "kernels", "onnxruntime", "quantised networks", "arithmetic"}


def named(findings: list[Finding], name: str) -> Finding:
    (found,) = (finding for finding in findings if finding.name == name)
    return found


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[]", requirement)[0] for requirement in requirements}


def test_the_doctor_knows_every_package_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {name for name, _ in REQUIRED} == distributions(project["dependencies"])
    assert {name for name, *_ in OPTIONAL} == distributions(project["optional-dependencies"]["smt"])


def test_every_line_says_ok_missing_or_differs(capsys: Capture) -> None:
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert {line for line in lines if not line.startswith(" ")} >= TOPICS
    told = [line for line in lines if line.startswith(" ")]
    assert all(line.split()[0] in ("ok", "missing", "differs") for line in told)
    assert any(line.split()[:3] == ["ok", "numpy", importlib.metadata.version("numpy")] for line in told)


def test_json_has_the_same_findings(capsys: Capture) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {finding["topic"] for finding in findings} >= TOPICS
    assert all(set(finding) == set(Finding.__dataclass_fields__) for finding in findings)


def test_it_takes_little_time() -> None:
    from benchmarks.measure import measure

    run = measure([sys.executable, "-m", "farkas", "doctor"], {"PYTHONPATH": str(ROOT)}, str(ROOT), 60.0)
    assert "executor id" in run.out
    assert run.cpu_s < 2.0


def test_it_loads_no_solver() -> None:
    code = (
        "import sys; from farkas.cli import main; main(['doctor']); "
        "print(*sorted(sys.modules.keys() & {'z3', 'highspy', 'ortools.sat', 'bitwuzla', 'cvc5', 'pysmt'}))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1] == ""


def test_the_executor_is_the_one_whose_bits_the_runtime_gives() -> None:
    """The line names an order only if a network of a size that was not probed has its bits."""
    import numpy as np

    from farkas.engine.fingerprint import one_product
    from farkas.ir.binary32 import ORDERS

    findings = list(examine())
    told = named(findings, "executor id")
    rng = np.random.default_rng(11)
    data = one_product("Gemm", *(rng.standard_normal(s).astype(np.float32) for s in ((17, 600), 17)))
    x = rng.standard_normal(600).astype(np.float32)
    graph, got = load_onnx(data), Runtime(data).run(x)
    same = [order for order in ORDERS if (execute(graph, x, order).ravel() == got).all()]
    if told.status == "ok":
        assert same == [told.detail.partition(":")[0]]
    else:
        assert told.status == "differs" and "none of the declared orders" in told.detail


# Nothing stops it


def test_what_is_missing_is_told_with_what_it_would_give_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", gone)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr("farkas.encoders.fp_solvers.installed_solvers", tuple)
    findings = list(examine())
    wanted = [name for name, _ in REQUIRED] + [name for name, *_ in OPTIONAL]
    for name in [*wanted, "cupy", "smt-fp", "cp-sat", "lra: z3", "lra: pysmt", "milp: highs"]:
        found = named(findings, name)
        assert found.status == "missing" and found.gives
        assert "would give" in found.line() and "pip install" in found.line()
    assert "farkas[smt]" in named(findings, "bitwuzla").advice
    assert named(findings, "executor id").status == "ok"  # looked at all the same


def test_one_solver_of_the_floating_point_theory_lacks_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farkas.encoders.fp_solvers.installed_solvers", lambda: ("z3",))
    second = named(list(examine()), "smt-fp, second solver")
    assert second.status == "missing" and "farkas[smt]" in second.advice


@pytest.mark.parametrize("error", [RuntimeError("no kernel\nimage"), OSError("no such library"), KeyError("x")])
def test_a_runtime_that_breaks_is_a_finding(error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Runtime, "__init__", broken)
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert f"missing onnxruntime               {type(error).__name__}: " in printed
    assert "\narithmetic\n  ok      subnormals" in printed


def test_every_topic_may_break(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(topic: str) -> Iterator[Finding]:
        yield Finding(topic, "first", "ok", "seen")
        raise ValueError("broken")

    for name in ("_packages", "_solvers", "_machine", "_kernels", "_orders", "_integers", "_arithmetic"):
        monkeypatch.setattr(doctor, name, broken)
    findings = list(examine())
    assert [f.status for f in findings] == ["ok", "missing"] * len({f.topic for f in findings})
    assert all("ValueError: broken" in f.detail for f in findings[1::2])


def test_flushed_subnormals_and_a_switched_off_kernel_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farkas.ir.binary32.subnormals_are_kept", lambda: False)
    monkeypatch.setenv("FARKAS_NATIVE", "0")
    findings = [*doctor._kernels("kernels"), *doctor._arithmetic("arithmetic")]
    assert named(findings, "subnormals").status == "differs"
    assert "FARKAS_NATIVE=0" in named(findings, "bounds, compiled").detail


def test_a_machine_without_proc_is_looked_at_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> str:
        raise FileNotFoundError(2, "No such file", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    findings = list(doctor._machine("machine"))
    assert named(findings, "processor").status == named(findings, "BLAS").status == "ok"


def test_the_page_groups_findings_by_topic() -> None:
    page = text([Finding("a", "x", "ok", "1"), Finding("b", "y", "missing", "", "speed", "install it")])
    assert page == (
        "a\n  ok      x                         1\n"
        "b\n  missing y                         would give speed; install it\n"
    )  # fmt: skip
