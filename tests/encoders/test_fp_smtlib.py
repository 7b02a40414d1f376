"""Formulas of the floating-point theory against the reference run, exact rationals and hand calculations."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farkas.encoders.fp_atoms import NoExactAtom, atom_text, bits_text, literal
from farkas.encoders.fp_smtlib import Formula, smtlib_fp
from farkas.encoders.fp_worker import ENGINES, solve
from farkas.ir.binary32 import ORDERS, Order
from farkas.ir.errors import FarkasError, UnsupportedOperator
from farkas.ir.execute import execute
from farkas.ir.graph import Graph, Node
from farkas.ir.ops.activation import Max, Min
from farkas.ir.ops.affine import Add, Linear
from farkas.ir.ops.scaling import Scale
from farkas.specs.query import Atom, Case, Property
from tests.nets import SHAPES, affine, atom, case, dense, random_layers, seeds, varied

pytest.importorskip("bitwuzla")

DECLARED = [(shape, order) for shape in SHAPES for order in ORDERS if (shape, order[:4]) not in {("conv", "mlas")}]
DECLARED.remove(("mean", "mlas-k256-fma"))
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-4, 4, width=32)
rationals = st.fractions(-8, 8, max_denominator=12) | st.integers(-(2**28), 2**28).map(Fraction)


def pinned(x: Any, *disjuncts: list[Atom]) -> Case:
    """The one point x."""
    return case([float(v) for v in x], [float(v) for v in x], *disjuncts)


def answer(graph: Graph, asked: Case, order: str, *, presolve: bool = False, engine: str = "bitwuzla") -> str:
    return solve(engine, smtlib_fp(graph, asked, order, presolve=presolve))[0]


def equals(y: Any) -> list[Atom]:
    """The outputs are these numbers; exact values, so a zero of either sign is 0."""
    values = [Fraction(float(v)) for v in y]
    return [Atom((), ((j, Fraction(sign)),), sign * v) for j, v in enumerate(values) for sign in (1, -1)]


def differs(y: Any) -> list[list[Atom]]:
    """Some output is not this number."""
    return [[Atom(a.x, a.y, a.c, strict=True)] for a in equals(y)]


@pytest.mark.parametrize(("shape", "order"), DECLARED)
@given(seeds, st.booleans())
@settings(max_examples=3, deadline=None)
def test_at_a_point_the_formula_has_the_bits_of_the_reference_run(
    shape: str, order: Order, seed: int, presolve: bool
) -> None:
    rng = np.random.default_rng(seed)
    net = varied(rng, shape, eighths=False)
    x = rng.uniform(-2, 2, 2).astype(np.float32)
    y = execute(net.graph, x, order)
    assert answer(net.graph, pinned(x, equals(y)), order, presolve=presolve) == "sat"
    assert answer(net.graph, pinned(x, *differs(y)), order, presolve=presolve) == "unsat"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("engine", ENGINES)
def test_sums_longer_than_a_block_have_the_bits_of_the_reference_run(order: Order, engine: str) -> None:
    pytest.importorskip(engine)
    rng = np.random.default_rng(5)
    net = dense([(rng.normal(size=(1, 260)), rng.normal(size=1))])
    x = rng.normal(size=260).astype(np.float32)
    y = execute(net.graph, x, order)
    # The engine sees constants only when the inputs are points; z3 takes minutes to fold 260 open multiplications.
    presolve = engine == "z3"
    assert answer(net.graph, pinned(x, equals(y)), order, presolve=presolve, engine=engine) == "sat"
    assert answer(net.graph, pinned(x, *differs(y)), order, presolve=presolve, engine=engine) == "unsat"


@pytest.mark.parametrize("order", ORDERS)
def test_at_a_point_six_layers_of_25_neurons_take_a_moment(order: Order) -> None:
    rng = np.random.default_rng(6)
    sizes = (5, *(25,) * 6, 5)
    weights = [(rng.normal(size=(m, k)) / k**0.5, rng.normal(size=m)) for k, m in pairwise(sizes)]
    net = dense([(w.astype(np.float32), b.astype(np.float32)) for w, b in weights])
    x = rng.uniform(-1, 1, 5).astype(np.float32)
    y = execute(net.graph, x, order)
    assert answer(net.graph, pinned(x, equals(y)), order) == "sat"
    assert answer(net.graph, pinned(x, *differs(y)), order) == "unsat"


@given(seeds, st.sampled_from(ORDERS))
@settings(max_examples=8, deadline=None)
def test_a_model_is_an_input_whose_run_violates(seed: int, order: Order) -> None:
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (2, 2, 1), eighths=False))
    lower = rng.uniform(-1, 1, 2).astype(np.float32)
    upper = (lower + np.float32(2.0**-21)).astype(np.float32)
    y = execute(net.graph, upper, order)
    asked = case(lower.tolist(), upper.tolist(), [atom([1], Fraction(float(y[0])))])
    for presolve in (False, True):
        formula = Formula.of(net.graph, asked, order, presolve=presolve)
        result, model = solve("bitwuzla", formula.text)
        assert result == "sat"  # a point of the box reaches y[0]
        x = formula.point(model)
        assert ((lower <= x) & (x <= upper)).all()
        assert execute(net.graph, x, order)[0] <= y[0]


# y = 1000 (relu(relu(x + 2^24) - 2^24) - relu(x)) is 0 over the reals.  In binary32 x + 2^24 is 2^24 for x <= 1 (a tie
# to even at 1) and 2^24 + 2 above, so y = 1000 (2 - x) < 1000 for x in (1, 1.5], in every order.
ABSORBS = [
    ([[1.0], [1.0]], [2.0**24, 0.0]),
    ([[1.0, 0.0], [0.0, 1.0]], [-(2.0**24), 0.0]),
    ([[1000.0, -1000.0]], [0.0]),
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("presolve", [False, True])
def test_absorption_by_a_large_bias_is_found_in_every_order(order: Order, presolve: bool) -> None:
    net = dense(ABSORBS)
    formula = Formula.of(net.graph, case([0], [1.5], [atom([-1], Fraction(-1, 10))]), order, presolve=presolve)
    result, model = solve("bitwuzla", formula.text)
    (x,) = formula.point(model)
    assert result == "sat" and 1 < x <= 1.5
    assert answer(net.graph, case([0], [1.5], [atom([-1], -1000)]), order, presolve=presolve) == "unsat"
    assert answer(net.graph, case([0], [1], [atom([-1], Fraction(-1, 10))]), order, presolve=presolve) == "unsat"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_order_of_a_sum_decides(order: Order, engine: str) -> None:
    pytest.importorskip(engine)
    # 2^24 x1 + x2 - 2^24 x3 at (1, 1, 1): the 1 is lost when it meets 2^24 first.
    half, one = [atom([-1], -0.5)], [1.0, 1.0, 1.0]
    forward, backward = affine([[2.0**24, 1, -(2.0**24)]]), affine([[2.0**24, -(2.0**24), 1]])
    assert answer(forward.graph, pinned(one, half), order, engine=engine) == "unsat"
    assert answer(backward.graph, pinned(one, half), order, engine=engine) == "sat"


@pytest.mark.parametrize(("order", "wanted"), [("seq-muladd", "unsat"), ("seq-fma", "sat"), ("mlas-k256-fma", "sat")])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_fused_product_decides(order: str, wanted: str, engine: str) -> None:
    pytest.importorskip(engine)
    # (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24, which the rounded product has lost.
    net, x = affine([[-1.0, 1 + 2.0**-12]]), [1 + 2.0**-11, 1 + 2.0**-12]
    assert answer(net.graph, pinned(x, [atom([-1], -(2.0**-24))]), order, engine=engine) == wanted


def _extremes(op: Max | Min, operands: tuple[str, str]) -> Graph:
    """op of 1 and of inf - inf, at x = (2, 2)."""
    big = np.array([[2.0**127, 2.0**127]], dtype=np.float32)
    nodes = (
        Node("inf", Linear(big, None), ("x",)),
        Node("minus", Linear(-big, None), ("x",)),
        Node("nan", Add(), ("inf", "minus")),
        Node("one", Linear(np.array([[0.5, 0.0]], dtype=np.float32), None), ("x",)),
        Node("y", op, operands),
    )
    return Graph.build((("x", (1, 2)),), nodes, ("y",))


@pytest.mark.parametrize("op", [Max(), Min()])
@pytest.mark.parametrize("operands", [("nan", "one"), ("one", "nan"), ("inf", "minus")])
@pytest.mark.parametrize("presolve", [False, True])
def test_outputs_that_are_not_finite_are_no_witness(op: Max | Min, operands: tuple[str, str], presolve: bool) -> None:
    graph, x = _extremes(op, operands), np.array([2, 2], dtype=np.float32)
    assert not np.isfinite(execute(graph, x, "seq-fma")).any()
    assert answer(graph, pinned(x, []), "seq-fma", presolve=presolve) == "unsat"
    assert answer(_extremes(op, ("one", "one")), pinned(x, equals([1.0])), "seq-fma", presolve=presolve) == "sat"


def test_zeros_of_either_sign_are_one_number() -> None:
    net = affine([[1.0, -1.0]])
    zero = case([0, 0], [0, 0], [atom([1], 0), atom([-1], 0)])
    assert answer(net.graph, zero, "seq-fma") == "sat"
    assert answer(net.graph, case([0, 0], [0, 0], *differs([0.0])), "seq-fma") == "unsat"


def test_division_by_what_may_be_a_zero_is_refused() -> None:
    node = Node("y", Scale(np.array([0.0], dtype=np.float32), divide=True), ("x",))
    graph = Graph.build((("x", (1, 1)),), (node,), ("y",))
    with pytest.raises(UnsupportedOperator, match="1/\\+0 and 1/-0"):
        smtlib_fp(graph, case([0], [1], []), "seq-fma")


def decides(terms: list[tuple[float, Fraction]], c: Fraction, *, strict: bool) -> bool:
    """Whether sum a v <= c (< c when strict), as a solver reads the atom."""
    read = atom_text([(f"v{k}", a) for k, (_, a) in enumerate(terms)], c, strict=strict)
    lines = ["(set-logic QF_BVFP)"]
    for k, (v, _) in enumerate(terms):
        lines += [f"(declare-const v{k} (_ FloatingPoint 8 24))", f"(assert (= v{k} {literal(np.float32(v))}))"]
    lines += [line for v in read.summed for line in bits_text(v)]
    return solve("bitwuzla", "\n".join([*lines, f"(assert {read.text})"]))[0] == "sat"


@given(
    st.lists(st.tuples(numbers, rationals.filter(bool)), min_size=1, max_size=3), rationals, st.booleans(), st.data()
)
@settings(max_examples=150, deadline=None)
def test_atoms_are_read_in_exact_rationals(
    terms: list[tuple[float, Fraction]], c: Fraction, strict: bool, data: st.DataObject
) -> None:
    exact = sum((a * Fraction(v) for v, a in terms), Fraction(0))
    small = Fraction(1, 2 ** data.draw(st.integers(0, 150)))
    c = data.draw(st.sampled_from([c, exact, exact + small, exact - small]))
    assert decides(terms, c, strict=strict) == (exact < c if strict else exact <= c)


def test_sums_that_binary64_would_round_are_exact() -> None:
    # 1 + 2^-100 is above 1 and 1 - 2^-100 below, though both round to 1.
    one, small = Fraction(1), 2.0**-100
    assert not decides([(1.0, one), (small, one)], one, strict=False)
    assert decides([(1.0, one), (-small, one)], one, strict=True)
    # (2^31 + 1)(1 + 2^-23) = 2^31 + 257 + 2^-23, which takes 55 bits and rounds to 2^31 + 257.
    a, u = 2**31 + 1, 1 + 2.0**-23
    assert not decides([(u, Fraction(a)), (0.0, Fraction(a + 2))], Fraction(2**31 + 257), strict=False)
    assert decides([(u, Fraction(-a)), (0.0, Fraction(a + 2))], Fraction(-(2**31) - 257), strict=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_atoms_that_binary32_would_round_are_exact(engine: str) -> None:
    pytest.importorskip(engine)
    # y1 + y2 with y1 = 1, y2 = 2^-30: binary32 has no such sum, and rounds it to 1.
    net = affine([[1.0, 0.0], [0.0, 1.0]])
    x = [1.0, 2.0**-30]
    assert answer(net.graph, pinned(x, [atom([1, 1], 1)]), "seq-fma", engine=engine) == "unsat"
    assert answer(net.graph, pinned(x, [atom([-1, -1], -1, strict=True)]), "seq-fma", engine=engine) == "sat"
    # Three values, the last of which is far below the rounding error of the others: 1 + 2^-30 - 2^-149 < 1 + 2^-30.
    net3 = affine([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for last, wanted in ((2.0**-149, "sat"), (0.0, "unsat"), (-(2.0**-149), "unsat")):
        three = [atom([1, 1, -1], 1 + Fraction(1, 2**30), strict=True)]
        assert answer(net3.graph, pinned([*x, last], three), "seq-fma", engine=engine) == wanted
    # 10 (y1 - y2) < 10 c, c = 0.1 in decimals: no binary format has it.
    tenth = float(np.float32(0.1))  # above 1/10
    assert (
        answer(net.graph, pinned([tenth, 0.0], [atom([1, -1], Fraction(1, 10))]), "seq-fma", engine=engine) == "unsat"
    )


def test_atoms_beyond_reach_are_refused_and_the_message_names_the_reals() -> None:
    with pytest.raises(NoExactAtom, match="smt2-lra"):
        atom_text([("x0", Fraction(1)), ("x1", Fraction(1, 3**600))], Fraction(0), strict=False)


def test_a_property_of_several_cases_is_one_formula() -> None:
    # y = x: [0, 1] with y >= 2 has no run, [3, 4] with y >= 4 has one.
    net = affine([[1.0]])
    first, second = case([0], [1], [atom([-1], -2)]), case([3], [4], [atom([-1], -4)])
    for presolve in (False, True):
        formula = Formula.of(net.graph, Property(1, 1, (first, second)), "seq-fma", presolve=presolve)
        result, model = solve("bitwuzla", formula.text)
        assert (result, formula.point(model).tolist()) == ("sat", [4.0])
        alone = smtlib_fp(net.graph, Property(1, 1, (first,)), "seq-fma", presolve=presolve)
        assert solve("bitwuzla", alone)[0] == "unsat"


def test_a_box_between_two_binary32_numbers_is_nothing_to_ask_about() -> None:
    low = 1 + Fraction(1, 2**25)
    with pytest.raises(FarkasError, match="no binary32 point"):
        smtlib_fp(affine([[1.0]]).graph, case([low], [low + Fraction(1, 2**26)], []), "seq-fma")


@given(seeds)
@settings(max_examples=4, deadline=None)
def test_three_solvers_agree_on_small_boxes(seed: int) -> None:
    pytest.importorskip("cvc5")
    rng = np.random.default_rng(seed)
    net = dense(random_layers(rng, (2, 2, 1), eighths=False))
    lower = rng.uniform(-1, 1, 2).astype(np.float32)
    upper = np.nextafter(np.nextafter(lower, np.float32(9)), np.float32(9))
    middle = execute(net.graph, np.nextafter(lower, np.float32(9)), "seq-fma")[0]
    asked = case(lower.tolist(), upper.tolist(), [atom([-1], -Fraction(float(middle)), strict=True)])
    grid = np.stack(np.meshgrid(*[[a, np.nextafter(a, b), b] for a, b in zip(lower, upper, strict=True)]), axis=-1)
    wanted = "sat" if (execute(net.graph, grid.reshape(-1, 2), "seq-fma") > middle).any() else "unsat"  # all 9 points
    for engine in ENGINES:
        assert answer(net.graph, asked, "seq-fma", presolve=True, engine=engine) == wanted
