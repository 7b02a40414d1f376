"""Properties in VNN-LIB 2.x on the command line: networks by their names, both formats of assignments, certificates."""

from __future__ import annotations

import csv
import re
from fractions import Fraction as Q
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import farkas as fk
from farkas import cli
from farkas.api import load_property
from farkas.specs.vnnlib2_assignment import Assigned, read_assignment
from tests.farkas.queries import absolute, model, write

Capture = pytest.CaptureFixture[str]

HEAD = "(vnnlib-version <2.0>)\n"
F = "(declare-network f (declare-input X float32 [1,1]) (declare-output Y float32 [1]))\n"
G = "(declare-network g (equal-to f) (declare-input V float32 [1,1]) (declare-output W float32 [1]))\n"
H = G.replace("equal-to", "isomorphic-to")
BOX = "(assert (and (>= X[0,0] -1) (<= X[0,0] 2)))\n"
# f is |x|, h is |x| / 2.
HALF = numpy_helper.from_array(np.array([[0.5, 0.5]], np.float32), "w2")


@pytest.fixture
def nets(tmp_path: Path) -> dict[str, str]:
    half = onnx.load_from_string(absolute())
    half.graph.initializer[1].CopyFrom(HALF)
    return {
        "f": write(tmp_path, "abs.onnx", absolute()),
        "h": write(tmp_path, "half.onnx", half.SerializeToString()),
        "double": write(tmp_path, "double.onnx", absolute("float64")),
    }


def asked(folder: Path, *parts: str) -> str:
    return write(folder, "q.vnnlib", "".join((HEAD, *parts)).encode())


def verify(capsys: Capture, query: str, *words: str) -> tuple[int, list[str], str]:
    code = cli.main(["verify", query, *words, "--timeout", "20"])
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err


# one network


@pytest.mark.parametrize("named", [False, True])
def test_a_question_about_one_network_has_two_calling_forms(
    tmp_path: Path, nets: dict[str, str], named: bool, capsys: Capture
) -> None:
    query = asked(tmp_path, F, BOX, "(assert (>= Y[0] 2))\n")
    words = [query, "--network", f"f={nets['f']}"] if named else [nets["f"], query]
    assert cli.main(["verify", *words]) == 0
    assert capsys.readouterr().out == "sat\nX float32 [1,1]\n2.0\nY float32 [1]\n2.0\n"


def test_real_tensors_are_asked_about_over_the_reals_and_others_in_binary32(
    tmp_path: Path, nets: dict[str, str], capsys: Capture
) -> None:
    third = "(assert (and (>= X[0,0] 0.3) (<= X[0,0] 0.3)))\n"  # no binary32 number: there it means the nearest one
    network = "--network", f"f={nets['f']}"
    code, out, err = verify(capsys, asked(tmp_path, F.replace("float32", "Real"), third), *network)
    assert (code, out[:3]) == (0, ["sat", "X real [1,1]", "0.3"]) and "sat (real" in err
    code, out, err = verify(capsys, asked(tmp_path, F, third), *network)
    assert (code, out[:2]) == (0, ["sat", "X float32 [1,1]"]) and "sat (f32-any" in err
    assert out[2] == out[4] == "0.300000011920928955078125"  # 10066330 2^-25


def test_certificates_name_the_document(tmp_path: Path, nets: dict[str, str], capsys: Capture) -> None:
    query, proof = asked(tmp_path, F, BOX, "(assert (> Y[0] 2.5))\n"), str(tmp_path / "proof.nnc")
    assert verify(capsys, query, "--network", f"f={nets['f']}", "--certificate", proof)[:2] == (0, ["unsat"])
    assert cli.main(["check", proof, "--network", nets["f"], "--property", query]) == 0
    assert capsys.readouterr().out.startswith("accepted: unsat")
    other = write(tmp_path, "other.vnnlib", (HEAD + F + BOX + "(assert (> Y[0] 1.5))\n").encode())
    assert cli.main(["check", proof, "--network", nets["f"], "--property", other]) == 3


def test_the_witness_file_and_json_speak_the_language_of_the_property(
    tmp_path: Path, nets: dict[str, str], capsys: Capture
) -> None:
    query, place = asked(tmp_path, F, BOX, "(assert (>= Y[0] 2))\n"), tmp_path / "w.txt"
    assert verify(capsys, query, "--network", f"f={nets['f']}", "--witness", str(place))[0] == 0
    x, y = read_assignment(place.read_text())
    assert (x, y) == (Assigned("X", "float32", (1, 1), ("2.0",)), Assigned("Y", "float32", (1,), ("2.0",)))
    found = fk.verify(fk.load(nets["f"]), query)
    assert isinstance(found, fk.Violated)
    assert "sat\n" + found.witness == place.read_text()


def test_serialised_assignments_are_tensors_of_the_declared_types(
    tmp_path: Path, nets: dict[str, str], capsys: Capture
) -> None:
    query, folder = asked(tmp_path, F, BOX, "(assert (>= Y[0] 2))\n"), tmp_path / "out" / "inner"
    _, out, _ = verify(capsys, query, "--network", f"f={nets['f']}", "--serialise-assignments", str(folder))
    assert out == ["sat"]
    values = {p.name: numpy_helper.to_array(onnx.load_tensor(str(p))) for p in folder.iterdir()}
    assert {name: (v.dtype.name, v.shape, v.ravel().tolist()) for name, v in values.items()} == {
        "X.pb": ("float32", (1, 1), [2.0]), "Y.pb": ("float32", (1,), [2.0]),
    }  # fmt: skip


def test_several_inputs_and_outputs_have_names_of_their_own(tmp_path: Path, capsys: Capture) -> None:
    nodes = [helper.make_node("Add", ["x", "v"], ["y"]), helper.make_node("Sub", ["x", "v"], ["z"])]
    net = write(tmp_path, "two.onnx", model(nodes, {}, inputs=("x", "v"), outputs=("y", "z")))
    declared = '(declare-network n (declare-input A float32 [1] "x") (declare-input B float32 [])'
    declared += " (declare-output S float32 [1]) (declare-output D float32 [1]))\n"
    box = "(assert (and (>= A[0] 0) (<= A[0] 1) (>= B 0) (<= B 1)))\n"
    # a + b >= 1.5 and a - b >= 0.5 meet in a = 1, b = 0.5 only.
    meets = asked(tmp_path, declared, box, "(assert (and (>= S[0] 1.5) (>= D[0] 0.5)))\n")
    code, out, _ = verify(capsys, meets, "--network", f"n={net}")
    assert (code, [(t.name, t.values) for t in read_assignment("\n".join(out))]) == (
        0, [("A", (Q(1),)), ("B", (Q("0.5"),)), ("S", (Q("1.5"),)), ("D", (Q("0.5"),))],
    )  # fmt: skip
    parted = asked(tmp_path, declared, box, "(assert (and (>= S[0] 1.5) (>= D[0] 0.75)))\n")
    assert verify(capsys, parted, "--network", f"n={net}")[:2] == (0, ["unsat"])


# several networks


def test_two_networks_are_compared_and_the_answer_is_certified(
    tmp_path: Path, nets: dict[str, str], capsys: Capture
) -> None:
    # |x| - |v| / 2 with x in [-1, 2] and v in [1, 2] is at most 2 - 0.5.
    box = BOX + "(assert (and (>= V[0,0] 1) (<= V[0,0] 2)))\n"
    given, proof = ["--network", f"f={nets['f']}", "--network", f"g={nets['h']}"], str(tmp_path / "p.nnc")
    most = asked(tmp_path, F, H, box, "(assert (>= (- Y[0] W[0]) 1.5))\n")
    code, out, _ = verify(capsys, most, *given)
    assert (code, [t.values[0] for t in read_assignment("\n".join(out))]) == (0, [Q(2), Q(2), Q(1), Q("0.5")])
    more = asked(tmp_path, F, H, box, "(assert (>= (- Y[0] W[0]) 1.6))\n")
    assert verify(capsys, more, *given, "--certificate", proof)[:2] == (0, ["unsat"])
    assert cli.main(["check", proof, *given, "--property", more]) == 0
    swapped = ["--network", f"g={nets['f']}", "--network", f"f={nets['h']}"]
    assert cli.main(["check", proof, *swapped, "--property", more]) == 3
    assert cli.main(["check", proof, "--network", f"f={nets['f']}", "--property", more]) == 2


def test_a_copy_shares_the_file_of_the_network_it_equals(tmp_path: Path, nets: dict[str, str], capsys: Capture) -> None:
    box = BOX + "(assert (and (>= V[0,0] 0) (<= V[0,0] 1)))\n"
    query = asked(tmp_path, F, G, box, "(assert (>= (+ Y[0] W[0]) 3))\n")
    code, out, _ = verify(capsys, query, "--network", f"f={nets['f']}")
    assert (code, [t.values[0] for t in read_assignment("\n".join(out))]) == (0, [Q(2), Q(2), Q(1), Q(1)])
    same = fk.verify({"f": fk.load(nets["f"])}, query, timeout=20)
    assert isinstance(same, fk.Violated)


def test_a_document_is_shown_with_its_own_names(tmp_path: Path, capsys: Capture) -> None:
    query = asked(tmp_path, F, G, BOX, "(assert (and (== V[0,0] X[0,0]) (> Y[0] (+ W[0] 0.5))))\n")
    assert cli.main(["show", query]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "  network f: input X float32 [1,1], output Y float32 [1]" in shown
    assert "  network g (equal-to f): input V float32 [1,1], output W float32 [1]" in shown
    assert "  -1 <= V[0,0] <= 2" in shown
    assert "  unsafe 0: -X[0,0] + V[0,0] <= 0 and X[0,0] - V[0,0] <= 0 and -Y[0] + W[0] < -1/2" in shown


# what does not fit


@pytest.mark.parametrize(
    ("parts", "given", "wanted"),
    [
        ((F, H), ("f=f",), ("declares 'g'", "--network f=FILE --network g=FILE")),
        ((F, H), ("f",), ("declares 'f', 'g'",)),
        ((F, G), ("f=f", "g=f"), ("for 'g'", "equal to 'f' and shares its file", "wanted --network f=FILE")),
        ((F,), ("f=f", "k=f"), ("for 'k'", "not declared by the property")),
        ((F,), ("k=f",), ("declares 'f'", "found k")),
        ((F.replace("[1,1]", "[2]"),), ("f=f",), ("line 2", "'X'", "shape [2]", "'x' in the file has [1, 1]")),
        ((F.replace("float32 [1,1]", "int8 [1,1]").replace("float32", "int8"),), ("f=f",), ("is int8", "is float32")),
        ((F,), ("f=double",), ("is float32", "is float64", "all tensors real")),
        ((F.replace("float32", "float64"),), ("f=double",), ("unsupported", "float64", "real")),
        ((F.replace("(declare-o", "(declare-input Z float32 [1]) (declare-o"),), ("f=f",), ("2 inputs", "has 1: x")),
        ((F.replace("[1,1])", '[1,1] "other")'),), ("f=f",), ('"other"', '"x"')),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_the_next_step(
    parts: tuple[str, ...], given: tuple[str, ...], wanted: tuple[str, ...],
    tmp_path: Path, nets: dict[str, str], capsys: Capture,
) -> None:  # fmt: skip
    query = asked(tmp_path, *parts)
    words = [
        word for name in given for word in ("--network", "=".join([*name.split("=")[:-1], nets[name.split("=")[-1]]]))
    ]
    code, out, err = verify(capsys, query, *words)
    assert (code, out) == (2, [])
    assert err.count("\n") == 1 and "q.vnnlib" in err
    for part in wanted:
        assert part in err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--serialise-assignments", "DIR"), "VNN-LIB 2.x"),
        (("--semantics", "real,f32-any", "--serialise-assignments", "DIR"), "one semantics"),
    ],
)
def test_serialised_assignments_are_refused_where_there_are_none(
    words: tuple[str, ...], wanted: str, tmp_path: Path, nets: dict[str, str], capsys: Capture
) -> None:
    query = write(tmp_path, "old.vnnlib", b"(declare-const X_0 Real)(declare-const Y_0 Real)"
                  b"(assert (and (<= X_0 1) (>= X_0 0)))")  # fmt: skip
    code, out, err = verify(capsys, query, "--network", f"f={nets['f']}", *words)
    assert (code, out) == (2, []) and wanted in err


# public queries


@pytest.mark.vnncomp
@pytest.mark.parametrize(
    ("category", "count"), [("vnnlib2_single", 13), ("vnnlib2_equal_acasxu", 3), ("vnnlib2_isomorphic_acasxu", 6)]
)
def test_public_queries_have_their_known_answers(category: str, count: int, vnncomp: Path, capsys: Capture) -> None:
    with (vnncomp / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["category"] == category]
    assert len(rows) == count
    for row in rows:
        named = [re.fullmatch(r"(?:([fg])=)?(.*)", entry) for entry in row["onnx"].split(";")]
        files = [(match[1], vnncomp / match[2]) for match in named if match]
        given = [w for name, path in files for w in ("--network", f"{name}={path}" if name else str(path))]
        code, out, _ = verify(capsys, str(vnncomp / row["vnnlib"]), *given, "--quiet")
        assert (code, out[0]) == (0, row["expected"]), row["vnnlib"]
        if out[0] == "sat":
            assigned = read_assignment("\n".join(out))
            x, y = ([v for t in assigned if t.name.startswith(kind) for v in t.values] for kind in "XY")
            assert load_property(vnncomp / row["vnnlib"]).is_unsafe(x, y)


# what is declared, and what is asked


def test_another_arithmetic_than_the_declared_one_is_answered_with_a_warning(
    tmp_path: Path, nets: dict[str, str], capsys: Capture
) -> None:
    floats, reals = asked(tmp_path, F, BOX, "(assert (> Y[0] 2.5))\n"), tmp_path / "real.vnnlib"
    reals.write_text(Path(floats).read_text().replace("float32", "real"))
    network = "--network", f"f={nets['f']}"
    for query, semantics, declared in ((floats, "real", "float32"), (str(reals), "f32-any", "real")):
        code, out, err = verify(capsys, query, *network, "--semantics", semantics)
        assert (code, out) == (0, ["unsat"])
        assert f"warning: the property declares its tensors {declared}, but this is about {semantics}" in err
    for query, semantics in ((floats, "f32-any"), (floats, "f32-order:seq-fma"), (str(reals), "real")):
        assert "declares its tensors" not in verify(capsys, query, *network, "--semantics", semantics)[2]


def test_check_expects_the_reals_where_the_property_declares_them(
    tmp_path: Path, nets: dict[str, str], capsys: Capture
) -> None:
    real = F.replace("float32", "Real")
    query = asked(tmp_path, "; (declare-input X float32 [1,1])\n", real, BOX, "(assert (> Y[0] 2.5))\n")
    proof = str(tmp_path / "proof.nnc")
    assert verify(capsys, query, "--network", f"f={nets['f']}", "--certificate", proof)[:2] == (0, ["unsat"])
    base = ["check", proof, "--network", nets["f"], "--property", query]
    assert cli.main(base) == 0
    assert "semantics: real" in capsys.readouterr().out
    assert cli.main([*base, "--semantics", "f32-any"]) == 3


def test_the_reading_of_numbers_and_comparisons_is_printed(
    tmp_path: Path, nets: dict[str, str], capsys: Capture
) -> None:
    query = asked(tmp_path, F, BOX, "(assert (> Y[0] 2.5))\n")
    for semantics, told in (
        ("f32-any", "inputs are the binary32 numbers between them"),
        ("real", "nothing is rounded"),
    ):
        err = verify(capsys, query, "--network", f"f={nets['f']}", "--semantics", semantics)[2]
        assert "numbers in the property mean their exact decimals" in err and told in err


def test_a_witness_names_the_tensors_of_the_document(tmp_path: Path, nets: dict[str, str]) -> None:
    found = fk.verify(fk.load(nets["f"]), asked(tmp_path, F, BOX, "(assert (>= Y[0] 2))\n"))
    assert isinstance(found, fk.Violated)
    assert [(n.name, n.shape, n.values) for n in found.named] == [("X", (1, 1), (Q(2),)), ("Y", (1,), (Q(2),))]
