"""Specifications whose networks take computed inputs, and their witnesses, centres and warnings: by hand."""

from __future__ import annotations

from fractions import Fraction as Q
from pathlib import Path

import numpy as np
import pytest

import farkas as fk
from farkas.api import Network
from farkas.checker.check import check
from tests.farkas.test_spec import classes, doubled, magnitude  # noqa: F401  # fixtures

TENTH = Q(13421773, 2**27)  # the binary32 number nearest to 1/10


def test_units_hold_up_to_the_exact_bound_in_binary32(magnitude: Network) -> None:  # noqa: F811
    """|x / 1000| reaches 3/2 for x up to 1500, and nothing above."""
    metres = fk.var((1, 1), name="metres")
    y = magnitude(metres / 1000)
    given = [fk.between(-1000, metres, 1500)]
    assert isinstance(fk.Spec(given, prove=y <= "1.5001").check(timeout=20), fk.Holds)
    answer = fk.Spec(given, prove=y < "3/2").check(timeout=20)
    assert isinstance(answer, fk.Violated)
    assert [(item.name, item.values) for item in answer.named] == [
        ("metres", (1500,)), ("x of magnitude(metres)", (Q(3, 2),)), ("magnitude(metres)", (Q(3, 2),)),
    ]  # fmt: skip


def test_one_parameter_of_several_inputs_is_about_the_reals(classes: Network) -> None:  # noqa: F811
    """Outputs relu(t), relu(1 - t), 1/2 for t in [0, 1]: the first and the second add up to 1, and one of them is
    at least 1/2, which is false with independent inputs."""
    t = fk.var((1,), name="t", labels=("mix",))
    y = classes([[t.mix, 1 - t.mix]])[0]
    given = [fk.between(0, t, 1)]
    holds = fk.Spec(given, prove=(fk.abs(y[0] + y[1] - 1) <= "0.01") & (fk.max(y[:2]) >= "0.49"))
    answer = holds.check(timeout=20)
    assert isinstance(answer, fk.Holds) and answer.semantics.value == "real"
    for mode in ("f32-any", "f32-order:seq-fma"):
        with pytest.raises(fk.SpecError, match=r"FK514(.|\n)*semantics='real'"):
            holds.check(semantics=mode)
    violated = fk.Spec(given, prove=fk.argmax(y[:2]) == 0).check(timeout=20)
    assert isinstance(violated, fk.Violated)
    variable, inputs, outputs = violated.named
    mix = variable["mix"]
    assert 0 <= mix < Q(1, 2)
    assert inputs.values == (mix, 1 - mix) and outputs.values == (mix, 1 - mix, Q(1, 2))


def test_numbers_that_no_float_is_stand_in_the_map_exactly(magnitude: Network) -> None:  # noqa: F811
    """|(a + b) / 3| for a, b in [1, 2] is at most 4/3, and 4/3 is no float."""
    x = fk.var((2,))
    y = magnitude((x.sum() / 3).reshape(1, 1))
    given = [fk.between(1, x, 2)]
    assert isinstance(fk.Spec(given, prove=y <= "1.33334").check(timeout=20), fk.Holds)
    answer = fk.Spec(given, prove=y < "4/3").check(timeout=20)
    assert isinstance(answer, fk.Violated)
    assert [item.values for item in answer.named] == [(2, 2), (Q(4, 3),), (Q(4, 3),)]


def test_a_map_is_certified_with_the_network_that_is_saved_beside_it(tmp_path: Path, classes: Network) -> None:  # noqa: F811
    t = fk.var((1,), name="t")
    y = classes([[t[0], 1 - t[0]]])[0]
    spec = fk.Spec([fk.between(0, t, 1)], prove=y[0] + y[1] <= "1.001")
    answer = spec.check(timeout=20, certificate=tmp_path / "mix.nnc")
    assert isinstance(answer, fk.Holds) and answer.evidence == "certified"
    network = (tmp_path / "mix.nnc.N.onnx").read_bytes()
    accepted = check((tmp_path / "mix.nnc").read_bytes(), network, (tmp_path / "mix.nnc.vnnlib").read_bytes())
    assert accepted.verdict == "unsat" and network != classes.data
    assert isinstance(fk.verify(fk.load(tmp_path / "mix.nnc.N.onnx"), tmp_path / "mix.nnc.vnnlib"), fk.Holds)


def test_copies_behind_equal_maps_are_one_network(magnitude: Network) -> None:  # noqa: F811
    a, b = fk.var((2,), name="a"), fk.var((2,), name="b")
    mean_a, mean_b = (magnitude(fk.mean(v).reshape(1, 1)) for v in (a, b))
    given = [fk.between(0, a, 1), fk.between(0, b, 1), a <= b]
    spec = fk.Spec(given, prove=mean_a <= mean_b + "1/8")
    first, second = spec.networks.values()
    assert first is second and isinstance(spec.check(timeout=20), fk.Holds)


def test_bounds_that_binary32_moves_are_said_once_by_name(magnitude: Network) -> None:  # noqa: F811
    x = fk.var((1, 1), name="x", labels=("speed",))
    spec = fk.Spec([fk.between("0.1", x.speed, "0.75")], prove=magnitude(x) <= 1)
    answer = spec.check(timeout=20)
    (warning,) = answer.warnings
    assert warning == (
        "1 bound is no binary32 number and was rounded into the input set, as x.speed >= 1/10, "
        "which means >= 0.100000001"
    )
    assert np.float32("0.100000001") == np.float32(float(TENTH)) and Q(1, 10) < TENTH
    assert spec.check(timeout=20, semantics="real").warnings == ()
    exact = fk.Spec([fk.between("0.5", x.speed, "0.75")], prove=magnitude(x) <= 1)
    assert exact.check(timeout=20).warnings == ()
    point = fk.Spec([x.speed == "0.1"], prove=magnitude(x) <= 1).check(timeout=20)
    assert "x.speed == 1/10, which means == 0.100000001" in point.warnings[-1]


def test_a_centre_that_violates_is_said_before_anything_is_searched(classes: Network) -> None:  # noqa: F811
    x, eps = fk.var(classes.input), fk.parameter("eps")
    y = classes(x)
    centre = np.array([[1, 0]], dtype=np.float32)
    given = [fk.linf(x - centre) <= eps]
    spec = fk.Spec(given, prove=fk.argmax(y) == 0, centre=centre)
    assert isinstance(spec.at(eps="0.49").check(timeout=20), fk.Holds)
    with pytest.raises(fk.SpecError, match=r"FK517(.|\n)*classes\(x\) = \[1, 0, 0.5\], in f32-any") as caught:
        fk.Spec(given, prove=fk.argmax(y) == 1, centre=centre)
    assert caught.value.diagnostic.place is not None and caught.value.diagnostic.place.file == __file__
    late = fk.Spec(given, prove=y[0, 0] <= eps, centre=(x == centre))
    with pytest.raises(fk.SpecError, match="FK517"):
        late.at(eps="1/2")
    assert late.at(eps=1).centre is late.centre
    for bad in ([[1, 0, 0]], [1, 0], x, x <= 1, [x[0, 0] == 1]):
        with pytest.raises(fk.SpecError, match="FK515"):
            fk.Spec(given, prove=fk.argmax(y) == 0, centre=bad)
    with pytest.raises(fk.SpecError, match="FK516"):
        fk.Spec([fk.between(2, x, 3)], prove=fk.argmax(y) == 0, centre=centre)
    with pytest.raises(fk.SpecError, match="FK503") as caught:
        spec.at(eps=-1)
    assert caught.value.diagnostic.place is not None and caught.value.diagnostic.place.file == __file__
    other = fk.var(classes.input, name="other")
    with pytest.raises(fk.SpecError, match="one of x, other"):
        fk.Spec([*given, fk.between(0, other, 1)], prove=y <= classes(other), centre=centre)


def test_a_euclidean_ball_reaches_the_boundary_where_it_should(classes: Network) -> None:  # noqa: F811
    """Around (1, 0), y0 - y1 = relu(x0) - relu(x1) falls by sqrt(2) r on the ball of radius r, so class 0 stays ahead
    of class 1 up to r = 1 / sqrt(2) = 0.7071..."""
    x = fk.var(classes.input)
    y = classes(x)
    spec = fk.Spec([fk.l2(x - [1, 0]) <= fk.parameter("r")], prove=y[0, 0] >= y[0, 1])
    inside = spec.at(r="0.70").check(timeout=30, trust=["crown"], semantics="real")
    assert isinstance(inside, fk.Holds) and inside.evidence == "checkable"
    outside = spec.at(r="0.72").check(timeout=30, semantics="real")
    assert isinstance(outside, fk.Violated)
    u, v = outside.named[0].values
    assert (u - 1) ** 2 + v**2 <= Q("0.72") ** 2 and max(u, 0) < max(v, 0)


def test_the_witness_of_two_networks_names_both(magnitude: Network, doubled: Network) -> None:  # noqa: F811
    x = fk.var(magnitude.input, name="x")
    answer = fk.Spec([fk.between(1, x, 2)], prove=doubled(x) <= magnitude(x) + "3/2").check(timeout=20)
    assert isinstance(answer, fk.Violated)
    at = {item.name: item.values[0] for item in answer.named}
    assert at["doubled(x)"] == 2 * at["x"] and at["magnitude(x)"] == at["x"] > Q(3, 2)
