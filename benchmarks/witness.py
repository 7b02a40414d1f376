"""Validates a witness without Farkas: `witness.py NET.onnx QUERY.vnnlib SEMANTICS ASSIGNMENT`.

The assignment is read as printed.  The property is read by a reader of its own, which knows nothing of normal forms:
the file's formulas are evaluated as they stand, in exact rationals, at the printed inputs, which decides at once
whether the point lies in the input set and whether it is unsafe.  Nothing is given a tolerance.

f32-any: every input has to be a binary32 number as printed; the outputs are those of onnxruntime with graph
optimisation off, and the printed outputs have to be those, bit for bit.  A bound that stands in the file both as lower
and as upper bound of an input, and is no binary32 number, means the nearest one.
Whether the witness also violates with onnxruntime's default options, which refold weights, is reported and not
required.

real: the formulas have to be true at the printed inputs and outputs, and the outputs have to be near a float run.

First line of the output: `valid`, `valid, not with graph optimisation`, or `invalid: REASON`.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

TOKEN = re.compile(r"[()]|[^\s()]+")
PAIR = re.compile(r"\(([XY])_(\d+) ([^\s()]+)\)")
NEAR = 1e-3  # of a printed exact output and a float run, relative

Formula = list[Any]  # nested lists of words
Values = Mapping[str, Fraction]


class Invalid(Exception):
    """The witness does not stand; the message says why."""


def read_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def read_assignment(text: str) -> tuple[list[str], list[str]]:
    """The literals of X_0, X_1, ... and of Y_0, Y_1, ..., in order and without gaps."""
    body = text.strip()
    if body[:1] != "(" or body[-1:] != ")" or PAIR.sub("", body[1:-1]).strip():
        raise Invalid("the assignment is not ((X_0 value) ... (Y_0 value) ...)")
    literals: dict[str, list[str]] = {"X": [], "Y": []}
    for kind, index, word in PAIR.findall(body[1:-1]):
        if int(index) != len(literals[kind]) or (kind == "X" and literals["Y"]):
            raise Invalid(f"{kind}_{index} is out of order")
        literals[kind].append(word)
    return literals["X"], literals["Y"]


def read_formulas(text: str) -> list[Formula]:
    """The operands of all assertions of a VNN-LIB 1.0 file."""
    stack: list[Formula] = [[]]
    for token in TOKEN.findall(re.sub(r";[^\n]*", "", text)):
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    return [command[1] for command in stack[0] if command[0] == "assert"]


def number(word: str) -> Fraction:
    """The exact value of a decimal literal."""
    return Fraction(word)


def points_off_grid(formulas: list[Formula]) -> dict[tuple[str, Fraction], Fraction]:
    """(input, value) -> nearest binary32, for values that are both a lower and an upper bound of that input."""
    import numpy as np

    bounds: dict[str, set[tuple[str, Fraction]]] = {"<=": set(), ">=": set()}
    waiting: list[Formula] = list(formulas)
    while waiting:
        formula = waiting.pop()
        if formula[0] in ("and", "or"):
            waiting += formula[1:]
        elif formula[0] in bounds and isinstance(formula[1], str) and isinstance(formula[2], str):
            left, right = formula[1:]
            if left.startswith("X_") and not right.startswith(("X_", "Y_")):
                bounds[formula[0]].add((left, number(right)))
            elif right.startswith("X_") and not left.startswith(("X_", "Y_")):
                bounds["<=" if formula[0] == ">=" else ">="].add((right, number(left)))
    found = {}
    for name, value in bounds["<="] & bounds[">="]:
        nearest = Fraction(float(np.float32(float(value))))  # the double rounding is caught below
        around = (np.nextafter(np.float32(float(value)), np.float32(end)) for end in (-np.inf, np.inf))
        candidates = [nearest, *(Fraction(float(v)) for v in around)]
        found[name, value] = min(candidates, key=lambda q: abs(q - value))
    return found


def term(item: Any, values: Values) -> Fraction:
    """The exact value of a term."""
    if isinstance(item, str):
        return values[item] if item in values else number(item)
    operands = [term(part, values) for part in item[1:]]
    if item[0] == "+":
        return sum(operands, Fraction(0))
    if item[0] == "-":
        return operands[0] - sum(operands[1:]) if len(operands) > 1 else -operands[0]
    if item[0] == "*":
        product = Fraction(1)
        for operand in operands:
            product *= operand
        return product
    raise Invalid(f"the property has an operator '{item[0]}'")


def holds(formula: Formula, values: Values, nearest: Mapping[tuple[str, Fraction], Fraction]) -> bool:
    """Whether a formula is true at a point."""
    head = formula[0]
    if head == "and":
        return all(holds(part, values, nearest) for part in formula[1:])
    if head == "or":
        return any(holds(part, values, nearest) for part in formula[1:])
    sides = [term(part, values) for part in formula[1:]]
    for here, there in ((0, 1), (1, 0)):
        if isinstance(formula[1 + here], str):
            sides[there] = nearest.get((formula[1 + here], sides[there]), sides[there])
    left, right = sides
    if head == "<=":
        return left <= right
    if head == ">=":
        return left >= right
    if head in ("<", ">"):
        return left < right if head == "<" else left > right
    raise Invalid(f"the property has a comparison '{head}'")


def run(network: bytes, inputs: Any, *, optimised: bool) -> Any:
    """The first output of onnxruntime, flat."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    shape = [d if isinstance(d, int) and d > 0 else 1 for d in feed.shape]
    kind = "float64" if feed.type == "tensor(double)" else "float32"
    outputs: list[Any] = list(session.run(None, {feed.name: inputs.astype(kind).reshape(shape)}))
    return outputs[0].ravel()


def validate(network: bytes, prop: str, assignment: str, semantics: str) -> str:
    """`valid` or `valid, not with graph optimisation`; raises Invalid."""
    import numpy as np

    x, y = read_assignment(assignment)
    formulas = read_formulas(prop)
    inputs = [number(word) for word in x]
    printed = [number(word) for word in y]
    if semantics == "real":
        if not _is_true(formulas, inputs, printed, {}):
            raise Invalid("the formulas are not true at the printed values")
        floats = run(network, np.array([float(q) for q in inputs]), optimised=False)
        if not np.allclose(floats, [float(q) for q in printed], rtol=NEAR, atol=NEAR):
            raise Invalid("the printed outputs are not near a float run")
        return "valid"
    point = np.array([float(q) for q in inputs]).astype(np.float32)
    if [Fraction(float(v)) for v in point] != inputs:
        raise Invalid("an input is no binary32 number as printed")
    nearest = points_off_grid(formulas)
    outputs = [Fraction(float(v)) for v in _finite(run(network, point, optimised=False))]
    if not _is_true(formulas, inputs, outputs, nearest):
        raise Invalid("the formulas are not true at the printed inputs and onnxruntime's outputs")
    if printed != outputs:
        raise Invalid("the printed outputs are not those of onnxruntime")
    default = [Fraction(float(v)) for v in _finite(run(network, point, optimised=True))]
    return "valid" if _is_true(formulas, inputs, default, nearest) else "valid, not with graph optimisation"


def _is_true(
    formulas: list[Formula], x: list[Fraction], y: list[Fraction], nearest: Mapping[tuple[str, Fraction], Fraction]
) -> bool:
    values = {f"X_{i}": v for i, v in enumerate(x)} | {f"Y_{j}": v for j, v in enumerate(y)}
    return all(holds(formula, values, nearest) for formula in formulas)


def _finite(values: Any) -> Any:
    import numpy as np

    if not np.isfinite(values).all():
        raise Invalid("an output of onnxruntime is not finite")
    return values


def main(arguments: list[str]) -> int:
    network, prop, semantics, assignment = arguments
    text = read_bytes(Path(prop)).decode("utf-8", errors="replace")
    try:
        result = validate(read_bytes(Path(network)), text, Path(assignment).read_text(encoding="ascii"), semantics)
    except Invalid as error:
        result = f"invalid: {error}"
    print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
