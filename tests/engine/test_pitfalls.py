"""What went wrong in other verifiers: disjuncts that vanish, planted counterexamples, options that change answers."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from farkas.engine.options import Options
from farkas.engine.verdict import Holds, Violated
from farkas.engine.verify import verify
from farkas.specs.query import Semantics
from tests.engine.deciding import decided
from tests.engine.pieces import minimum
from tests.nets import affine, atom, case, dense, random_layers, varied

LINE = affine([[1.0], [-1.0]])  # y0 = x, y1 = -x
BOTH = pytest.mark.parametrize("semantics", [Semantics.REAL, Semantics.F32_ANY])


@BOTH
@pytest.mark.parametrize("place", [0, 7, 19])
def test_the_only_reachable_disjunct_counts_wherever_it_stands(semantics: Semantics, place: int) -> None:
    disjuncts = [[atom([1, 0], -1 - k)] for k in range(20)]
    assert isinstance(decided(LINE, [case([0], [1], *disjuncts)], semantics), Holds)
    disjuncts[place] = [atom([0, 1], Fraction(-3, 4))]
    verdict = decided(LINE, [case([0], [1], *disjuncts)], semantics)
    assert isinstance(verdict, Violated) and verdict.replay.disjunct == place


@BOTH
@pytest.mark.parametrize("place", [0, 4, 9])
def test_the_only_false_atom_of_a_conjunction_counts_wherever_it_stands(semantics: Semantics, place: int) -> None:
    atoms = [atom([1, 0], 2 + k) for k in range(10)]
    assert isinstance(decided(LINE, [case([0], [1], atoms)], semantics), Violated)
    atoms[place] = atom([1, 0], Fraction(-1, 4))
    assert isinstance(decided(LINE, [case([0], [1], atoms)], semantics), Holds)


@BOTH
@pytest.mark.parametrize("place", [0, 5])
def test_the_only_violated_case_counts_wherever_it_stands(semantics: Semantics, place: int) -> None:
    cases = [case([k], [k + 1], [atom([1, 0], k - 1)]) for k in range(6)]
    assert isinstance(decided(LINE, cases, semantics), Holds)
    cases[place] = case([place], [place + 1], [atom([1, 0], place + Fraction(1, 4))])
    verdict = decided(LINE, cases, semantics)
    assert isinstance(verdict, Violated) and verdict.replay.case_number == place


@BOTH
@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_counterexample_is_never_proved_away(semantics: Semantics, inputs: int, seed: int) -> None:
    """y = relu(d - sum |x_i - a_i|): 0 but for a pyramid of height and radius d = 2^-7 around a."""
    rng = np.random.default_rng(seed)
    a, d = (rng.integers(-500, 501, inputs) / 512).astype(np.float32), 2.0**-7
    first = np.vstack([np.eye(inputs), -np.eye(inputs)])
    net = dense(
        [(first, np.concatenate([-a, a])), (-np.ones((1, 2 * inputs)), np.array([d])), (np.ones((1, 1)), np.zeros(1))]
    )
    box = [-1] * inputs, [1] * inputs
    verdict = decided(net, [case(*box, [atom([-1], -Fraction(d) / 2)])], semantics)
    assert not isinstance(verdict, Holds)
    assert isinstance(verdict, Violated) or inputs == 3
    assert isinstance(decided(net, [case(*box, [atom([-1], -Fraction(d) * 2)])], semantics), Holds)


@BOTH
def test_a_tie_counts_against_the_class_that_has_to_win(semantics: Semantics) -> None:
    """Unsafe: y1 >= y0.  Equal outputs are a violation; `argmax` would call them safe."""
    tie = affine([[1.0], [1.0]])
    assert isinstance(decided(tie, [case([0], [1], [atom([1, -1], 0)])], semantics), Violated)
    assert not isinstance(decided(tie, [case([0], [1], [atom([1, -1], 0, strict=True)])], semantics, 1.0), Violated)


@BOTH
@pytest.mark.parametrize("offset", [Fraction(-1, 64), Fraction(1, 64)])
def test_seeds_and_limits_change_no_answer(semantics: Semantics, offset: Fraction) -> None:
    net = varied(np.random.default_rng(2), "residual")
    box = (Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1))
    row = [Fraction(1), Fraction(-2)]
    asked = net.query([case(*box, [atom(row, minimum(net.program, *box, row, ()) + offset)])], semantics)
    options = [Options(seed=seed) for seed in range(5)]
    options += [Options(timeout_s=60.0), Options(memory_bytes=1 << 40), Options(trust=frozenset({"crown"}))]
    assert len({verify(asked, choice).word for choice in options}) == 1


def test_answers_repeat_bit_for_bit() -> None:
    net = dense(random_layers(np.random.default_rng(4), (3, 8, 8, 2)))
    asked = net.query([case([-1] * 3, [1] * 3, [atom([1, -1], Fraction(-5, 2)), atom([0, 1], 3)])], Semantics.F32_ANY)
    first, second = (verify(asked, Options(timeout_s=20.0)) for _ in range(2))
    assert type(first) is type(second)
    assert (first.statistics.boxes, first.statistics.leaves) == (second.statistics.boxes, second.statistics.leaves)
    if isinstance(first, Violated) and isinstance(second, Violated):
        assert first.replay == second.replay


def test_a_proof_over_the_reals_loads_no_runtime_and_no_solver() -> None:
    """Start-up is most of a millisecond problem: onnxruntime costs 120 ms, the solvers more."""
    program = (
        "import sys\n"
        "from tests.nets import affine, atom, case\n"
        "from farkas.engine.options import Options\n"
        "from farkas.engine.verify import verify\n"
        "verdict = verify(affine([[1.0]]).query([case([0], [1], [atom([1], -1)])]), Options())\n"
        "print(verdict.word, sorted({'ortools', 'highspy', 'z3', 'pysmt', 'torch', 'cupy'} & set(sys.modules)),"
        " 'farkas.engine.runtime' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "unsat [] False"
