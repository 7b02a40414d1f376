"""The packages that Farkas needs live together: each loads beside the others, in one process and without a warning."""

import itertools
import subprocess
import sys

import pytest

# Both load a library called libhighs.so.1, so the order of the imports decides whose it is.
MIXED = ("highspy", "ortools.sat.python.cp_model")

SOLVE = """
import highspy
from ortools.sat.python import cp_model

highs = highspy.Highs()
highs.setOptionValue("output_flag", False)
x, y = highs.addVariable(0, 4, 1.0), highs.addVariable(0, 4, -2.0)
highs.addConstr(x + y >= 3)
highs.run()
print(highs.getInfo().objective_function_value)

cp = cp_model.CpModel()
a = cp.new_int_var(0, 9, "a")
cp.add(2 * a >= 7)
cp.minimize(a)
solver = cp_model.CpSolver()
solver.solve(cp)
print(solver.value(a))
"""


@pytest.mark.parametrize("order", list(itertools.permutations(MIXED)))
def test_solvers_load_and_solve_in_one_process_in_any_order(order: tuple[str, ...]) -> None:
    code = "".join(f"import {name}\n" for name in (*order, "z3")) + SOLVE
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120,
                         check=False)
    assert run.returncode == 0, run.stderr
    # min x - 2 y with x + y >= 3 on [0, 4]^2 is -8 at (0, 4); the least a with 2 a >= 7 is 4.
    assert [float(line) for line in run.stdout.split()] == [-8.0, 4.0]


def test_the_solvers_with_a_floating_point_theory_load_beside_each_other() -> None:
    names = ("bitwuzla", "cvc5", "z3", "highspy", "ortools.math_opt.python.mathopt")
    code = "\n".join(f"import {name}" for name in names)
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120,
                         check=False)
    assert run.returncode == 0, run.stderr
