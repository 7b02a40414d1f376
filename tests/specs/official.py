"""The official reader of VNN-LIB 2.x, the package `vnnlib`, as an oracle: what its trees say at a point, and ours."""

import re
from fractions import Fraction as Q
from math import prod
from typing import Any

from farkas.specs.vnnlib2_document import Formula, Junction


def as_the_package_wants(text: str) -> str:
    """It refuses integers beside real numbers, and `Real`."""
    return re.sub(r"(?<=[ (])(-?\d+)(?=\))", r"\1.0", text).replace(" Real ", " real ")


def our_truth(formula: Formula, point: dict[tuple[str, int], Q]) -> bool:
    if isinstance(formula, Junction):
        truths = [our_truth(part, point) for part in formula.parts]
        return all(truths) if formula.word == "and" else any(truths)
    left, right = (
        sum((a * prod(point[factor] for factor in key) for key, a in side.terms.items()), side.constant)
        for side in (formula.left, formula.right)
    )
    return _compared(formula.operator, left, right)


def _compared(operator: str, left: Q, right: Q) -> bool:
    truth = {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "==": left == right}
    return {**truth, "!=": left != right}[operator]


def their_truth(tree: Any, point: dict[str, Q]) -> bool:
    words = {
        "LessThan": "<",
        "LessEqual": "<=",
        "GreaterThan": ">",
        "GreaterEqual": ">=",
        "Equal": "==",
        "NotEqual": "!=",
    }
    kind = type(tree).__name__
    if kind in words:
        return _compared(words[kind], _their_value(tree.lhs, point), _their_value(tree.rhs, point))
    truths = [their_truth(part, point) for part in tree.args]
    return {"And": all, "Or": any}[kind](truths)


def _their_value(tree: Any, point: dict[str, Q]) -> Q:
    match type(tree).__name__:
        case "Var":
            return point[f"{tree.name}[{','.join(map(str, tree.indices))}]" if tree.shape else tree.name]
        case "Float" | "Int":
            return Q(tree.lexeme)
        case "Negate":
            return -_their_value(tree.expr, point)
        case "Plus":
            return sum((_their_value(part, point) for part in tree.args), Q(0))
        case "Minus":
            return _their_value(tree.head, point) - sum((_their_value(part, point) for part in tree.rest), Q(0))
        case "Multiply":
            return prod((_their_value(part, point) for part in tree.args), start=Q(1))
        case other:
            raise AssertionError(other)
