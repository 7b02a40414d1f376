"""NumPy's operators between arrays and tensors, and what is said to NumPy's functions.

`array * x` is asked of the array first, which asks the ufunc, which asks here.  Operators go on to those of tensors.
NumPy's functions compute with numbers, and expressions have none yet: they raise SpecError with the function of ours to
write, also where a method would do (`np.sum(x)`), so that there is one way to write each thing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from farkas.specs.diagnostics import fail

Operator = Callable[[Any, Any], Any]

# What each ufunc of an operator is, and the same with the two operands exchanged, as the tensor on the right has it.
OPERATORS: Mapping[str, tuple[Operator, str]] = MappingProxyType(
    {
        "add": (operator.add, "__radd__"),
        "subtract": (operator.sub, "__rsub__"),
        "multiply": (operator.mul, "__rmul__"),
        "divide": (operator.truediv, "__rtruediv__"),
        "matmul": (operator.matmul, "__rmatmul__"),
        "power": (operator.pow, "__rpow__"),
        "less": (operator.lt, "__gt__"),
        "less_equal": (operator.le, "__ge__"),
        "greater": (operator.gt, "__lt__"),
        "greater_equal": (operator.ge, "__le__"),
        "equal": (operator.eq, "__eq__"),
        "not_equal": (operator.ne, "__ne__"),
        "bitwise_and": (operator.and_, "__rand__"),
        "bitwise_or": (operator.or_, "__ror__"),
        "bitwise_xor": (operator.xor, "__rxor__"),
        "right_shift": (operator.rshift, "__rrshift__"),
    }
)

# Functions of NumPy by name, and what the language has for them.
OURS: Mapping[str, str] = MappingProxyType(
    {
        "absolute": "fk.abs(x)",
        "fabs": "fk.abs(x)",
        "sum": "fk.sum(x)",
        "mean": "fk.mean(x)",
        "max": "fk.max(x)",
        "amax": "fk.max(x)",
        "min": "fk.min(x)",
        "amin": "fk.min(x)",
        "maximum": "fk.maximum(a, b)",
        "fmax": "fk.maximum(a, b)",
        "minimum": "fk.minimum(a, b)",
        "fmin": "fk.minimum(a, b)",
        "clip": "fk.minimum(fk.maximum(x, low), high)",
        "dot": "fk.dot(a, b), or a @ b",
        "argmax": "fk.argmax(x)",
        "argmin": "fk.argmin(x)",
        "norm": "fk.l2(x), fk.linf(x) or fk.l1(x)",
        "square": "x**2",
        "all": "fk.all(conditions)",
        "any": "fk.any(conditions)",
        "logical_and": "`&` between comparisons in parentheses",
        "logical_or": "`|` between comparisons in parentheses",
        "logical_not": "~(...)",
        "reshape": "x.reshape(...)",
        "ravel": "x.ravel()",
        "transpose": "x.transpose(...)",
        "concatenate": "a list, as in net([[*a, *b]])",
        "stack": "a list, as in net([a, b])",
    }
)


def operated(tensor: object, name: str, method: str, operands: tuple[object, ...]) -> object:
    """What a ufunc that is an operator gives for an array or number and a tensor; raises SpecError for another one."""
    if name not in OPERATORS or method != "__call__" or len(operands) != 2:
        not_ours(name)
    forward, reflected = OPERATORS[name]
    left, right = operands
    if isinstance(left, type(tensor)):
        return forward(left, right)
    return getattr(right, reflected)(left)


def not_ours(name: str) -> NoReturn:
    """Raises SpecError about a function of NumPy on an expression."""
    known = "fk.abs, fk.sum, fk.max and so on, or operators"
    fail(
        "FK107", found=f"NumPy's {name} of an expression", wanted="a function of the language",
        fix=OURS.get(name, known),
    )  # fmt: skip
