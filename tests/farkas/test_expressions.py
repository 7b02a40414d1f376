"""Values of expressions at a witness, and what of `given` can change sides."""

from __future__ import annotations

from fractions import Fraction as Q

import pytest
from hypothesis import given
from hypothesis import strategies as st

import farkas as fk
from farkas.expressions import Premise, value
from farkas.specs.diagnostics import SpecError
from farkas.specs.language_forms import Entry
from farkas.specs.language_tensors import Tensor

numbers = st.fractions(-4, 4, max_denominator=12)


def valued(tensor: Tensor, numbers: list[Q]) -> dict[Entry, Q]:
    return {(form_key(tensor, k)): number for k, number in enumerate(numbers)}


def form_key(tensor: Tensor, k: int) -> Entry:
    (key,) = tensor.forms[k].terms
    assert isinstance(key, tuple)
    return key


@given(numbers, numbers, numbers)
def test_expressions_have_the_values_of_their_definitions(a: Q, b: Q, c: Q) -> None:
    x = fk.var(3)
    at = valued(x, [a, b, c])
    for expression, wanted in (
        (2 * x[0] - x[1] / 3 + 1, 2 * a - b / 3 + 1),
        (fk.max(x) - fk.min(x), max(a, b, c) - min(a, b, c)),
        (fk.linf(x), max(abs(a), abs(b), abs(c))),
        (x[0] * x[1] * x[1] - fk.abs(x[2]) * x[0], a * b * b - abs(c) * a),
        (fk.dot(x, x), a * a + b * b + c * c),
    ):
        assert value(expression.forms[0], at) == (wanted, wanted)


@given(numbers, numbers)
def test_a_euclidean_norm_lies_between_two_numbers_close_together(a: Q, b: Q) -> None:
    x = fk.var(2)
    low, high = value(fk.l2(x).forms[0], valued(x, [a, b]))
    assert low >= 0 and low * low <= a * a + b * b <= high * high and high - low <= Q(1, 2**64)
    lower, upper = value((1 - 2 * fk.l2(x)).forms[0], valued(x, [a, b]))
    assert (lower, upper) == (1 - 2 * high, 1 - 2 * low)


def test_the_norm_of_a_pythagorean_triple_is_exact() -> None:
    x = fk.var(2)
    assert value(fk.l2(x).forms[0], valued(x, [Q(3, 7), Q(4, 7)])) == (Q(5, 7), Q(5, 7))


def test_what_is_given_about_outputs_changes_sides_where_the_conclusion_is_about_inputs() -> None:
    net = fk.load("examples/networks/wave.onnx")
    x = fk.var(net.input)
    y = net(x)
    premise = Premise.of([fk.between(0, x, 1), (y >= 0).all() & (x[0, 0] + x[0, 1] <= 1)])
    assert premise.moved is not None and len(premise.given) == len(premise.kept) + 1
    spec = premise.proving((x[0, 0] <= "0.5").formula)
    ((atoms,),) = [case.disjuncts for case in spec.property.cases]
    assert [(len(atom.x), len(atom.y)) for atom in atoms] == [(2, 0), (0, 1), (1, 0)]  # sum, output, x[0, 0] > 0.5


def test_nothing_can_be_found_about_inputs_alone() -> None:
    x = fk.var(2)
    with pytest.raises(SpecError) as raised:
        Premise.of(fk.between(0, x, 1)).impossible()
    assert raised.value.code == "FK505"
