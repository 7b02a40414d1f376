"""Scalar domains in which a network's operators are given their meaning.

An operator states what it computes once, in `denote`, over an `Algebra`: arrays whose elements are scalars of some
domain.  Data movement (reshape, transpose, indexing) is plain NumPy on those arrays; arithmetic goes through the
algebra.  The same text then serves as the binary32 reference run (float32 arrays, declared accumulation order), the
exact run (`Fraction` objects), an outward-rounded run (interval objects), and later a floating-point SMT term.

Tried instead: one scalar at a time (a 512x512 layer took 0.5 s against 0.2 ms, for the interpreter is entered once a
product), and one method per operator and domain (the meaning written four times is four chances to be wrong).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]  # elements are scalars of the algebra: float32, Fraction objects, intervals, terms
Numbers = npt.NDArray[np.floating[Any]]  # constants of the network as they stand in the file


class Algebra(Protocol):
    """Arithmetic on arrays of scalars; every method broadcasts as NumPy does."""

    def constant(self, values: Numbers) -> Array:
        """The exact values of `values` in this domain, same shape."""
        ...

    def add(self, a: Array, b: Array) -> Array: ...
    def sub(self, a: Array, b: Array) -> Array: ...
    def mul(self, a: Array, b: Array) -> Array: ...
    def div(self, a: Array, b: Array) -> Array: ...
    def neg(self, a: Array) -> Array: ...
    def maximum(self, a: Array, b: Array) -> Array: ...
    def minimum(self, a: Array, b: Array) -> Array: ...
    def absolute(self, a: Array) -> Array: ...

    def sqrt(self, a: Array) -> Array:
        """Square roots; a domain without them raises UnsupportedOperator."""
        ...

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> Array:
        """Sums of products in the declared order: weight (M, K), x (..., K), bias (M,) or None -> (..., M)."""
        ...


class Rational:
    """The reals, exactly: arrays of `Fraction`."""

    def constant(self, values: Numbers) -> Array:
        return exact(values)

    def add(self, a: Array, b: Array) -> Array:
        return np.asarray(a + b, dtype=object)

    def sub(self, a: Array, b: Array) -> Array:
        return np.asarray(a - b, dtype=object)

    def mul(self, a: Array, b: Array) -> Array:
        return np.asarray(a * b, dtype=object)

    def div(self, a: Array, b: Array) -> Array:
        return np.asarray(a / b, dtype=object)

    def neg(self, a: Array) -> Array:
        return np.asarray(-a, dtype=object)

    def maximum(self, a: Array, b: Array) -> Array:
        return np.asarray(np.maximum(a, b), dtype=object)

    def minimum(self, a: Array, b: Array) -> Array:
        return np.asarray(np.minimum(a, b), dtype=object)

    def absolute(self, a: Array) -> Array:
        return np.asarray(np.abs(a), dtype=object)

    def sqrt(self, a: Array) -> Array:
        from farkas.ir.errors import UnsupportedOperator

        raise UnsupportedOperator("square roots (BatchNormalization) have no exact rational value")

    def contract(self, weight: Numbers, x: Array, bias: Numbers | None) -> Array:
        total = x @ exact(weight).T
        return np.asarray(total if bias is None else total + exact(bias), dtype=object)


def exact(values: Any) -> Array:
    """An object array of the exact rational values of a float or integer array."""
    array = np.asarray(values)
    out = np.empty(array.size, dtype=object)
    out[:] = [Fraction(v) for v in array.ravel().tolist()]
    return out.reshape(array.shape)
