"""The input that violates most among those on the same linear piece of the network as a given one.

An exact solver's solution is a vertex: some atom holds with equality there, and any rounding of the input may lose it.
On the piece around it (every neuron keeps its sign) the network is one affine map, so that raising the least slack of a
disjunct's atoms is a linear program in the inputs alone.  Its optimum is in floats, a candidate that survives rounding
wherever the piece has room.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import assert_never

import numpy as np
import numpy.typing as npt

from farkas.encoders.highs import RelaxedSolver
from farkas.encoders.linear_model import Group, LinearModel, ModelBuilder, rows_of
from farkas.engine.problem import Matrix, Vector
from farkas.ir.core import Affine, Input, Product, Program, Relu
from farkas.specs.query import Atom, Case

LARGEST = Fraction(2) ** 1000


def deepest(program: Program, case: Case, point: Sequence[Fraction], time_s: float) -> Vector | None:
    """The deepest point (n0,) of the case's best disjunct on the piece of `point`; None without atoms."""
    x = np.array([float(v) for v in point])
    forms, signs = _linearised(program, x)
    lower, upper = (np.array([float(v) for v in side]) for side in (case.lower, case.upper))
    cut = signs[_may_change(signs, lower, upper)]
    disjuncts = [np.array([_row(atom, forms) for atom in atoms]) for atoms in case.disjuncts if atoms]
    if not disjuncts:
        return None
    rows = max(disjuncts, key=lambda rows: float(_at(rows, x).min()))
    solution = RelaxedSolver(_model(rows, cut, lower, upper)).solve(time_s)
    return None if solution.point is None else np.clip(solution.point[: len(x)], lower, upper)


def _linearised(program: Program, x: Vector) -> tuple[Matrix, Matrix]:
    """Affine forms (m, n0 + 1) of the outputs around x, and those that are >= 0 at and around it."""
    inputs = len(x)
    values: list[Matrix] = []  # (n0 + 1, n): coefficients, last the constants
    signs = []
    for node in program.nodes:
        match node:
            case Input():
                values.append(np.eye(inputs + 1, inputs))
            case Affine(terms=terms, bias=bias):
                total = np.zeros((inputs + 1, len(bias)))
                total[-1] = bias
                for term in terms:
                    total = total + term.map.mv(values[term.source])
                values.append(total)
            case Relu(source=source):
                form = values[source]
                sign = np.where(_at(form.T, x) > 0, 1.0, -1.0)
                signs.append((form * sign).T)
                values.append(np.where(sign > 0, form, 0.0))
            case Product(left=left, right=right):
                first, second = (_at(values[u].T, x) for u in (left, right))
                tangent = first * values[right] + second * values[left]
                tangent[-1] -= first * second
                values.append(tangent)
            case _:
                assert_never(node)
    return values[program.output].T, np.concatenate([np.zeros((0, inputs + 1)), *signs])


def _at(forms: Matrix, x: Vector) -> Vector:
    return np.asarray(forms[:, :-1] @ x + forms[:, -1])


def _may_change(forms: Matrix, lower: Vector, upper: Vector) -> npt.NDArray[np.bool_]:
    """Which forms are negative somewhere in the box."""
    radius = abs(forms[:, :-1]) @ (upper - lower) / 2
    return np.asarray(_at(forms, (lower + upper) / 2) < radius)


def _row(atom: Atom, forms: Matrix) -> Vector:
    """The atom's slack c - a.x - b.y as a form over the inputs, scaled to coefficients of at most 1."""
    row = np.zeros(forms.shape[1])
    row[-1] = _near(atom.c)
    for i, a in atom.x:
        row[i] -= _near(a)
    for j, b in atom.y:
        row -= _near(b) * forms[j]
    size = abs(row[:-1]).max(initial=0.0)
    return row / size if size > 0 else row


def _near(value: Fraction) -> float:
    """About the value, within the range of float64."""
    return float(min(max(value, -LARGEST), LARGEST))


def _model(slacks: Matrix, signs: Matrix, lower: Vector, upper: Vector) -> LinearModel:
    """Maximise t with slack >= t for every atom and every sign kept."""
    builder = ModelBuilder()
    inputs = len(lower)
    x = builder.add_columns(Group("input", 0, tuple(range(inputs))), lower, upper)
    t = builder.add_columns(Group("slack", -1, (0,)), -np.inf, np.inf, cost=-1.0)
    for what, forms, share in (("atom", slacks, -1.0), ("sign", signs, 0.0)):
        columns = np.broadcast_to(np.concatenate([x, t]), (len(forms), inputs + 1))
        values = np.column_stack([forms[:, :-1], np.full(len(forms), share)])
        group = Group(what, -1, tuple(range(len(forms))))
        builder.add_rows(group, rows_of(columns, values), -forms[:, -1], np.inf)
    return builder.build()
