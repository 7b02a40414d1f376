"""The search for a critical value whose direction nobody derived, and which turns out to be the other one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import farkas as fk

WAVE = Path(__file__).parents[2] / "examples" / "networks" / "wave.onnx"


def test_a_square_of_the_parameter_is_searched_from_the_end_where_it_holds() -> None:
    net = fk.load(WAVE)
    x, eps = fk.var(net.input, name="x"), fk.parameter("eps")
    most = fk.maximize(net(x)[0, 0], given=[fk.linf(x) <= "1/2"], gap="1/50", timeout=60)
    assert most.attained is not None and most.proved is not None and most.attained > 0
    spec = fk.Spec(given=[fk.linf(x) <= "1/2"], prove=net(x) <= eps**2)
    found = spec.critical("eps", 0, 2, tolerance="1/20", timeout=60)
    assert found.monotone == "claimed" and found.reason == "tolerance"
    assert found.holds_at is not None and found.violated_at is not None
    assert 0 < found.holds_at - found.violated_at <= Fraction(1, 20)
    assert found.violated_at**2 < most.proved and found.holds_at**2 >= most.attained
