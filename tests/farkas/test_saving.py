"""Specifications saved for other tools say the same as before: the files, the networks, and witnesses taken back."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction as Q
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import farkas as fk
from farkas.api import load, load_property
from farkas.ir.errors import FarkasError
from farkas.ir.onnx_edit import is_real_only
from farkas.reading import from_vnnlib, lift
from farkas.saving import save
from farkas.specs.language_tensors import tensor
from farkas.specs.side import MalformedSide, Side
from farkas.specs.vnnlib1_writer import is_plain
from farkas.specs.witness import Witness
from tests.farkas.saved import digest, fitting, is_unsafe, network, outputs_at, run_exactly
from tests.specs.documents import Written, documents, tied
from tests.specs.formulas import VALUES

per_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@per_folder
@given(st.one_of(documents(polynomial=True), tied()), st.data())
def test_a_saved_file_of_version_1_is_violated_where_the_specification_is(
    tmp_path: Path, written: Written, data: st.DataObject
) -> None:
    """Any formula, over one network or two, in exact rationals; X is a point of the file, the inputs what it says."""
    text = written.text()
    spec = from_vnnlib(text.encode(), fitting(text))
    for old in tmp_path.iterdir():
        old.unlink()
    save(spec, tmp_path / "q.vnnlib", "1.0")
    prop = load_property(tmp_path / "q.vnnlib")
    assert is_plain(prop)
    points = st.lists(st.sampled_from(VALUES), min_size=prop.inputs, max_size=prop.inputs)
    if not (tmp_path / "q.json").exists():
        (net,) = spec.networks.values()
        for x in (data.draw(points) for _ in range(4)):
            assert prop.is_unsafe(x, outputs_at(net, x)) == is_unsafe(spec, x)
        return
    side, made = Side.parse((tmp_path / "q.json").read_text()), (tmp_path / "q.onnx").read_bytes()
    assert side.real == bool(spec.property.monomials) == is_real_only(made)
    assert (len(side.columns), side.outputs) == (spec.property.inputs, spec.property.outputs)
    for x in (data.draw(points) for _ in range(4)):
        inputs = [x[column] for column in side.columns]
        assert prop.is_unsafe(x, run_exactly(made, x)) == is_unsafe(spec, inputs)


@per_folder
@given(documents(), st.data())
def test_a_saved_network_has_the_values_of_its_parts_in_onnxruntime(
    tmp_path: Path, written: Written, data: st.DataObject
) -> None:
    text = written.text()
    spec = from_vnnlib(text.encode(), fitting(text))
    for old in tmp_path.iterdir():
        old.unlink()
    save(spec, tmp_path / "q.vnnlib", "1.0")
    if not (tmp_path / "q.onnx").exists():
        return
    side = Side.parse((tmp_path / "q.json").read_text())
    size = load(tmp_path / "q.onnx").inputs
    x = np.array(data.draw(st.lists(st.integers(-8, 8), min_size=size, max_size=size)), dtype=np.float32) / 4
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx", providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])
    inputs = [Q(float(x[column])) for column in side.columns]
    y: list[Q] = []
    for net in spec.networks.values():
        y += outputs_at(net, inputs[: net.inputs])
        inputs = inputs[net.inputs :]
    assert [Q(float(value)) for value in found[: len(y)]] == y
    assert side.size == len(found)


def two_copies(swapped: bool = False) -> fk.Spec:
    """A network of one input, relu(w x + b), is not the same at two points that differ in the fourth of a unit."""
    net = network((1, 2), (1, 2), 3)
    x, z = fk.var(net.input, name="x", labels=("first", "second")), fk.var(net.input, name="z")
    near = [fk.between(-1, x, 1), fk.between(-1, z, 1), x[0, 0] == z[0, 0], fk.abs(x[0, 1] - z[0, 1]) <= "1/4"]
    return fk.Spec(near, prove=net(x)[0, 0] <= net(z)[0, 0] + "1/8")


@pytest.mark.parametrize("semantics", ["f32-any", "real"])
def test_two_copies_become_one_network_with_shared_inputs(tmp_path: Path, semantics: str) -> None:
    spec = two_copies()
    spec.save(tmp_path / "pair.vnnlib", version="1.0")
    net = fk.load(tmp_path / "pair.onnx")
    assert net.inputs == 3  # x[0, 0] and z[0, 0] are one
    answer = fk.verify(net, tmp_path / "pair.vnnlib", timeout=20, semantics=semantics)
    assert isinstance(answer, fk.Violated)
    lifted = lift(tmp_path / "pair.json", answer)
    assert spec.property.is_unsafe(lifted.inputs, lifted.outputs)
    values = {named.name: named for named in lifted.named}
    assert values["x"]["first"] == values["z"][0] and abs(values["x"]["second"] - values["z"][1]) <= Q(1, 4)
    assert values["f1.y"].values + values["f2.y"].values == lifted.outputs
    (tmp_path / "found.txt").write_text("sat\n" + answer.witness)
    assert lift(tmp_path / "pair.json", tmp_path / "found.txt") == lifted
    assert isinstance(spec.check(timeout=20, semantics=semantics), fk.Violated)


def test_a_joined_file_is_certified(tmp_path: Path) -> None:
    net = network((1, 2), (1, 2), 3)
    x, z = fk.var(net.input, name="x"), fk.var(net.input, name="z")
    near = [fk.between(0, x, "1/8"), fk.between(0, z, "1/8"), x[0, 0] == z[0, 0]]
    spec = fk.Spec(near, prove=net(x)[0, 0] <= net(z)[0, 0] + 1)  # |w| <= 2, so at most 2/8 apart
    spec.save(tmp_path / "pair.vnnlib", version="1.0")
    answer = fk.verify(
        fk.load(tmp_path / "pair.onnx"), tmp_path / "pair.vnnlib", timeout=20, certificate=tmp_path / "pair.nnc"
    )
    assert isinstance(answer, fk.Holds) and answer.evidence == "certified"


def test_a_map_in_front_of_a_network_is_saved_with_it(tmp_path: Path) -> None:
    """The network at (t + s, t - s / 3) is another network, of t and s, which the saved files are about."""
    net = network((1, 2), (1, 1), 2)
    x = fk.var((2,), name="x", labels=("t", "s"))
    mixed = [[x.t + x.s, x.t - x.s / 3]]
    spec = fk.Spec([fk.between(-1, x, 1)], prove=net(tensor(mixed))[0, 0] <= "1/2")
    answer = spec.check(timeout=20)
    assert isinstance(answer, fk.Violated) and answer.semantics.value == "real"
    spec.save(tmp_path / "mixed.vnnlib")
    made = fk.load(tmp_path / "mixed.N.onnx")
    assert is_real_only(made.data) and "semantics unless told otherwise: real" in made.info()
    assert isinstance(fk.verify(made, tmp_path / "mixed.vnnlib", timeout=20), fk.Violated)
    with pytest.raises(FarkasError, match="preserves the reals only"):
        fk.verify(made, tmp_path / "mixed.vnnlib", semantics="f32-any")
    spec.save(tmp_path / "flat.vnnlib", version="1.0")
    answer = fk.verify(fk.load(tmp_path / "flat.onnx"), tmp_path / "flat.vnnlib", timeout=20)
    assert isinstance(answer, fk.Violated)
    (named, *_) = lift(tmp_path / "flat.json", answer).named
    t, s = named["t"], named["s"]
    assert outputs_at(net, [t + s, t - s / 3]) == answer.replay.outputs and answer.replay.outputs[0] > Q(1, 2)


def test_units_are_taken_back(tmp_path: Path) -> None:
    """The network reads hundredths less 2: x = 100 (z + 2), so a witness z of the saved file is one of x."""
    net = network((1, 2), (1, 2), 4)
    x = fk.var((2,), name="x", labels=("first", "second"))
    z = [x / 100 - 2]
    y = net(tensor(z))
    spec = fk.Spec([fk.between(100, x, 300), x.first + x.second <= 350], prove=y[0, 0] - y[0, 1] <= -10)
    spec.save(tmp_path / "units.vnnlib", version="1.0")
    answer = fk.verify(fk.load(tmp_path / "units.onnx"), tmp_path / "units.vnnlib", timeout=20)
    assert isinstance(answer, fk.Violated)
    lifted = lift(tmp_path / "units.json", answer)
    (named, *_) = lifted.named
    assert named.values == tuple(100 * (value + 2) for value in lifted.inputs)
    assert all(100 <= value <= 300 for value in named.values) and sum(named.values) <= 350


def test_a_polynomial_head_is_about_the_reals_only(tmp_path: Path) -> None:
    net = network((1, 2), (1, 1), 1)
    x = fk.var(net.input, name="x")
    spec = fk.Spec([fk.between(-1, x, 1)], prove=net(x)[0, 0] * x[0, 0] <= 100)
    spec.save(tmp_path / "product.vnnlib", version="1.0")
    made = fk.load(tmp_path / "product.onnx")
    assert "preserves the reals only" in made.info()
    with pytest.raises(FarkasError, match="preserves the reals only"):
        fk.verify(made, tmp_path / "product.vnnlib", semantics="f32-any")
    answer = fk.verify(made, tmp_path / "product.vnnlib", timeout=20, trust=["crown"])
    assert isinstance(answer, fk.Holds)
    assert answer.semantics.value == "real"


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    two_copies().save(tmp_path / "pair.vnnlib", version="1.0")
    point = Witness(("0",) * 3, ("0",) * 6)
    assert len(lift(tmp_path / "pair.json", point).inputs) == 4
    with pytest.raises(MalformedSide, match="a witness of 1 inputs and 6 outputs, wanted 3 and 6"):
        lift(tmp_path / "pair.json", Witness(("0",), ("0",) * 6))
    text = (tmp_path / "pair.vnnlib").read_bytes()
    (tmp_path / "pair.vnnlib").write_bytes(text + b"\n")
    with pytest.raises(MalformedSide, match="not the file that was saved with this one"):
        lift(tmp_path / "pair.json", point)
    (tmp_path / "pair.vnnlib").write_bytes(text)
    (tmp_path / "pair.onnx").write_bytes(network((1, 3), (1, 6)).data)
    with pytest.raises(MalformedSide, match=r"pair\.onnx"):
        lift(tmp_path / "pair.json", point)
    (tmp_path / "pair.onnx").unlink()
    with pytest.raises(FarkasError, match="there is no such file"):
        lift(tmp_path / "pair.json", point)


def test_a_compressed_file_is_written(tmp_path: Path) -> None:
    data = two_copies().save(tmp_path / "pair.vnnlib.gz", version="1.0")
    assert gzip.decompress((tmp_path / "pair.vnnlib.gz").read_bytes()) == data
    side = Side.parse((tmp_path / "pair.json").read_text())
    assert (side.asked.name, side.asked.sha256) == ("pair.vnnlib.gz", digest(data))
    assert load_property(tmp_path / "pair.vnnlib.gz").sha256 == digest(data)
    assert len(lift(tmp_path / "pair.json", Witness(("0",) * 3, ("0",) * 6)).outputs) == 4


def test_versions_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FarkasError, match=r"no version '3\.0' to save in; known are 2\.0, 1\.0"):
        two_copies().save(tmp_path / "pair.vnnlib", version="3.0")
    assert list(tmp_path.iterdir()) == []


def test_bounds_that_differ_keep_the_equation(tmp_path: Path) -> None:
    """What inputs with different bounds have in common depends on the grid in binary32, so the file leaves them two."""
    text = """
        (vnnlib-version <2.0>)
        (declare-network f (declare-input A float32 [1,1]) (declare-output B float32 [1,1]))
        (declare-network g (equal-to f) (declare-input C float32 [1,1]) (declare-output D float32 [1,1]))
        (assert (and (>= A[0,0] 0) (<= A[0,0] 0.1) (>= C[0,0] 0.1) (<= C[0,0] 1) (== A[0,0] C[0,0])))
        (assert (<= D[0,0] B[0,0]))
    """
    save(from_vnnlib(text.encode(), network((1, 1), (1, 1))), tmp_path / "q.vnnlib", "1.0")
    prop, side = load_property(tmp_path / "q.vnnlib"), json.loads((tmp_path / "q.json").read_text())
    assert side["columns"] == [0, 1]
    assert (prop.inputs, prop.outputs) == (2, 4)


BAD = [
    ("", "found no side file"), ("[]", "found no side file"), ('{"format": 1}', "found the format '1'"),
    ('{"format": "farkas-side-1"}', "found no side file"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD)
def test_what_is_no_side_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(MalformedSide, match=message):
        Side.parse(text)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("preserves", "binary32", "another value than 'real' or 'all'"),
        ("columns", [0, 1, 2], "inputs and columns that do not fit"),
        ("columns", [0, 1, 2, -1], "inputs and columns that do not fit"),
        ("variables", [{"name": "x", "shape": [1], "labels": [], "entries": [[9, "1", "0"]]}], "none of the inputs"),
        ("variables", [{"name": "x", "shape": [2], "labels": [], "entries": [[0, "1", "0"]]}], "none of the inputs"),
        ("variables", [{"name": "x", "shape": [1], "labels": [], "entries": [[0, "1/0", "0"]]}], "a rational number"),
        ("networks", [{"name": "f"}], "found no side file"),
    ],
)  # fmt: skip
def test_a_damaged_side_file_is_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    two_copies().save(tmp_path / "pair.vnnlib", version="1.0")
    found = json.loads((tmp_path / "pair.json").read_text())
    Side.parse(json.dumps(found))
    with pytest.raises(MalformedSide, match=message):
        Side.parse(json.dumps({**found, key: value}))
