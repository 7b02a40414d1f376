"""Critical values of parameters: known ones, and monotonicity that is claimed as derived only where it is true."""

from __future__ import annotations

from fractions import Fraction as Q
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import farkas as fk
from farkas.api import Network
from farkas.checker.check import check
from farkas.critical import UP, Critical, direction
from farkas.expressions import Values, value
from farkas.ir.errors import FarkasError
from farkas.ir.onnx_import import load_onnx
from farkas.specs.language_calls import call
from farkas.specs.language_conditions import Condition
from farkas.specs.language_forms import Parameter
from farkas.specs.language_formulas import And, Comparison, Either, Formula, conjunction, negation
from farkas.specs.language_parameters import chosen
from farkas.specs.language_tensors import Tensor
from tests.farkas.queries import Files
from tests.nets import dense
from tests.specs.test_language import network


@pytest.fixture
def classes() -> Network:
    """Two inputs, three outputs: relu(x0), relu(x1), 1/2; exact in every order."""
    weights = np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32)
    data = dense([(weights, np.array([0, 0, 0.5], dtype=np.float32)), (np.eye(3, dtype=np.float32), np.zeros(3))]).data
    return Network(load_onnx(data), data, None, "classes")


def robust(net: Network) -> fk.Spec:
    """Around (1, 0) class 0 leads class 2 by 1/2 - eps and class 1 by 1 - 2 eps, so it is the largest up to 1/2."""
    x = fk.var(net.input)
    return fk.Spec([fk.linf(x - [1, 0]) <= fk.parameter("eps")], prove=fk.argmax(net(x)) == 0)


def ends(found: Critical) -> tuple[Q, Q]:
    """Where it holds and where it is violated, both of which are known."""
    assert found.holds_at is not None and found.violated_at is not None
    assert isinstance(found.holds, fk.Holds) and isinstance(found.violated, fk.Violated)
    return found.holds_at, found.violated_at


@pytest.mark.parametrize("semantics", ["real", "f32-any"])
def test_the_radius_of_robustness_is_found_with_evidence_at_both_ends(classes: Network, semantics: str) -> None:
    spec = robust(classes)
    found = spec.critical("eps", 0, "1.1", tolerance="0.001", semantics=semantics)
    holds_at, violated_at = ends(found)
    assert holds_at <= Q(1, 2) < violated_at <= holds_at + Q("0.001")
    assert (found.monotone, found.reason, found.gap) == ("derived", "tolerance", violated_at - holds_at)
    assert found.violated is not None
    point = found.violated.replay.inputs
    assert max(abs(point[0] - 1), abs(point[1])) <= violated_at  # the witness is one of that very radius


def test_a_limit_that_is_proved_falls_from_where_it_holds(classes: Network) -> None:
    x = fk.var(classes.input)
    spec = fk.Spec(fk.between(0, x, "0.75"), prove=fk.max(classes(x)) <= fk.parameter("limit"))
    found = spec.critical("limit", 0, 4, tolerance="0.01", semantics="real")
    holds_at, violated_at = ends(found)
    assert violated_at < Q("0.75") <= holds_at and found.monotone == "derived"


def test_monotonicity_that_cannot_be_seen_is_a_claim(classes: Network) -> None:
    x, factor = fk.var(classes.input), fk.parameter("factor")
    spec = fk.Spec(fk.between(0, x, 1), prove=factor * classes(x)[0, 0] <= 2)
    found = spec.critical("factor", "0.25", 4, tolerance="0.01", semantics="real", trust=["crown"])
    holds_at, violated_at = ends(found)
    assert holds_at <= 2 < violated_at and found.monotone == "claimed"
    falling = fk.Spec(fk.between("0.5", x, 1), prove=factor * classes(x)[0, 0] >= 1)
    found = falling.critical("factor", "0.5", 4, tolerance="0.01", semantics="real", trust=["crown"])
    holds_at, violated_at = ends(found)
    assert violated_at < 2 <= holds_at and found.monotone == "claimed"


def test_one_verdict_everywhere_has_one_end(classes: Network) -> None:
    spec = robust(classes)
    within, beyond = spec.critical("eps", 0, "0.4", tolerance="0.1"), spec.critical("eps", "0.6", 1, tolerance="0.1")
    assert (within.holds_at, within.violated_at, within.reason, within.questions) == (Q("0.4"), None, "holds", 1)
    assert (beyond.holds_at, beyond.violated_at, beyond.reason) == (None, Q("0.6"), "violated")


def test_the_value_that_holds_is_certified(tiny: Files) -> None:
    net = fk.load(tiny.network)
    x = fk.var(net.input)
    spec = fk.Spec(fk.linf(x) <= fk.parameter("eps"), prove=net(x) <= "0.3")
    path = Path(tiny.network).with_name("radius.nnc")
    told: list[Critical] = []
    found = spec.critical("eps", "0.1", 1, tolerance="0.02", certificate=path, report=told.append)
    claim = check(path.read_bytes(), Path(tiny.network).read_bytes(), Path(f"{path}.vnnlib").read_bytes())
    holds_at, violated_at = ends(found)
    assert found.holds is not None and found.holds.evidence == "certified" and found.certificate == path
    assert claim.verdict == "unsat" and told[-1].holds_at == holds_at
    assert found.reason == "tolerance" and holds_at <= Q("0.3") < violated_at


def test_what_cannot_be_asked_says_so(classes: Network) -> None:
    spec = robust(classes)
    with pytest.raises(FarkasError, match="neither tolerance nor timeout"):
        spec.critical("eps", 0, 1)
    with pytest.raises(FarkasError, match="go from 1 to 0; two different ones, ascending"):
        spec.critical("eps", 1, 0, tolerance=1)
    with pytest.raises(fk.SpecError) as raised:
        spec.critical("radius", 0, 1, tolerance=1)
    assert raised.value.code == "FK513"


def test_the_ends_are_shown(classes: Network) -> None:
    found = robust(classes).critical("eps", 0, "1.1", tolerance="0.1")
    assert repr(found).startswith("<critical eps: holds at 0.4") and "monotone derived" in repr(found)
    assert "<caption>critical eps</caption>" in found._repr_html_() and "x[0, 1]" in found._repr_html_()


# -- what is derived is true: random formulas at two values of the parameter ------------------------------------------

NET = network((2,), (2,))
X = fk.var(2)
(Y,) = call(NET, X)
EPS = fk.parameter("eps")
RATIONALS = st.fractions(-3, 3, max_denominator=4)


def expressions() -> st.SearchStrategy[Tensor]:
    leaves = st.sampled_from([X[0], X[1], Y[0], Y[1], EPS])
    linear = st.lists(st.tuples(leaves, RATIONALS.filter(bool)), min_size=1, max_size=2).map(
        lambda parts: sum((leaf * factor for leaf, factor in parts), start=X[0] * 0)
    )
    pairs = st.tuples(linear, linear)
    return st.one_of(
        linear, pairs.map(lambda p: fk.maximum(*p)), pairs.map(lambda p: p[0] - fk.abs(p[1])),
        pairs.map(lambda p: p[0] * p[1]), pairs.map(lambda p: fk.l2([p[0], p[1]]) - EPS),
    )  # fmt: skip


def conditions() -> st.SearchStrategy[Condition]:
    atoms = st.tuples(expressions(), RATIONALS).map(lambda p: p[0] <= p[1])
    return st.one_of(
        atoms, atoms.map(lambda a: ~a), st.tuples(atoms, atoms).map(lambda p: p[0] | p[1]),
        expressions().map(lambda e: fk.argmax([e, Y[0], Y[1]]) == 0),
    )  # fmt: skip


def holds(formula: Formula, values: Values) -> bool:
    match formula:
        case Comparison(form, strict):
            low, high = value(form, values)
            assume(not low <= 0 <= high or low == high)  # a norm is known to 2^-64 only
            return high < 0 or (high == 0 and not strict)
        case Either(formula, _):
            return holds(formula, values)
        case And(parts):
            return all(holds(part, values) for part in parts)
        case _:
            return any(holds(part, values) for part in formula.parts)


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(conditions(), conditions(), st.tuples(*[RATIONALS] * 4), RATIONALS, RATIONALS)
def test_counterexamples_stay_in_the_derived_direction(
    premise: Condition, conclusion: Condition, point: tuple[Q, ...], one: Q, other: Q
) -> None:
    found = direction((premise.formula,), conclusion.formula, "eps")
    assume(found is not None)
    unsafe = conjunction([premise.formula, negation(conclusion.formula)])
    first, then = sorted((one, other), reverse=found != UP)
    keys = [key for tensor in (X, Y) for form in tensor.forms for key in form.terms]
    values = {key: v for key, v in zip(keys, point, strict=True) if isinstance(key, tuple)}
    (before,), (after,) = (chosen([unsafe], {"eps": at}) for at in (first, then))
    assert not holds(before, values) or holds(after, values)


def test_directions_by_hand() -> None:
    box = fk.between(0, X, 1).formula
    near, limit = (fk.linf(X - [1, 2]) <= EPS).formula, (Y[0] <= EPS).formula
    plain = (Y[0] <= 1).formula
    assert direction((box, near), plain, "eps") == UP
    assert direction((box,), limit, "eps") == -UP
    assert direction((near,), limit, "eps") is None  # the set grows, and what it may do as well
    assert direction((box,), (EPS * Y[0] <= 1).formula, "eps") is None
    assert direction((box, (fk.l2(X) <= EPS).formula), plain, "eps") == UP
    assert direction((box, (fk.l2(X - EPS) <= 1).formula), plain, "eps") is None
    assert direction((box,), (fk.argmax([Y[0] + EPS, Y[1]]) == 0).formula, "eps") == -UP
    (moved,) = call(NET, X + EPS)
    assert direction((box,), (moved[0] <= 1).formula, "eps") is None
    assert Parameter("eps") in EPS.forms[0].terms
