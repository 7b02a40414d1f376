"""Gradients of a network for falsification: a guide only, every candidate is replayed exactly elsewhere.

Projected gradient: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
"""

from __future__ import annotations

from typing import Any, assert_never

import numpy as np

from farkas.ir.core import Affine, Input, Program, Relu, run_float


def output_and_gradient(program: Program, x: Any, choose: Any) -> tuple[Any, Any]:
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
                contribution = grad * (values[source] > 0)
                adjoint[source] = adjoint[source] + contribution if source in adjoint else contribution
            case Affine(terms=terms):
                for term in terms:
                    contribution = term.map.rmv(grad)
                    known = adjoint.get(term.source)
                    adjoint[term.source] = contribution if known is None else known + contribution
            case _:
                assert_never(node)
    return y, adjoint.get(0, np.zeros_like(x))
