"""Products, powers and Euclidean norms of forms, exactly.

A product of two forms is multiplied out, so that polynomials are linear forms over products of leaves and cancel as
other forms do: (x + 1)**2 - x**2 - 2*x is the number 1.  Some products of leaves are simpler than they look: |a| |a| is
a**2, and the square of a norm is the sum of the squares.
"""

from __future__ import annotations

from collections.abc import Sequence

from farkas.specs.diagnostics import fail
from farkas.specs.language_forms import (
    ONE,
    ZERO,
    Factor,
    Form,
    Greatest,
    Leaf,
    Norm,
    Product,
    combination,
    leaf,
    negated,
    number,
    scaled,
    text,
)

MAX_TERMS = 100_000  # of a product that is multiplied out: about a second
MAX_POWER = 16


def times(left: Form, right: Form) -> Form:
    """left * right; raises SpecError when there are too many terms."""
    if not right.terms:
        return scaled(left, right.constant)
    if not left.terms:
        return scaled(right, left.constant)
    _limit(len(left.terms) * len(right.terms), left, right)
    parts = [(scaled(left, right.constant), ONE), (scaled(Form(right.terms, ZERO), left.constant), ONE)]
    for a, p in left.terms.items():
        parts.extend([(_of_leaves(a, b), p * q) for b, q in right.terms.items()])
    return combination(parts)


def power(base: Form, exponent: int) -> Form:
    """base ** exponent, for 0 <= exponent <= MAX_POWER."""
    result = number(ONE)
    for _ in range(exponent):
        result = times(result, base)
    return result


def squares(forms: Sequence[Form]) -> Form:
    """The sum of the squares."""
    _limit(sum(len(form.terms) ** 2 for form in forms), *forms[:2])
    return combination([(times(form, form), ONE) for form in forms])


def norm(forms: Sequence[Form]) -> Form:
    """The Euclidean norm of at least one form: the absolute value of a single one."""
    if len(forms) == 1:
        return leaf(Greatest((forms[0], negated(forms[0])), 1, 2)) if forms[0].terms else number(abs(forms[0].constant))
    return leaf(Norm(tuple(forms)))


def _limit(found: int, *forms: Form) -> None:
    if found > MAX_TERMS:
        fail(
            "FK401", found=f"{found} products in {' times '.join(map(text, forms))}", wanted=f"at most {MAX_TERMS}",
            fix="bound the sums first, or multiply fewer entries",
        )  # fmt: skip


def _of_leaves(a: Leaf, b: Leaf) -> Form:
    """The product of two leaves."""
    factors = _factors(a) + _factors(b)
    for k, factor in enumerate(factors):
        square = _square(factor) if factor in factors[:k] else None
        if square is not None:
            rest = list(factors)
            rest.remove(factor)
            rest.remove(factor)
            return times(square, joined(rest))
    return leaf(Product(factors))


def _factors(key: Leaf) -> tuple[Factor, ...]:
    return key.factors if isinstance(key, Product) else (key,)


def joined(factors: Sequence[Factor]) -> Form:
    """The product of leaves, as they are."""
    if not factors:
        return number(ONE)
    return leaf(factors[0] if len(factors) == 1 else Product(tuple(factors)))


def _square(key: Factor) -> Form | None:
    """The square of a norm or of an absolute value, without it."""
    if isinstance(key, Norm):
        return squares(key.parts)
    if not isinstance(key, Greatest) or len(key.options) != 2:
        return None
    first, second = key.options
    return times(first, first) if negated(first) == second else None
