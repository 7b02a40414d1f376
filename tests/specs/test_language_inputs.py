"""Inputs of networks that are computed: what is substituted, what stands in front of the network, and the witness."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction as Q
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.ir.graph import Graph
from farkas.specs import language as fk
from farkas.specs.diagnostics import SpecError
from farkas.specs.language_calls import call
from farkas.specs.language_property import NormalForm
from farkas.specs.language_witness import named
from tests.specs.test_language import RATIONALS, Callee, arrays, atoms, network, spec

NONZERO = RATIONALS.filter(bool)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_units_are_substituted_exactly(data: st.DataObject) -> None:
    """z = a x + b, entry by entry: the property at z is the specification at (z - b) / a."""
    a = np.array(data.draw(st.lists(NONZERO, min_size=2, max_size=2)), dtype=object)
    b = data.draw(arrays(2))
    x = fk.var((1, 2))
    (y,) = call(network(), x * a + b)
    stated = data.draw(atoms(x, y))
    product = x[0, 0] * y[0, 1] - x[0, 1] ** 2 <= 1
    form = spec([fk.between(-1, x, 2), x[0, 0] > -1], stated.condition.all() & product)
    assert not form.is_real_only
    for _ in range(5):
        u, v = data.draw(arrays(2)), data.draw(arrays(3))
        inside = bool(np.all(u >= -1) and np.all(u <= 2) and u[0] > -1)
        wanted = inside and not (stated.holds(u, v) and u[0] * v[1] - u[1] ** 2 <= 1)
        z = a * u + b
        assert form.property.is_unsafe(list(z), list(v)) == wanted
        variable, *computed, output = named(form, list(z), list(v))
        assert (variable.name, variable.values, output.values) == ("x", tuple(u), tuple(v))
        if any(a != 1) or any(b != 0):
            assert [item.values for item in computed] == [tuple(z)]


def test_bounds_in_units_are_the_box_of_the_network() -> None:
    km = fk.var((1, 2), labels=("ahead", "aside"))
    (y,) = call(network(), km / 1000 - ["1/2", 0])
    (case,) = spec([fk.between(100, km.ahead, 200), fk.linf(km.aside) <= 50], y[0, 0] <= 1).property.cases
    assert (case.lower, case.upper) == ((Q(-2, 5), Q(-1, 20)), (Q(-3, 10), Q(1, 20)))
    (case,) = spec([fk.between(100, km.ahead, 200), fk.linf(km.aside) <= 50], y[0, 0] + km.ahead <= 1).property.cases
    (atom,) = case.disjuncts[0]
    assert (atom.x, atom.y, atom.c) == (((0, Q(-1000)),), ((0, Q(-1)),), Q(499))


def test_a_negative_factor_turns_bounds_around() -> None:
    x = fk.var((1, 2))
    (y,) = call(network(), 1 - 2 * x)
    (case,) = spec([fk.between(0, x, [1, 3])], y[0, 0] <= 1).property.cases
    assert (case.lower, case.upper) == ((-1, -5), (1, 1))
    with pytest.raises(SpecError, match="no upper bound of x"):
        spec([x >= 0], y[0, 0] <= 1)


def test_numbers_among_the_inputs_are_points() -> None:
    x = fk.var((1,), name="x", labels=("speed",))
    (y,) = call(network(), [[x.speed, "1/3"]])
    form = spec([fk.between(0, x, 1)], y[0, 0] <= 1)
    assert (form.property.cases[0].lower, form.property.cases[0].upper) == ((0, Q(1, 3)), (1, Q(1, 3)))
    assert not form.is_real_only
    assert [item.values for item in named(form, [Q(1, 2), Q(1, 3)], [Q(0), Q(1), Q(2)])] == [
        (Q(1, 2),), (Q(1, 2), Q(1, 3)), (0, 1, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("used", "rows", "reals"),
    [
        (2, [lambda x: x[0], lambda x: 2 * x[1] + 1], False),
        (1, [lambda x: 2 * x[0], lambda x: 2 * x[0]], False),  # one entry in several inputs, in one way
        (1, [lambda x: x[0], lambda x: 2 * x[0]], True),  # and in two ways
        (2, [lambda x: x[0] + x[1], lambda x: x[1]], True),
        (1, [lambda x: x[0] - "1/3", lambda x: 7 + x[1] - x[1]], False),
    ],
)
def test_a_map_stands_in_front_where_an_entry_is_used_in_several_ways(
    used: int, rows: Sequence[Any], reals: bool
) -> None:
    x = fk.var((2,))
    (y,) = call(network(), [[row(x) for row in rows]])
    form = spec([fk.between(0, x[:used], 1)], y[0, 0] <= 1)
    assert form.is_real_only == reals
    if reals:
        (prefix,) = form.copies[0].prefixes
        for point in ((Q(1, 3), Q(5)), (Q(-2), Q(1, 7))):
            values = dict(zip([(key[0], key[1]) for key in prefix.entries], point, strict=False))
            wanted = [row(np.array(point, dtype=object)) for row in rows]
            assert [
                sum((a * values[entry] for a, entry in zip(row, prefix.entries, strict=True)), shift)
                for row, shift in zip(prefix.rows, prefix.shifts, strict=True)
            ] == wanted


def _prefixes(form: NormalForm) -> list[int]:
    return [len(copy.prefixes) for copy in form.copies]


def test_two_networks_with_inputs_in_different_units_have_maps_in_front() -> None:
    x = fk.var((1, 2))
    (y,), (z,), (w,) = call(network(), x / 255), call(network(), x / 255), call(network(), x - 1)
    box = fk.between(0, x, 1)
    assert _prefixes(spec([box], y[0, 0] <= z[0, 0])) == [0, 0]
    assert _prefixes(spec([box], y[0, 0] <= w[0, 0])) == [1, 1]
    (v,) = call(network(), x)
    assert _prefixes(spec([box], y[0, 0] <= v[0, 0])) == [1, 0]
    (u,) = call(network(), x[:, ::-1] + x)
    assert _prefixes(spec([box], (v[0, 0] <= u[0, 0]) & (v >= -9))) == [0, 1]
    assert _prefixes(spec([box], y[0, 0] <= u[0, 0])) == [1, 1]


def test_only_the_tensors_that_are_mixed_have_maps() -> None:
    shapes: dict[str, tuple[int, ...]] = {"a": (1, 2), "b": (2,), "y": (1, 1)}
    two = Callee(Graph((("a", (1, 2)), ("b", (2,))), (), ("y",), shapes))
    image, gain = fk.var((1, 2), name="image"), fk.var((1,), name="gain")
    (y,) = call(two, image / 255, [gain[0], 1 - gain[0]])
    form = spec([fk.between(0, image, 255), fk.between(0, gain, 1)], y[0, 0] <= 1)
    (copy,) = form.copies
    assert [prefix.number for prefix in copy.prefixes] == [1]
    assert form.property.inputs == 3 and form.property.cases[0].upper == (1, 1, 1)
    found = named(form, [Q(1, 5), Q(2, 5), Q(1, 4)], [Q(7)])
    assert [(item.name, item.values) for item in found] == [
        ("image", (51, 102)),
        ("gain", (Q(1, 4),)),
        ("a of f(image, gain)", (Q(1, 5), Q(2, 5))),
        ("b of f(image, gain)", (Q(1, 4), Q(3, 4))),
        ("f(image, gain)", (7,)),
    ]


def test_a_witness_names_copies_and_the_entries_that_matter() -> None:
    x = fk.var((3,), name="x", labels=("a", "b", "c"))
    (y,), (z,) = call(network(), x[:2].reshape(1, 2)), call(network(), x[:2].reshape(1, 2))
    form = spec([fk.between(0, x[:2], 1)], y[0, 0] <= z[0, 1])
    found = named(form, [Q(1), Q(2), Q(1), Q(2)], [Q(k) for k in range(6)])
    assert [(item.name, item.shape, item.labels) for item in found] == [
        ("x", (2,), ("a", "b")), ("f(x) #1", (1, 3), ()), ("f(x) #2", (1, 3), ()),
    ]  # fmt: skip
    assert found[0]["b"] == 2 and found[2].values == (3, 4, 5)


def test_equal_entries_in_different_units_keep_bounds_of_their_own() -> None:
    a, b = fk.var((1, 2), name="a"), fk.var((1, 2), name="b")
    (y,), (z,) = call(network(), a), call(network(), 2 * b)
    with pytest.raises(SpecError, match="no lower bound of b"):
        spec([fk.between(0, a, 1), a == b], y[0, 0] <= z[0, 0])
    form = spec([fk.between(0, a, 1), fk.between(-1, b, "1/2"), a == b], y[0, 0] <= z[0, 0])
    assert form.property.is_unsafe([Q(1, 4)] * 2 + [Q(1, 2)] * 2, [Q(1), Q(0), Q(0), Q(0), Q(0), Q(0)])
    assert not form.property.is_unsafe([Q(1, 4)] * 4, [Q(1), Q(0), Q(0), Q(0), Q(0), Q(0)])


def test_parameters_in_inputs_get_their_values() -> None:
    from farkas.specs.language_parameters import chosen, open_parameters
    from farkas.specs.language_property import normal_form

    x, scale = fk.var((1, 2)), fk.parameter("scale")
    (y,) = call(network(), scale * x + scale)
    formulas = [fk.between(0, x, 1).formula, (y[0, 0] <= 1).formula]
    assert open_parameters(formulas) == ("scale",)
    premise, prove = chosen(formulas, {"scale": Q(2)})
    (case,) = normal_form([premise], prove).property.cases
    assert (case.lower, case.upper) == ((2, 2), (4, 4))
