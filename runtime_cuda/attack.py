"""Gradients of a network for falsification: a guide only, every candidate is replayed exactly elsewhere.

Projected gradient: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np

from farkas.ir.core import Affine, CoreOp, Input, Product, Program, Relu, Term, run_float

Choose = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Gradients:
    """A program to differentiate; in float32 where its linear maps keep to it, which takes half the time.

    What is computed here only points somewhere, so neither precision matters; NaN counts as no direction.
    """

    program: Program
    dtype: Any

    @staticmethod
    def of(program: Program) -> Gradients:
        single = replace(program, nodes=tuple(_single(node) for node in program.nodes))
        start: Any = np.zeros((1, program.input_size), dtype=np.float32)
        probe = run_float(single, start)
        if all(value.dtype == np.float32 for value in probe):
            return Gradients(single, np.float32)
        return Gradients(program, np.float64)

    def outputs(self, x: Any) -> Any:
        """(B, m) in float64."""
        return run_float(self.program, x.astype(self.dtype))[self.program.output].astype(np.float64)

    def at(self, x: Any, choose: Choose) -> tuple[Any, Any]:
        """Outputs and gradient as of `output_and_gradient`, in float64; choose takes and gives float64."""

        def chosen(y: Any) -> Any:
            return choose(y.astype(np.float64)).astype(self.dtype)

        y, gradient = output_and_gradient(self.program, x.astype(self.dtype), chosen)
        return y.astype(np.float64), np.nan_to_num(gradient.astype(np.float64), posinf=0.0, neginf=0.0)


def _single(node: CoreOp) -> CoreOp:
    if not isinstance(node, Affine):
        return node
    terms = tuple(Term(term.map.on(_to_single), term.source) for term in node.terms)
    return replace(node, terms=terms, bias=_to_single(node.bias))


def _to_single(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def output_and_gradient(program: Program, x: Any, choose: Choose) -> tuple[Any, Any]:
    """Outputs y (B, m) and the gradient (B, n0) of sum_j w_j y_j, where w = choose(y) is (B, m) and held constant."""
    values = run_float(program, x)
    y = values[program.output]
    adjoint: dict[int, Any] = {program.output: choose(y)}
    for v in range(program.output, 0, -1):
        grad = adjoint.pop(v, None)
        if grad is None:
            continue
        node = program.nodes[v]
        match node:
            case Input():
                raise AssertionError("the input is node 0")
            case Relu(source=source):
                _add(adjoint, source, grad * (values[source] > 0))
            case Affine(terms=terms):
                for term in terms:
                    _add(adjoint, term.source, term.map.rmv(grad))
            case Product(left=left, right=right):
                _add(adjoint, left, grad * values[right])
                _add(adjoint, right, grad * values[left])
            case _:
                assert_never(node)
    return y, adjoint.get(0, np.zeros_like(x))


def _add(adjoint: dict[int, Any], node: int, contribution: Any) -> None:
    adjoint[node] = adjoint[node] + contribution if node in adjoint else contribution
