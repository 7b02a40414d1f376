"""Climbing on from a witness: what comes out are replays of the same question, close to the greatest value."""

from __future__ import annotations

from fractions import Fraction as Q

import numpy as np

from farkas.engine.raising import WEIGHT, raised
from farkas.specs.query import Atom, Case, Semantics
from tests.nets import Net, affine, dense

UNSAFE = Atom((), ((0, Q(-1)),), Q(0), strict=True)  # Y_0 > 0


def tent() -> Net:
    """1 - |x0 - 1/4|, whose greatest value 1 lies inside the box [-1, 1]; exact at multiples of 1/8."""
    first = (np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([-0.25, 0.25]))
    return dense([first, (np.array([[-1.0, -1.0]]), np.array([1.0]))])


def test_the_climb_goes_on_beyond_what_violates() -> None:
    query = tent().query([Case((Q(-1), Q(0)), (Q(1), Q(0)), ((UNSAFE,),))], Semantics.F32_ANY)
    (found,) = raised(query, 0.5)
    assert Q("0.9") < found.outputs[0] <= 1
    assert found.outputs[0] == 1 - abs(found.inputs[0] - Q(1, 4))


def test_conditions_on_inputs_are_met_by_a_hair() -> None:
    """x0 - x1 where x0 - x1 <= 1/8: evenly shared, the slack would leave the output at 1/16."""
    close = Atom(((0, Q(1)), (1, Q(-1))), (), Q(1, 8))
    query = affine([[1.0, -1.0]]).query([Case((Q(0), Q(0)), (Q(1), Q(1)), ((UNSAFE, close),))])
    (found,) = raised(query, 0.5)
    assert Q("0.12") < found.outputs[0] <= Q(1, 8) and found.inputs[0] - found.inputs[1] <= Q(1, 8)
    assert found.outputs[0] <= Q(1, 8) * Q(WEIGHT) / (1 + Q(WEIGHT)) + Q(1, 10**6)


def test_where_nothing_violates_nothing_is_raised() -> None:
    never = Atom((), ((0, Q(-1)),), Q(-2))  # Y_0 >= 2
    query = tent().query([Case((Q(-1), Q(0)), (Q(1), Q(0)), ((never,),))])
    assert not list(raised(query, 0.2))
