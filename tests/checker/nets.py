"""Tiny networks as ONNX bytes, properties as text, a small producer of certificates, and exact answers to compare with.

Nothing here uses the checker's arithmetic except the producer, whose word nobody takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from farkas.checker import container, tree
from farkas.checker.check import load_query
from farkas.checker.kernel import Reference, neuron_layers
from farkas.checker.plan import Vector
from farkas.checker.prover import Kernel
from farkas.checker.query import Box, Query, bisect, query_hash

Layer = tuple[list[list[float]], list[float]]


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    shape: Sequence[int | str],
    *,
    opset: int = 13,
    output: str = "y",
) -> bytes:
    """An ONNX network with input `x` of this shape."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString()


def dense(layers: Sequence[Layer], *, split: bool = False) -> bytes:
    """Gemm (split: MatMul and Add) layers with a Relu between them; each W is (rows, columns)."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    value = "x"
    for i, (weights, bias) in enumerate(layers):
        last = i == len(layers) - 1
        constants[f"b{i}"] = np.array(bias, dtype=np.float32)
        out = "y" if last else f"z{i}"
        if split:
            constants[f"w{i}"] = np.array(weights, dtype=np.float32).T.copy()
            nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"m{i}"]))
            nodes.append(helper.make_node("Add", [f"m{i}", f"b{i}"], [out]))
        else:
            constants[f"w{i}"] = np.array(weights, dtype=np.float32)
            nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [out], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"a{i}"]))
            value = f"a{i}"
    return model(nodes, constants, [1, len(layers[0][0][0])])


def decimal(x: Fraction) -> str:
    """A dyadic (or decimal) rational as VNN-LIB text, exactly."""
    digits = 0
    while (x * 10**digits).denominator != 1:
        digits += 1
        if digits > 400:
            raise ValueError(f"{x} is no finite decimal")
    n = int(x * 10**digits)
    text = str(abs(n)).rjust(digits + 1, "0")
    return ("-" if n < 0 else "") + text[: len(text) - digits] + ("." + text[len(text) - digits :] if digits else "")


def vnnlib(lower: Sequence[Fraction], upper: Sequence[Fraction], outputs: int, unsafe: str) -> bytes:
    """A property: a box and `unsafe`, the formula over Y."""
    lines = [f"(declare-const X_{i} Real)" for i in range(len(lower))]
    lines += [f"(declare-const Y_{j} Real)" for j in range(outputs)]
    for i, (lo, hi) in enumerate(zip(lower, upper, strict=True)):
        lines += [f"(assert (>= X_{i} {decimal(lo)}))", f"(assert (<= X_{i} {decimal(hi)}))"]
    return "\n".join([*lines, f"(assert {unsafe})", ""]).encode()


@dataclass(frozen=True)
class Claim:
    """What a certificate is about."""

    network: bytes
    prop: bytes
    semantics: str

    def query(self) -> Query:
        return load_query(self.network, self.prop, self.semantics)[0]


def single_atom_kinds(query: Query, rules: Sequence[int]) -> list[tree.Kind]:
    """For queries of one disjunct per case: one kind per rule and atom."""
    atoms = max((len(case.disjuncts[0]) for case in query.cases), default=0)
    return [((rule, ((a, 1),)),) for rule in rules for a in range(atoms)]


def prove(
    claim: Claim,
    *,
    intermediate: tuple[int, ...] = (0,),
    rules: Sequence[int] = (0, 1, 2),
    depth: int = 8,
    kinds: Sequence[tree.Kind] | None = None,
    choose: Callable[[Box], int] | None = None,
) -> tuple[bytes, bool]:
    """A certificate by bisection of the widest input, and whether every leaf closed; at `depth` leaves stay open."""
    query = claim.query()
    prover = Reference().prepare(query.network, query.rounded, intermediate)
    chosen = single_atom_kinds(query, rules) if kinds is None else list(kinds)
    n = query.network.sizes[0]
    opcodes: list[int] = []
    closed = True
    for case, root in zip(query.cases, query.boxes, strict=True):
        if root is None:
            raise ValueError("a case without binary32 points")
        stack = [(root, prover.start(1), 0)]
        while stack:
            box, parent, level = stack.pop()
            state = prover.derive(parent, [box])
            fits = (k for k, kind in enumerate(chosen) if prover.close(state, [0], [tree.claim_of(kind, case)])[0])
            good = next(fits, None)
            widest = max(range(n), key=lambda i: box.upper[i] - box.lower[i]) if choose is None else choose(box)
            halves = bisect(box, widest, query.rounded) if level < depth else None
            if good is None and halves is not None:
                opcodes.append(widest)
                stack += [(halves[1], state, level + 1), (halves[0], state, level + 1)]
            else:
                closed = closed and good is not None
                opcodes.append(n + (good or 0))
    return assemble(claim, opcodes, chosen, intermediate), closed


def leb128(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def vector_bytes(vector: Vector) -> bytes:
    """A vector as VECTORS has it."""
    parts = [leb128(len(vector.slopes)), vector.slopes, leb128(len(vector.pins))]
    previous = -1
    for neuron, gamma in vector.pins:
        parts += [leb128(neuron - previous - 1), leb128(2 * gamma if gamma > 0 else -2 * gamma - 1)]
        previous = neuron
    return b"".join(parts)


def kinds_json(kinds: Sequence[tree.Kind]) -> bytes:
    return container.canonical_json([[[r, [list(p) for p in atoms]] for r, atoms in kind] for kind in kinds])


def header_of(
    claim: Claim, leaves: int, intermediate: tuple[int, ...] = (), verdict: str = "unsat"
) -> container.Header:
    query = claim.query()
    return container.Header(
        cases=len(query.cases),
        intermediate=intermediate,
        leaves=leaves,
        networks=(("", hashlib.sha256(claim.network).hexdigest()),),
        off_grid=query.off_grid,
        producer="tests",
        property=hashlib.sha256(claim.prop).hexdigest(),
        query=query_hash(query),
        semantics=claim.semantics,
        verdict=verdict,
    )


def assemble(
    claim: Claim, opcodes: Sequence[int], kinds: Sequence[tree.Kind], intermediate: tuple[int, ...] = (0,)
) -> bytes:
    """The certificate with this tree."""
    leaves = sum(opcode >= claim.query().network.sizes[0] for opcode in opcodes)
    frames = [(container.LEAVES, kinds_json(kinds)), (container.TREE, b"".join(map(leb128, opcodes)))]
    return container.encode(header_of(claim, leaves, intermediate), frames)


@dataclass(frozen=True)
class Script:
    """What a certificate of crown-fp-2 says."""

    opcodes: Sequence[int]
    kinds: Sequence[tree.Kind]
    vectors: Sequence[Vector] = ()
    columns: Sequence[int] = ()
    forks: Sequence[Sequence[int]] = ()
    recipes: Sequence[tuple[int, Sequence[Sequence[object]]]] = ()

    def frames(self) -> list[tuple[int, bytes]]:
        recipes = [{"forward": forward, "rows": rows} for forward, rows in self.recipes]
        plan = {"columns": list(self.columns), "forks": list(map(list, self.forks)), "recipes": recipes}
        return [
            (container.PLAN, container.canonical_json(plan)),
            (container.VECTORS, b"".join(map(vector_bytes, self.vectors))),
            (container.LEAVES, kinds_json(self.kinds)),
            (container.TREE, b"".join(map(leb128, self.opcodes))),
        ]


def assemble_script(claim: Claim, script: Script) -> bytes:
    """The certificate of crown-fp-2 with this content."""
    network = claim.query().network
    inner = network.sizes[0] + sum(network.sizes[v] for v in neuron_layers(network))
    first_leaf = inner + len(script.recipes) + len(script.forks)
    leaves = sum(opcode >= first_leaf for opcode in script.opcodes)
    return container.encode(replace(header_of(claim, leaves), kernel=container.CROWN_2), script.frames())


def point_certificate(claim: Claim, point: object) -> bytes:
    """A sat certificate with this POINT content."""
    return container.encode(header_of(claim, 0, (), "sat"), [(container.POINT, container.canonical_json(point))])


class Waves(Reference):
    """The reference kernel in waves, as a batched kernel would be called."""

    def __init__(self, wave: int) -> None:
        self.wave = wave


REFERENCE: Kernel = Reference()


# Exact answers ------------------------------------------------------------------------------------------------------


def run_exactly(layers: Sequence[Layer], x: Sequence[Fraction]) -> list[list[Fraction]]:
    """Pre-activations per layer, over the rationals."""
    values = list(x)
    seen: list[list[Fraction]] = []
    for weights, bias in layers:
        z = [
            sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(b))
            for row, b in zip(weights, bias, strict=True)
        ]
        seen.append(z)
        values = [max(v, Fraction(0)) for v in z]
    return seen


def vertices_1d(layers: Sequence[Layer], lo: Fraction, hi: Fraction) -> list[Fraction]:
    """The ends of [lo, hi] and every kink of a network of one input: its extrema over [lo, hi] are among them."""
    points = sorted({lo, hi})
    for depth in range(len(layers) - 1):
        extra: set[Fraction] = set()
        for a, b in pairwise(points):
            for za, zb in zip(run_exactly(layers, [a])[depth], run_exactly(layers, [b])[depth], strict=True):
                if za * zb < 0:  # linear between a and b, for all kinks of the layers before are in `points`
                    extra.add(a + (b - a) * za / (za - zb))
        points = sorted(set(points) | extra)
    return points


def vertices_2d(
    layers: Sequence[Layer], lower: Sequence[Fraction], upper: Sequence[Fraction]
) -> Iterator[tuple[Fraction, Fraction]]:
    """Vertices of the arrangement of a network of two inputs and one hidden layer, inside the box."""
    weights, bias = layers[0]
    lines = [(Fraction(w[0]), Fraction(w[1]), Fraction(b)) for w, b in zip(weights, bias, strict=True)]
    lines += [(Fraction(1), Fraction(0), -v) for v in (lower[0], upper[0])]
    lines += [(Fraction(0), Fraction(1), -v) for v in (lower[1], upper[1])]
    for (a, b, c), (d, e, f) in combinations(lines, 2):
        det = a * e - b * d
        if det:
            x, y = (b * f - c * e) / det, (c * d - a * f) / det
            if lower[0] <= x <= upper[0] and lower[1] <= y <= upper[1]:
                yield x, y


def exact_minimum(layers: Sequence[Layer], lower: Sequence[Fraction], upper: Sequence[Fraction]) -> Fraction:
    """The minimum of output 0 over the box: one input and any depth, or two inputs and one hidden layer."""
    if len(lower) == 1:
        points: list[tuple[Fraction, ...]] = [(x,) for x in vertices_1d(layers, lower[0], upper[0])]
    else:
        points = list(vertices_2d(layers, lower, upper))
    return min(run_exactly(layers, x)[-1][0] for x in points)
