"""What an ONNX network computes, step by step: the middle between the operators and the integer network.

A step is one rounded operation on flat vectors, as the file states it; data movement makes no step, it only changes
which elements the next step reads.  The replay of a witness executes steps; `integer.py` joins them into summation
groups.

Weights are the floats of the file (exact binary32 numbers) or, where a division makes them, fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

Number = float | Fraction
Row = tuple[Sequence[int], Sequence[float]]
"""Which elements of the operand take part, in the order of the accumulation, and their weights."""


@dataclass(frozen=True)
class View:
    """Elements of one step, in order; index None: all of them."""

    step: int
    index: Sequence[int] | None


@dataclass(frozen=True)
class Source:
    """The network's input."""

    size: int


@dataclass(frozen=True)
class Product:
    """rows . x + bias: MatMul, Gemm, Conv.  count: products per row, the zeros of a padding included."""

    x: View
    rows: Sequence[Row]
    bias: Sequence[float] | None
    count: int


@dataclass(frozen=True)
class Sum:
    """left + right or left - right, componentwise; one of them may be constant."""

    left: View | Sequence[float]
    right: View | Sequence[float]
    minus: bool
    size: int


@dataclass(frozen=True)
class Scale:
    """x times or divided by constants, componentwise; negation is exact."""

    x: View
    factors: Sequence[float]
    divide: bool
    exact: bool


@dataclass(frozen=True)
class Mean:
    """Sums of elements of x, each then divided by its divisor; count: elements of a sum, a padding included."""

    x: View
    rows: Sequence[Sequence[int]]
    divisors: Sequence[int]
    count: int


@dataclass(frozen=True)
class Channel:
    """The constants of one channel of a BatchNormalization."""

    scale: float
    bias: float
    mean: float
    variance: float


@dataclass(frozen=True)
class Normalize:
    """(x - mean) scale / sqrt(variance + epsilon) + bias, componentwise; channels[i] belongs to element i."""

    x: View
    channels: Sequence[Channel]
    epsilon: float


@dataclass(frozen=True)
class Rectify:
    """max(0, x)."""

    step: int


@dataclass(frozen=True)
class Leaky:
    """x where x >= 0, slope x elsewhere."""

    step: int
    slope: float


@dataclass(frozen=True)
class Magnitude:
    """|x|."""

    step: int


@dataclass(frozen=True)
class Choose:
    """The larger (smaller) of left and right, componentwise; right may be constant."""

    left: View
    right: View | Sequence[float]
    smaller: bool
    size: int


@dataclass(frozen=True)
class Copy:
    """Elements of several steps, or of one in another order, as (step, element); numbers are constants."""

    elements: Sequence[tuple[int, int] | float]


Step = Source | Product | Sum | Scale | Mean | Normalize | Rectify | Leaky | Magnitude | Choose | Copy


@dataclass(frozen=True)
class Program:
    """Steps in order, step 0 the input; sizes of their values; the step whose value is Y."""

    steps: tuple[Step, ...]
    sizes: tuple[int, ...]
    output: int
