"""CP-SAT models of integer networks against the enumeration of all codes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.encoders.code_atoms import sides
from farkas.encoders.cp_sat import Answer, CpSatModel, CpSatOptions
from farkas.ir.integer import IntegerProgram, decoded, run_codes
from farkas.ir.integer_codes import InputCodes, input_codes
from farkas.specs.query import Atom
from tests.encoders.integer_programs import (
    all_codes,
    random_program,
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
