"""Proofs for many inputs, where no subdivision ends: one mixed-integer program for each disjunct of the unsafe set.

Every ReLU that may be on or off has a binary; the program asks for a point of the box where no atom of the disjunct
exceeds the margin of the other judge, 0.001, and HiGHS shows that there is none.  Nothing of Farkas takes part.  The
solver computes in float64 with a tolerance of 1e-6, far below the margin.
"""

from __future__ import annotations

import highspy
import numpy as np

from examples.reference import MARGIN, Judged, Unsafe
from examples.training import Array

SECONDS = 120.0


def proves_by_milp(network: Judged, low: Array, high: Array, unsafe: Unsafe) -> bool:
    """Whether no point of the box is unsafe by MARGIN; False when the solver does not show it in time."""
    bounds = [neuron_bounds(network, k, low, high) for k in range(len(network.layers))]
    return all(_is_empty(network, bounds, low, high, unsafe, group) for group in unsafe.groups)


def neuron_bounds(network: Judged, k: int, low: Array, high: Array) -> tuple[Array, Array]:
    """Bounds of the inputs of the k-th layer of ReLUs, by the zonotopes of the other judge."""
    layer = network.layers[k]
    part = Judged(network.inputs, network.layers[:k], layer)
    rows = np.concatenate([np.eye(len(layer.bias)), -np.eye(len(layer.bias))])
    zeros = np.zeros((len(rows), network.inputs))
    found = part.lower_bounds(low[None], high[None], zeros, rows, np.zeros(len(rows)))[0]
    return found[: len(layer.bias)] - 1e-9, -found[len(layer.bias) :] + 1e-9


def _is_empty(
    network: Judged, bounds: list[tuple[Array, Array]], low: Array, high: Array, unsafe: Unsafe, group: tuple[int, ...]
) -> bool:
    """Whether no point of the box makes all atoms of one disjunct at most MARGIN."""
    program = _Program(low, high)
    for layer, (l, u) in zip(network.layers, bounds, strict=True):
        variables = len(program.places)
        for weight, bias, lower, upper in zip(layer.widened(variables), layer.bias, l, u, strict=True):
            program.add_relu(weight, float(bias), float(lower), float(upper))
    weight = unsafe.rows @ network.output.widened(len(program.places))
    weight[:, : network.inputs] += unsafe.inputs
    constants = unsafe.rows @ network.output.bias + unsafe.constants
    return program.is_infeasible_with([(weight[r], float(constants[r])) for r in group])


class _Program:
    """A program in the making; places: the column of every variable of the network, inputs first."""

    def __init__(self, low: Array, high: Array) -> None:
        self.solver = highspy.Highs()
        for option, value in (("output_flag", False), ("threads", 1), ("time_limit", SECONDS)):
            self.solver.setOptionValue(option, value)
        self.places = [self._column(float(l), float(u)) for l, u in zip(low, high, strict=True)]

    def _column(self, low: float, high: float, *, binary: bool = False) -> int:
        place = int(self.solver.getNumCol())
        self.solver.addVar(low, high)
        if binary:
            self.solver.changeColIntegrality(place, highspy.HighsVarType.kInteger)
        return place

    def _row(self, low: float, high: float, weight: Array, more: list[tuple[int, float]]) -> None:
        """low <= weight . variables + more <= high."""
        used = np.flatnonzero(weight)
        columns = [self.places[i] for i in used] + [column for column, _ in more]
        values = [*weight[used].tolist(), *(value for _, value in more)]
        self.solver.addRow(low, high, len(columns), np.array(columns, dtype=np.int32), np.array(values))

    def add_relu(self, weight: Array, bias: float, lower: float, upper: float) -> None:
        """The next variable, relu(weight . variables + bias), whose argument lies between lower and upper."""
        infinite = highspy.kHighsInf
        r = self._column(0.0, max(upper, 0.0))
        if lower >= 0.0:  # z = r
            self._row(-bias, -bias, weight, [(r, -1.0)])
        elif upper > 0.0:  # r >= z, r <= upper d, r <= z - lower (1 - d)
            d = self._column(0.0, 1.0, binary=True)
            self._row(-infinite, -bias, weight, [(r, -1.0)])
            self._row(-infinite, 0.0, np.zeros(0), [(r, 1.0), (d, -upper)])
            self._row(-infinite, bias - lower, -weight, [(r, 1.0), (d, -lower)])
        self.places.append(r)

    def is_infeasible_with(self, atoms: list[tuple[Array, float]]) -> bool:
        """Whether the solver shows that no point has weight . variables + constant <= MARGIN for all atoms."""
        for weight, constant in atoms:
            self._row(-highspy.kHighsInf, MARGIN - constant, weight, [])
        self.solver.run()
        return bool(self.solver.getModelStatus() == highspy.HighsModelStatus.kInfeasible)
