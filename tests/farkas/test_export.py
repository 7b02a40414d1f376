"""`farkas export`: every format is read back by another program, whose answer is compared with that of `farkas verify`.

z3 reads smt2-lra, HiGHS mps and lp, bitwuzla (z3 where it is not installed) smt2-fp; none of them shares code with what
wrote the files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

import farkas as fk
from farkas import cli
from farkas.engine.export import FORMATS
from farkas.ir.errors import FarkasError
from farkas.ir.execute import execute
from farkas.ir.onnx_import import load_onnx
from tests.farkas.queries import ROOT, Files, prop
from tests.nets import dense, random_layers

Capture = pytest.CaptureFixture[str]
EXAMPLES = ROOT / "examples"


def by_z3(text: str) -> str:
    solver = z3.Solver(ctx=z3.Context())
    solver.set("timeout", 60_000)
    solver.from_string(text)
    return str(solver.check())


def by_bitwuzla(text: str) -> str:
    try:
        import bitwuzla
    except ImportError:
        return by_z3(text)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), bitwuzla.Options())
    asserted = [line for line in text.splitlines() if not line.startswith(("(check-sat", "(get-value"))]
    parser.parse("\n".join(asserted), True, False)
    return {bitwuzla.Result.SAT: "sat", bitwuzla.Result.UNSAT: "unsat"}[parser.bitwuzla().check_sat()]


def by_highs(text: str, form: str, folder: Path) -> str:
    place = folder / f"model.{form}"
    place.write_text(text)
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("time_limit", 60.0)
    # It warns of coefficients below 1e-9, which it drops: a bound that is 0 but for outward rounding makes some.
    assert solver.readModel(str(place)) in (highspy.HighsStatus.kOk, highspy.HighsStatus.kWarning)
    solver.run()
    status = solver.getModelStatus()
    words = {highspy.HighsModelStatus.kInfeasible: "unsat", highspy.HighsModelStatus.kOptimal: "sat"}
    return words[status]


def answer(text: str, form: str, folder: Path) -> str:
    if form == "smt2-lra":
        return by_z3(text)
    return by_bitwuzla(text) if form == "smt2-fp" else by_highs(text, form, folder)


# What other programs answer


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("truth", ["unsat", "sat"])
def test_every_format_has_the_verdict_of_the_query(form: str, truth: str, tiny: Files, tmp_path: Path) -> None:
    text = fk.export(fk.load(tiny.network), getattr(tiny, truth), form)
    assert answer(text, form, tmp_path) == truth


def test_what_no_binary32_run_and_no_real_one_reaches_is_unsat_without_slack(tiny: Files, tmp_path: Path) -> None:
    """|x| > 2 on [-1, 2] is strict: exact formats refute it, and a linear program reads it as |x| >= 2."""
    net = fk.load(tiny.network)
    words = {form: answer(fk.export(net, tiny.boundary, form), form, tmp_path) for form in FORMATS}
    assert words == {"smt2-lra": "unsat", "smt2-fp": "unsat", "mps": "sat", "lp": "sat"}


@pytest.mark.parametrize(
    ("network", "query", "forms"),
    [
        ("wave", "wave_below_x", ("smt2-lra", "mps", "lp")),
        ("wave", "wave_peak", ("mps", "lp")),
        ("avoidance", "avoidance_head_on_is_dear", ("smt2-lra", "mps", "lp")),
        ("avoidance", "avoidance_wide_is_clear", ("mps", "lp")),
        ("avoidance", "avoidance_head_on_no_strong_left", ("mps", "lp")),
        ("glyphs", "glyphs_falling_corner", ("smt2-lra", "mps", "lp")),
        ("pendulum", "pendulum_angle_kept", ("mps", "lp")),
    ],
)
@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_the_examples_have_the_verdicts_of_verify(
    network: str, query: str, forms: tuple[str, ...], semantics: str, tmp_path: Path
) -> None:
    net = fk.load(EXAMPLES / "networks" / f"{network}.onnx")
    place = EXAMPLES / "properties" / f"{query}.vnnlib"
    verdict = fk.verify(net, place, semantics=semantics, timeout=60)
    assert verdict.word in ("unsat", "sat")
    for form in forms:
        if form == "smt2-lra" and semantics == "f32-any" and (verdict.word == "sat" or network == "glyphs"):
            continue  # z3 takes up to a minute where every row is a range
        assert answer(fk.export(net, place, form, semantics=semantics), form, tmp_path) == verdict.word, form


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), margin=st.sampled_from([-0.25, 0.25]))
def test_random_queries_have_one_verdict_in_all_formats_and_with_all_bounds(
    seed: int, margin: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Below the greatest output on a grid the query is sat by that very point; above it, it is as it is."""
    rng = np.random.default_rng(seed)
    made = dense(random_layers(rng, (2, 3, 3, 1)))
    net = fk.Network(load_onnx(made.data), made.data)
    ends = np.linspace(-1, 1, 9, dtype=np.float32)
    points = np.stack(np.meshgrid(ends, ends), axis=-1).reshape(-1, 2)
    top = float(execute(net.graph, points, "seq-fma").max())
    box = (f"({op} X_{i} {end})" for i in (0, 1) for op, end in ((">=", -1), ("<=", 1)))
    asked = prop(*box, f"(>= Y_0 {top + margin!r})", inputs=2)
    verdict = fk.verify(net, asked, semantics="real", timeout=30)
    assert verdict.word in (("sat",) if margin < 0 else ("sat", "unsat"))
    folder = tmp_path_factory.mktemp("export")
    for form, bounds in (
        ("smt2-lra", "none"), ("smt2-lra", "interval"), ("smt2-lra", "crown"), ("mps", "interval"), ("mps", "crown"),
        ("lp", "crown"),
    ):  # fmt: skip
        for phases in ("big-m", "multiple-choice") if form == "mps" else ("big-m",):
            text = fk.export(net, asked, form, bounds=bounds, phases=phases)
            assert answer(text, form, folder) == verdict.word, (form, bounds, phases)


def rounding_network() -> Any:
    """y = 1000 (relu(relu(x + 2^24) - 2^24) - relu(x)): 0 over the reals, 750 at x = 1.25 in binary32."""
    big = 2.0**24
    made = dense(
        [([[1.0], [1.0]], [big, 0.0]), ([[1.0, 0.0], [0.0, 1.0]], [-big, 0.0]), ([[1000.0, -1000.0]], [0.0])]
    )  # fmt: skip
    return fk.Network(load_onnx(made.data), made.data)


def test_the_formats_of_the_reals_and_of_binary32_differ_where_the_truth_does(tmp_path: Path) -> None:
    net, asked = rounding_network(), prop("(>= X_0 0)", "(<= X_0 1.5)", "(>= Y_0 100)")
    assert answer(fk.export(net, asked, "smt2-lra"), "smt2-lra", tmp_path) == "unsat"
    for order in ("seq-fma", "seq-muladd"):
        for bounds in ("none", "interval"):
            text = fk.export(net, asked, "smt2-fp", semantics=f"f32-order:{order}", bounds=bounds)
            assert answer(text, "smt2-fp", tmp_path) == "sat"
    # Rows widened by the rounding of any order let the output be anything that an execution may give.
    assert answer(fk.export(net, asked, "smt2-lra", semantics="f32-any"), "smt2-lra", tmp_path) == "sat"


# What the files say


@pytest.mark.parametrize("form", FORMATS)
def test_the_first_lines_say_what_the_file_states(form: str, tiny: Files) -> None:
    net = fk.load(tiny.network)
    text = fk.export(net, tiny.sat, form)
    head = [line for line in text.splitlines() if line.startswith((";", "*", "\\"))]
    told = "\n".join(head)
    wanted = "f32-order:seq-fma" if form == "smt2-fp" else "real"
    digest = hashlib.sha256(Path(tiny.sat).read_bytes()).hexdigest()
    for part in (f"format {form}", net.graph.sha256, digest, f"semantics {wanted}", "the property holds"):
        assert part in told, part
    assert ("unsat: " if form.startswith("smt2") else "infeasible: ") in told
    assert text.splitlines()[0] == head[0]


def test_a_candidate_is_called_one(tiny: Files) -> None:
    net = fk.load(tiny.network)
    assert "sat: the property is violated." in fk.export(net, tiny.sat, "smt2-lra")
    assert "sat: a candidate only, for rows are widened" in fk.export(net, tiny.sat, "smt2-lra", semantics="f32-any")
    divided = fk.load(EXAMPLES / "networks" / "avoidance.onnx")  # it divides by constants that are no powers of two
    place = EXAMPLES / "properties" / "avoidance_wide_is_clear.vnnlib"
    assert "candidate only, for coefficients" in fk.export(divided, place, "smt2-lra")


def test_dropped_boxes_are_named(tiny: Files) -> None:
    vacuous = prop("(or (and (>= X_0 1) (<= X_0 0) (>= Y_0 0)) (and (>= X_0 0) (<= X_0 1) (>= Y_0 5)))")
    text = fk.export(fk.load(tiny.network), vacuous, "smt2-lra")
    assert "; warning: conjunction 1 is vacuous" in text and by_z3(text) == "unsat"


# What cannot be stated


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "smt2-fp", "semantics": "real"}, "one order of accumulation; say --semantics f32-order:seq-muladd"),
        ({"format": "smt2-fp", "semantics": "f32-any"}, "one order of accumulation"),
        ({"format": "smt2-fp", "bounds": "crown"}, "CROWN bounds are over the reals"),
        ({"format": "mps", "bounds": "none"}, "needs bounds of the neurons"),
        ({"format": "lp", "bounds": "none"}, "needs bounds of the neurons"),
        ({"format": "smt2-lra", "semantics": "f32-any", "bounds": "none"}, "error terms come with bounds"),
        ({"format": "cnf"}, "no format 'cnf'; known are smt2-lra, smt2-fp, mps, lp"),
        ({"format": "mps", "phases": "ideal"}, "no phases 'ideal'; known are big-m"),
        ({"format": "mps", "bounds": "ibp"}, "no bounds 'ibp'; known are none"),
        ({"format": "mps", "semantics": "int-exact"}, "'int-exact' is that of quantised networks"),
    ],
)
def test_what_a_format_cannot_state_is_refused(options: dict[str, str], message: str, tiny: Files) -> None:
    with pytest.raises(FarkasError, match=message):
        fk.export(fk.load(tiny.network), tiny.sat, options.pop("format"), **options)


# The command line


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_and_standard_output_are_the_same(form: str, tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "query.out"
    assert cli.main(["export", tiny.network, tiny.sat, "--format", form]) == 0
    printed = capsys.readouterr()
    assert printed.out == fk.export(fk.load(tiny.network), tiny.sat, form) and printed.err == ""
    words = ["export", tiny.sat, "--network", f"f={tiny.network}", "--format", form, "--output", str(place)]
    assert cli.main(words) == 0
    assert place.read_text() == printed.out
    assert str(place) in capsys.readouterr().err


def test_options_reach_the_file(tiny: Files, capsys: Capture) -> None:
    words = ["export", tiny.network, tiny.sat, "--format", "mps", "--semantics", "f32-any", "--bounds", "interval",
             "--phases", "multiple-choice"]  # fmt: skip
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert "semantics f32-any; bounds of neurons: interval" in told and "multiple-choice" in told


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "--format"),
        (["--format", "cnf"], "cnf"),
        (["--format", "mps", "--bounds", "none"], "needs bounds"),
        (["--format", "mps", "--output", "no/such/folder/x.mps"], "no folder"),
        (["--format", "mps", "--semantics", "f16"], "'f16'"),
    ],
)
def test_a_wrong_use_is_exit_code_2(options: list[str], part: str, tiny: Files, capsys: Capture) -> None:
    assert cli.main(["export", tiny.network, tiny.sat, *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and part in printed.err
