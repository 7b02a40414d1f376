"""Over the reals every engine says the same: z3, pySMT, the input-splitting search, and exact enumeration of pieces.

The properties have a known margin: a threshold next to the exact minimum of a row, so that all of them must decide.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from farkas.encoders.smt_solve import solve_real
from farkas.engine.options import Options
from farkas.engine.real_query import real_problem
from farkas.engine.verdict import Unknown
from farkas.engine.verify import verify
from farkas.ir.core import run_float
from farkas.specs.query import Atom, Semantics
from tests.engine.pieces import minimum
from tests.nets import EXACT_SHAPES, Box, Net, atom, case, dense, random_layers, varied

SPLITTING = Options(timeout_s=20.0, trust=frozenset({"crown"}), engines=frozenset({"input-splitting"}))
ARMS = Options(timeout_s=20.0, trust=frozenset({"crown"}), engines=frozenset({"input-splitting", "relu-splitting"}))
ROW = [Fraction(3, 4), Fraction(-1)]


def box(inputs: int) -> Box:
    return (Fraction(-1),) * inputs, (Fraction(1),) * inputs


def answers(net: Net, atoms: list[Atom], options: Options = SPLITTING) -> set[str]:
    """What each solver and the search say of one conjunction over the box."""
    query = net.query([case(*box(net.program.input_size), atoms)], Semantics.REAL)
    words = {solve_real(real_problem(query, presolve=bounded), 20.0, "z3").status.value for bounded in (True, False)}
    words.add(solve_real(real_problem(query), 20.0, "pysmt").status.value)
    verdict = verify(query, options)
    assert not isinstance(verdict, Unknown), f"{verdict.reason}: {verdict.detail}"
    return words | {verdict.word}


@pytest.mark.parametrize("shape", EXACT_SHAPES)
def test_two_inputs_next_to_the_exact_minimum(shape: str) -> None:
    seed = EXACT_SHAPES.index(shape)
    net = varied(np.random.default_rng(seed), shape, eighths=seed % 2 > 0)
    least = minimum(net.program, *box(2), ROW, ())
    gap = Fraction(1, 256)
    assert answers(net, [atom(ROW, least + gap)]) == {"sat"}
    assert answers(net, [atom(ROW, least - gap)]) == {"unsat"}


def test_conjunctions_of_mixed_atoms_over_two_inputs() -> None:
    """The row's minimum where, besides, x_0 >= 1/4: the minimum over that part of the box.

    Splitting inputs alone takes long where neither atom fails by itself, so neurons may be split as well.
    """
    for seed in (0, 1, 3):
        net = varied(np.random.default_rng(seed), EXACT_SHAPES[seed])
        x = [Fraction(1, 2), Fraction(1)]
        lower, upper = box(2)
        least = minimum(net.program, (Fraction(1, 4), lower[1]), upper, ROW, x)
        beyond = atom([], Fraction(-1, 4), x=[-1])
        assert answers(net, [beyond, atom(ROW, least + Fraction(1, 2), x=x)], ARMS) == {"sat"}
        assert answers(net, [beyond, atom(ROW, least - Fraction(1, 2), x=x)], ARMS) == {"unsat"}


def test_three_inputs_at_thresholds_on_both_sides_of_what_samples_reach() -> None:
    """No enumeration here: what a sample reaches is sat for everybody, and of the rest they say one thing."""
    words: Counter[str] = Counter()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        net = dense(random_layers(rng, (3, 4, 4, 2)))
        points = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], (500, 3))
        values = run_float(net.program, points)[net.program.output] @ np.array([float(v) for v in ROW])
        for threshold, known in ((values.min(), {"sat"}), (values.min() - (0.2 + seed / 10) * np.ptp(values), None)):
            said = answers(net, [atom(ROW, Fraction(float(threshold)))])
            assert len(said) == 1 and (known is None or said == known), f"seed {seed}: {said}"
            words.update(said)
    assert words["sat"] >= 5 and words["unsat"] >= 3
