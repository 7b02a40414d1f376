"""Maxima as groups: found in programs, pruned by bounds, and encoded exactly and ideally."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from farkas.encoders.highs import MilpLimits, RelaxedSolver, Status, solve_milp
from farkas.encoders.maxima import Pair, find_pairs, maximum
from farkas.encoders.relu_network import Encoding, EncodingOptions, Maxima, encode
from farkas.encoders.subproblem import Atoms, ask
from farkas.ir.core import Affine, Input, Program, Relu, Rounding, Term, run_float
from farkas.ir.linear import Diagonal
from farkas.ir.lowering import Builder, Value
from tests.encoders.stated import WAYS
from tests.engine.pieces import minimum
from tests.engine.relaxed import Problem, problem
from tests.models import make_model
from tests.nets import EXACT_SHAPES, Box, Net, boxes, random_layers, seeds, varied

WITH_MAXIMA = ("max", "min", "clip", "pool", "leaky", "residual", "plain")
SLACK = 1e-4  # HiGHS 1.12's presolve calls models infeasible whose columns have ranges of 2e-7, below its tolerance
LINE: Box = ((Fraction(-1),), (Fraction(1),))
UNIT: Box = ((Fraction(-1),) * 2, (Fraction(1),) * 2)


def encoded(found: Problem, options: EncodingOptions, errors: Any = None) -> Encoding:
    low, high = (np.array(side, dtype=np.float64) for side in found.box)
    return encode(found.program, low, high, found.lower, found.upper, errors or {}, options)


def least(found: Problem, options: EncodingOptions, y: Any, x: Any, *, relaxed: bool = False) -> float:
    """The model's minimum of y . output + x . input."""
    encoding = encoded(found, options)
    atoms = Atoms.of(np.array([y]), np.array([x]), np.zeros(1), len(found.box[0]))
    question = ask(encoding, found.program.output, atoms)
    if relaxed:
        solution = RelaxedSolver(question.model).solve()
        assert solution.status is Status.OPTIMAL
        return solution.objective * float(atoms.scale[0])
    result = solve_milp(question.model, MilpLimits())
    assert result.status is Status.OPTIMAL
    return result.objective * float(atoms.scale[0])


def wide_maximum(rng: np.random.Generator, operands: int, *, kind: str = "Max", relu: bool = False) -> Net:
    """y = (max of the affine operands, their sum); the operands, all of one Gemm over two inputs, may be Relus."""
    ((w, b),) = random_layers(rng, (2, operands))
    constants: dict[str, Any] = {"w": w, "b": b, "one": np.ones((1, operands), dtype=np.float32)}
    constants |= {f"i{k}": np.array([k], dtype=np.int64) for k in range(operands)}
    node = helper.make_node
    nodes = [node("Gemm", ["x", "w", "b"], ["z"], transB=1)]
    if relu:
        nodes.append(node("Relu", ["z"], ["a"]))
    source = "a" if relu else "z"
    nodes += [node("Gather", [source, f"i{k}"], [f"v{k}"], axis=1) for k in range(operands)]
    nodes.append(node(kind, [f"v{k}" for k in range(operands)], ["m"]))
    nodes.append(node("Gemm", [source, "one"], ["s"], transB=1))
    nodes.append(node("Concat", ["m", "s"], ["y"], axis=1))
    return Net(make_model(nodes, {"x": [1, 2]}, constants, opset=13))


def test_maxima_and_minima_are_found_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    assert [len(find_pairs(varied(rng, shape).program)) for shape in ("max", "pool", "plain", "leaky", "residual")] == [
        1, 1, 0, 0, 0,
    ]  # fmt: skip
    for kind, sign in (("Max", 1), ("Min", -1)):
        pairs = find_pairs(wide_maximum(rng, 5, kind=kind).program)
        assert [pair.sign for pair in pairs.values()] == [sign] * 4


@pytest.mark.parametrize("change", ["bias", "rounding", "factor", "swapped", "other source", "same"])
def test_a_node_that_differs_in_one_thing_is_no_maximum(change: str) -> None:
    builder = Builder(2)
    x = Value(0, (2,))
    shifted = builder.scale(x, np.full(2, 2.0), np.ones(2), Rounding())
    root = builder.maximum(x, shifted)
    program = builder.program(root)
    difference, total = program.nodes[2], program.nodes[4]
    assert isinstance(difference, Affine) and isinstance(total, Affine) and isinstance(program.nodes[3], Relu)
    minus = Diagonal(np.array([1.0, -1.0]))
    changed = {
        "bias": (2, replace(difference, bias=np.array([0.0, 1.0]))),
        "rounding": (4, replace(total, rounding=Rounding(1))),
        "factor": (2, replace(difference, terms=(replace(difference.terms[0], map=minus), difference.terms[1]))),
        "swapped": (4, replace(total, terms=(replace(total.terms[0], source=1), total.terms[1]))),
        "other source": (2, replace(difference, terms=(replace(difference.terms[0], source=1), difference.terms[1]))),
        "same": (4, total),
    }
    v, node = changed[change]
    nodes = (*program.nodes[:v], node, *program.nodes[v + 1 :])
    assert bool(find_pairs(replace(program, nodes=nodes))) == (change == "same")


each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.phases} {way.maxima} {way.errors}")


@each_way
@settings(deadline=None, max_examples=6)
@given(seed=seeds, shape=st.sampled_from(EXACT_SHAPES), box=boxes(2))
def test_every_encoding_has_the_exact_minimum(seed: int, shape: str, box: Box, way: EncodingOptions) -> None:
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, shape).program, box)
    y, x = (rng.integers(-8, 9, 2) / 4 for _ in range(2))
    exact = minimum(found.program, *box, [Fraction(float(v)) for v in y], [Fraction(float(v)) for v in x])
    assert least(found, way, y, x) == pytest.approx(float(exact), abs=1e-5)


@each_way
@settings(deadline=None, max_examples=6)
@given(
    seed=seeds,
    operands=st.integers(2, 6),
    kind=st.sampled_from(["Max", "Min"]),
    relu=st.booleans(),
    box=boxes(2),
)
def test_wide_maxima_have_the_exact_minimum(
    seed: int, operands: int, kind: str, relu: bool, box: Box, way: EncodingOptions
) -> None:
    rng = np.random.default_rng(seed)
    found = problem(wide_maximum(rng, operands, kind=kind, relu=relu).program, box)
    y, x = (rng.integers(-8, 9, 2) / 4 for _ in range(2))
    exact = minimum(found.program, *box, [Fraction(float(v)) for v in y], [Fraction(float(v)) for v in x])
    assert least(found, way, y, x) == pytest.approx(float(exact), abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(2, 4), st.sampled_from(["Max", "Min"]), boxes(2))
def test_the_relaxed_ideal_form_of_one_maximum_is_its_convex_hull(
    seed: int, operands: int, kind: str, box: Box
) -> None:
    """In every direction the relaxation's minimum is the minimum over the graph of the maximum."""
    rng = np.random.default_rng(seed)
    found = problem(wide_maximum(rng, operands, kind=kind).program, box)
    way = EncodingOptions("big-m", "multiple-choice")
    for _ in range(3):
        y, x = np.array([rng.integers(-8, 9) / 4, 0.0]), rng.integers(-8, 9, 2) / 4
        exact = minimum(found.program, *box, [Fraction(float(v)) for v in y], [Fraction(float(v)) for v in x])
        assert least(found, way, y, x, relaxed=True) == pytest.approx(float(exact), abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(seeds, boxes(2))
def test_the_relaxed_ideal_form_of_one_relu_is_its_convex_hull(seed: int, box: Box) -> None:
    rng = np.random.default_rng(seed)
    (w, b), _ = random_layers(rng, (2, 1, 1))
    node = helper.make_node
    nodes = [node("Gemm", ["x", "w", "b"], ["z"], transB=1), node("Relu", ["z"], ["y"])]
    found = problem(Net(make_model(nodes, {"x": [1, 2]}, {"w": w, "b": b}, opset=13)).program, box)
    y, x = np.array([rng.integers(-8, 9) / 4]), rng.integers(-8, 9, 2) / 4
    exact = minimum(found.program, *box, [Fraction(float(v)) for v in y], [Fraction(float(v)) for v in x])
    relaxed = least(found, EncodingOptions("multiple-choice"), y, x, relaxed=True)
    assert relaxed == pytest.approx(float(exact), abs=1e-5)


def test_big_m_of_a_relu_is_weaker_than_its_ideal_form_over_two_inputs() -> None:
    # r = relu(x0 + x1) on [-1, 1]^2.  At x = (1, -1) it is 0; big-M's triangle allows 1 there (z = 0, u = 2, l = -2).
    node = helper.make_node
    nodes = [node("Gemm", ["x", "w"], ["z"], transB=1), node("Relu", ["z"], ["y"])]
    constants = {"w": np.ones((1, 2), dtype=np.float32)}
    found = problem(Net(make_model(nodes, {"x": [1, 2]}, constants, opset=13)).program, UNIT)
    # max r - 2 x0 + 2 x1: the hull has r <= 1 + min(x0, x1), so 0 - 4 at (1, -1), 0 at (0, 0); (-1, 1): 0 + 4.
    direction = np.array([-1.0]), np.array([-2.0, 2.0])
    ideal = least(found, EncodingOptions("multiple-choice"), *direction, relaxed=True)
    weak = least(found, EncodingOptions("big-m"), *direction, relaxed=True)
    assert ideal == pytest.approx(-4) and weak == pytest.approx(-5)


@settings(deadline=None, max_examples=30)
@given(seeds, st.sampled_from(WITH_MAXIMA), boxes(2))
def test_the_relaxed_ideal_form_is_never_weaker_than_big_m(seed: int, shape: str, box: Box) -> None:
    rng = np.random.default_rng(seed)
    found = problem(varied(rng, shape).program, box)
    y, x = (rng.integers(-8, 9, 2) / 4 for _ in range(2))
    pairs: tuple[tuple[Maxima, Maxima], ...] = (("chain", "chain"), ("big-m", "multiple-choice"))
    for weaker, stronger in pairs:
        weak = least(found, EncodingOptions("big-m", weaker), y, x, relaxed=True)
        ideal = least(found, EncodingOptions("multiple-choice", stronger), y, x, relaxed=True)
        assert ideal >= weak - 1e-6


@each_way
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 999).map(lambda n: 7 * n + 5), shape=st.sampled_from(WITH_MAXIMA), box=boxes(2))
def test_every_execution_with_errors_is_a_feasible_point(seed: int, shape: str, box: Box, way: EncodingOptions) -> None:
    """Sampled inputs, with the errors of the first layer at their ends: the model's outputs there contain the true."""
    rng = np.random.default_rng(seed)
    program = varied(rng, shape).program
    errors = {1: rng.integers(0, 3, program.sizes[1]) / 64}
    found = problem(program, box)
    width = 4.0  # bounds that hold with errors too: those of the exact network, widened generously
    loose = widened(found, width)
    encoding = encode(program, *loose.ends, loose.lower, loose.upper, errors, way)
    low, high = loose.ends
    x = low + rng.random(2) * (high - low)
    y = run_with_error(program, x, errors[1] * rng.choice([-1, 1], program.sizes[1]))
    model = encoding.model
    pinned_low, pinned_high = model.lower.copy(), model.upper.copy()
    for columns, values, slack in ((encoding.columns[0], x, 0.0), (encoding.columns[program.output], y, SLACK)):
        pinned_low[columns], pinned_high[columns] = values - slack, values + slack
    result = solve_milp(replace(model, lower=pinned_low, upper=pinned_high), MilpLimits(time_s=10))
    assert result.status is Status.OPTIMAL


@dataclass(frozen=True)
class Loose:
    ends: tuple[Any, Any]
    lower: Any
    upper: Any


def widened(found: Problem, width: float) -> Loose:
    low, high = (np.array(side, dtype=np.float64) for side in found.box)
    return Loose((low, high), found.lower - width, found.upper + width)


def run_with_error(program: Program, x: Any, error: Any) -> Any:
    """The output when node 1 is off by `error`."""
    first = program.nodes[1]
    assert isinstance(first, Affine)
    nodes = (program.nodes[0], replace(first, bias=first.bias + error), *program.nodes[2:])
    return run_float(replace(program, nodes=nodes), x)[program.output]


@each_way
def test_a_maximum_of_minima_keeps_them_apart(way: EncodingOptions) -> None:
    # max(min(x, -x), x/2 - 1/4) = max(-|x|, x/2 - 1/4) on [-1, 1].
    node = helper.make_node
    constants: dict[str, Any] = {"w": np.array([[1], [-1], [0.5]], dtype=np.float32)}
    constants["b"] = np.array([0, 0, -0.25], dtype=np.float32)
    constants |= {f"i{k}": np.array([k], dtype=np.int64) for k in range(3)}
    nodes = [node("Gemm", ["x", "w", "b"], ["z"], transB=1)]
    nodes += [node("Gather", ["z", f"i{k}"], [f"v{k}"], axis=1) for k in range(3)]
    nodes += [node("Min", ["v0", "v1"], ["m"]), node("Max", ["m", "v2"], ["y"])]
    found = problem(Net(make_model(nodes, {"x": [1, 1]}, constants, opset=13)).program, LINE)
    # At x = -1 both are below: max(-1, -3/4) = -3/4.
    assert least(found, way, np.array([1.0]), np.array([0.0])) == pytest.approx(-0.75, abs=1e-5)
    # y - x: at 1 it is 1/4 - 1; at x = 1/2, 0 - 1/2.
    assert least(found, way, np.array([1.0]), np.array([-1.0])) == pytest.approx(-0.75, abs=1e-5)


@each_way
@pytest.mark.parametrize("kind", ["Max", "Min"])
def test_constants_of_big_m_suit_operands_of_unlike_ranges(way: EncodingOptions, kind: str) -> None:
    # 4 x in [-4, 4] and x/4 - 1 in [-5/4, -3/4]: every input can be taken, so that x reaches both ends.
    found = constant_operands([(4, 0), (0.25, -1)], kind)
    for direction in (-1.0, 1.0):
        assert least(found, way, np.array([0.0]), np.array([direction])) == pytest.approx(-1, abs=1e-6)


@each_way
def test_a_relu_and_its_argument_share_the_error(way: EncodingOptions) -> None:
    # z = x up to 1/4 on [-1, 1], y = relu(z) - z = relu(-z): at least 0, whatever the error is.
    def unit(v: int, factor: float) -> Term:
        return Term(Diagonal(np.array([factor])), v)

    nothing = np.zeros(1)
    nodes = (
        Input(1),
        Affine((unit(0, 1.0),), nothing, Rounding(1), nothing),
        Relu(1),
        Affine((unit(2, 1.0), unit(1, -1.0)), nothing, Rounding(), nothing),
    )
    program = Program(nodes, (1, 1, 1, 1), 3, ("x", "z", "a", "y"))
    ends = -np.ones(1), np.ones(1), np.array([-1.25]), np.array([1.25])
    encoding = encode(program, *ends, {1: np.array([0.25])}, way)
    # -y - 16 x is least at x = 1, where z > 0 and y = 0.
    for y, x, expected in ((1.0, 0.0, 0.0), (-1.0, 0.0, -1.25), (-1.0, -16.0, -16.0)):
        atoms = Atoms.of(np.array([[y]]), np.array([[x]]), np.zeros(1), 1)
        question = ask(encoding, 3, atoms)
        found = solve_milp(question.model, MilpLimits()).objective * float(atoms.scale[0])
        assert found == pytest.approx(expected, abs=1e-6)


def names(found: Problem, options: EncodingOptions) -> list[str]:
    model = encoded(found, options).model
    for listed in (model.column_names(), model.row_names()):
        assert len(set(listed)) == len(listed)
    return model.column_names()


def constant_operands(values: Sequence[tuple[float, float]], kind: str = "Max") -> Problem:
    """max over k of (a_k x + b_k) on [-1, 1], one input."""
    w = np.array([[a] for a, _ in values], dtype=np.float32)
    b = np.array([b for _, b in values], dtype=np.float32)
    constants: dict[str, Any] = {"w": w, "b": b}
    constants |= {f"i{k}": np.array([k], dtype=np.int64) for k in range(len(values))}
    node = helper.make_node
    nodes = [node("Gemm", ["x", "w", "b"], ["z"], transB=1)]
    nodes += [node("Gather", ["z", f"i{k}"], [f"v{k}"], axis=1) for k in range(len(values))]
    nodes.append(node(kind, [f"v{k}" for k in range(len(values))], ["y"]))
    net = Net(make_model(nodes, {"x": [1, 1]}, constants, opset=13))
    return problem(net.program, LINE)


@pytest.mark.parametrize("maxima", ["big-m", "multiple-choice"])
def test_dominated_operands_get_no_binary(maxima: Maxima) -> None:
    # x, -x and 1/2 compete on [-1, 1]; x/4 - 2 never reaches 1/2.
    found = constant_operands([(1, 0), (-1, 0), (0.25, -2), (0, 0.5)])
    listed = names(found, EncodingOptions("big-m", maxima))
    assert sum(name.startswith("pick_") for name in listed) == 3
    # 1 is never below x/2: it is left alone, and no binary is needed.
    found = constant_operands([(0, 1), (0.5, 0)])
    listed = names(found, EncodingOptions("big-m", maxima))
    assert not any(name.startswith("pick_") for name in listed)
    assert least(found, EncodingOptions("big-m", maxima), np.array([1.0]), np.array([0.0])) == pytest.approx(
        1, abs=1e-6
    )


def test_of_operands_that_dominate_each_other_one_stays() -> None:
    pairs = {2: Pair(0, 1, 5, 1), 3: Pair(2, 4, 6, 1)}
    one, open_ = np.ones(1), (-np.ones(1), np.ones(1))
    ranges = [(one, one), (one, one), (one, one), (one, one), (one - 2, one)]
    kept = maximum(3, pairs, {5: open_, 6: open_}, ranges)
    assert kept.operands == (0, 1, 4) and kept.kept.sum() == 1


@pytest.mark.parametrize(("low", "high", "kept"), [(-1, 0, (0,)), (0, 1, (1,)), (-1, 1, (0, 1)), (0, 0, (0,))])
def test_a_difference_that_is_stable_decides_its_pair(low: float, high: float, kept: tuple[int, ...]) -> None:
    # Ranges alone leave both operands open.
    wide = (np.array([-9.0]), np.array([9.0]))
    found = maximum(3, {3: Pair(0, 1, 2, 1)}, {2: (np.array([low]), np.array([high]))}, [wide] * 4)
    assert tuple(np.array(found.operands)[found.kept[:, 0]]) == kept


def test_a_group_has_one_binary_an_operand_where_a_chain_has_one_a_pair() -> None:
    found = constant_operands([(1, 0), (-1, 0), (0.5, 0.25), (-0.5, 0.25)])
    group = encoded(found, EncodingOptions("big-m", "big-m"))
    chain = encoded(found, EncodingOptions("big-m", "chain"))
    assert len(group.picks) == 4 and len(group.binary) == 0
    assert len(chain.picks) == 0 and len(chain.binary) == 3


@each_way
def test_names_are_distinct_and_say_where_they_come_from(way: EncodingOptions) -> None:
    found = problem(varied(np.random.default_rng(5), "pool").program, UNIT)
    listed = names(found, way)
    assert listed[:2] == ["input_0_0", "input_0_1"]
    assert any(name.startswith("value_1_z0_") for name in listed)


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(AssertionError, match="bigm"):
        EncodingOptions("bigm")  # type: ignore[arg-type]  # the point of the test
