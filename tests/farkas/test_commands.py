"""`farkas check`, `run`, `show` and `supports`."""

import gzip
import struct
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from farkas import cli
from farkas.certificate_file import MalformedCertificate, read_certificate_file, tree_shape
from farkas.cli_show import atom_text
from farkas.specs.query import Atom
from farkas.usage import named_network
from tests.farkas.queries import SAT, Files, absolute, model, prop, write
from tests.nets import dense

Capture = pytest.CaptureFixture[str]


# check


def certified(tiny: Files, folder: Path, query: str, *options: str) -> str:
    place = str(folder / f"{Path(query).stem}.nnc")
    assert cli.main(["verify", tiny.network, query, "--quiet", "--certificate", place, *options]) == 0
    return place


@pytest.mark.parametrize("tier", ["exact", "accelerated"])
@pytest.mark.parametrize("verdict", ["unsat", "sat"])
def test_check_accepts_what_verify_wrote_and_prints_the_claim(
    tier: str, verdict: str, tiny: Files, tmp_path: Path, capsys: Capture
) -> None:
    query = getattr(tiny, verdict)
    certificate = certified(tiny, tmp_path, query)
    capsys.readouterr()
    words = ["check", certificate, "--network", tiny.network, "--property", query, "--verdict", verdict, "--tier", tier]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"accepted: {verdict}: ")
    for part in ("semantics: f32-any", "network sha256: ", "property sha256: ", "crown-fp-1"):
        assert part in printed


def test_check_takes_the_network_as_the_standard_names_it(tiny: Files, tmp_path: Path) -> None:
    certificate = certified(tiny, tmp_path, tiny.unsat)
    assert cli.main(["check", certificate, "--network", f"f={tiny.network}", "--property", tiny.unsat]) == 0


def test_check_rejects_another_property_semantics_and_verdict_with_exit_code_3(
    tiny: Files, tmp_path: Path, capsys: Capture
) -> None:
    certificate = certified(tiny, tmp_path, tiny.unsat)
    other = write(tmp_path, "other.vnnlib", prop("(>= X_0 -1)", "(<= X_0 2)", "(>= Y_0 2.6)"))
    base = ["check", certificate, "--network", tiny.network, "--property"]
    capsys.readouterr()
    for words in ([*base, other], [*base, tiny.unsat, "--semantics", "real"], [*base, tiny.unsat, "--verdict", "sat"]):
        assert cli.main(words) == 3
        printed = capsys.readouterr()
        assert printed.out == "rejected\n"
        assert printed.err.startswith("farkas: rejected: header")


def test_check_rejects_a_certificate_with_a_flipped_bit(tiny: Files, tmp_path: Path) -> None:
    certificate = Path(certified(tiny, tmp_path, tiny.unsat))
    data = bytearray(certificate.read_bytes())
    data[-20] ^= 1
    certificate.write_bytes(data)
    assert cli.main(["check", str(certificate), "--network", tiny.network, "--property", tiny.unsat]) == 3


def test_check_of_an_unreadable_network_is_exit_code_2(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    certificate = certified(tiny, tmp_path, tiny.unsat)
    capsys.readouterr()
    assert cli.main(["check", certificate, "--network", str(tmp_path), "--property", tiny.unsat]) == 2
    assert capsys.readouterr().err.startswith("farkas: error: ")


# run


def test_run_prints_values_and_their_bits(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "x.npy", np.array([[-1.5]], dtype=np.float32))
    for order in ("seq-fma", "seq-muladd", "mlas-k256-fma"):
        assert cli.main(["run", tiny.network, str(tmp_path / "x.npy"), "--order", order]) == 0
        assert capsys.readouterr().out == "Y_0 1.5 3fc00000\n"  # sign 0, exponent 127, fraction 1/2


def test_run_follows_the_order_that_it_is_told(tmp_path: Path, capsys: Capture) -> None:
    # x0 w0 + x1 w1 with x0 = w0 = 1 + 2^-12: the square is 1 + 2^-11 + 2^-24.  Rounded (ties to even) before the second
    # product -(1 + 2^-11) is added, 0 is left; fused, 2^-24 survives when the second product comes first in the sum.
    weight = np.array([[1.0], [1 + 2**-12]], dtype=np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    net = write(tmp_path, "sum.onnx", model([node], {"w": weight}, width=2))
    np.save(tmp_path / "x.npy", np.array([-(1 + 2**-11), 1 + 2**-12], dtype=np.float32))
    printed = {}
    for order in ("seq-fma", "seq-muladd"):
        assert cli.main(["run", net, str(tmp_path / "x.npy"), "--order", order]) == 0
        printed[order] = capsys.readouterr().out.split()[2]
    assert printed == {"seq-fma": f"{np.float32(2.0**-24).view(np.uint32):08x}", "seq-muladd": "00000000"}


def test_run_takes_doubles_that_are_floats(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "x.npy", np.array(0.25))
    assert cli.main(["run", tiny.network, str(tmp_path / "x.npy")]) == 0
    assert capsys.readouterr().out == "Y_0 0.25 3e800000\n"


# show


def test_show_lists_the_nodes_of_a_network(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    packed = write(tmp_path, "packed.onnx.gz", gzip.compress(absolute()))
    for path in (tiny.network, packed):
        assert cli.main(["show", path]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split() for line in lines if line.startswith(("z ", "a ", "y "))] == [
            ["z", "Gemm", "1x2", "x"], ["a", "Relu", "1x2", "z"], ["y", "Gemm", "1x1", "a"]
        ]  # fmt: skip
        assert lines[-1] == "certifiable: the checker reads this network"


def test_show_says_what_the_checker_cannot_read(tmp_path: Path, capsys: Capture) -> None:
    double = dense([(np.ones((1, 1)), np.zeros(1))], dtype=np.float64).data
    assert cli.main(["show", write(tmp_path, "double.onnx", double)]) == 0
    assert "not certifiable" in capsys.readouterr().out.splitlines()[-1]


def test_show_prints_boxes_and_atoms_of_a_property(tiny: Files, capsys: Capture) -> None:
    assert cli.main(["show", tiny.sat]) == 0
    printed = capsys.readouterr().out
    assert "1 inputs, 1 outputs" in printed
    assert "-1 <= X_0 <= 2" in printed
    assert "unsafe 0: -Y_0 <= -3/2" in printed  # Y_0 >= 1.5 in the normal form


def test_show_warns_of_contradictory_boxes(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["show", write(tmp_path, "p.vnnlib", prop("(>= X_0 1)", "(<= X_0 0)", "(>= Y_0 0)"))]) == 0
    printed = capsys.readouterr().out
    assert "0 cases" in printed and "warning: " in printed


def test_show_takes_a_certificate_apart(tiny: Files, tmp_path: Path, capsys: Capture) -> None:
    certificate = certified(tiny, tmp_path, tiny.unsat)
    capsys.readouterr()
    assert cli.main(["show", certificate]) == 0
    printed = capsys.readouterr().out
    assert "verdict: unsat" in printed and "kernel: crown-fp-1" in printed
    assert "TREE" in printed and "LEAVES" in printed and "footer" in printed
    assert "trees: 1, nodes: " in printed and "leaves closed by: rule " in printed


@pytest.mark.parametrize(
    ("atom", "text"),
    [
        (Atom(((0, Fraction(1)),), ((1, Fraction(-2)),), Fraction(3, 2)), "X_0 - 2 Y_1 <= 3/2"),
        (Atom((), ((0, Fraction(-1)), (2, Fraction(1, 3))), Fraction(0), True), "-Y_0 + 1/3 Y_2 < 0"),
        (Atom((), (), Fraction(-1)), "0 <= -1"),
    ],
)
def test_atoms_are_shown_exactly(atom: Atom, text: str) -> None:
    assert atom_text(atom) == text


# the certificate file, taken apart


def test_a_tree_is_counted_from_its_preorder() -> None:
    # Two inputs: 0 and 1 bisect, 2 + k is a leaf of kind k.  First tree: 0 (1 (leaf 0, leaf 1), leaf 0); then leaf 1.
    shape = tree_shape(bytes([0, 1, 2, 3, 2, 3]), leaves=4)
    assert (shape.trees, shape.nodes, shape.leaves, shape.depth) == (2, 6, 4, 2)
    assert shape.cuts == Counter({0: 1, 1: 1}) and not shape.recipes and not shape.forks
    assert shape.kinds == Counter({0: 2, 1: 2})


def test_numbers_of_a_tree_may_take_several_bytes() -> None:
    # 300 = 0b10_0101100: 0xac 0x02; a root that bisects input 5 over two leaves with the number 300.
    shape = tree_shape(bytes([5, 0xAC, 0x02, 0xAC, 0x02]), leaves=2)
    assert (shape.nodes, shape.depth, dict(shape.kinds)) == (3, 1, {0: 2})


@pytest.mark.parametrize(
    ("payload", "leaves"), [(b"\x00\x02", 1), (b"\x02", 0), (b"\x02", 2), (b"\x82", 1), (b"\x00\x02\x02", 1)]
)
def test_a_damaged_tree_is_refused(payload: bytes, leaves: int) -> None:
    with pytest.raises(MalformedCertificate):
        tree_shape(payload, leaves)


@pytest.mark.parametrize(
    "data",
    [b"", b"NNC", b"NNC1", b"NNC1" + struct.pack("<I", 5) + b"{", b"NNC1" + struct.pack("<I", 2) + b"[]",
     b"NNC1" + struct.pack("<I", 2) + b"{}" + struct.pack("<BI", 2, 100) + b"x",
     b"NNC1" + struct.pack("<I", 2) + b"{}" + struct.pack("<BI", 2, 3) + b"abc" + bytes(16)],
)  # fmt: skip
def test_a_damaged_certificate_file_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedCertificate):
        read_certificate_file(data)


def test_show_names_products_and_hidden_tensors(tmp_path: Path, capsys: Capture) -> None:
    text = """(vnnlib-version <2.0>) (declare-network f
    (declare-input X float32 [1,1]) (declare-hidden H float32 [2] "inner") (declare-output Y float32 []))
    (assert (and (>= X[0,0] -1) (<= X[0,0] 2) (< (- (* X[0,0] H[1]) (* 2 Y Y Y)) X[0,0])))"""
    assert cli.main(["show", write(tmp_path, "q.vnnlib", text.encode())]) == 0
    printed = capsys.readouterr().out
    assert "1 inputs, 1 outputs, 2 hidden, 2 products" in printed
    assert 'hidden H float32 [2] "inner"' in printed
    assert "unsafe 0: -X[0,0] + X[0,0]*H[1] - 2 Y*Y*Y < 0" in printed


# supports


def supports(capsys: Capture, *options: str) -> list[str]:
    assert cli.main(["supports", *options]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("--vnnlib-versions", ["1.0", "2.1"]),
        ("--onnx-opset-versions", ["8", "21"]),
        ("--onnx-element-types", ["float32", "int8", "uint8", "real"]),
        ("--hidden-node-theories", ["NH", "H"]),
        ("--multiple-input-output-theories", ["SIO", "MIO"]),
        ("--multiple-network-theories", ["SNET", "MENET", "MINET", "MNET"]),
        ("--multiple-node-comparison-theories", ["SNC", "MNC"]),
        ("--arithmetic-complexity-theories", ["BND", "OUTC", "LIN", "POLY"]),
        ("--optimised-disjunctive-reasoning", ["false"]),
        ("--serialise-assignments", ["true"]),
        ("--unsat-proofs", ["false"]),
    ],
)
def test_capabilities_are_in_the_words_of_the_standard(option: str, answer: list[str], capsys: Capture) -> None:
    assert supports(capsys, option) == answer


def test_every_operator_that_is_reported_is_a_name_and_relu_is_one(capsys: Capture) -> None:
    lines = supports(capsys, "--onnx-operators")
    assert "Relu float32 real" in lines and "QLinearConv int8 uint8" in lines
    names = [line.split(" ")[0] for line in lines]
    assert {"Relu", "Gemm", "Conv", "MatMul", "QLinearMatMul", "DequantizeLinear"} <= set(names)
    assert all(name.isidentifier() for name in names)
    assert names == sorted(set(names))


def test_a_claimed_theory_works(tmp_path: Path, tiny: Files, capsys: Capture) -> None:
    # LIN and MNC: Y_0 - X_0 >= 2.1 on [-1, 2]: |x| - x is 2 at x = -1 and less elsewhere.
    query = prop("(>= X_0 -1)", "(<= X_0 2)", "(>= (- Y_0 X_0) 2.1)")
    assert cli.main(["verify", tiny.network, write(tmp_path, "mixed.vnnlib", query)]) == 0
    assert capsys.readouterr().out == "unsat\n"
    query = prop("(>= X_0 -1)", "(<= X_0 2)", "(>= (- Y_0 X_0) 1.9)")
    assert cli.main(["verify", tiny.network, write(tmp_path, "mixed.vnnlib", query)]) == 0
    assert capsys.readouterr().out.startswith("sat\n")


@pytest.mark.parametrize(("kind", "element"), [("uint8", np.uint8), ("int8", np.int8)])
def test_networks_over_codes_are_decided_in_integers(
    kind: str, element: type[np.integer], tmp_path: Path, capsys: Capture
) -> None:
    """y = clip(round(2 (x - 3) / 2)) + 5 = x + 2 for the code x: scales 1, 2 and 2, zero points 3, 0 and 5."""
    node = helper.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    one, two = np.float32(1), np.float32(2)
    constants: dict[str, object] = {
        "xs": one, "xz": element(3), "w": np.ones((1, 1), dtype=element), "ws": two, "wz": element(0), "ys": two,
        "yz": element(5),
    }  # fmt: skip
    element_type = helper.np_dtype_to_tensor_dtype(np.dtype(element))
    graph = helper.make_graph(
        [node], "codes", [helper.make_tensor_value_info("x", element_type, [1, 1])],
        [helper.make_tensor_value_info("y", element_type, [1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    net = write(tmp_path, "codes.onnx", made.SerializeToString())
    assert cli.main(["show", net]) == 0
    shown = capsys.readouterr().out
    assert f"input  x [1, 1] of {kind}" in shown and "semantics unless told otherwise: int-exact" in shown
    for bound, word in ((12, "sat"), (13, "unsat")):  # x <= 10, so that y <= 12
        query = write(tmp_path, "q.vnnlib", prop("(>= X_0 0)", "(<= X_0 10)", f"(>= Y_0 {bound})"))
        assert cli.main(["verify", net, query, "--quiet", "--trust", "cp-sat", "--timeout", "20"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == word


def test_what_a_later_version_of_the_language_brings_is_refused(tmp_path: Path, tiny: Files, capsys: Capture) -> None:
    later = b"(vnnlib-version <3.0>)\n" + SAT
    assert cli.main(["verify", tiny.network, write(tmp_path, "later.vnnlib", later)]) == 2
    assert "version 3.0, wanted one that is read: 2.0, 2.1" in capsys.readouterr().err


# arguments


def test_a_network_argument_may_carry_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_network("net.onnx") == ("", "net.onnx")
    assert named_network("f=net.onnx") == ("f", "net.onnx")
    assert named_network("dir/n=2.onnx") == ("", "dir/n=2.onnx")
    (tmp_path / "n=2.onnx").touch()
    assert named_network("n=2.onnx") == ("", "n=2.onnx")
    assert named_network("f=n=2.onnx") == ("f", "n=2.onnx")
