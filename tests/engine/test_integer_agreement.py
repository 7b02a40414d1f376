"""Agreement of float networks with their int8 copies: proofs against samples, witnesses on both networks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from farkas.engine.integer_agreement import Agree, Agreement, Deployed, Disagree, agree
from farkas.engine.integer_difference import PairBounds
from farkas.engine.options import Options
from farkas.engine.runtime import Runtime
from farkas.engine.verdict import Reason, Unknown
from farkas.ir.core import run_float
from farkas.ir.errors import FarkasError
from farkas.ir.integer import run_integer
from farkas.ir.integer_codes import input_codes
from farkas.ir.integer_lowering import lower_integer
from tests.engine.quantised import NAMES, float_network, network

TRUST = Options(timeout_s=30.0, trust=frozenset({"crown", "cp-sat"}))
RADIUS = Fraction(1, 10)


def asked(
    name: str, eps: Fraction | None, radius: Fraction = RADIUS, options: Options = TRUST, at: int = 0
) -> Agreement:
    own, copy = float_network(name), network(name)
    n = own.program.input_size
    return agree(
        Deployed(own.graph, own.data),
        Deployed(copy.graph, copy.data),
        [at - radius] * n,
        [at + radius] * n,
        eps,
        options,
    )


def farthest(name: str, radius: Fraction = RADIUS) -> float:
    """The largest difference that samples show, in float64."""
    own = float_network(name).program
    x = np.random.default_rng(0).uniform(-float(radius), float(radius), (4000, own.input_size)).astype(np.float32)
    g = run_integer(lower_integer(network(name).graph), x)
    return float(abs(run_float(own, x.astype(np.float64))[own.output] - g).max())


def check_disagreement(name: str, found: Agreement, eps: Fraction | None) -> None:
    """Both networks on onnxruntime, at the witness, differ by more than eps, or have another argmax."""
    assert isinstance(found, Disagree)
    x = np.array([float(v) for v in found.inputs], dtype=np.float32)
    assert [Fraction(float(v)) for v in x] == list(found.inputs)
    assert all(-RADIUS * 10 <= v <= RADIUS * 10 for v in found.inputs)
    f = [Fraction(float(v)) for v in Runtime(float_network(name).data).run(x)]
    g = [Fraction(float(v)) for v in Runtime(network(name).data, optimised=True, integers=True).run(x)]
    assert tuple(g) == found.integer_outputs
    if eps is None:
        assert f.index(max(f)) != g.index(max(g))
    else:
        assert max(abs(a - b) for a, b in zip(f, g, strict=True)) > eps


@pytest.mark.parametrize("name", NAMES)
def test_networks_agree_within_what_is_far_above_all_samples(name: str) -> None:
    found = asked(name, Fraction(4 * farthest(name)))
    assert isinstance(found, Agree)
    assert found.evidence == "trusted:cp-sat,crown"
    assert found.pieces.open == 0
    assert found.pieces.closed > 0


@pytest.mark.parametrize("name", NAMES)
def test_networks_disagree_below_what_samples_show(name: str) -> None:
    eps = Fraction(0.6 * farthest(name))
    check_disagreement(name, asked(name, eps), eps)


def test_cells_of_one_code_vector_are_decided_by_the_float_network_alone() -> None:
    # So tight that bounds of the difference do not close the pieces above.
    found = asked("saddle", Fraction(1.3 * farthest("saddle")))
    assert isinstance(found, Agree)
    assert found.pieces.cells > 0


def test_the_same_argmax_is_proved_away_from_the_border_and_refuted_across_it() -> None:
    # At (1/2, 1/2) x_0 x_1 is 1/4 and x_0 - x_1 is 0; at (-1/2, -1/2) likewise; they cross in between.
    own, copy = float_network("saddle"), network("saddle")
    networks = Deployed(own.graph, own.data), Deployed(copy.graph, copy.data)
    half, small = Fraction(1, 2), Fraction(1, 50)
    near = agree(*networks, [half - small] * 2, [half + small] * 2, None, TRUST)
    assert isinstance(near, Agree)
    check_disagreement("saddle", agree(*networks, [Fraction(-1)] * 2, [Fraction(1)] * 2, None, TRUST), None)


def test_agreement_without_trust_is_unknown_and_says_what_to_do() -> None:
    found = asked("saddle", Fraction(10), options=Options(timeout_s=10.0))
    assert isinstance(found, Unknown)
    assert found.reason is Reason.UNCERTIFIED
    assert "--trust crown --trust cp-sat" in found.detail


def test_a_time_limit_is_an_answer() -> None:
    found = asked("corner", Fraction(1.05 * farthest("corner", Fraction(1, 2))), Fraction(1, 2), Options(timeout_s=0.5))
    assert isinstance(found, Disagree) or (isinstance(found, Unknown) and found.reason is Reason.TIMEOUT)


def test_networks_of_other_sizes_are_refused() -> None:
    own, copy = float_network("saddle"), network("waves")
    with pytest.raises(FarkasError, match="2 inputs and 2 outputs, the quantised one 3 and 3"):
        agree(
            Deployed(own.graph, own.data),
            Deployed(copy.graph, copy.data),
            [Fraction(0)] * 2,
            [Fraction(1)] * 2,
            None,
            TRUST,
        )


@pytest.mark.parametrize("name", NAMES)
def test_bounds_of_the_difference_lie_below_all_samples(name: str) -> None:
    own, program = float_network(name).program, lower_integer(network(name).graph)
    rng = np.random.default_rng(2)
    n, m = program.input_size, program.output_size
    inputs = input_codes(program, np.full(n, -0.5), np.full(n, 0.75))
    bounds = PairBounds(own, program, inputs)
    first = np.array([[rng.integers(0, len(c) - 8) for c in inputs.codes] for _ in range(6)])
    low, high = (np.stack([inputs.codes[i][first[:, i] + k] for i in range(n)], axis=1) for k in (0, 7))
    rows = rng.integers(-2, 3, (6, 3, m)).astype(float)
    pair = bounds.bound(low, high, rows)
    for b in range(6):
        none = np.zeros(n, dtype=bool)
        x = rng.uniform(inputs.ends(low[b], none), inputs.ends(high[b], ~none), (500, n)).astype(np.float32)
        f = run_float(own, x.astype(np.float64))[own.output]
        g = run_integer(program, x).astype(np.float64)
        for bound, values in ((pair.f, f), (pair.g, g), (pair.difference, f - g)):
            assert (bound[b] <= (values @ rows[b].T).min(axis=0) + 1e-9).all()
        # Not vacuous: the bound of the difference is within what quantisation errs by, some times over.
        assert (pair.difference[b] >= -20 * abs(rows[b]).sum(axis=1) * farthest(name, Fraction(3, 4))).all()
