"""Solvers side by side: answers by hand, limits that hold, and what becomes of wrong answers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from farkas.encoders import fp_solvers
from farkas.encoders.fp_smtlib import smtlib_fp
from farkas.encoders.fp_solvers import Limits, SolversDisagree, decide_fp, installed_solvers, replays
from farkas.ir.binary32 import ORDERS
from tests.nets import affine, atom, case, dense, random_layers

pytest.importorskip("bitwuzla")
pytest.importorskip("cvc5")

LIMITS = Limits(20.0)
# 1000 (relu(relu(x + 2^24) - 2^24) - relu(x)): 0 over the reals; 1000 (2 - x) in binary32 for x in (1, 1.5].
ABSORBS = dense([
    ([[1.0], [1.0]], [2.0**24, 0.0]),
    ([[1.0, 0.0], [0.0, 1.0]], [-(2.0**24), 0.0]),
    ([[1000.0, -1000.0]], [0.0]),
])  # fmt: skip
REACHES = case([0], [1.5], [atom([-1], Fraction(-1, 10))])
EXCEEDS = case([0], [1.5], [atom([-1], -1000)])


@pytest.mark.parametrize("order", ORDERS)
def test_sat_comes_with_a_point_that_replays(order: str) -> None:
    decision = decide_fp(ABSORBS.graph, REACHES, order, LIMITS)
    assert decision.answer == "sat" and decision.point is not None
    assert 1 < decision.point[0] <= 1.5
    assert replays(ABSORBS.graph, REACHES, order, decision.point)
    assert decision.missing == ()


def test_unsat_is_the_word_of_two_solvers() -> None:
    decision = decide_fp(ABSORBS.graph, EXCEEDS, "seq-fma", LIMITS)
    assert decision.answer == "unsat" and decision.point is None
    assert len(set(decision.engines)) == 2
    assert {run.engine for run in decision.runs if run.answer == "unsat"} == set(decision.engines)


def test_one_solver_alone_gives_its_own_word() -> None:
    decision = decide_fp(ABSORBS.graph, EXCEEDS, "seq-fma", LIMITS, engines=["z3"])
    assert (decision.answer, decision.engines) == ("unsat", ("z3",))


def test_a_solver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp_solvers, "installed_solvers", lambda: ("bitwuzla",))
    decision = decide_fp(ABSORBS.graph, EXCEEDS, "seq-fma", LIMITS)
    assert (decision.answer, decision.engines, decision.missing) == ("unsat", ("bitwuzla",), ("cvc5", "z3"))


def test_the_time_limit_holds() -> None:
    # Six inputs and two layers of six neurons are out of reach within a second for every solver.
    net = dense(random_layers(np.random.default_rng(3), (6, 6, 6, 1), eighths=False))
    asked = case([-1] * 6, [1] * 6, [atom([1], -10000)])
    start = time.monotonic()
    decision = decide_fp(net.graph, asked, "seq-fma", Limits(1.0), presolve=(False,))
    assert decision.answer == "unknown"
    assert time.monotonic() - start < 3.0
    assert {run.detail for run in decision.runs} == {"stopped"}


def test_the_memory_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp_solvers, "_MINIMUM_BYTES", 1 << 20)
    decision = decide_fp(ABSORBS.graph, EXCEEDS, "seq-fma", Limits(20.0, memory_bytes=100 << 20), engines=["z3"])
    assert decision.answer == "unknown"
    assert all(run.answer == "unknown" and run.detail for run in decision.runs)


Answers = Callable[[dict[str, str]], None]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answers:
    """Replaces the solvers' process by one that prints a given line for each engine."""

    def install(lines: dict[str, str]) -> None:
        script = tmp_path / "worker.py"
        script.write_text(f"import sys\nprint({lines!r}[sys.argv[1]])\n", encoding="utf-8")
        monkeypatch.setattr(fp_solvers, "_COMMAND", (sys.executable, str(script)))

    return install


def line(answer: str, x: float = 0.0) -> str:
    bits = int(np.float32(x).view(np.uint32))
    return f'{{"answer": "{answer}", "model": {{"x0": {bits}}}, "detail": ""}}'


def test_a_model_that_does_not_replay_is_no_answer(scripted: Answers) -> None:
    # y(1) = 0 and y(3) lies outside the box.
    scripted({"bitwuzla": line("sat", 1.0), "cvc5": line("sat", 3.0), "z3": line("unknown")})
    decision = decide_fp(ABSORBS.graph, REACHES, "seq-fma", LIMITS)
    assert decision.answer == "unknown"
    assert sum("does not replay" in run.detail for run in decision.runs) == 4


def test_unsat_against_a_model_that_replays_is_no_answer(scripted: Answers) -> None:
    scripted({"bitwuzla": line("unsat"), "cvc5": line("sat", 1.25), "z3": line("unknown")})
    with pytest.raises(SolversDisagree, match="bitwuzla: unsat; cvc5: a model"):
        decide_fp(ABSORBS.graph, REACHES, "seq-fma", Limits(20.0, processes=1))


def test_a_trusted_solver_is_waited_for(scripted: Answers) -> None:
    scripted({"bitwuzla": line("unsat"), "cvc5": line("unsat"), "z3": line("unsat")})
    one = Limits(20.0, processes=1)
    assert decide_fp(ABSORBS.graph, EXCEEDS, "seq-fma", one).engines == ("bitwuzla", "cvc5")
    assert "z3" in decide_fp(ABSORBS.graph, EXCEEDS, "seq-fma", one, trusted={"z3"}).engines
    scripted({"bitwuzla": line("unsat"), "cvc5": line("unsat"), "z3": line("unknown")})
    decision = decide_fp(ABSORBS.graph, EXCEEDS, "seq-fma", one, trusted={"z3"})
    assert (decision.answer, set(decision.engines)) == ("unsat", {"bitwuzla", "cvc5"})


def test_a_solver_that_crashes_is_only_that_solver(scripted: Answers) -> None:
    scripted({"bitwuzla": "Segmentation fault", "cvc5": line("sat", 1.25), "z3": "not json"})
    decision = decide_fp(ABSORBS.graph, REACHES, "seq-fma", LIMITS)
    assert (decision.answer, decision.engines) == ("sat", ("cvc5",))


def test_points_outside_the_box_or_without_finite_outputs_do_not_replay() -> None:
    net = affine([[2.0**127, 2.0**127]])
    everything = case([0, 0], [1, 2], [])
    assert replays(net.graph, everything, "seq-fma", np.array([1, 0], dtype=np.float32))
    assert not replays(net.graph, everything, "seq-fma", np.array([1, 2], dtype=np.float32))  # 2^127 + 2^128
    assert not replays(net.graph, everything, "seq-fma", np.array([2, 0], dtype=np.float32))


def test_the_formula_is_what_solvers_read_from_a_file() -> None:
    text = smtlib_fp(ABSORBS.graph, REACHES, "seq-fma")
    assert text.count("(check-sat)") == 1 and text.rstrip().endswith("(get-value (x0))")
    assert set(installed_solvers()) == {"bitwuzla", "cvc5", "z3"}
