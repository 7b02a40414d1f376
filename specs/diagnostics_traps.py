"""Conditions where Python wants a truth value: which construct it was, and what to write instead, word for word.

A condition has no truth value, and Python does not say who asks for one.  The instruction at work has columns in the
source, so the smallest construct around them that asks for truth values is the one; its replacement is written from
its syntax tree.  Without the source the message lists all replacements.
"""

import ast
import linecache

from farkas.specs.diagnostics import Diagnostic, Place, SpecError, here

_ASKING = frozenset({"all", "any", "bool", "filter", "max", "min", "sorted"})
_FK = {"all": "fk.all", "any": "fk.any", "max": "fk.max", "min": "fk.min"}
_FOUND = "a condition, which is neither true nor false before its variables have values"
_WANTED = "an operation on conditions"


def no_truth_value() -> SpecError:
    """The error that names the construct that asked for the truth value of a condition."""
    place = here()
    code, fix = _replacement(place) if place is not None and place.expression else ("FK105", _general())
    return SpecError(Diagnostic(code, place, _FOUND, _WANTED, fix))


def _general() -> str:
    return (
        "fk.between(lo, x, hi) for `lo <= x <= hi`; `&`, `|`, `~` with parentheses for `and`, `or`, `not`; "
        "fk.implies(a, b) for `if`; fk.all and fk.any for all and any"
    )


def _replacement(place: Place) -> tuple[str, str]:
    node = _asking(place)
    match node:
        case ast.Compare(left=left, ops=operators, comparators=others) if len(operators) > 1:
            return "FK101", _unchained(left, operators, others)
        case ast.BoolOp(op=operator, values=values):
            sign = " & " if isinstance(operator, ast.And) else " | "
            return "FK102", sign.join(_operand(value) for value in values)
        case ast.UnaryOp(operand=operand):
            return "FK103", f"~({ast.unparse(operand)})"
        case ast.If(test=test) | ast.While(test=test) | ast.Assert(test=test) | ast.IfExp(test=test):
            return "FK104", f"fk.implies({ast.unparse(test)}, ...) in `given` or `prove`"
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as operator], comparators=[ast.Call() as call]):
            if ast.unparse(call.func).rpartition(".")[2] == "top_k":
                sign = "~" if isinstance(operator, ast.NotIn) else ""
                return "FK105", f"{sign}{ast.unparse(call)}.contains({ast.unparse(left)})"
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _FK:
            return "FK105", _reduction(_FK[name], arguments)
    return "FK105", _general()


def _unchained(left: ast.expr, operators: list[ast.cmpop], others: list[ast.expr]) -> str:
    terms = [left, *others]
    if len(operators) == 2 and all(isinstance(operator, ast.LtE) for operator in operators):
        return f"fk.between({', '.join(map(ast.unparse, terms))})"
    pairs = [
        ast.unparse(ast.Compare(left=terms[k], ops=[operator], comparators=[terms[k + 1]]))
        for k, operator in enumerate(operators)
    ]
    return " & ".join(f"({pair})" for pair in pairs)


def _reduction(name: str, arguments: list[ast.expr]) -> str:
    """Python's all, any, max or min as ours; max and min of several arguments are theirs of a list."""
    inside = ", ".join(map(ast.unparse, arguments))
    return f"{name}({inside})" if len(arguments) == 1 else f"{name}([{inside}])"


def _operand(node: ast.expr) -> str:
    """An operand of `&` or `|`; `not` inside it becomes `~`, and an `and` inside an `or` is replaced with it."""
    match node:
        case ast.BoolOp(op=operator, values=values):
            sign = " & " if isinstance(operator, ast.And) else " | "
            return f"({sign.join(_operand(value) for value in values)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"~({ast.unparse(operand)})"
        case ast.Compare(left=left, ops=operators, comparators=others) if len(operators) > 1:
            return f"({_unchained(left, operators, others)})"
    return f"({ast.unparse(node)})"


def _asking(place: Place) -> ast.AST | None:
    """The smallest construct around the place that asks for truth values; None without source."""
    try:
        tree = ast.parse("".join(linecache.getlines(place.file)))
    except SyntaxError:
        return None
    start, end = (place.line, place.column), (place.end_line, place.end_column)
    found: ast.AST | None = None
    for node in ast.walk(tree):  # outer nodes come before inner ones
        span = _span(node)
        if span is not None and span[0] <= start and end <= span[1] and _asks(node):
            found = node
    return found


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First and last position of a node; of a statement with a body, those of its test."""
    if isinstance(node, ast.If | ast.While):
        node = node.test
    if not isinstance(node, ast.expr | ast.stmt) or node.end_lineno is None or node.end_col_offset is None:
        return None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _asks(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return len(node.ops) > 1 or isinstance(node.ops[0], ast.In | ast.NotIn)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _ASKING
    return isinstance(node, ast.BoolOp | ast.If | ast.While | ast.Assert | ast.IfExp)
