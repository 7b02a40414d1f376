"""Small integer programs made by hand and at random, and all their runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise, product

import numpy as np

from farkas.ir.core import Term
from farkas.ir.integer import Codes, Greatest, IntegerNode, IntegerProgram, Rounded, Sum, decoded, run_codes
from farkas.ir.integer_codes import InputCodes
from farkas.ir.integer_unary import Arithmetic, Chain, Nearest, Shift, Step, ToFloat, Unary
from farkas.ir.linear import Dense
from farkas.specs.query import Atom

LOW, HIGH = 0, 255


def quantise(scale: float, zero: int, size: int, *, low: int = LOW, high: int = HIGH) -> Chain:
    """float32 -> codes."""
    return Chain((Arithmetic("divide", np.array(scale, dtype=np.float32)), Nearest(np.array(zero), low, high)), size)


def requantise(factor: float, zero: int, size: int, *, low: int = LOW, high: int = HIGH) -> Chain:
    """Accumulators -> codes."""
    steps: tuple[Step, ...] = (
        ToFloat(),
        Arithmetic("multiply", np.array(factor, dtype=np.float32)),
        Nearest(np.array(zero), low, high),
    )
    return Chain(steps, size)


def dequantise(scale: float, zero: int, size: int) -> Chain:
    """Codes -> float32."""
    return Chain((Shift(np.array(zero)), ToFloat(), Arithmetic("multiply", np.array(scale, dtype=np.float32))), size)


def layered(
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
    functions: Sequence[Chain],
    encode: Unary | None,
    decode: Unary | None,
    *,
    low: int = LOW,
    high: int = HIGH,
) -> IntegerProgram:
    """Sum and Rounded by turns."""
    sizes = [weights[0].shape[1]]
    nodes: list[IntegerNode] = [Codes(sizes[0], low, high)]
    for weight, bias, function in zip(weights, biases, functions, strict=True):
        nodes.append(Sum((Term(Dense(weight.astype(np.float64)), len(nodes) - 1),), bias.astype(np.int64)))
        nodes.append(Rounded(len(nodes) - 1, function, low, high))
        sizes += [len(bias)] * 2
    names = tuple(f"node_{i}" for i in range(len(nodes)))
    return IntegerProgram(encode, tuple(nodes), tuple(sizes), len(nodes) - 1, decode, names, "by hand")


def random_program(rng: np.random.Generator, sizes: Sequence[int], *, inputs_float: bool = True) -> IntegerProgram:
    """Weights in -3..3, codes in 0..255 or 0..7, requantisations of all kinds: short binary fractions among them."""
    high = int(rng.choice([7, 255]))
    weights = [rng.integers(-3, 4, (m, k)) for k, m in pairwise(sizes)]
    biases = [rng.integers(-high, high + 1, m) for m in sizes[1:]]
    factors = [float(rng.choice([0.25, 0.5, rng.uniform(0.05, 0.9), -rng.uniform(0.1, 0.6)])) for _ in weights]
    zeros = [int(rng.integers(0, high + 1)) for _ in weights]
    functions = [requantise(f, z, len(b), high=high) for f, z, b in zip(factors, zeros, biases, strict=True)]
    encode = quantise(float(rng.uniform(0.01, 0.1)), int(rng.integers(0, high + 1)), sizes[0], high=high)
    decode = dequantise(float(rng.uniform(0.001, 2)), int(rng.integers(0, high + 1)), sizes[-1])
    return layered(
        weights, biases, functions, encode if inputs_float else None, decode if rng.random() < 0.8 else None, high=high
    )


def with_maximum(program: IntegerProgram) -> IntegerProgram:
    """One more node: maxima of neighbouring outputs."""
    last = program.sizes[-1]
    groups = np.array([[j, (j + 1) % last] for j in range(last)])
    nodes = (*program.nodes, Greatest(groups, program.output))
    names, sizes = (*program.names, "max"), (*program.sizes, last)
    return IntegerProgram(program.encode, nodes, sizes, len(nodes) - 1, program.decode, names, program.reading)


def all_codes(inputs: InputCodes) -> np.ndarray:
    return np.array(list(product(*(own.tolist() for own in inputs.codes))), dtype=np.int64)


def violations(program: IntegerProgram, inputs: InputCodes, atoms: Sequence[Atom]) -> Iterator[np.ndarray]:
    """Codes at which all atoms hold for some point, by trying them all; each input is at its first or last point."""
    codes = all_codes(inputs)
    outputs = decoded(program, run_codes(program, codes)[program.output])
    read = sorted({i for atom in atoms for i, _ in atom.x})
    for own, values in zip(codes, outputs, strict=True):
        y = [Fraction(float(v)) for v in values]
        for upper in product((False, True), repeat=len(read)):
            chosen = np.zeros(len(own), dtype=bool)
            chosen[read] = upper
            x = [Fraction(float(v)) for v in inputs.ends(own, chosen)]
            if all(atom.holds(x, y) for atom in atoms):
                yield own
                break
