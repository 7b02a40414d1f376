"""Whether two networks are one graph with different weights: what VNN-LIB 2.x calls isomorphic.

Operands have an order, and so have inputs and outputs: so from the outputs down there is only one way in which the
nodes can correspond, and it is followed.  Two nodes correspond when they apply the same operator, with the same
attributes but for floating-point numbers (weights, biases, slopes, bounds: these are what may differ), to corresponding
operands, and give tensors of the same shape.  Nodes that no output reads are not looked at.  Operands are compared
before what reads them, so the first difference is the one nearest to the inputs.

Nothing is proved with it: a query is decided about the networks as they are.  It tells a user who mixed up two files.
"""

from __future__ import annotations

import numbers
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from farkas.ir.graph import Graph
from farkas.ir.op import Op


def difference(f: Graph, g: Graph) -> str | None:
    """The first difference of two graphs, in words in which they are 'the first' and 'the other'; None: isomorphic."""
    for kind, ours, theirs in (("inputs", f.inputs, g.inputs), ("outputs", f.outputs, g.outputs)):
        if len(ours) != len(theirs):
            return f"the first has {len(ours)} {kind}, the other {len(theirs)}"
    pairing = _Pairing(f, g)
    for a, b in zip(f.outputs, g.outputs, strict=True):
        found = pairing.follow(a, b)
        if found is not None:
            return found
    return None


class _Pairing:
    """Which tensor of one graph is which of the other, as far as it is known."""

    def __init__(self, f: Graph, g: Graph) -> None:
        self.f, self.g = f, g
        self.nodes = {node.name: node for node in f.nodes}, {node.name: node for node in g.nodes}
        self.known = {a: b for (a, _), (b, _) in zip(f.inputs, g.inputs, strict=True)}
        self.taken = {b: a for a, b in self.known.items()}

    def follow(self, output: str, other: str) -> str | None:
        """Pairs two tensors and all that they depend on; the first difference."""
        stack = [(output, other)]
        while stack:
            a, b = stack[-1]
            if a in self.known or b in self.taken:
                stack.pop()
                if self.known.get(a) != b:
                    return f"where the first reads '{a}', the other reads '{b}', which is not its counterpart elsewhere"
                continue
            found = self._operands(a, b, stack)
            if found is None and stack[-1] == (a, b):
                stack.pop()
                self.known[a], self.taken[b] = b, a
                found = self._nodes(a, b)
            if found is not None:
                return found
        return None

    def _operands(self, a: str, b: str, stack: list[tuple[str, str]]) -> str | None:
        """Puts the pairs of operands that are not known yet on the stack."""
        x, y = (nodes.get(name) for nodes, name in zip(self.nodes, (a, b), strict=True))
        if x is None or y is None:
            return f"'{a}' of the first is {_is(x)}, '{b}' of the other is {_is(y)}"
        if type(x.op) is not type(y.op):
            return f"node '{a}' of the first is {_is(x)}, '{b}' of the other is {_is(y)}"
        if len(x.inputs) != len(y.inputs):
            return f"node '{a}' of the first has {len(x.inputs)} operands, '{b}' of the other {len(y.inputs)}"
        for p, q in zip(reversed(x.inputs), reversed(y.inputs), strict=True):
            if self.known.get(p) != q or self.taken.get(q) != p:
                stack.append((p, q))
        return None

    def _nodes(self, a: str, b: str) -> str | None:
        """The difference of two nodes with corresponding operands."""
        x, y = self.nodes[0][a], self.nodes[1][b]
        found = _attributes(x.op, y.op)
        if found is None and self.f.shapes[a] != self.g.shapes[b]:
            found = f"gives {list(self.f.shapes[a])}", f"{list(self.g.shapes[b])}"
        return found and f"{_is(x)} '{a}' of the first {found[0]}, '{b}' of the other {found[1]}"


def _is(node: Any) -> str:
    return "an input" if node is None else str(getattr(node.op, "onnx", type(node.op).__name__))


def _attributes(x: Op, y: Op) -> tuple[str, str] | None:
    """What differs between two operators of one class, each in words."""
    assert is_dataclass(x) and is_dataclass(y), "operators are dataclasses"
    for field in fields(x):
        ours, theirs = getattr(x, field.name), getattr(y, field.name)
        if not _alike(ours, theirs):
            return f"has {field.name} {_said(ours)}", _said(theirs)
    return None


def _alike(ours: Any, theirs: Any) -> bool:
    """Equal but for the values of floating-point numbers."""
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        floats = ours.dtype.kind == "f" == theirs.dtype.kind
        return ours.shape == theirs.shape and (floats or bool(np.array_equal(ours, theirs)))
    if is_dataclass(ours) and type(ours) is type(theirs):
        return all(_alike(getattr(ours, field.name), getattr(theirs, field.name)) for field in fields(ours))
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    if _is_float(ours) and _is_float(theirs):
        return True
    return type(ours) is type(theirs) and bool(ours == theirs)


def _is_float(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral)


def _said(value: Any) -> str:
    return f"of shape {list(value.shape)}" if isinstance(value, np.ndarray) else str(value)[:60]
