"""CP-SAT models of integer networks against the enumeration of all codes."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.encoders.code_atoms import sides
from farkas.encoders.cp_sat import Answer, CpSatModel, CpSatOptions
from farkas.ir.errors import UnsupportedOperator
from farkas.ir.integer import IntegerProgram, decoded, run_codes
from farkas.ir.integer_codes import InputCodes, input_codes
from farkas.specs.query import Atom
from tests.encoders.integer_programs import (
    all_codes,
    dequantise,
    layered,
    quantise,
    random_program,
    requantise,
    violations,
    with_maximum,
)
from tests.nets import atom, seeds


def random_box(rng: np.random.Generator, program: IntegerProgram, widths: int = 6) -> InputCodes:
    """A box in which every input takes a few codes."""
    centre = rng.uniform(-0.3, 0.3, program.input_size).astype(np.float32)
    if program.encode is None:
        low = rng.integers(0, 4, program.input_size)
        return input_codes(program, low.astype(np.float64), (low + rng.integers(0, 4, low.shape)).astype(np.float64))
    width = rng.uniform(0, 0.05 * widths, program.input_size).astype(np.float32)
    return input_codes(program, centre.astype(np.float64), (centre + width).astype(np.float64))


def random_atoms(rng: np.random.Generator, program: IntegerProgram, inputs: InputCodes) -> list[Atom]:
    """One to three atoms over one to three outputs, and inputs now and then, near the values that occur."""
    codes = all_codes(inputs)
    codes = codes[rng.integers(0, len(codes), 8)]
    outputs = decoded(program, run_codes(program, codes)[program.output])
    found = []
    for _ in range(rng.integers(1, 4)):
        y = rng.integers(-2, 3, program.output_size) / 2
        x = np.zeros(program.input_size)
        if rng.random() < 0.3:
            x[rng.integers(program.input_size)] = rng.integers(1, 3)  # one sign: no disagreement
        draft = atom(list(y), 0, x=list(x), strict=bool(rng.random() < 0.4))
        values = []
        for own, out in zip(inputs.points(codes), outputs, strict=True):
            values.append(draft.value([Fraction(float(v)) for v in own], [Fraction(float(v)) for v in out]))
        c = sorted(values)[int(rng.integers(0, 3))]
        found.append(Atom(draft.x, draft.y, c, draft.strict))
    return found


@settings(max_examples=60)
@given(seeds, st.sampled_from([(2, 3, 2), (2, 4, 3, 3), (3, 3, 3)]), st.booleans(), st.booleans())
def test_cp_sat_agrees_with_the_enumeration_of_all_codes(
    seed: int, sizes: tuple[int, ...], floats: bool, maximum: bool
) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng, sizes, inputs_float=floats)
    if maximum:
        program = with_maximum(program)
    inputs = random_box(rng, program)
    model = CpSatModel(program, inputs)
    for _ in range(3):
        atoms = random_atoms(rng, program, inputs)
        result = model.solve(atoms, CpSatOptions())
        expected = next(violations(program, inputs, atoms), None)
        assert (result.answer is Answer.FOUND) == (expected is not None)
        if result.codes is not None:
            read = sides(atoms, inputs)
            x = [Fraction(float(v)) for v in inputs.ends(result.codes, read.last)]
            y = [Fraction(float(v)) for v in decoded(program, run_codes(program, result.codes)[program.output])]
            assert all(own.holds(x, y) for own in atoms)


def single(factor: float, zero: int, *, high: int = 255) -> IntegerProgram:
    """One input, one neuron: code -> clamp(round(factor (7 code - 300)) + zero)."""
    weights, biases = [np.array([[7]])], [np.array([-300])]
    return layered(weights, biases, [requantise(factor, zero, 1, high=high)], quantise(0.01, 0, 1), None)


@pytest.mark.parametrize("factor", [0.0731, -0.0731, 0.25, 0.5, 0.3, 1.7, 3.0])
def test_every_code_of_a_requantisation_is_reached_by_the_inputs_that_reach_it(factor: float) -> None:
    # Lines, two bands, booleans: which one it takes depends on the factor; the answer does not.
    program = single(factor, 60)
    inputs = input_codes(program, np.array([0.0]), np.array([2.55]))
    model = CpSatModel(program, inputs)
    reached = set(run_codes(program, np.arange(256)[:, None])[2][:, 0].tolist())
    for code in range(0, 256, 5):
        result = model.solve([atom([1.0], code), atom([-1.0], -code)], CpSatOptions())
        assert (result.answer is Answer.FOUND) == (code in reached)


def test_equal_scales_make_a_comparison_of_outputs_one_of_codes() -> None:
    # Two outputs q_0 = x_0 and q_1 = x_1: y_0 <= y_1 and y_1 < y_0 are each possible, both together are not.
    weights, biases = [np.eye(2, dtype=int)], [np.zeros(2, dtype=int)]
    program = layered(weights, biases, [requantise(1.0, 0, 2)], quantise(0.01, 0, 2), dequantise(0.0123, 100, 2))
    model = CpSatModel(program, input_codes(program, np.zeros(2), np.full(2, 2.55)))
    less, greater = atom([1.0, -1.0], 0), atom([-1.0, 1.0], 0, strict=True)
    assert model.solve([less], CpSatOptions()).answer is Answer.FOUND
    assert model.solve([greater], CpSatOptions()).answer is Answer.FOUND
    assert model.solve([less, greater], CpSatOptions()).answer is Answer.NONE


def test_an_input_that_two_atoms_pull_apart_is_refused() -> None:
    program = single(0.1, 60)
    inputs = input_codes(program, np.array([0.0]), np.array([1.0]))
    with pytest.raises(UnsupportedOperator, match="two atoms bound X_0 from both sides"):
        sides([atom([1.0], 3, x=[1.0]), atom([1.0], 3, x=[-1.0])], inputs)


def test_numbers_beyond_64_bits_are_refused_with_advice() -> None:
    rng = np.random.default_rng(0)
    program = random_program(rng, (2, 3, 3))
    inputs = input_codes(program, np.zeros(2), np.full(2, 0.5))
    third = Fraction(1, 3**40)
    with pytest.raises(UnsupportedOperator, match="shorter decimals"):
        CpSatModel(program, inputs).solve([atom([1 + third, 1 - third, 1], 0)], CpSatOptions())


def test_a_solve_leaves_the_model_as_it_was() -> None:
    program = single(0.0731, 60)
    model = CpSatModel(program, input_codes(program, np.array([0.0]), np.array([2.55])))
    before = model.variables, model.constraints
    assert model.solve([atom([1.0], -1)], CpSatOptions()).answer is Answer.NONE
    assert (model.variables, model.constraints) == before
    assert model.solve([], CpSatOptions()).answer is Answer.FOUND


def test_no_time_is_no_answer() -> None:
    rng = np.random.default_rng(3)
    weights = [rng.integers(-90, 91, (12, 6)), rng.integers(-90, 91, (2, 12))]
    functions = [requantise(0.003, 100, 12), requantise(0.003, 100, 2)]
    biases = [np.zeros(12, dtype=int), np.zeros(2, dtype=int)]
    program = layered(weights, biases, functions, quantise(0.01, 100, 6), None)
    model = CpSatModel(program, input_codes(program, np.full(6, -0.5), np.full(6, 0.5)))
    assert model.solve([atom([1.0, -1.0], -60)], CpSatOptions(0.0)).answer is Answer.LIMIT


def test_the_encoder_loads_no_solver_before_it_makes_a_model() -> None:
    code = "import sys, farkas.encoders.cp_sat, farkas.engine.integer_verify; print('ortools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
