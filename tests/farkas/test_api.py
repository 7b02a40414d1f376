"""The Python API: verdicts on a network that computes |x|, and messages that name the file."""

import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import farkas as fk
from farkas import api
from farkas.checker.check import check
from farkas.engine.verdict import Reason
from farkas.ir.errors import FarkasError, MalformedNetwork, UnsupportedOperator
from farkas.specs.errors import MalformedProperty
from farkas.specs.query import Semantics
from farkas.specs.vnnlib import read_property
from farkas.specs.witness import read_witness
from tests.farkas.queries import SAT, UNSAT, Files, absolute, model, prop, wide, write


def test_holds_when_the_unsafe_region_is_out_of_reach(tiny: Files) -> None:
    answer = fk.verify(fk.load(tiny.network), tiny.unsat)
    assert isinstance(answer, fk.Holds)
    assert answer.evidence == "checkable"
    assert answer.semantics is Semantics.F32_ANY


def test_violated_carries_a_witness_of_the_set_whose_absolute_value_is_unsafe(tiny: Files) -> None:
    answer = fk.verify(fk.load(tiny.network), tiny.sat)
    assert isinstance(answer, fk.Violated)
    witness = read_witness(answer.witness)
    assert -1 <= witness.inputs[0] <= 2
    assert witness.outputs[0] == abs(witness.inputs[0]) >= Fraction(3, 2)


def test_a_property_can_be_a_path_bytes_or_an_object(tiny: Files) -> None:
    net = fk.load(tiny.network)
    for source in (tiny.unsat, Path(tiny.unsat), UNSAT, gzip.compress(UNSAT), read_property(UNSAT)):
        assert isinstance(fk.verify(net, source), fk.Holds)
    for source in (tiny.sat, SAT):
        assert isinstance(fk.verify(net, source), fk.Violated)


def test_undecided_at_the_boundary_because_rounding_might_lift_the_maximum(tiny: Files) -> None:
    answer = fk.verify(fk.load(tiny.network), tiny.boundary, timeout=20)
    assert isinstance(answer, fk.Unknown)
    assert answer.reason is Reason.GAP


def test_float64_networks_are_verified_over_the_reals_and_nowhere_else(tmp_path: Path) -> None:
    net = fk.load(write(tmp_path, "double.onnx", absolute("float64")))
    answer = fk.verify(net, UNSAT, trust=["crown"])
    assert isinstance(answer, fk.Holds)
    assert answer.semantics is Semantics.REAL
    assert fk.verify(net, UNSAT, trust="crown").word == "unsat"  # a single name needs no list
    with pytest.raises(FarkasError, match="float64"):
        fk.verify(net, UNSAT, semantics="f32-any")


def test_a_compressed_network_is_the_same_network(tmp_path: Path, tiny: Files) -> None:
    packed = fk.load(write(tmp_path, "packed.onnx.gz", gzip.compress(absolute())))
    plain = fk.load(tiny.network)
    assert packed.data == plain.data == absolute()
    assert packed.graph.sha256 == plain.graph.sha256
    assert (packed.name, plain.name) == ("packed", "absolute")


def test_info_tells_type_shapes_and_operators(tiny: Files) -> None:
    text = fk.load(tiny.network).info()
    for part in ("absolute: float32, 3 nodes", "input  x [1, 1]", "output y [1, 1]", "Gemm 2, Relu 1", "sha256"):
        assert part in text


def test_a_network_is_told_in_one_line(tiny: Files) -> None:
    assert repr(fk.load(tiny.network)) == "<network absolute: x [1, 1] -> y [1, 1]>"


def test_a_network_counts_its_values(tmp_path: Path) -> None:
    net = fk.load(write(tmp_path, "wide.onnx", wide(width=5, hidden=3)))
    assert (net.inputs, net.outputs) == (5, 1)


def test_a_timeout_of_nothing_is_an_answer(tiny: Files) -> None:
    answer = fk.verify(fk.load(tiny.network), tiny.unsat, timeout=0)
    assert isinstance(answer, fk.Unknown)
    assert answer.reason is Reason.TIMEOUT
    assert answer.word == "timed-out"


def test_running_out_of_memory_is_an_answer(tiny: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(api, "decide", exhaust)
    answer = fk.verify(fk.load(tiny.network), tiny.unsat)
    assert isinstance(answer, fk.Unknown)
    assert answer.reason is Reason.MEMORY


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trust": ["z4"]}, "no engine 'z4' to trust; known are crown, z3"),
        ({"device": "tpu"}, "no device 'tpu'; known are numpy, cupy"),
        ({"memory_gb": 0}, "memory limit is 0 GB; a positive number is wanted"),
        ({"timeout": -1}, "timeout is -1 s; a nonnegative number is wanted"),
        ({"timeout": float("nan")}, "timeout is nan s"),
        ({"engines": ["z3"]}, "no engine 'z3'; known are input-splitting"),
        ({"engines": []}, "no engine may work"),
        ({"milp_solver": "cplex"}, "no MILP solver 'cplex'; known are highs"),
        ({"semantics": "f64"}, "semantics 'f64' is unknown; known are real, f32-any"),
        ({"semantics": "f32-order:fast"}, "semantics 'f32-order:fast' is unknown; known are .*f32-order:seq-fma"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(tiny: Files, options: dict[str, object], message: str) -> None:
    with pytest.raises(FarkasError, match=message):
        fk.verify(fk.load(tiny.network), tiny.unsat, **options)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_refused(tiny: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("no CUDA device is visible")

    monkeypatch.setattr("farkas.runtime_cuda.backend.cupy_backend", missing)
    with pytest.raises(FarkasError, match="device 'cupy': no CUDA device is visible"):
        fk.verify(fk.load(tiny.network), tiny.unsat, device="cupy")


def test_a_certificate_needs_the_bytes_of_the_property(tiny: Files, tmp_path: Path) -> None:
    with pytest.raises(FarkasError, match="pass its path or its bytes"):
        fk.verify(fk.load(tiny.network), read_property(UNSAT), certificate=tmp_path / "proof.nnc")


def test_errors_keep_their_type_and_name_the_file(tmp_path: Path) -> None:
    sine = model([helper.make_node("Sin", ["x"], ["y"])], {})
    with pytest.raises(UnsupportedOperator, match=r"sine\.onnx: .*'Sin'"):
        fk.load(write(tmp_path, "sine.onnx", sine))
    with pytest.raises(MalformedNetwork, match=r"cut\.onnx: "):
        fk.load(write(tmp_path, "cut.onnx", absolute()[:-20]))
    with pytest.raises(api.UnreadableFile, match=r"none\.onnx: there is no such file"):
        fk.load(tmp_path / "none.onnx")
    net = fk.load(write(tmp_path, "good.onnx", absolute()))
    with pytest.raises(MalformedProperty, match=r"two\.vnnlib: line 2, column 16: found 2 input variables") as caught:
        fk.verify(net, write(tmp_path, "two.vnnlib", prop("(>= Y_0 0)", inputs=2)))
    assert (caught.value.line, caught.value.column) == (2, 16)


def test_several_inputs_are_one_vector_in_the_order_of_the_file(tmp_path: Path) -> None:
    """y = x - v with x in [0, 1] and v in [2, 3]: between -3 and -1."""
    two = model([helper.make_node("Sub", ["x", "v"], ["y"])], {}, inputs=("x", "v"))
    net = fk.load(write(tmp_path, "two.onnx", two))
    box = ("(>= X_0 0)", "(<= X_0 1)", "(>= X_1 2)", "(<= X_1 3)")
    certificate = tmp_path / "two.nnc"
    for bound, wanted in (("-0.5", fk.Holds), ("-1.5", fk.Violated)):
        text = prop(*box, f"(>= Y_0 {bound})", inputs=2)
        assert isinstance(fk.verify(net, text, certificate=certificate), wanted)
        assert check(certificate.read_bytes(), two, text).networks == (("", net.graph.sha256),)
    with pytest.raises(MalformedProperty, match="the network has 2 inputs"):
        fk.verify(net, UNSAT)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    api.write_bytes(tmp_path / "a", b"one")
    api.write_bytes(tmp_path / "a", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"two"
    with pytest.raises(api.UnreadableFile, match=r"there is no folder .*missing; make it first"):
        api.write_bytes(tmp_path / "missing" / "a", b"three")
    with pytest.raises(api.UnreadableFile, match="cannot be written"):
        api.write_bytes(tmp_path, b"a folder is no file")


def test_the_vacuous_property_holds_with_a_warning(tiny: Files) -> None:
    answer = fk.verify(fk.load(tiny.network), prop("(>= X_0 1)", "(<= X_0 0)", "(>= Y_0 0)"))
    assert isinstance(answer, fk.Holds)
    assert any("vacuous" in warning for warning in answer.warnings)


def test_points_off_the_binary32_grid_are_counted(tiny: Files) -> None:
    answer = fk.verify(fk.load(tiny.network), prop("(>= X_0 0.1)", "(<= X_0 0.1)", "(>= Y_0 0.2)"))
    assert isinstance(answer, fk.Holds)
    assert answer.statistics.off_grid == 1
    assert np.float32(0.1) != Fraction(1, 10)
