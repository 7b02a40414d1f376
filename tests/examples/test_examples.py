"""The example networks do what they were trained for, and the verdicts of the suite are true; all without Farkas."""

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from examples.make_networks import HIGH, LOW, advisory_costs, main, pendulum_step, strokes
from examples.make_properties import ATOM, Property, properties, text, truth, unsafe
from examples.milp import proves_by_milp
from examples.reference import Unsafe, proves, read, refutes

PROPERTIES = properties()
FLOAT32 = np.float32


def run(path: Path, x: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The outputs of onnxruntime for each row of `x`, one at a time."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    rows = [np.asarray(session.run(None, {"input": row.astype(FLOAT32).reshape(shape)})[0]).ravel() for row in x]
    return np.array(rows, dtype=np.float64)


def check_fit(folder: Path) -> None:
    rng = np.random.default_rng(7)
    x = rng.uniform(-2.0, 2.0, size=(500, 2))
    assert np.abs(run(folder / "wave.onnx", x)[:, 0] - np.sin(x[:, 0]) * np.cos(x[:, 1])).max() < 0.1
    assert np.abs(run(folder / "pendulum.onnx", x) - pendulum_step(x)).max() < 0.1
    state = rng.uniform(LOW, HIGH, size=(500, 5))
    assert np.sqrt(np.square(run(folder / "avoidance.onnx", state) - advisory_costs(state)).mean()) < 0.1
    images, kinds = strokes(rng, 500)
    for name in ("glyphs", "wide", "deep"):
        assert (run(folder / f"{name}.onnx", images).argmax(axis=1) == kinds.argmax(axis=1)).mean() > 0.98


def test_committed_networks_do_what_they_were_fitted_to(examples: Path) -> None:
    check_fit(examples / "networks")


@pytest.mark.slow
def test_training_again_gives_networks_that_fit(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    check_fit(tmp_path)


def test_networks_are_small(examples: Path) -> None:
    assert all(path.stat().st_size < 60_000 for path in (examples / "networks").iterdir())


def test_half_turn_costs_are_symmetric_in_left_and_right() -> None:
    # Mirroring bearing and heading swaps left and right; seen from the intruder nothing else changes.
    state = np.array([[2.0, 0.4, 2.5, 0.2, 0.1]])
    mirrored = state * np.array([1.0, -1.0, -1.0, 1.0, 1.0])
    np.testing.assert_array_almost_equal(advisory_costs(state)[0, [0, 2, 1, 4, 3]], advisory_costs(mirrored)[0], 12)


@pytest.mark.parametrize("name", ["wave", "avoidance", "glyphs", "wide", "deep", "pendulum"])
def test_the_judge_reads_a_network_as_onnxruntime_does(examples: Path, name: str) -> None:
    network = read(examples / "networks" / f"{name}.onnx")
    x = np.random.default_rng(5).uniform(0.0, 1.0, size=(50, network.inputs)).astype(FLOAT32).astype(np.float64)
    assert np.abs(network.run(x) - run(examples / "networks" / f"{name}.onnx", x)).max() < 1e-4


def stated(examples: Path) -> dict[str, str]:
    """The suite's verdict for the name of each property."""
    with (examples / "suite.csv").open(newline="") as file:
        return {Path(row["vnnlib"]).stem: row["expected"] for row in csv.DictReader(file)}


def test_the_suite_lists_every_property(examples: Path) -> None:
    assert set(stated(examples)) == {prop.name for prop in PROPERTIES}
    assert set(stated(examples)) == {path.stem for path in (examples / "properties").iterdir()}


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda prop: prop.name)
def test_the_suite_states_the_truth(examples: Path, prop: Property) -> None:
    assert truth(prop, read(examples / "networks" / f"{prop.network}.onnx")) == stated(examples)[prop.name]


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda prop: prop.name)
def test_the_property_files_are_what_the_script_writes(examples: Path, prop: Property) -> None:
    network = read(examples / "networks" / f"{prop.network}.onnx")
    written = text(prop, network.inputs, len(network.output.bias))
    assert (examples / "properties" / f"{prop.name}.vnnlib").read_bytes() == written.encode("ascii")


def holds(atom: str, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> bool:
    """An atom in exact rationals over the values of inputs and outputs."""
    match = ATOM.fullmatch(atom)
    assert match is not None
    left, right = (
        Fraction(float((x if term[0] == "X" else y)[int(term[2:])])) if term[0] in "XY" else Fraction(term)
        for term in match.groups()[1:]
    )
    return left <= right if match[1] == "<=" else left >= right


def violated(prop: Property, path: Path) -> bool:
    """Whether sampling finds a point that onnxruntime sends into the unsafe region, without tolerance."""
    network = read(path)
    for box, disjuncts in prop.cases:
        low, high = (np.array([float(pair[k]) for pair in box]) for k in (0, 1))
        query = unsafe(disjuncts, network.inputs, len(network.output.bias))
        x = refutes(network, low, high, query, np.random.default_rng(1))
        if x is not None:
            y = run(path, x[None])[0]
            assert all(
                Fraction(pair[0]) <= Fraction(float(v)) <= Fraction(pair[1])
                for v, pair in zip(x, box, strict=True)
                if pair[0] != pair[1]
            )
            return any(all(holds(atom, x, y) for atom in group) for group in disjuncts)
    return False


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda prop: prop.name)
def test_sampling_violates_the_sat_properties_on_onnxruntime_and_no_other(examples: Path, prop: Property) -> None:
    path = examples / "networks" / f"{prop.network}.onnx"
    assert violated(prop, path) == (stated(examples)[prop.name] == "sat")


@pytest.mark.parametrize(("threshold", "proved"), [(-1.05, True), (-0.5, False)])
def test_the_mixed_integer_judge_agrees_with_subdivision(examples: Path, threshold: float, proved: bool) -> None:
    """y stays above -1.05, which subdivision proves, and falls below -0.5, which sampling shows."""
    network = read(examples / "networks" / "wave.onnx")
    low, high = np.array([-2.0, -2.0]), np.array([2.0, 2.0])
    below = Unsafe(np.zeros((1, 2)), np.array([[1.0]]), np.array([-threshold]), ((0,),))  # y - threshold <= 0
    assert (proves(network, low, high, below, limit=5000) is not None) == proved
    assert (refutes(network, low, high, below, np.random.default_rng(0)) is None) == proved
    assert proves_by_milp(network, low, high, below) == proved


def test_gradients_are_differences(examples: Path) -> None:
    network = read(examples / "networks" / "deep.onnx")
    rng = np.random.default_rng(6)
    x, rows, step = rng.uniform(0.0, 1.0, (3, 64)), rng.normal(size=(3, 4)), 1e-7
    numeric = np.zeros((3, 64))
    for i in range(64):
        moved = x.copy()
        moved[:, i] += step
        numeric[:, i] = ((network.run(moved) - network.run(x)) * rows).sum(axis=1) / step
    np.testing.assert_allclose(network.gradients(x, rows), numeric, atol=1e-4)


def test_the_judge_refuses_a_claim_that_sampling_contradicts(examples: Path) -> None:
    network = read(examples / "networks" / "wave.onnx")
    low, high = np.array([-2.0, -2.0]), np.array([2.0, 2.0])
    reachable = Unsafe(np.zeros((1, 2)), np.array([[-1.0]]), np.array([0.5]), ((0,),))  # y >= 0.5
    assert refutes(network, low, high, reachable, np.random.default_rng(0)) is not None
    assert proves(network, low, high, reachable, limit=2000) is None
