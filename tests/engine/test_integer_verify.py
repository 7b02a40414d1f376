"""Verdicts about int8 networks: bit-exact witnesses, and `unsat` against the enumeration of all codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from farkas.encoders.cp_sat import Answer, CpSatModel, CpSatOptions
from farkas.engine.budget import Budget
from farkas.engine.integer_search import CodeSearch
from farkas.engine.integer_tasks import Task, tasks
from farkas.engine.integer_verify import verify_integer
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.runtime import Runtime
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.errors import FarkasError
from farkas.ir.integer import IntegerProgram, decoded, run_codes, run_integer
from farkas.ir.integer_codes import input_codes
from farkas.ir.integer_lowering import lower_integer
from farkas.specs.query import Atom, Case, Property, Semantics
from tests.encoders.integer_programs import all_codes, dequantise, layered, quantise, requantise
from tests.engine.quantised import NAMES, network
from tests.nets import Net, atom, case

TRUST = Options(timeout_s=20.0, trust=frozenset({"cp-sat"}))


def query(net: Net, cases: Sequence[Case]) -> Query:
    program = lower_integer(net.graph)
    prop = Property(program.input_size, program.output_size, tuple(cases))
    return Query(net.graph, net.data, prop, Semantics.INT_EXACT)


@cache
def program(name: str) -> IntegerProgram:
    return lower_integer(network(name).graph)


def box(name: str, radius: float = 0.25) -> tuple[list[float], list[float]]:
    """Binary32 ends around a point that depends on the network."""
    rng = np.random.default_rng(len(name))
    centre = rng.uniform(-0.5, 0.5, program(name).input_size).astype(np.float32)
    ends = (centre - np.float32(radius)), (centre + np.float32(radius))
    return ends[0].astype(float).tolist(), ends[1].astype(float).tolist()


def sampled(name: str, radius: float = 0.25, count: int = 4000) -> np.ndarray:
    low, high = box(name, radius)
    rng = np.random.default_rng(0)
    return run_integer(program(name), rng.uniform(low, high, (count, len(low))).astype(np.float32))


def check_witness(net: Net, verdict: Verdict, cases: Sequence[Case]) -> None:
    """The witness lies in its box, violates, and onnxruntime gives the very bits."""
    assert isinstance(verdict, Violated)
    replay = verdict.replay
    own = cases[replay.case_number]
    assert own.contains(replay.inputs)
    x = np.array([float(v) for v in replay.inputs], dtype=np.float32)
    assert [Fraction(float(v)) for v in x] == list(replay.inputs)
    theirs = Runtime(net.data, optimised=True, integers=True).run(x)
    assert [Fraction(float(v)) for v in theirs] == list(replay.outputs)
    assert all(a.holds(replay.inputs, replay.outputs) for a in own.disjuncts[replay.disjunct])
    assert "graph optimisation all" in replay.runtime


def difference(name: str) -> list[float]:
    return [1.0, -1.0] + [0.0] * (program(name).output_size - 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quantile", [0.0, 0.3])
def test_what_samples_reach_is_sat_with_a_bit_exact_witness(name: str, quantile: float) -> None:
    values = sampled(name).astype(np.float64)
    c = float(np.quantile(values[:, 0] - values[:, 1], quantile))
    cases = [case(*box(name), [atom(difference(name), c)])]
    check_witness(network(name), verify(query(network(name), cases), TRUST), cases)


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_beyond_all_codes_is_unsat(name: str) -> None:
    values = sampled(name).astype(np.float64)
    worst = values[:, 0] - values[:, 1]
    c = float(worst.min() - 0.5 * (worst.max() - worst.min()))
    verdict = verify(query(network(name), [case(*box(name), [atom(difference(name), c)])]), TRUST)
    assert isinstance(verdict, Holds)
    assert verdict.evidence == "trusted:cp-sat"
    assert verdict.statistics.arms[0].name == "cp-sat"


def reached(name: str, radius: float) -> tuple[np.ndarray, Task]:
    """Outputs for all codes that the points of a box have."""
    low, high = box(name, radius)
    ends = np.array(low), np.array(high)
    (task,) = tasks(
        program(name), 0, case(low, high, [atom([1.0] + [0.0] * (program(name).output_size - 1), 0)]), *ends
    )
    codes = all_codes(task.inputs)
    return decoded(program(name), run_codes(program(name), codes)[program(name).output]).astype(np.float64), task


@pytest.mark.parametrize("name", ["saddle", "waves"])
@pytest.mark.parametrize("strict", [False, True])
def test_the_verdict_turns_exactly_where_the_enumeration_of_codes_says(name: str, strict: bool) -> None:
    outputs, task = reached(name, 0.1)
    assert task.inputs.count > 300
    least = min(Fraction(a) - Fraction(b) for a, b in outputs[:, :2].tolist())
    hair = Fraction(1, 10**9)
    for c, wanted in ((least, "unsat" if strict else "sat"), (least - hair, "unsat"), (least + hair, "sat")):
        own = case(*box(name, 0.1), [Atom((), ((0, Fraction(1)), (1, Fraction(-1))), c, strict)])
        verdict = verify(query(network(name), [own]), TRUST)
        assert verdict.word == wanted
        # The same from CP-SAT alone, without branch and bound.
        answer = CpSatModel(program(name), task.inputs).solve(own.disjuncts[0], CpSatOptions(20.0)).answer
        assert answer is (Answer.FOUND if wanted == "sat" else Answer.NONE)


def test_argmax_with_several_disjuncts_agrees_with_the_enumeration() -> None:
    outputs, _ = reached("waves", 0.1)
    for j in range(3):
        disjuncts = [[atom([float(k == j) - float(k == i) for k in range(3)], 0)] for i in range(3) if i != j]
        own = case(*box("waves", 0.1), *disjuncts)  # unsafe: another output is at least Y_j
        verdict = verify(query(network("waves"), [own]), TRUST)
        others = np.delete(outputs, j, axis=1).max(axis=1)
        assert verdict.word == ("sat" if (outputs[:, j] <= others).any() else "unsat")


def test_atoms_over_inputs_and_outputs_are_exact() -> None:
    low, high = box("saddle", 0.1)
    outputs, task = reached("saddle", 0.1)
    x = task.inputs.ends(all_codes(task.inputs), np.array([False, False]))
    least = min(Fraction(y) + 2 * Fraction(v) for y, v in zip(outputs[:, 0].tolist(), x[:, 0].tolist(), strict=True))
    for c, wanted in ((least, "sat"), (least - Fraction(1, 10**9), "unsat")):
        own = case(low, high, [atom([1.0], c, x=[2.0])])
        verdict = verify(query(network("saddle"), [own]), TRUST)
        assert verdict.word == wanted
        if wanted == "sat":
            check_witness(network("saddle"), verdict, [own])


def test_strict_bounds_of_inputs_are_part_of_the_set() -> None:
    low, high = box("saddle", 0.1)
    # Y_0 and Y_1 are unbounded; all that is asked is X_0 < low and X_0 <= low.
    for strict, wanted in ((True, "unsat"), (False, "sat")):
        own = case(low, high, [atom([], low[0], x=[1.0], strict=strict), atom([1.0], 1000)])
        assert verify(query(network("saddle"), [own]), TRUST).word == wanted


def test_outputs_that_are_not_quantised_are_bounded_and_compared_exactly() -> None:
    # The last accumulators times a scale in binary32, as onnxruntime leaves a product that no QuantizeLinear follows.
    rng = np.random.default_rng(5)
    weights = [rng.integers(-90, 91, (4, 2)), rng.integers(-90, 91, (2, 4))]
    biases = [rng.integers(-999, 1000, 4), rng.integers(-999, 1000, 2)]
    whole = layered(weights, biases, [requantise(0.01, 90, 4), requantise(1.0, 0, 2)], quantise(0.01, 100, 2), None)
    own = replace(whole, nodes=whole.nodes[:-1], sizes=whole.sizes[:-1], output=3, decode=dequantise(0.0123, 0, 2))
    low, high = np.full(2, np.float32(-0.1)).astype(float), np.full(2, np.float32(0.1)).astype(float)
    codes = all_codes(input_codes(own, low, high))
    outputs = decoded(own, run_codes(own, codes)[3]).astype(np.float64)
    least = min(Fraction(a) - Fraction(b) for a, b in outputs.tolist())
    for c, violated in ((least, True), (least - Fraction(1, 10**12), False)):
        (task,) = tasks(own, 0, case(low.tolist(), high.tolist(), [atom([1.0, -1.0], c)]), low, high)
        search = CodeSearch(task, np.random.default_rng(0))
        found = [point for point in search.rounds(Budget.of(20.0)) if point is not None]
        assert (bool(found), search.is_done) == (violated, not violated)
        answer = CpSatModel(own, task.inputs).solve(task.atoms[0], CpSatOptions(20.0)).answer
        assert answer is (Answer.FOUND if violated else Answer.NONE)


def test_without_trust_a_refuted_query_is_unknown_and_says_what_to_do() -> None:
    own = case(*box("saddle"), [atom([1.0], -1000)])
    verdict = verify(query(network("saddle"), [own]), Options(timeout_s=10.0))
    assert isinstance(verdict, Unknown)
    assert verdict.reason is Reason.UNCERTIFIED
    assert "--trust cp-sat" in verdict.detail
    assert verdict.evidence == "trusted:cp-sat"


def test_an_engine_that_is_not_allowed_does_not_answer() -> None:
    own = case(*box("saddle"), [atom([1.0], -1000)])
    verdict = verify(query(network("saddle"), [own]), Options(timeout_s=10.0, engines=frozenset({"milp"})))
    assert isinstance(verdict, Unknown)
    assert "cp-sat" in verdict.detail


def test_a_runtime_that_deviates_makes_no_sat() -> None:
    # The bytes that onnxruntime executes have another output scale than the graph: its bits are others.
    net = network("saddle")
    model = onnx.load_model_from_string(net.data)
    for constant in model.graph.initializer:
        if constant.name == "y_scale":
            constant.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(constant) * 2, constant.name))
    changed = model.SerializeToString()
    assert changed != net.data
    prop = Property(2, 2, (case(*box("saddle"), [atom([1.0], 1000)]),))
    verdict = verify(Query(net.graph, changed, prop, Semantics.INT_EXACT), Options(timeout_s=10.0))
    assert isinstance(verdict, Unknown)
    assert verdict.reason is Reason.INCOMPLETE
    assert "onnxruntime" in verdict.detail
    assert "farkas doctor" in verdict.detail


def test_a_property_of_other_sizes_is_refused() -> None:
    prop = Property(3, 2, (case([0, 0, 0], [1, 1, 1], [atom([1.0], 0)]),))
    with pytest.raises(FarkasError, match="declares 3 inputs but the network has 2"):
        verify_integer(Query(network("saddle").graph, network("saddle").data, prop, Semantics.INT_EXACT), Options())


def test_a_time_limit_holds() -> None:
    values = sampled("corner", 1.0).astype(np.float64)
    own = case(*box("corner", 1.0), [atom(difference("corner"), float((values[:, 0] - values[:, 1]).min()) - 0.03)])
    verdict = verify(query(network("corner"), [own]), Options(timeout_s=1.0))
    assert verdict.statistics.time_s < 3.0
