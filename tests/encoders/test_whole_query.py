"""Whole queries as one model: feasible exactly when an exact procedure finds an unsafe point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farkas.encoders import whole_query
from farkas.encoders.highs import MilpLimits, Status, solve_milp
from farkas.encoders.linear_model import LinearModel
from farkas.encoders.lp_format import write_lp
from farkas.encoders.mps import write_mps
from farkas.encoders.relu_network import EncodingOptions, Errors
from farkas.encoders.whole_query import WholeQuery, encode_query, hull
from farkas.ir.core import Program
from farkas.ir.errors import FarkasError
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.encoders.readers import INF, by_highs, optimum
from tests.encoders.stated import WAYS
from tests.engine.pieces import witness
from tests.engine.relaxed import problem
from tests.nets import EXACT_SHAPES, affine, atom, boxes, case, dense, seeds, varied

BIG_M = EncodingOptions("big-m")


def whole(
    program: Program, prop: Property, semantics: Semantics = Semantics.REAL, way: EncodingOptions = BIG_M
) -> WholeQuery:
    """The model from bounds proved over the hull of the cases."""
    low, high = hull(prop, semantics)
    box = tuple(map(Fraction, low.tolist())), tuple(map(Fraction, high.tolist()))
    found = problem(program, box, binary32=semantics.is_binary32)
    return encode_query(
        program, prop, low, high, found.lower, found.upper, found.prover.errors, way, semantics=semantics
    )


def is_feasible(model: LinearModel) -> bool:
    result = solve_milp(model, MilpLimits(time_s=20.0))
    assert result.status in (Status.OPTIMAL, Status.INFEASIBLE)
    return result.status is Status.OPTIMAL


def property_of(cases: Sequence[Case]) -> Property:
    return Property(len(cases[0].lower), 2, tuple(cases))


def loosened(one: Case, by: Fraction) -> Case:
    """The case with closed atoms whose thresholds are moved."""
    return replace(one, disjuncts=tuple(tuple(Atom(a.x, a.y, a.c + by) for a in atoms) for atoms in one.disjuncts))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    quarters = st.integers(-8, 8).map(lambda n: Fraction(n, 4))
    thresholds = st.integers(-24, 24).map(lambda n: Fraction(n, 3))
    atoms = st.builds(
        lambda y, x, c, strict: atom(y, c, x=x, strict=strict),
        st.tuples(quarters, quarters),
        st.tuples(quarters, quarters),
        thresholds,
        st.booleans(),
    )
    disjuncts = draw(st.lists(st.lists(atoms, min_size=1, max_size=2), min_size=0, max_size=3))
    return case(*draw(boxes(2)), *disjuncts)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds, st.sampled_from(EXACT_SHAPES), st.lists(cases(), min_size=1, max_size=3), st.sampled_from(WAYS))
def test_the_model_is_feasible_exactly_when_some_point_is_unsafe(
    tmp_path: Path, seed: int, shape: str, drawn: list[Case], way: EncodingOptions
) -> None:
    program = varied(np.random.default_rng(seed), shape).program
    found = whole(program, property_of(drawn), way=way)
    result = solve_milp(found.model, MilpLimits(time_s=20.0))
    answer = result.status is Status.OPTIMAL
    if any(witness(program, loosened(one, Fraction(0))) for one in drawn):
        assert answer
    elif not any(witness(program, loosened(one, Fraction(1, 10**4))) for one in drawn):
        assert not answer  # in between lies the solver's tolerance
    if result.point is not None:
        i, j = found.choice(result.point)
        x = found.inputs(result.point)
        ends = zip(drawn[i].lower, x, drawn[i].upper, strict=True)
        assert all(float(l) - 1e-5 <= v <= float(u) + 1e-5 for l, v, u in ends)
        near = tuple(Fraction(float(v)).limit_denominator(10**6) for v in x)
        tube = Fraction(1, 10**4)
        close = Case(tuple(v - tube for v in near), tuple(v + tube for v in near), (drawn[i].disjuncts[j],))
        assert witness(program, loosened(close, Fraction(1, 10**2))) is not None
    for text, name in (
        (write_mps(found.model, found.comment), "q.mps"),
        (write_lp(found.model, found.comment), "q.lp"),
    ):
        path = tmp_path / name
        path.write_text(text)
        assert optimum(by_highs(path)) == (0.0 if answer else INF)


IDENTITY = affine([[1.0, 0.0], [0.0, 1.0]]).program


def test_case_and_disjunct_are_chosen_together() -> None:
    # y = x.  Left box: y0 >= 1 is out of its reach, y1 <= -1 too; right box: only y0 >= 1 can be met.
    out = [atom([-1, 0], -1)], [atom([0, 1], -1)]
    left, right = case([-1, 0], [0, 1], *out), case([0.5, 0], [2, 1], *out)
    assert not is_feasible(whole(IDENTITY, property_of([left])).model)
    found = whole(IDENTITY, property_of([left, right]))
    result = solve_milp(found.model, MilpLimits())
    assert result.point is not None
    assert found.choice(result.point) == (1, 0)
    assert found.inputs(result.point)[0] >= 1 - 1e-6


def test_a_disjunct_that_is_not_chosen_asks_nothing() -> None:
    # The first disjunct is out of reach (y1 <= -2) and would hold y0 down (y0 <= -1); the second wants y0 >= 1.
    one = case([-1, -1], [1, 1], [atom([1, 0], -1), atom([0, 1], -2)], [atom([-1, 0], -1)])
    found = whole(IDENTITY, property_of([one]))
    result = solve_milp(found.model, MilpLimits())
    assert result.point is not None and found.choice(result.point) == (0, 1)


def test_a_coefficient_that_no_float64_holds_costs_its_rounding() -> None:
    # a x with a = 1 + 2^-60, x in [-1, 1]: a x <= -a at x = -1 alone, where the rounded coefficient gives -1 > -a.
    a = 1 + Fraction(1, 2**60)
    ends = np.array([-1.0]), np.array([1.0])
    row, threshold = whole_query._in_floats(Atom(((0, a),), (), -a), ends, ends)
    assert row.x == ((0, Fraction(1)),)
    assert threshold >= -1


def test_boxes_of_two_cases_are_not_joined() -> None:
    # x0 in [-2, -1] or [1, 2], and |x0| <= 1/2 is unsafe: only the hull of both boxes would meet it.
    middle = [atom([1, 0], 0.5), atom([-1, 0], 0.5)]
    pair = [case([-2, 0], [-1, 1], middle), case([1, 0], [2, 1], middle)]
    assert not is_feasible(whole(IDENTITY, property_of(pair)).model)
    assert is_feasible(whole(IDENTITY, property_of([*pair, case([0, 0], [1, 1], middle)])).model)


def test_a_query_without_choices_has_no_binaries_for_them() -> None:
    found = whole(IDENTITY, property_of([case([0, 0], [1, 1], [atom([1, 0], 0)])]))
    assert not found.model.integral.any()
    assert found.choice(np.zeros(len(found.model.lower))) == (0, 0)


def test_strict_atoms_are_read_as_closed_and_the_comment_says_how_many() -> None:
    found = whole(IDENTITY, property_of([case([0, 0], [1, 1], [atom([1, 0], 0, strict=True)])]))
    assert is_feasible(found.model)
    assert "closed ones: 1." in found.comment and "semantics real" in found.comment


def test_a_case_without_disjuncts_is_safe_and_one_without_atoms_is_unsafe() -> None:
    assert not is_feasible(whole(IDENTITY, property_of([case([0, 0], [1, 1])])).model)
    assert is_feasible(whole(IDENTITY, property_of([case([0, 0], [1, 1]), case([0, 0], [1, 1], [])])).model)


def test_a_property_without_cases_is_infeasible() -> None:
    found = whole(IDENTITY, Property(2, 2, ()))
    assert not is_feasible(found.model)


def test_decimal_coefficients_and_ends_are_rounded_to_the_safe_side() -> None:
    # y0 = x0 = 1/10 exactly, unsafe when 3 y0 / 7 <= 3/70: an equality that no rounding may lose.
    tenth = Fraction(1, 10)
    found = whole(IDENTITY, property_of([case([tenth, 0], [tenth, 1], [atom([Fraction(3, 7), 0], Fraction(3, 70))])]))
    row = list(found.model.row_names()).index("atom_0_case_0_disjunct_0_atom_0_0")
    part = found.model.rows
    values = part.values[part.start[row] : part.start[row + 1]]
    x_lower, threshold = Fraction(found.model.lower[0]), Fraction(float(found.model.row_upper[row]))
    assert x_lower <= tenth <= Fraction(found.model.upper[0])
    assert Fraction(float(values[0])) * tenth <= threshold
    assert 0.5 <= abs(values[0]) <= 2


def test_the_ends_of_a_binary32_query_are_binary32_numbers() -> None:
    tenth = Fraction(1, 10)
    prop = property_of([case([tenth, 0], [Fraction(2, 10), 0], [atom([1, 0], 0)])])
    low, high = hull(prop, Semantics.F32_ANY)
    assert low[0] == np.nextafter(np.float32(0.1), np.float32(1)) or low[0] == np.float32(0.1)
    assert Fraction(float(low[0])) >= tenth and Fraction(float(high[0])) <= Fraction(2, 10)
    point = property_of([case([tenth, 0], [tenth, 0], [atom([1, 0], 0)])])
    assert hull(point, Semantics.F32_ANY)[0][0] == np.float32(0.1)
    assert not is_feasible(whole(IDENTITY, prop, Semantics.F32_ANY).model)


@pytest.mark.parametrize("errors", ["rows", "columns"])
def test_error_terms_make_a_near_miss_feasible_in_binary32_alone(errors: Errors) -> None:
    # y = x / 3 on [1, 1] (rounded weight): over the reals y is the weight; binary32 may be off by some 2^-24 of it.
    net = dense([(np.array([[1 / 3], [1.0]]), [0.0, 0.0])])
    weight = Fraction(float(np.float32(1 / 3)))
    miss = property_of([case([1], [1], [atom([1, 0], weight - Fraction(1, 10**6))])])
    close = property_of([case([1], [1], [atom([1, 0], weight - Fraction(1, 10**8))])])
    for prop, semantics, expected in (
        (miss, Semantics.F32_ANY, False),
        (close, Semantics.F32_ANY, True),
    ):
        found = whole(net.program, prop, semantics, EncodingOptions("big-m", errors=errors))
        scaled = scaled_by(found.model, 2.0**20)
        assert is_feasible(scaled) is expected
    assert not is_feasible(scaled_by(whole(net.program, close).model, 2.0**20))


def scaled_by(model: LinearModel, factor: float) -> LinearModel:
    """Rows times a power of two, so that margins stand above a solver's tolerance."""
    rows = replace(model.rows, values=model.rows.values * factor)
    return replace(model, rows=rows, row_lower=model.row_lower * factor, row_upper=model.row_upper * factor)


def test_infinite_bounds_are_refused() -> None:
    prop = property_of([case([0], [1], [atom([1, 0], 0)])])
    program = dense([([[1.0]], [0.0]), ([[1.0], [1.0]], [0.0, 0.0])]).program
    with pytest.raises(FarkasError, match="infinite"):
        encode_query(program, prop, np.zeros(1), np.ones(1), np.array([-INF]), np.ones(1), {})
