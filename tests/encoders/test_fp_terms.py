"""Binary32 terms against binary32 runs: every operator, and every rewriting, on numbers, infinities and NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.encoders.fp_terms import FpTerms, Kind, Pool, Term, variables
from farkas.ir.binary32 import Binary32, Order, fma, same_bits
from farkas.ir.op import Op
from farkas.ir.ops import OPS
from tests.strategies import SAMPLES

RUN = Binary32("seq-fma")
OPERATIONS: dict[Kind, tuple[int, Any]] = {
    Kind.ADD: (2, RUN.add),
    Kind.SUB: (2, RUN.sub),
    Kind.MUL: (2, RUN.mul),
    Kind.FMA: (3, fma),
    Kind.NEG: (1, RUN.neg),
    Kind.ABS: (1, RUN.absolute),
    Kind.SQRT: (1, RUN.sqrt),
    Kind.MAX: (2, RUN.maximum),
    Kind.MIN: (2, RUN.minimum),
}
Step = tuple[Kind, list[int]]
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-2, 2, width=32)
constants = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0**127, -(2.0**127), 2.0**-149]) | numbers
steps: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(list(OPERATIONS)), st.lists(st.integers(0, 30), min_size=3, max_size=3)
)


def f32(value: float) -> Any:
    return np.array([value], dtype=np.float32)


def value_of(term: Term, known: dict[Any, Any]) -> Any:
    """The term's value, operation by operation; known: of variables by name, and of terms that were met before."""
    if term.value is not None:
        return f32(float(term.value))
    if term.kind is Kind.VARIABLE:
        return known[term.name]
    if term not in known:
        args = [value_of(arg, known) for arg in term.args]
        with np.errstate(all="ignore"):
            known[term] = RUN.div(*args) if term.kind is Kind.DIV else OPERATIONS[term.kind][1](*args)
    return known[term]


@given(
    st.lists(constants, min_size=3, max_size=3), st.lists(numbers, min_size=2, max_size=2), st.lists(steps), st.data()
)
@settings(max_examples=250, deadline=None)
def test_rewriting_keeps_every_bit_and_bounds_hold(
    known: list[float], point: list[float], program: list[Step], data: st.DataObject
) -> None:
    bounded, pool = data.draw(st.booleans()), Pool()
    widths = data.draw(st.lists(st.sampled_from([0.0, 1e-6, 1.0]), min_size=2, max_size=2))
    largest = float(np.finfo(np.float32).max)
    reach = [w * abs(v) for v, w in zip(point, widths, strict=True)]
    ends = [
        (np.float32(max(v - r, -largest)), np.float32(min(v + r, largest))) for v, r in zip(point, reach, strict=True)
    ]
    inputs: dict[Any, Any] = {f"v{k}": f32(v) for k, v in enumerate(point)}
    terms = [pool.constant(np.float32(c)) for c in known]
    terms += [pool.variable(f"v{k}", ends[k] if bounded else None) for k in range(2)]
    runs = [f32(c) for c in known] + list(inputs.values())
    for kind, places in program:
        count, operation = OPERATIONS[kind]
        chosen = [place % len(terms) for place in places[:count]]
        terms.append(pool.apply(kind, *(terms[i] for i in chosen)))
        with np.errstate(all="ignore"):
            runs.append(operation(*(runs[i] for i in chosen)))
        assert same_bits(value_of(terms[-1], inputs), runs[-1]).all()
        if terms[-1].ends is not None:
            assert terms[-1].ends[0] <= runs[-1][0] <= terms[-1].ends[1]
        if terms[-1].is_number:
            assert np.isfinite(runs[-1][0])


@pytest.mark.parametrize("order", ["seq-fma", "seq-muladd"])
@pytest.mark.parametrize("kind", OPS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_every_operator_is_the_term_of_its_run(order: Order, kind: type[Op], data: st.DataObject) -> None:
    sample = data.draw(SAMPLES[kind])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    width = data.draw(st.sampled_from([None, 0.0, 0.25]))
    alg, inputs, operands, points = FpTerms(order), dict[Any, Any](), [], []
    for shape in sample.shapes:
        x = rng.uniform(-2, 2, shape).astype(np.float32)
        names = [f"v{len(inputs) + k}" for k in range(x.size)]
        margin = np.float32(width or 0)
        terms = [
            alg.pool.variable(name, None if width is None else (v - margin, v + margin))
            for name, v in zip(names, x.ravel(), strict=True)
        ]
        inputs |= {name: f32(float(v)) for name, v in zip(names, x.ravel(), strict=True)}
        array = np.empty(x.size, dtype=object)
        array[:] = terms
        operands.append(array.reshape(shape))
        points.append(x)
    found = sample.op.denote(alg, *operands)
    wanted = sample.op.denote(Binary32(order), *points)
    assert found.shape == wanted.shape
    for term, value in zip(found.ravel(), wanted.ravel(), strict=True):
        assert same_bits(value_of(term, inputs), f32(float(value))).all()


def test_equal_terms_are_one_object() -> None:
    alg = FpTerms("seq-fma")
    x = variables(alg.pool, f32(-1), f32(1), bounded=False)
    assert alg.add(x, x)[0] is alg.add(x, x)[0]
    assert alg.constant(f32(0.0))[0] is alg.constant(f32(-0.0))[0]


def test_bounds_fix_neurons_and_points_leave_nothing_open() -> None:
    alg = FpTerms("seq-fma")
    x = variables(alg.pool, f32(1), f32(2), bounded=True)
    zero = alg.constant(f32(0))
    assert alg.maximum(x, zero)[0] is x[0]
    assert alg.maximum(alg.neg(x), zero)[0] is zero[0]
    point = variables(alg.pool, f32(3), f32(3), bounded=True)
    assert alg.mul(point, point)[0].value == 9
