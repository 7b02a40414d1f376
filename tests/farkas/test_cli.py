"""`farkas verify` and the frame around all commands: what stands on standard output, and the exit codes.

The network computes |x| on [-1, 2] (tests/farkas/queries.py): the verdicts are read off that formula.
"""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import farkas
from farkas import api, cli
from farkas.specs.diagnostics_codes import CODES
from farkas.specs.witness import read_witness
from tests.farkas.queries import ROOT, Files, absolute, prop, wide, write
from tests.farkas.queries import farkas as process

KEYS = {
    "verdict", "reason", "evidence", "semantics", "time_s", "certificate", "witness", "bounds", "statistics", "version",
}  # fmt: skip
Capture = pytest.CaptureFixture[str]


def test_unsat_is_one_word_and_exit_code_0(tiny: Files, capsys: Capture) -> None:
    assert cli.main(["verify", tiny.network, tiny.unsat]) == 0
    printed = capsys.readouterr()
    assert printed.out == "unsat\n"
    assert "no binary32 input of the set violates in any admissible execution" in printed.err
    assert "evidence checkable" in printed.err
    assert "compared exactly over the binary32 values" in printed.err


def test_sat_is_followed_by_the_assignment(tiny: Files, capsys: Capture) -> None:
    assert cli.main(["verify", tiny.network, tiny.sat]) == 0
    printed = capsys.readouterr()
    first, rest = printed.out.split("\n", 1)
    witness = read_witness(rest)
    assert first == "sat"
    assert witness.outputs[0] == abs(witness.inputs[0]) >= Fraction(3, 2)
    assert rest.startswith("((X_0 ") and rest.endswith("))\n")
    assert "onnxruntime" in printed.err and "evidence replayed" in printed.err


def test_unknown_is_exit_code_1_and_says_why(tiny: Files, capsys: Capture) -> None:
    assert cli.main(["verify", tiny.network, tiny.boundary, "--timeout", "20"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "unknown\n"
    assert "reason gap" in printed.err


def test_quiet_leaves_standard_error_empty(tiny: Files, capsys: Capture) -> None:
    for query in (tiny.unsat, tiny.sat, tiny.boundary):
        cli.main(["verify", tiny.network, query, "--quiet", "--timeout", "20"])
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", [["f={net}", "{query}"], ["{net}", "{query}"]])
def test_the_form_of_the_standard_names_the_network_with_an_option(
    form: list[str], tiny: Files, capsys: Capture
) -> None:
    network, query = (part.format(net=tiny.network, query=tiny.unsat) for part in form)
    assert cli.main(["verify", query, "--network", network]) == 0
    assert cli.main(["verify", "--network", network, "--timeout", "20", query]) == 0
    assert capsys.readouterr().out == "unsat\nunsat\n"


def test_options_may_stand_between_network_and_property(tiny: Files, capsys: Capture) -> None:
    assert cli.main(["verify", tiny.network, "--timeout", "20", tiny.unsat]) == 0
    assert capsys.readouterr().out == "unsat\n"


def test_real_semantics_is_named_in_the_answer(tiny: Files, capsys: Capture) -> None:
    assert cli.main(["verify", tiny.network, tiny.unsat, "--semantics", "real"]) == 0
    assert "unsat (real" in capsys.readouterr().err


@pytest.mark.parametrize("query", ["unsat", "sat", "boundary"])
def test_json_is_one_object_with_exactly_the_stated_keys(query: str, tiny: Files, capsys: Capture) -> None:
    code = cli.main(["verify", tiny.network, getattr(tiny, query), "--json", "--timeout", "20"])
    printed = capsys.readouterr().out
    answer = json.loads(printed, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert printed.count("\n") == 1
    assert set(answer) == KEYS
    assert answer["verdict"] == {"unsat": "unsat", "sat": "sat", "boundary": "unknown"}[query]
    assert answer["reason"] == (None if code == 0 else "gap")
    assert answer["semantics"] == "f32-any"
    assert answer["version"] == farkas.__version__
    assert answer["certificate"] is None
    assert 0 < answer["time_s"] < 60
    assert (answer["witness"] is not None) == (query == "sat")


def test_the_witness_file_is_a_result_file_of_the_competition(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    place = tmp_path / "witness.txt"
    assert cli.main(["verify", tiny.network, tiny.sat, "--witness", str(place)]) == 0
    assert place.read_text() == capsys.readouterr().out
    other = tmp_path / "none.txt"
    assert cli.main(["verify", tiny.network, tiny.unsat, "--witness", str(other)]) == 0
    assert not other.exists()


def test_a_certificate_is_written_with_a_verdict_and_named_in_the_object(
    tiny: Files, tmp_path: Path, capsys: Capture
) -> None:
    place = tmp_path / "proof.nnc"
    assert cli.main(["verify", tiny.network, tiny.unsat, "--certificate", str(place), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["evidence"], answer["certificate"]) == ("certified", str(place))
    assert place.read_bytes()[:4] == b"NNC1"
    none = tmp_path / "none.nnc"
    assert cli.main(["verify", tiny.network, tiny.boundary, "--certificate", str(none), "--timeout", "20"]) == 1
    assert not none.exists()
    assert "no certificate was written" in capsys.readouterr().err


def test_contradictory_bounds_are_unsat_with_a_warning(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    inverted = write(tmp_path, "inverted.vnnlib", prop("(>= X_0 1)", "(<= X_0 0)", "(>= Y_0 0)"))
    assert cli.main(["verify", tiny.network, inverted]) == 0
    printed = capsys.readouterr()
    assert printed.out == "unsat\n"
    assert "warning: vacuous" in printed.err


def test_points_off_the_grid_are_reported(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    point = write(tmp_path, "point.vnnlib", prop("(>= X_0 0.1)", "(<= X_0 0.1)", "(>= Y_0 0.2)"))
    assert cli.main(["verify", tiny.network, point]) == 0
    assert "1 coordinates of single points are no binary32 numbers" in capsys.readouterr().err


# Limits


def hard(folder: Path) -> tuple[str, str]:
    """A query that the search does not decide in a second: 24 inputs, and a threshold far above what samples reach."""
    rng = np.random.default_rng(3)
    network = wide()
    values = api.load(write(folder, "wide.onnx", network))
    from farkas.ir.execute import execute

    sampled = execute(values.graph, rng.uniform(-1, 1, (512, 24)).astype(np.float32), "seq-fma")
    box = [f"({sign} X_{i} {end})" for i in range(24) for sign, end in ((">=", -1), ("<=", 1))]
    query = prop(*box, f"(>= Y_0 {float(3 * abs(sampled).max()):.3f})", inputs=24)
    return str(folder / "wide.onnx"), write(folder, "wide.vnnlib", query)


def test_the_timeout_holds_for_the_whole_process(tmp_path: Path) -> None:
    network, query = hard(tmp_path)
    start = time.monotonic()
    done = process("verify", network, query, "--timeout", "2")
    wall = time.monotonic() - start
    assert (done.returncode, done.stdout) == (1, "timed-out\n"), done.stderr
    assert "reason timeout" in done.stderr
    assert 1.5 < wall < 3.0


def test_the_alarm_ends_what_does_not_look_at_the_clock(
    tiny: Files, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spin(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr(api, "decide", spin)
    start = time.monotonic()
    assert cli.main(["verify", tiny.network, tiny.unsat, "--timeout", "0.2"]) == 1
    assert time.monotonic() - start < 1.2
    assert capsys.readouterr().out == "timed-out\n"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_the_timeout_counts_from_the_start_of_the_process(tiny: Files) -> None:
    done = process("verify", tiny.network, tiny.unsat, "--timeout", "0.01")
    assert (done.returncode, done.stdout) == (1, "timed-out\n")


def test_running_out_of_memory_is_unknown(tiny: Files) -> None:
    done = process("verify", tiny.network, tiny.unsat, "--memory", "0.05", "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["reason"] == "memory"


def test_a_roomy_memory_limit_changes_nothing(tiny: Files) -> None:
    for query in (tiny.unsat, tiny.sat):
        assert process("verify", tiny.network, query, "--memory", "4").returncode == 0


def test_a_memory_error_inside_the_search_is_unknown(
    tiny: Files, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(api, "decide", exhaust)
    assert cli.main(["verify", tiny.network, tiny.unsat]) == 1
    printed = capsys.readouterr()
    assert printed.out == "unknown\n"
    assert "reason memory" in printed.err


def test_progress_appears_after_two_seconds_when_somebody_may_read_it(tmp_path: Path) -> None:
    network, query = hard(tmp_path)
    done = process("verify", network, query, "--timeout", "4")
    lines = [line for line in done.stderr.splitlines() if "boxes/s" in line]
    assert lines and all(line.startswith("farkas: ") and "leaves" in line and "open" in line for line in lines)
    assert process("verify", network, query, "--timeout", "3", "--quiet").stderr == ""


# What must never happen


@pytest.mark.parametrize("error", [RuntimeError("lost a box"), AssertionError("node 3"), RecursionError(), KeyError()])
def test_an_internal_error_is_exit_code_4_and_no_verdict(
    error: Exception, tiny: Files, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api, "decide", fail)
    for options in ([], ["--json"], ["--quiet"]):
        assert cli.main(["verify", tiny.network, tiny.unsat, *options]) == 4
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"farkas: internal error: {type(error).__name__}")
        assert printed.err.count("\n") == 1
        assert "please report" in printed.err


def test_a_traceback_is_printed_on_demand_only(tiny: Files, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("lost a box")

    monkeypatch.setattr(api, "decide", fail)
    monkeypatch.setenv("FARKAS_TRACEBACK", "1")
    assert cli.main(["verify", tiny.network, tiny.unsat]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_verdict_is_not_printed_when_its_witness_cannot_be_written(
    tiny: Files, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise api.UnreadableFile(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(api, "write_bytes", fail)
    assert cli.main(["verify", tiny.network, tiny.sat, "--witness", str(tmp_path / "w")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "No space left" in printed.err


def test_an_interrupt_is_exit_code_130(tiny: Files, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "decide", interrupt)
    assert cli.main(["verify", tiny.network, tiny.unsat]) == 130
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "farkas: interrupted\n")


def test_an_interrupt_from_outside_ends_the_process_without_a_verdict(tmp_path: Path) -> None:
    network, query = hard(tmp_path)
    command = [sys.executable, "-m", "farkas", "verify", network, query, "--timeout", "30"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert running.stderr is not None
    first = running.stderr.readline()  # of progress: the search is under way
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert "boxes/s" in first
    assert (running.returncode, out) == (130, "")
    assert err.endswith("farkas: interrupted\n")


# Start-up and the frame


def test_start_up_costs_little(tiny: Files) -> None:
    from benchmarks.measure import measure

    command = [sys.executable, "-m", "farkas", "verify", tiny.network, tiny.unsat]
    runs = [measure(command, {"PYTHONPATH": str(ROOT)}, str(ROOT), 60.0) for _ in range(3)]
    assert [run.out for run in runs] == ["unsat\n"] * 3
    assert min(run.cpu_s for run in runs) <= 0.35


def test_unsat_loads_neither_solver_nor_runtime_nor_onnx(tiny: Files) -> None:
    code = (
        "import sys; from farkas.cli import main; main(sys.argv[1:]); "
        "print(*sorted({name.split('.')[0] for name in sys.modules}), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", tiny.network, tiny.unsat],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    loaded = set(done.stdout.splitlines())
    assert "numpy" in loaded
    assert not loaded & {"onnx", "onnxruntime", "networkx", "z3", "highspy", "ortools", "pysmt", "scipy", "cupy"}


def test_name_version_and_help(capsys: Capture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{farkas.__version__}\n"
    assert cli.main(["--name"]) == 0
    assert capsys.readouterr().out == "Farkas\n"
    assert cli.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert f"  {command} " in overview
        assert cli.main([command, "--help"]) == 0
        assert f"farkas {command}" in capsys.readouterr().out


def test_explain_tells_what_a_code_means_and_lists_them_all(capsys: Capture) -> None:
    assert cli.main(["explain", "fk101"]) == 0
    assert "fk.between" in capsys.readouterr().out
    assert cli.main(["explain"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == set(CODES)
    assert cli.main(["explain", "FK1"]) == 2
    assert "'FK1'" in capsys.readouterr().err


def into_the_void(*words: str, unbuffered: bool = False) -> tuple[int, str]:
    """Exit code and standard error of `python -m WORDS` whose standard output nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", *words], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60,
            check=False, env={**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""},
        )  # fmt: skip
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_reader_that_leaves_early_changes_neither_the_exit_code_nor_standard_error(
    unbuffered: bool, tiny: Files, tmp_path: Path
) -> None:
    proof, other = str(tmp_path / "proof.nnc"), ["--network", tiny.network, "--property", tiny.sat]
    assert cli.main(["verify", tiny.network, tiny.unsat, "--quiet", "--certificate", proof]) == 0
    about = ["--network", tiny.network, "--property", tiny.unsat]
    for code, words in (
        (0, ["farkas", "supports", "--onnx-operators"]),
        (0, ["farkas", "verify", "--help"]),
        (1, ["farkas", "verify", tiny.network, tiny.boundary, "--quiet", "--timeout", "20", "--seed", "1"]),
        (0, ["farkas", "check", proof, *about]),
        (0, ["farkas.checker", proof, *about]),
    ):
        assert into_the_void(*words, unbuffered=unbuffered) == (code, ""), words
    assert into_the_void("farkas", "check", proof, *other, unbuffered=unbuffered)[0] == 3


def test_threads_are_set_before_numpy_is_loaded() -> None:
    code = (
        "import os, sys; from farkas.cli import main; assert 'numpy' not in sys.modules; "
        "main(['supports', '--vnnlib-versions']); assert 'numpy' not in sys.modules; "
        "main(['verify', 'no', 'such', '--threads', '3']); print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1] == "3"


def test_network_bytes_of_the_tests_are_what_they_claim() -> None:
    from tests.models import run_onnxruntime

    for value in (-1.0, -0.25, 0.0, 1.5, 2.0):
        assert run_onnxruntime(absolute(), {"x": np.array([[value]], dtype=np.float32)}).item() == abs(value)
