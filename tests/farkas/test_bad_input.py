"""Every file that cannot be used is exit code 2 and one readable line, never a traceback, a verdict, or a hang.

Each case runs in this process and again as a process of its own.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from farkas import cli
from tests.farkas.queries import BOX, SAT, UNSAT, Files, absolute, files, model, prop, write
from tests.farkas.queries import farkas as process

Words = list[str]
Maker = Callable[[Path, Files], Words]


def network(data: bytes, name: str = "bad.onnx") -> Maker:
    return lambda folder, tiny: ["verify", write(folder, name, data), tiny.unsat]


def query(data: bytes, name: str = "bad.vnnlib") -> Maker:
    return lambda folder, tiny: ["verify", tiny.network, write(folder, name, data)]


def words(*given: str) -> Maker:
    """NET, UNSAT and DIR stand for the tiny files and their folder."""

    def make(folder: Path, tiny: Files) -> Words:
        names = {"NET": tiny.network, "UNSAT": tiny.unsat, "DIR": str(folder)}
        return [names.get(word, word.replace("DIR/", f"{folder}/")) for word in given]

    return make


def arrays(value: object) -> Maker:
    def make(folder: Path, tiny: Files) -> Words:
        np.save(folder / "x.npy", np.asarray(value), allow_pickle=True)
        return ["run", tiny.network, str(folder / "x.npy")]

    return make


def weight(value: float) -> bytes:
    node = helper.make_node("Gemm", ["x", "w"], ["y"])
    return model([node], {"w": np.array([[value]], dtype=np.float32)})


def external() -> bytes:
    """A network that keeps a weight in another file."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )  # fmt: skip
    tensor = graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    data: bytes = made.SerializeToString()
    return data


SINE = model([helper.make_node("Sin", ["x"], ["y"], name="wave")], {})
MISFIT = model([helper.make_node("Gemm", ["x", "w"], ["y"], name="bad")], {"w": np.ones((3, 2), dtype=np.float32)})
HALF = model([helper.make_node("Relu", ["x"], ["y"])], {}, dtype="float16")
TWO = model([helper.make_node("Add", ["x", "v"], ["y"])], {}, inputs=("x", "v"))
SPLIT = model([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])], {}, outputs=("y", "z"))

# (what, the command, parts of the message)
CASES: list[tuple[str, Maker, tuple[str, ...]]] = [
    ("no network", words("verify", "DIR/none.onnx", "UNSAT"), ("none.onnx", "no such file")),
    ("no property", words("verify", "NET", "DIR/none.vnnlib"), ("none.vnnlib", "no such file")),
    ("network is a directory", words("verify", "DIR", "UNSAT"), ("directory",)),
    ("property is a directory", words("verify", "NET", "DIR"), ("directory",)),
    ("swapped", words("verify", "UNSAT", "NET"), ("unsat.vnnlib", "an ONNX network is wanted")),
    ("network twice", words("verify", "NET", "NET"), ("absolute.onnx", "no text")),
    ("empty network", network(b""), ("bad.onnx", "empty")),
    ("random network", network(bytes(range(256))), ("bad.onnx",)),
    ("truncated network", network(absolute()[:-30]), ("bad.onnx",)),
    ("cut gzip of a network", network(gzip.compress(absolute())[:-10], "bad.onnx.gz"), ("bad.onnx.gz", "gzip")),
    ("unsupported operator", network(SINE), ("bad.onnx", "'Sin'", "'wave'")),
    ("misfitting shapes", network(MISFIT), ("bad.onnx", "bad")),
    ("half precision", network(HALF), ("bad.onnx", "float16")),
    ("weights elsewhere", network(external()), ("bad.onnx", "another file")),
    ("NaN weight", network(weight(float("nan"))), ("bad.onnx", "NaN")),
    ("infinite weight", network(weight(float("inf"))), ("bad.onnx", "infinity")),
    ("two inputs", network(TWO), ("2 inputs",)),
    ("two outputs", network(SPLIT), ("2 outputs",)),
    ("old opset", network(model([helper.make_node("Relu", ["x"], ["y"])], {}, opset=6)), ("bad.onnx", "opset 6")),
    ("empty property", query(b""), ("bad.vnnlib", "line 1")),
    ("binary property", query(b"\x00\xff\xfe" * 30), ("bad.vnnlib", "line 1")),
    ("truncated property", query(SAT[:-5]), ("bad.vnnlib", "line 5", "never closed")),
    ("cut gzip of a property", query(gzip.compress(SAT)[:-10], "bad.vnnlib.gz"), ("bad.vnnlib.gz", "gzip")),
    ("a network of nothing", query(b"(vnnlib-version <2.0>)\n(declare-network f)\n"), ("line 2", "(declare-input")),
    ("no lower bound", query(prop("(<= X_0 1)", "(>= Y_0 0)")), ("bad.vnnlib", "no lower bound", "X_0")),
    ("no upper bound", query(prop("(>= X_0 1)", "(>= Y_0 0)")), ("bad.vnnlib", "no upper bound", "X_0")),
    ("NaN in a property", query(prop("(>= X_0 NaN)", "(<= X_0 1)")), ("bad.vnnlib", "'NaN'")),
    ("infinite bound", query(prop("(>= X_0 -inf)", "(<= X_0 1)")), ("bad.vnnlib", "'-inf'")),
    ("unknown output", query(prop(*BOX, "(>= Y_1 0)")), ("bad.vnnlib", "'Y_1'", "not declared")),
    ("gap in the indices", query(UNSAT.replace(b"Y_0", b"Y_1")), ("bad.vnnlib", "Y_1 but no Y_0")),
    ("too many inputs", query(prop("(>= Y_0 0)", inputs=2)), ("bad.vnnlib", "network has 1 input")),
    ("too many outputs", query(prop(*BOX, "(>= Y_1 0)", outputs=2)), ("bad.vnnlib", "network has 1 output")),
    ("product of too many variables", query(prop(*BOX, f"(>= (* {'X_0 ' * 65}) 0)")), ("bad.vnnlib", "at most 64")),
    ("equality", query(prop(*BOX, "(= Y_0 0)")), ("bad.vnnlib", "no equality")),
    ("huge input bound", query(prop("(>= X_0 0)", "(<= X_0 1e300)", "(>= Y_0 0)")), ("bound", "rescale")),
    ("one file", words("verify", "NET"), ("NET.onnx QUERY.vnnlib",)),
    ("three files", words("verify", "NET", "UNSAT", "UNSAT"), ("NET.onnx QUERY.vnnlib",)),
    ("two networks", words("verify", "UNSAT", *2 * ("--network", "NET")), ("without a name", "given twice")),
    (
        "two networks of a property about one",
        words("verify", "UNSAT", "--network", "f=DIR/absolute.onnx", "--network", "NET"),
        ("VNN-LIB 1.0", "found 2"),
    ),
    ("a network twice", words("verify", "UNSAT", "--network", "f=NET", "--network", "f=NET"), ("'f'", "given twice")),
    ("unknown order", words("verify", "NET", "UNSAT", "--semantics", "f32-order:up"), ("'f32-order:up'", "seq-fma")),
    ("unknown semantics", words("verify", "NET", "UNSAT", "--semantics", "f16"), ("'f16'", "real, f32-any")),
    ("empty semantics", words("verify", "NET", "UNSAT", "--semantics", "real,"), ("''", "real, f32-any")),
    ("unknown trust", words("verify", "NET", "UNSAT", "--trust", "z4"), ("'z4'", "crown", "bitwuzla")),
    ("unknown engine", words("verify", "NET", "UNSAT", "--engine", "z3"), ("'z3'", "input-splitting", "smt-fp")),
    (
        "unknown trust, several semantics",
        words("verify", "NET", "UNSAT", "--semantics", "real,f32-any", "--trust", "z4"),
        ("'z4'",),
    ),
    ("no integers", words("verify", "NET", "UNSAT", "--semantics", "int-exact"), ("int-exact", "QuantizeLinear")),
    ("no property, several semantics", words("verify", "NET", "DIR/no", "--semantics", "real,f32-any"), ("no such",)),
    (
        "a certificate of two",
        words("verify", "NET", "UNSAT", "--semantics", "real,f32-any", "--certificate", "DIR/p"),
        ("--certificate", "one semantics"),
    ),
    ("certificate is a directory", words("verify", "NET", "UNSAT", "--certificate", "DIR"), ("directory",)),
    ("no folder", words("verify", "NET", "UNSAT", "--certificate", "DIR/no/p.nnc"), ("no folder", "make it first")),
    ("unknown command", words("prove", "NET", "UNSAT"), ("'prove'", "verify")),
    ("no certificate", words("check", "DIR/none.nnc", "--network", "NET", "--property", "UNSAT"), ("none.nnc",)),
    ("show: no file", words("show", "DIR/none.onnx"), ("no such file",)),
    ("show: other kind", words("show", "DIR/x.txt"), ("'.txt'", ".onnx")),
    ("show: no certificate", lambda f, t: ["show", write(f, "bad.nnc", b"PK\x03\x04")], ("bad.nnc", "NNC1")),
    ("supports: nothing asked", words("supports"), ("--onnx-operators",)),
    ("run: no file", words("run", "NET", "DIR/none.npy"), ("none.npy", "No such file")),
    ("run: no array", words("run", "NET", "UNSAT"), ("unsat.vnnlib", "no NumPy array")),
    ("run: wrong size", arrays(np.zeros(3, dtype=np.float32)), ("(3,)", "takes 1")),
    ("run: NaN", arrays(np.array([np.nan], dtype=np.float32)), ("NaN",)),
    ("run: too fine", arrays(np.array([0.1])), ("float64", "astype")),
    ("run: too large", arrays(np.array([1e300])), ("range of float32",)),
    ("run: text", arrays(np.array(["1"])), ("<U1", "float32 is wanted")),
    ("run: objects", arrays(np.array([{}])), ("no NumPy array",)),
    ("run: unknown order", lambda f, t: [*arrays(np.float32(1))(f, t), "--order", "fast"], ("'fast'", "seq-fma")),
]


@pytest.mark.parametrize(("make", "parts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_2(
    make: Maker, parts: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = make(tmp_path, files(tmp_path))
    code = cli.main(command)
    printed = capsys.readouterr()
    done = process(*command)
    assert (done.returncode, done.stdout) == (code, printed.out) == (2, "")
    for text in (printed.err, done.stderr):
        assert text.startswith(("farkas: error: ", "farkas: unsupported: ")), text
        assert text.count("\n") == 1, text
        for part in parts:
            assert part in text


@pytest.mark.parametrize(
    "options",
    [["--timeout", "0"], ["--timeout", "-3"], ["--timeout", "inf"], ["--timeout", "soon"], ["--memory", "0"],
     ["--threads", "0"], ["--seed", "x"], ["--device", "tpu"], ["--no-such-option"], ["--time", "3"]],
)  # fmt: skip
def test_an_option_that_means_nothing_is_exit_code_2(
    options: list[str], tiny: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", tiny.network, tiny.unsat, *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert options[0] in printed.err and "usage: farkas verify" in printed.err


def test_what_is_not_handled_yet_is_told_apart_from_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = files(tmp_path)
    for make in (network(SINE), query(b"(vnnlib-version <3.0>)\n")):
        assert cli.main(make(tmp_path, tiny)) == 2
        assert capsys.readouterr().err.startswith("farkas: unsupported: ")
    assert cli.main(query(b"(")(tmp_path, tiny)) == 2
    assert capsys.readouterr().err.startswith("farkas: error: ")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = files(tmp_path)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    from farkas.api import UnreadableFile, load

    with pytest.raises(UnreadableFile, match=r"absolute\.onnx: cannot be read: Permission denied"):
        load(tiny.network)


def test_without_a_command_the_overview_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage: farkas COMMAND" in printed.err
