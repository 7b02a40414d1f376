"""Specifications against NumPy: random expressions, evaluated on their forms in exact rationals, are what NumPy
computes on arrays of rationals; random specifications are unsafe exactly where `given` holds and `prove` does not."""

from collections.abc import Callable
from dataclasses import dataclass
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
from farkas.specs.language_conditions import Condition
from farkas.specs.language_forms import Application, Form, Greatest
from farkas.specs.language_property import NormalForm, normal_form
from farkas.specs.language_tensors import Tensor
from farkas.specs.query import Atom, Case

Values = dict[object, list[Q]]


@dataclass(frozen=True)
class Callee:
    """A network of which nothing but its shapes matters."""

    graph: Graph
    name: str = "f"


def network(inputs: tuple[int, ...] = (1, 2), outputs: tuple[int, ...] = (1, 3)) -> Callee:
    return Callee(Graph((("x", inputs),), (), ("y",), {"x": inputs, "y": outputs}))


def value(form: Form, values: Values) -> Q:
    """The value of a form at a point, by its definition."""
    total = form.constant
    for key, factor in form.terms.items():
        if isinstance(key, Greatest):
            total += factor * max(value(option, values) for option in key.options)
        else:
            assert isinstance(key, tuple), "only entries are left"
            total += factor * values[key[0]][key[1]]
    return total


def source(tensor: Tensor) -> Any:
    """The variable or the call whose entries a tensor holds."""
    (key,) = tensor.forms[0].terms
    assert isinstance(key, tuple), "an entry of a variable or of a call"
    return key[0]


def at(tensor: Tensor, values: Values) -> np.ndarray:
    return np.array([value(form, values) for form in tensor.forms] + [None], dtype=object)[:-1].reshape(tensor.shape)


def spec(givens: list[Condition], prove: Condition) -> NormalForm:
    return normal_form([condition.formula for condition in givens], prove.formula)


RATIONALS = st.sampled_from([Q(n, d) for n in range(-3, 4) for d in (1, 2, 3)])


def arrays(*shape: int) -> st.SearchStrategy[np.ndarray]:
    size = int(np.prod(shape))
    return st.lists(RATIONALS, min_size=size, max_size=size).map(lambda v: np.array(v, dtype=object).reshape(shape))


# -- expressions: the same function on tensors and on arrays of rationals ------------------------------------------

UNARY: list[tuple[Callable[[Any], Any], Callable[[np.ndarray], Any]]] = [
    (lambda t: -t, lambda a: -a),
    (fk.abs, np.abs),
    (abs, np.abs),
    (lambda t: t.sum(), np.sum),
    (lambda t: fk.sum(t, axis=0), lambda a: np.sum(a, axis=0)),
    (lambda t: t.sum(axis=-1), lambda a: np.sum(a, axis=-1)),
    (lambda t: fk.mean(t, 1), lambda a: np.sum(a, axis=1) / Q(a.shape[1])),
    (lambda t: t.max(), np.max),
    (lambda t: fk.min(t, axis=1), lambda a: np.min(a, axis=1)),
    (fk.linf, lambda a: np.max(np.abs(a))),
    (fk.l1, lambda a: np.sum(np.abs(a))),
    (lambda t: t[0], lambda a: a[0]),
    (lambda t: t[:, ::-1], lambda a: a[:, ::-1]),
    (lambda t: t[..., None], lambda a: a[..., None]),
    (lambda t: t[[1, 0, 1]], lambda a: a[[1, 0, 1]]),
    (lambda t: t[np.array([[True, False, True], [False, True, False]])],
     lambda a: a[np.array([[True, False, True], [False, True, False]])]),
    (lambda t: t.T, lambda a: a.T),
    (lambda t: t.reshape(3, -1), lambda a: a.reshape(3, -1)),
    (lambda t: t.reshape((6,)), lambda a: a.reshape((6,))),
    (lambda t: t.ravel(), np.ravel),
    (lambda t: t.reshape(1, 2, 3).transpose(2, 0, 1), lambda a: a.reshape(1, 2, 3).transpose(2, 0, 1)),
    (lambda t: 2 * t / 3 + "1/3", lambda a: 2 * a / 3 + np.array(Q(1, 3), dtype=object)),
    (lambda t: 1 - t, lambda a: 1 - a),
    (lambda t: fk.maximum(t, 0) - fk.minimum(t, 0), lambda a: np.maximum(a, 0) - np.minimum(a, 0)),
    (lambda t: fk.max([fk.abs(t[0]), t[1], [0, 1, "1/2"]], axis=0), lambda a: np.max(
        [np.abs(a[0]), a[1], np.array([0, 1, Q(1, 2)], dtype=object)], axis=0)),
    (lambda t: sum(row[0] for row in t), lambda a: sum(row[0] for row in a)),
]  # fmt: skip


@pytest.mark.parametrize("which", range(len(UNARY)))
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_functions_of_a_tensor_are_numpys(which: int, data: st.DataObject) -> None:
    ours, numpys = UNARY[which]
    point = data.draw(arrays(2, 3))
    x = fk.var((2, 3))
    found, wanted = ours(x), numpys(point)
    assert found.shape == np.shape(wanted)
    assert at(found, {source(x): list(point.ravel())}).tolist() == np.array(wanted, dtype=object).tolist()


SHAPES = [((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((), (2, 2)), ((2, 2), (2, 2)), ((4, 1, 2), (3, 1))]


@pytest.mark.parametrize(("left", "right"), SHAPES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_operators_broadcast_as_numpys(left: tuple[int, ...], right: tuple[int, ...], data: st.DataObject) -> None:
    a, b = data.draw(arrays(*left)), data.draw(arrays(*right))
    x, y = fk.var(left) if left else fk.var((1,))[0], fk.var(right, name="y")
    values = {source(x): list(a.ravel()), source(y): list(b.ravel())}
    assert at(x + y, values).tolist() == (a + b).tolist()
    assert at(y - x, values).tolist() == (b - a).tolist()
    assert at(x * b, values).tolist() == at(a * y, values).tolist() == (a * b).tolist()
    assert at(a - y, values).tolist() == (a - b).tolist()
    assert (x <= y).shape == (a + b).shape


PRODUCTS = [
    ((2, 3), (3, 2)),
    ((3,), (3, 2)),
    ((2, 3), (3,)),
    ((3,), (3,)),
    ((4, 2, 3), (3, 2)),
    ((2, 1, 2, 3), (2, 3, 1)),
]


@pytest.mark.parametrize(("left", "right"), PRODUCTS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_matrix_products_are_numpys(left: tuple[int, ...], right: tuple[int, ...], data: st.DataObject) -> None:
    a, b = data.draw(arrays(*left)), data.draw(arrays(*right))
    x, y = fk.var(left), fk.var(right)
    wanted = np.array(a @ b, dtype=object)
    assert at(x @ b, {source(x): list(a.ravel())}).tolist() == wanted.tolist()
    assert at(a @ y, {source(y): list(b.ravel())}).tolist() == wanted.tolist()
    assert (x @ b).shape == wanted.shape
    if left == right:
        assert at(fk.dot(x, b), {source(x): list(a.ravel())}).tolist() == wanted.tolist()


# -- specifications: random conditions with their meaning ------------------------------------------------------------


@dataclass(frozen=True)
class Stated:
    """A condition, and its truth at a point: input values, output values."""

    condition: Condition
    holds: Callable[[np.ndarray, np.ndarray], bool]


def atoms(x: Tensor, y: Tensor) -> st.SearchStrategy[Stated]:
    """Comparisons, norms, positions, each with its meaning in NumPy."""
    rows = st.tuples(arrays(2), arrays(3), RATIONALS)

    def linear(row: tuple[np.ndarray, np.ndarray, Q], kind: str) -> Stated:
        a, b, c = row
        left = fk.dot(a, x[0]) + b @ y[0]
        conditions = {"<=": left <= c, "<": left < c, ">=": left >= c, ">": left > c, "==": left == c, "!=": left != c}

        def holds(u: np.ndarray, v: np.ndarray) -> bool:
            total = a @ u + b @ v
            return {"<=": total <= c, "<": total < c, ">=": total >= c, ">": total > c, "==": total == c,
                    "!=": total != c}[kind]  # fmt: skip

        return Stated(conditions[kind], holds)

    def curved(row: tuple[np.ndarray, np.ndarray, Q], sign: int) -> Stated:
        a, b, c = row
        left = sign * fk.l1(x - a) - fk.linf(y[0, :2] - b[:2]) + fk.max(y) * c
        return Stated(
            left <= c,
            lambda u, v: sign * np.sum(np.abs(u - a)) - np.max(np.abs(v - b)[:2]) + np.max(v) * c <= c,
        )

    def position(k: int, kind: str) -> Stated:
        first = fk.argmax(y) if kind[0] == "+" else fk.argmin(y)
        conditions = {"==": first == k, "!=": first != k, "<=": first <= min(k, 1), ">": first > min(k, 1)}

        def holds(_: np.ndarray, v: np.ndarray) -> bool:
            place = int(np.argmax(v) if kind[0] == "+" else np.argmin(v))
            return {"==": place == k, "!=": place != k, "<=": place <= min(k, 1), ">": place > min(k, 1)}[kind[1:]]

        return Stated(conditions[kind[1:]], holds)

    return st.one_of(
        st.builds(linear, rows, st.sampled_from(["<=", "<", ">=", ">", "==", "!="])),
        st.builds(curved, rows, st.sampled_from([1, -1])),
        st.builds(position, st.integers(0, 2), st.sampled_from([s + k for s in "+-" for k in ("==", "!=", "<=", ">")])),
        st.builds(lambda c: Stated(fk.between(c, x, c + 1), lambda u, v: all(c <= n <= c + 1 for n in u)), RATIONALS),
        st.just(Stated(fk.argmax(y) == fk.argmin(y), lambda u, v: int(np.argmax(v)) == int(np.argmin(v)))),
    )


def conditions(x: Tensor, y: Tensor) -> st.SearchStrategy[Stated]:
    def both(a: Stated, b: Stated, kind: str) -> Stated:
        made = {
            "&": (a.condition.all() & b.condition.all(), lambda u, v: a.holds(u, v) and b.holds(u, v)),
            "|": (fk.any(fk.all(a.condition), b.condition.all()), lambda u, v: a.holds(u, v) or b.holds(u, v)),
            ">>": (fk.implies(a.condition.all(), b.condition.all()), lambda u, v: not a.holds(u, v) or b.holds(u, v)),
            "all": (fk.all([a.condition, b.condition]), lambda u, v: a.holds(u, v) and b.holds(u, v)),
        }
        return Stated(*made[kind])

    def neither(a: Stated) -> Stated:
        return Stated(~a.condition.all(), lambda u, v: not a.holds(u, v))

    connectives = st.sampled_from(["&", "|", ">>", "all"])
    return st.recursive(
        atoms(x, y),
        lambda part: st.one_of(st.builds(both, part, part, connectives), st.builds(neither, part)),
        max_leaves=2,
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_specification_is_unsafe_where_given_holds_and_prove_does_not(data: st.DataObject) -> None:
    x = fk.var((1, 2))
    (y,) = call(network(), x)
    box = [(-1, 1), (0, 2)]
    extra = data.draw(st.lists(conditions(x, y), max_size=1))
    prove = data.draw(conditions(x, y))
    about = Stated(prove.condition & (y[0, 0] <= 100), lambda u, v: prove.holds(u, v) and v[0] <= 100)
    bounds = [fk.between(low, x[0, k], high) for k, (low, high) in enumerate(box)]
    try:
        found = spec([*bounds, *(stated.condition for stated in extra)], about.condition).property
    except SpecError as error:
        assert error.code == "FK503"  # a random `given` can be empty, which is said
        return
    for _ in range(6):
        u, v = data.draw(arrays(2)), data.draw(arrays(3))
        inside = all(low <= n <= high for n, (low, high) in zip(u, box, strict=True))
        wanted = inside and all(stated.holds(u, v) for stated in extra) and not about.holds(u, v)
        assert found.is_unsafe(list(u), list(v)) == wanted


# -- the normal form, by hand ------------------------------------------------------------------------------------------


def test_robustness_is_one_box_with_an_atom_for_every_other_class() -> None:
    x = fk.var((1, 2))
    (y,) = call(network(), x)
    found = spec([fk.linf(x - ["1/2", 0]) <= "0.25", x >= 0], fk.argmax(y) == 1).property
    # y0 >= y1 or y2 > y1
    zero = Atom((), ((0, Q(-1)), (1, Q(1))), Q(0))
    two = Atom((), ((1, Q(1)), (2, Q(-1))), Q(0), strict=True)
    assert found.cases == (Case((Q(1, 4), Q(0)), (Q(3, 4), Q(1, 4)), ((zero,), (two,))),)
    assert (found.inputs, found.outputs, found.vacuous) == (2, 3, ())


def test_a_strict_bound_is_a_closed_bound_and_an_atom() -> None:
    x = fk.var((1, 2))
    (y,) = call(network(), x)
    (case,) = spec([fk.between(0, x, 1), 2 * x[0, 1] < 1], y[0, 0] <= 1).property.cases
    assert case.upper == (Q(1), Q(1, 2))
    assert case.disjuncts == ((Atom(((1, Q(2)),), (), Q(1), strict=True), Atom((), ((0, Q(-1)),), Q(-1), strict=True)),)


def test_alternatives_of_given_are_boxes_of_their_own() -> None:
    x = fk.var((1, 2))
    (y,) = call(network(), x)
    low, high = fk.between(0, x[0, 0], 1), fk.between(2, x[0, 0], 3)
    cases = spec([x[0, 1] == "1/3", low | high], y[0, 0] <= 1).property.cases
    assert [(case.lower, case.upper) for case in cases] == [((0, Q(1, 3)), (1, Q(1, 3))), ((2, Q(1, 3)), (3, Q(1, 3)))]


def test_labels_name_entries_in_row_major_order() -> None:
    x = fk.var((1, 2), labels=("rho", "theta"))
    assert x.theta.forms == x[0, 1].forms == x["theta"].forms
    assert x.rho.shape == ()


def test_two_calls_of_one_variable_have_equal_inputs() -> None:
    x = fk.var((1, 2))
    (y,), (z,) = call(network(), x), call(network(), x)
    found = spec([fk.between(0, x, 1)], y[0, 0] <= z[0, 0])
    assert len(found.applications) == 2
    prop = found.property
    assert (prop.inputs, prop.outputs) == (4, 6)
    outputs = [Q(1), Q(0), Q(0), Q(0), Q(0), Q(0)]
    assert prop.is_unsafe([Q(0), Q(1), Q(0), Q(1)], outputs)
    assert not prop.is_unsafe([Q(0), Q(1), Q(0), Q(1, 2)], outputs)
    assert not prop.is_unsafe([Q(0), Q(1), Q(0), Q(1)], outputs[::-1])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_calls_that_share_entries_are_unsafe_only_on_equal_inputs(data: st.DataObject) -> None:
    x = fk.var((1, 2))
    (y,), (z,) = call(network(), x), call(network(), x[:, ::-1])
    stated = data.draw(atoms(x, y))
    c = data.draw(RATIONALS)
    form = spec([fk.between(-1, x, 2), x[0, 1] > -1], stated.condition.all() & (z[0, 2] - y[0, 1] <= c))
    for _ in range(4):
        u, v, w = data.draw(arrays(2)), data.draw(arrays(3)), data.draw(arrays(3))
        second = data.draw(st.one_of(st.just(u[::-1]), arrays(2)))
        inside = bool(np.all(u >= -1) and np.all(u <= 2) and u[1] > -1 and np.all(second == u[::-1]))
        wanted = inside and not (stated.holds(u, v) and w[2] - v[1] <= c)
        y_is_first = form.applications[0] is source(y)
        inputs, outputs = ([*u, *second], [*v, *w]) if y_is_first else ([*second, *u], [*w, *v])
        assert form.property.is_unsafe(inputs, outputs) == wanted


def test_two_variables_stand_one_after_the_other() -> None:
    small, large = fk.var((1, 2), name="small"), fk.var((1, 2), name="large")
    (y,), (z,) = call(network(), small), call(network(), large)
    prop = spec([fk.between(0, small, 1), fk.between(2, large, 3), small[0, 0] <= large[0, 1]], y <= z).property
    # the conclusion mentions y first, so its input comes first
    assert prop.cases[0].lower == (0, 0, 2, 2)
    assert len(prop.cases[0].disjuncts) == 3
    assert prop.cases[0].disjuncts[1][1] == Atom((), ((1, Q(-1)), (4, Q(1))), Q(0), strict=True)


def test_a_network_takes_entries_in_any_order() -> None:
    x = fk.var((2,))
    (y,) = call(network(), x[::-1].reshape(1, 2))
    (case,) = spec([fk.between([0, 10], x, [1, 11])], y[0, 0] <= 1).property.cases
    assert (case.lower, case.upper) == ((10, 0), (11, 1))


def test_every_call_is_a_copy() -> None:
    x = fk.var((1, 2))
    (y,), (z,) = call(network(), x), call(network(), x)
    assert isinstance(source(y), Application)
    assert source(y) is not source(z)
