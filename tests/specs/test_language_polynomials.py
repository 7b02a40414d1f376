"""Products, powers, Euclidean norms and sets of positions against their definitions on exact rationals."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as Q
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.specs import language as fk
from farkas.specs.diagnostics import SpecError
from farkas.specs.language_calls import call
from farkas.specs.language_conditions import Condition
from farkas.specs.language_property import NormalForm
from farkas.specs.query import Atom
from tests.specs.test_language import RATIONALS, arrays, network, spec

Truth = Callable[[Any, Any], Any]


def form_of(condition: Condition, x: Any, prove: Condition | None = None) -> NormalForm:
    """`condition` to be proved over the box [-3, 3]; or given, with a conclusion."""
    box = fk.between(-3, x, 3)
    return spec([box], condition) if prove is None else spec([box, condition], prove)


def norm_at_most(parts: Any, limit: Q, strict: bool = False) -> bool:
    """|parts| <= limit (or <), by squares."""
    squares = sum(Q(part) * Q(part) for part in parts)
    if limit < 0:
        return False
    return squares < limit * limit if strict else squares <= limit * limit


# Conditions on two inputs and three outputs, each with its meaning.
STATED: list[tuple[str, Callable[[Any, Any], Condition], Truth]] = [
    ("product", lambda x, y: x[0] * y[1] <= 1, lambda u, v: u[0] * v[1] <= 1),
    ("square", lambda x, y: x[0] ** 2 + y[0] ** 2 < 2, lambda u, v: u[0] ** 2 + v[0] ** 2 < 2),
    ("cube", lambda x, y: (y[0] - x[0]) ** 3 >= -1, lambda u, v: (v[0] - u[0]) ** 3 >= -1),
    ("mixed", lambda x, y: x[0] ** 2 * y[2] == 0, lambda u, v: u[0] ** 2 * v[2] == 0),
    ("dot", lambda x, y: fk.dot(x, y[:2]) != 1, lambda u, v: u @ v[:2] != 1),
    ("matmul", lambda x, y: (x @ x.T) + y @ y <= 4, lambda u, v: u @ u + v @ v <= 4),
    ("array", lambda x, y: y * y <= 1 + x[0], lambda u, v: all(w * w <= 1 + u[0] for w in v)),
    ("times abs", lambda x, y: fk.abs(x[0]) * y[0] <= 1, lambda u, v: abs(u[0]) * v[0] <= 1),
    ("times max", lambda x, y: x[1] * fk.max(y) - fk.max(y) < 1, lambda u, v: u[1] * max(v) - max(v) < 1),
    ("max times max", lambda x, y: fk.max(y) * fk.max(x) <= 1, lambda u, v: max(v) * max(u) <= 1),
    ("square of abs", lambda x, y: fk.abs(y[0] - x[0]) ** 2 <= 1, lambda u, v: (v[0] - u[0]) ** 2 <= 1),
    ("max of squares", lambda x, y: fk.max(y**2) <= fk.max(x) ** 2, lambda u, v: max(v**2) <= max(u) ** 2),
    ("norm", lambda x, y: fk.l2(y) <= "3/2", lambda u, v: norm_at_most(v, Q(3, 2))),
    ("norm below", lambda x, y: 2 * fk.l2(y - x[0]) < 3, lambda u, v: norm_at_most(v - u[0], Q(3, 2), strict=True)),
    ("norm above", lambda x, y: fk.l2(y) >= 1, lambda u, v: not norm_at_most(v, Q(1), strict=True)),
    ("norm is", lambda x, y: fk.l2(y) == 1, lambda u, v: sum(v * v) == 1),
    ("norm is zero", lambda x, y: fk.l2(y) == 0, lambda u, v: sum(v * v) == 0),
    ("norm and line", lambda x, y: fk.l2(y) <= x[0] + y[0], lambda u, v: norm_at_most(v, u[0] + v[0])),
    ("line and norm", lambda x, y: x[0] - 1 <= fk.l2(x), lambda u, v: not norm_at_most(u, u[0] - 1, strict=True)),
    ("norm and max", lambda x, y: fk.l2(x) <= fk.max(y), lambda u, v: norm_at_most(u, max(v))),
    ("norm squared", lambda x, y: fk.l2(y) ** 2 <= fk.l2(x) ** 2 + 1, lambda u, v: v @ v <= u @ u + 1),
    ("norm of abs", lambda x, y: fk.l2(fk.abs(y)) <= 1, lambda u, v: norm_at_most(v, Q(1))),
    ("greatest norm", lambda x, y: fk.max([fk.l2(y), fk.l2(x)]) < 2,
     lambda u, v: norm_at_most(v, Q(2), strict=True) and norm_at_most(u, Q(2), strict=True)),
    ("top", lambda x, y: fk.top_k(y, 2).contains(1), lambda u, v: sum(beats(v, k, 1) for k in (0, 2)) < 2),
    ("top of one", lambda x, y: fk.top_k(y, 1).contains(2), lambda u, v: sum(beats(v, k, 2) for k in (0, 1)) < 1),
    ("top and argmin", lambda x, y: ~fk.top_k(y, 2).contains(fk.argmin(x)),
     lambda u, v: sum(beats(v, k, int(np.argmin(u))) for k in range(3)) >= 2),
    ("same but", lambda x, y: fk.same_except(y, x[[0, 1, 1]], 2), lambda u, v: v[0] == u[0] and v[1] == u[1]),
]  # fmt: skip


def beats(values: np.ndarray, one: int, other: int) -> bool:
    return bool(values[one] > values[other] or (values[one] == values[other] and one < other))


@pytest.mark.parametrize(("name", "stated", "truth"), STATED, ids=[name for name, *_ in STATED])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_conditions_mean_what_they_say_proved_given_and_negated(
    name: str, stated: Callable[[Any, Any], Condition], truth: Truth, data: st.DataObject
) -> None:
    x = fk.var((1, 2))
    (y,) = call(network(), x)
    condition = stated(x[0], y[0]).all()
    far = y[0, 0] <= 100
    forms = [
        (form_of(condition & far, x), lambda holds: not holds),
        (form_of(~condition & far, x), lambda holds: holds),
        (form_of(condition, x, far & (y[0, 1] > -50)), lambda holds: False),
        (form_of(condition, x, y[0, 0] > 100), lambda holds: holds),
        (form_of(~condition, x, y[0, 0] > 100), lambda holds: not holds),
    ]
    for _ in range(4):
        u, v = data.draw(arrays(2)), data.draw(arrays(3))
        holds = truth(u, v)
        for form, wanted in forms:
            assert form.property.is_unsafe(list(u), list(v)) == wanted(holds), name


@settings(max_examples=60, deadline=None)
@given(st.lists(RATIONALS, min_size=7, max_size=7), st.integers(2, 5), st.integers(0, 6), st.data())
def test_top_k_holds_the_k_first_of_the_sorted_values(values: list[Q], n: int, place: int, data: st.DataObject) -> None:
    n, values = n + 1, values[: n + 1]
    k, place = data.draw(st.integers(1, n - 1)), place % n
    x = fk.var((1, 2))
    (y,) = call(network(outputs=(1, n)), x)
    first = sorted(range(n), key=lambda j: (-values[j], j))[:k]
    for condition, wanted in (
        (fk.top_k(y, k).contains(place), place in first),
        (~fk.top_k(y, k).contains(np.int64(place)), place not in first),
        (fk.top_k(y, k).contains(fk.argmin(y)), values.index(min(values)) in first),
    ):
        assert form_of(condition, x).property.is_unsafe([Q(0), Q(0)], values) == (not wanted)


def test_a_euclidean_ball_is_one_atom_and_the_box_around_it() -> None:
    """(x0 - 1)^2 + x1^2 <= 1/4, in the box [1/2, 3/2] x [-1/2, 1/2]; unsafe when y0 > 1."""
    x = fk.var((1, 2))
    (y,) = call(network(), x)
    prop = spec([fk.l2(x - [[1, 0]]) <= "1/2"], y[0, 0] <= 1).property
    ball = Atom(((0, Q(-2)),), ((3, Q(1)), (4, Q(1))), Q(-3, 4))
    assert prop.monomials == ((0, 0), (1, 1))
    (case,) = prop.cases
    assert (case.lower, case.upper) == ((Q(1, 2), Q(-1, 2)), (Q(3, 2), Q(1, 2)))
    assert case.disjuncts == ((ball, Atom((), ((0, Q(-1)),), Q(-1), strict=True)),)


def test_polynomials_cancel_and_products_have_no_order() -> None:
    x = fk.var((1, 2))
    a, b = x[0, 0], x[0, 1]
    (form,) = ((a + b) ** 2 - a * a - 2 * b * a - b**2 + 1).forms
    assert form == ((1 + a - a) ** 0).forms[0]
    assert (a * b * a).forms == (a**2 * b).forms == (b * a**2).forms
    assert (a**0).forms[0].constant == 1
    assert repr(a**2 * b) == "<value x[0, 0]**2*x[0, 1]>"


def test_monomials_of_outputs_count_behind_the_inputs() -> None:
    x = fk.var((1, 2))
    (y,) = call(network(), x)
    prop = spec([fk.between(0, x, 1)], y[0, 2] * x[0, 1] * x[0, 1] + y[0, 0] * y[0, 2] >= 0).property
    assert prop.monomials == ((1, 1, 4), (2, 4))
    assert prop.cases[0].disjuncts == ((Atom((), ((3, Q(1)), (4, Q(1))), Q(0), strict=True),),)


def test_l2_of_one_entry_is_its_absolute_value() -> None:
    x = fk.var((1, 2))
    (y,) = call(network(), x)
    prop = spec([fk.l2(x[0, 0] - 1) <= 2, fk.between(0, x[0, 1], 1)], y[0, 0] <= 1).property
    assert prop.monomials == () and prop.cases[0].lower == (-1, 0) and prop.cases[0].upper == (3, 1)


def test_a_ball_of_784_pixels_has_784_squares() -> None:
    x = fk.var((1, 784))
    (y,) = call(network((1, 784), (1, 10)), x)
    prop = spec([fk.l2(x - "1/2") <= "1/10", fk.between(0, x, 1)], fk.argmax(y) == 3).property
    assert len(prop.monomials) == 784 and prop.cases[0].lower == (Q(2, 5),) * 784


def test_entries_that_are_given_as_equal_share_their_bounds() -> None:
    a, b, c = (fk.var((1, 2), name=name, labels=("age", "sex")) for name in "abc")
    (y,), (z,), (w,) = call(network(), a), call(network(), b), call(network(), c)
    given_ = [fk.between(0, a, 1), fk.same_except(a, b, "sex"), c.age == b.age, fk.between(2, b.sex, 3), c.sex == "1/2"]
    prop = spec(given_, (y <= z) & (z <= w)).property
    assert prop.cases[0].lower == (0, 0, 0, 2, 0, Q(1, 2))
    assert prop.cases[0].upper == (1, 1, 1, 3, 1, Q(1, 2))
    assert prop.cases[0].disjuncts[0][0] == Atom(((0, Q(1)), (2, Q(-1))), (), Q(0))
    with pytest.raises(SpecError, match=r"no lower bound of b\.sex"):
        spec(given_[:2], (y <= z).all())


def test_parameters_are_numbers_in_products_norms_and_maxima() -> None:
    from farkas.specs.language_parameters import chosen, open_parameters

    x = fk.var((1, 2))
    (y,) = call(network(), x)
    eps, k = fk.parameter("eps"), fk.parameter("k")
    stated = [
        fk.l2(x - [1, 0]) <= eps, fk.max([eps * y[0, 0], y[0, 1]]) * k <= eps**2, fk.parameter("eps") * eps >= x[0, 0]
    ]  # fmt: skip
    formulas = [condition.formula for condition in stated]
    assert open_parameters(formulas) == ("eps", "k")
    assert open_parameters(chosen(formulas, {"k": Q(2)})) == ("eps",)
    values = {"eps": Q(1, 2), "k": Q(-3)}
    prove = fk.argmax(y) == 0
    told = [fk.l2(x - [1, 0]) <= "1/2", fk.max([y[0, 0] / 2, y[0, 1]]) * -3 <= "1/4", x[0, 0] <= "1/4"]
    from farkas.specs.language_property import normal_form

    found = normal_form(chosen([*formulas[:2], fk.between(-2, x, 2).formula], values), prove.formula)
    wanted = spec([*told[:2], fk.between(-2, x, 2)], prove)
    assert found.property == wanted.property
