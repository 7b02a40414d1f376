"""Hidden tensors of VNN-LIB 2.x: declared by their names in the file, decided, executed and assigned like outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import farkas as fk
from farkas import cli
from farkas.checker import property2
from farkas.checker.check import check, load_query
from farkas.checker.errors import MalformedInput
from farkas.questions import Mismatch
from farkas.specs.vnnlib2 import read_document
from farkas.specs.vnnlib2_assignment import read_assignment
from tests.farkas.queries import absolute, write
from tests.specs.test_checker_agreement import assert_same

# z = (x, -x), a = relu(z), y = a0 + a1 = |x|
HEAD = "(vnnlib-version <2.0>)\n"
NETWORK = """(declare-network f (declare-input X float32 [1,1]) (declare-hidden A float32 [1,2] "a")
    (declare-hidden Z float32 [1,2] "z") (declare-output Y float32 [1,1]))
"""
HIDDEN = """(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [2]) (declare-input U float32 [])
    (declare-hidden H float32 [1,2] "a/b:0") (declare-hidden J float32 [] "c") (declare-output Y float32 [1]))
(declare-network g (equal-to f) (declare-input A float32 [2]) (declare-input B float32 [])
    (declare-hidden K float32 [1,2] "a/b:0") (declare-output Z float32 [1]))
(assert (and (>= X[0] 0) (<= X[0] 1) (== X[1] X[0]) (>= U 0) (<= U 2)))
(assert (and (== A[0] X[1]) (== A[1] (- X[0])) (== B (* 0.5 U))))
(assert (or (< (+ H[0,1] (* 2 K[0,0]) (* 3 J)) Y[0]) (!= H[0,0] Z[0]) (>= (+ J Y[0] K[0,1]) U)))
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
        assert [float(v) for v in own.values] == np.asarray(found).ravel().tolist()


def test_copies_have_hidden_tensors_of_their_own(net: fk.Network) -> None:
    copy = """(declare-network g (equal-to f) (declare-input V float32 [1,1]) (declare-hidden B float32 [1,2] "a")
        (declare-output W float32 [1,1]))
"""
    tied = "(assert (== V[0,0] X[0,0]))"
    apart = "(assert (>= (- A[0,0] B[0,0]) 1.5))"
    assert isinstance(ask(net, tied + apart, declared=NETWORK + copy), fk.Holds)
    free = "(assert (and (>= V[0,0] -1) (<= V[0,0] 2)))"
    assert isinstance(ask(net, free + apart, declared=NETWORK + copy), fk.Violated)


@pytest.mark.parametrize("element", ["float32", "real"])
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("(assert (> A[0,1] 1.5))", "unsat"),
        ("(assert (and (>= A[0,0] 0.25) (>= A[0,1] 0.25)))", "unsat"),
        ("(assert (and (>= A[0,1] 0.5) (<= Z[0,0] -0.75)))", "sat"),
    ],
)
def test_certificates_about_hidden_tensors_are_accepted(
    net: fk.Network, tmp_path: Path, element: str, text: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    document = (HEAD + NETWORK + BOX + text).replace("float32", element)
    query, proof = write(tmp_path, "q.vnnlib", document.encode()), str(tmp_path / "p.nnc")
    assert cli.main(["verify", query, "--network", f"f={net.path}", "--certificate", proof]) == 0
    assert capsys.readouterr().out.splitlines()[0] == word
    base = ["check", proof, "--network", f"f={net.path}", "--property"]
    assert cli.main([*base, query]) == 0
    assert capsys.readouterr().out.startswith(f"accepted: {word}")
    other = write(tmp_path, "other.vnnlib", document.replace('"a"', '"z"', 1).replace('"z"', '"a"').encode())
    assert cli.main([*base, other]) == 3


def test_copies_with_hidden_tensors_of_their_own_are_certified(net: fk.Network, tmp_path: Path) -> None:
    copy = """(declare-network g (equal-to f) (declare-input V float32 [1,1]) (declare-hidden B float32 [1,2] "a")
        (declare-output W float32 [1,1]))
(assert (== V[0,0] X[0,0]))
(assert (>= (- A[0,0] B[0,0]) 1.5))
"""
    query = write(tmp_path, "q.vnnlib", (HEAD + NETWORK + copy + BOX).encode())
    found = fk.verify(net, query, timeout=20, certificate=tmp_path / "p.nnc")
    assert isinstance(found, fk.Holds) and found.evidence == "certified"
    accepted = check((tmp_path / "p.nnc").read_bytes(), [("f", net.data)], Path(query).read_bytes())
    assert [name for name, _ in accepted.networks] == ["f", "g"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"a"', '"nothing"', "'nothing' is not computed from the input"),
        ('"a"', '"w1"', "'w1' is not computed from the input"),  # a weight
        ("A float32 [1,2]", "A float32 [1,3]", "outputs and hidden tensors"),
        (' "a"', "", "in quotes"),
    ],
)
def test_the_checker_refuses_hidden_tensors_that_are_not_in_the_file(
    net: fk.Network, old: str, new: str, told: str
) -> None:
    text = (HEAD + NETWORK + BOX + "(assert (<= Y[0,0] 1))").replace(old, new, 1)
    with pytest.raises(MalformedInput) as caught:
        load_query(net.data, text.encode(), "f32-any")
    assert told in str(caught.value)


def test_both_readers_place_hidden_tensors_alike() -> None:
    assert_same(read_document(HIDDEN).property(), property2.read_document(HIDDEN.encode()).property)
    theirs = property2.read_document(HIDDEN.encode()).networks
    assert [network.hidden for network in theirs] == [(("a/b:0", (1, 2)), ("c", ())), (("a/b:0", (1, 2)),)]


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
