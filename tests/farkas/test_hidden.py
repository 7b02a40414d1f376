"""Hidden tensors of VNN-LIB 2.x: declared by their names in the file, decided, executed and assigned like outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import farkas as fk
from farkas import cli
from farkas.questions import Mismatch
from farkas.specs.vnnlib2_assignment import read_assignment
from tests.farkas.queries import absolute, write

# z = (x, -x), a = relu(z), y = a0 + a1 = |x|
HEAD = "(vnnlib-version <2.0>)\n"
NETWORK = """(declare-network f (declare-input X float32 [1,1]) (declare-hidden A float32 [1,2] "a")
    (declare-hidden Z float32 [1,2] "z") (declare-output Y float32 [1,1]))
"""
BOX = "(assert (and (>= X[0,0] -1) (<= X[0,0] 2)))\n"


@pytest.fixture
def net(tmp_path: Path) -> fk.Network:
    return fk.load(write(tmp_path, "abs.onnx", absolute()))


def ask(
    net: fk.Network, text: str, *, declared: str = NETWORK, trust: tuple[str, ...] = ("crown",)
) -> fk.Holds | fk.Violated | fk.Unknown:
    return fk.verify(net, (HEAD + declared + BOX + text).encode(), timeout=20, trust=trust)


@pytest.mark.parametrize(
    ("text", "is_sat"),
    [
        ("(assert (>= A[0,1] 1))", True),  # x = -1 only
        ("(assert (> A[0,1] 1.001))", False),
        ("(assert (and (>= A[0,0] 0.25) (>= A[0,1] 0.25)))", False),  # one of relu(x), relu(-x) is 0
        ("(assert (and (<= Z[0,1] -1.5) (<= Y[0,0] 1.625)))", True),
        ("(assert (> (- (+ A[0,0] A[0,1]) Y[0,0]) 0.001))", False),
        ("(assert (and (== Z[0,0] X[0,0]) (== A[0,1] 0) (== X[0,0] 0.5)))", True),
        ("(assert (and (< Z[0,1] 0) (< (+ A[0,0] 0.001) Z[0,0])))", False),
    ],
)
def test_verdicts_about_hidden_tensors_are_those_of_the_hand_calculation(
    net: fk.Network, text: str, is_sat: bool
) -> None:
    verdict = ask(net, text)
    assert isinstance(verdict, fk.Violated if is_sat else fk.Holds), verdict


def test_witnesses_give_the_tensors_that_onnxruntime_computes_inside(net: fk.Network) -> None:
    verdict = ask(net, "(assert (and (>= A[0,1] 0.5) (<= Z[0,0] -0.75)))")
    assert isinstance(verdict, fk.Violated)
    x, a, z, y = read_assignment(verdict.assignment)
    assert [t.name for t in (x, a, z, y)] == ["X", "A", "Z", "Y"]
    made = onnx.load_from_string(net.data)
    made.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in ("a", "z"))
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.array([[float(x.values[0])]], np.float32)
    theirs = session.run(["a", "z", "y"], {"x": given})
    for own, found in zip((a, z, y), theirs, strict=True):
        assert [float(v) for v in own.values] == found.ravel().tolist()


def test_copies_have_hidden_tensors_of_their_own(net: fk.Network) -> None:
    copy = """(declare-network g (equal-to f) (declare-input V float32 [1,1]) (declare-hidden B float32 [1,2] "a")
        (declare-output W float32 [1,1]))
"""
    tied = "(assert (== V[0,0] X[0,0]))"
    apart = "(assert (>= (- A[0,0] B[0,0]) 1.5))"
    assert isinstance(ask(net, tied + apart, declared=NETWORK + copy), fk.Holds)
    free = "(assert (and (>= V[0,0] -1) (<= V[0,0] 2)))"
    assert isinstance(ask(net, free + apart, declared=NETWORK + copy), fk.Violated)


def test_unsat_about_hidden_tensors_rests_on_trust_for_the_checker_does_not_read_them(
    net: fk.Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = ask(net, "(assert (> A[0,1] 1.5))", trust=())
    assert isinstance(verdict, fk.Unknown)
    assert "hidden tensor 'a'" in verdict.detail and "--trust crown" in verdict.detail
    query = write(tmp_path, "q.vnnlib", (HEAD + NETWORK + BOX + "(assert (> A[0,1] 1.5))").encode())
    words = ["verify", query, "--network", f"f={net.path}", "--trust", "crown"]
    assert cli.main(words) == 0
    assert capsys.readouterr().out == "unsat\n"
    assert cli.main([*words, "--certificate", str(tmp_path / "p.nnc")]) == 1
    assert capsys.readouterr().out == "unknown\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"a"', '"nothing"', "computes no such tensor; it has z, a"),
        ('"a"', '"y"', "an output of the file; use the output"),
        ('"a"', '"x"', "computes no such tensor"),
        ('"z"', '"a"', "declared before; declare it once"),
        ("A float32 [1,2]", "A float32 [1,3]", "has shape [1, 3], but 'a' in the file has [1, 2]"),
        ("A float32", "A float64", "is float64, but 'a' in the file is float32"),
    ],
)
def test_hidden_tensors_that_are_not_in_the_file_as_declared_are_refused(
    net: fk.Network, old: str, new: str, told: str
) -> None:
    with pytest.raises(Mismatch) as caught:
        ask(net, "(assert (<= Y[0,0] 1))", declared=NETWORK.replace(old, new, 1))
    assert told in str(caught.value)
    assert any(line in str(caught.value) for line in ("line 2", "line 3"))
