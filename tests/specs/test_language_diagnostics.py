"""Bad specifications, each with its code, and a part of what the message tells the user to write."""

import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction as Q
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.ir.graph import Graph
from farkas.specs import language as fk
from farkas.specs.diagnostics import SpecError, SpecWarning, UnknownLabel
from farkas.specs.diagnostics_codes import CODES, explain
from farkas.specs.language_calls import call
from farkas.specs.language_numbers import exact
from farkas.specs.language_property import normal_form
from tests.specs.test_language import Callee, network

ROOT = Path(__file__).resolve().parents[2]

x = fk.var((1, 2), labels=("rho", "theta"))
(y,) = call(network(), x)
image = fk.var((1, 4, 5, 3), name="image")
convolution = Callee(Graph((("image", (1, 3, 4, 5)),), (), ("y",), {"image": (1, 3, 4, 5), "y": (1, 3)}))
box = fk.between(0, x, 1)
safe = y[0, 0] <= 1
rho = x.rho
# Conditions and values as Python's own type checkers see them where they are misused.
untyped: Any = x


def spec(givens: list[Any], prove: Any) -> object:
    return normal_form([condition.formula for condition in givens], prove.formula)


def branch() -> object:
    return 1 if rho >= 0 else 2


def statement() -> None:
    if rho >= 0:
        pass


def claim() -> None:
    assert rho >= 0


def loop() -> None:
    while rho <= 1:
        pass


BAD: list[tuple[str, Callable[[], object], str]] = [
    ("FK101", lambda: 0 <= rho <= 1, r"fk.between\(0, rho, 1\)"),
    ("FK101", lambda: 0 < rho <= 1, r"\(0 < rho\) & \(rho <= 1\)"),
    ("FK102", lambda: rho >= 0 and rho <= 1, r"\(rho >= 0\) & \(rho <= 1\)"),
    ("FK102", lambda: rho >= 1 or not rho <= 0, r"\(rho >= 1\) \| ~\(rho <= 0\)"),
    ("FK103", lambda: not rho >= 0, r"~\(rho >= 0\)"),
    ("FK103", lambda: not fk.argmax(y), r"~\(fk.argmax\(y\)\)"),
    ("FK104", branch, r"fk.implies\(rho >= 0, ...\)"),
    ("FK104", statement, r"fk.implies\(rho >= 0, ...\)"),
    ("FK104", claim, r"fk.implies\(rho >= 0, ...\)"),
    ("FK104", loop, r"fk.implies\(rho <= 1, ...\)"),
    ("FK105", lambda: all(x >= 0 for _ in range(2)), r"fk.all\("),
    ("FK105", lambda: any([x >= 0, x <= 1]), r"fk.any\(\[x >= 0, x <= 1\]\)"),
    ("FK105", lambda: max(x[0, 0], x[0, 1]), r"fk.max\(\[x\[0, 0\], x\[0, 1\]\]\)"),
    ("FK105", lambda: 1 in x, "fk.any"),
    ("FK105", lambda: bool(rho >= 0), "fk.implies"),
    ("FK106", lambda: untyped >= 0 & untyped <= 1, "parentheses"),
    ("FK106", lambda: ~untyped, "parentheses"),
    ("FK107", lambda: np.abs(untyped), r"fk.abs\(x\)"),
    ("FK107", lambda: np.sum(untyped, axis=1), r"fk.sum\(x\)"),
    ("FK107", lambda: np.maximum(0, untyped), r"fk.maximum\(a, b\)"),
    ("FK107", lambda: np.linalg.norm(untyped), r"fk.l2\(x\)"),
    ("FK107", lambda: np.argmax(untyped), r"fk.argmax\(x\)"),
    ("FK107", lambda: np.add.reduce(untyped), "operators"),
    ("FK107", lambda: np.exp(untyped), "fk.abs"),
    ("FK107", lambda: np.any(untyped >= 0), r"fk.any\(conditions\)"),
    ("FK201", lambda: x <= "one", "1/255"),
    ("FK201", lambda: x <= "1e99999999", "1/255"),
    ("FK201", lambda: x <= "1/2/3", "1/255"),
    ("FK202", lambda: x <= float("nan"), "finite"),
    ("FK202", lambda: x <= np.array([np.inf, 1]), "finite"),
    ("FK202", lambda: x <= Decimal("inf"), "finite"),
    ("FK203", lambda: x <= True, "Fraction"),
    ("FK203", lambda: x <= 1j, "Fraction"),
    ("FK203", lambda: x + (x >= 0), "Fraction"),
    ("FK203", lambda: x == None, "Fraction"),  # noqa: E711
    ("FK203", lambda: x <= np.array([True, False]), "Fraction"),
    ("FK301", lambda: x - [1, 2, 3], r"\(1, 2\) and \(3,\)"),
    ("FK301", lambda: (x >= 0) & (y >= 0), r"\(1, 2\) and \(1, 3\)"),
    ("FK302", lambda: x[0, 2], "shape"),
    ("FK302", lambda: x[1:], "selects nothing"),
    ("FK302", lambda: len(rho), "single value"),
    ("FK303", lambda: x.reshape(3, -1), r"2 entries"),
    ("FK304", lambda: x @ np.ones((3, 2)), r"\(1, 2\) @ \(3, 2\)"),
    ("FK304", lambda: x @ 2, r"\(1, 2\) @ \(\)"),
    ("FK305", lambda: call(network(), y), r"fk.var\(net.input\)"),
    ("FK305", lambda: call(network(), x[0]), r"\.reshape\(\(1, 2\)\)"),
    ("FK306", lambda: call(convolution, image), r"\.transpose\(0, 3, 1, 2\)"),
    ("FK307", lambda: x - [[1, 2], [3]], "one shape"),
    ("FK308", lambda: fk.var((1, 2), labels=("a",)), "2 distinct names"),
    ("FK308", lambda: fk.var((1, 2), labels=("a", "a")), "twice"),
    ("FK308", lambda: fk.var((1, 2), labels=("a", "shape")), "shape_value"),
    ("FK308", lambda: fk.var((1, 2), labels=("a", "v own")), "underscores"),
    ("FK308", lambda: fk.var((1, 2), labels="ab"), "distinct"),
    ("FK309", lambda: x.roh, "rho, theta"),
    ("FK309", lambda: y["rho"], "labels"),
    ("FK309", lambda: cast(Any, y).argmax(), r"fk.argmax\(x\)"),
    ("FK310", lambda: fk.var((1, 0)), "net.input"),
    ("FK310", lambda: fk.var("12"), "net.input"),  # type: ignore[arg-type]
    ("FK310", lambda: fk.var(2.5), "net.input"),  # type: ignore[arg-type]
    ("FK311", lambda: x.sum(axis=2), "axis of shape"),
    ("FK311", lambda: fk.max(x, x), "fk.maximum"),  # type: ignore[arg-type]
    ("FK311", lambda: x.transpose(0, 0), "each axis"),
    ("FK312", lambda: call(network(), x, x), "1: x"),
    ("FK313", lambda: x + np.zeros((0,)), "at least one"),
    ("FK313", lambda: fk.max([]), "at least one"),
    ("FK401", lambda: fk.var((400,)).sum() * fk.var((400,)).sum(), "160000 products"),
    ("FK401", lambda: fk.l2(fk.var((400,)).sum() - x) ** 2, "bound the sums"),
    ("FK402", lambda: 1 / rho, "x.rho"),
    ("FK403", lambda: x ** Q(1, 2), "compare the square"),
    ("FK403", lambda: x**-1, "from 0 to 16"),
    ("FK403", lambda: 2**rho, "exponent"),
    ("FK404", lambda: call(network(), fk.abs(x)), "max of 2 as entry 0 of input 'x'"),
    ("FK404", lambda: call(network(), x**2), r"x.rho\*\*2"),
    ("FK404", lambda: call(network(), y[:, :2]), "entries of variables"),
    ("FK404", lambda: call(network(), np.zeros((1, 2))), r"fk.var"),  # type: ignore[arg-type]
    ("FK405", lambda: fk.argmax(y) == 3, "0 to 2"),
    ("FK405", lambda: fk.argmin(y) >= 0, "always"),
    ("FK406", lambda: fk.argmax(y) == "0", "integer"),
    ("FK406", lambda: fk.argmax(y) == y[0, 0], "integer"),
    ("FK407", lambda: x / 0, "not 0"),
    ("FK407", lambda: x <= "1/0", "not 0"),
    ("FK408", lambda: spec([box], fk.l2(y) <= fk.l2(x)), "one fk.l2"),
    ("FK408", lambda: spec([box], rho * fk.l2(y) <= 1), "one fk.l2"),
    ("FK408", lambda: spec([box], fk.l2([fk.l2(y) + rho, rho]) <= 1), "one fk.l2"),
    ("FK409", lambda: spec([box], fk.l2(y) <= -1), "-1"),
    ("FK409", lambda: spec([box, fk.l2(x) >= "-1/2"], safe), "nonnegative"),
    ("FK410", lambda: fk.top_k(y, 0), "1 to 2"),
    ("FK410", lambda: fk.top_k(y, 3), "3 of 3"),
    ("FK410", lambda: fk.top_k(y, 1.0), "1 to 2"),  # type: ignore[arg-type]
    ("FK405", lambda: fk.top_k(y, 1).contains(3), "0 to 2"),
    ("FK406", lambda: fk.top_k(y, 1).contains("0"), r"contains\(0\)"),  # type: ignore[arg-type]
    ("FK105", lambda: 0 in fk.top_k(y, 1), "contains"),
    ("FK411", lambda: fk.parameter("the eps"), "name of Python"),
    ("FK512", lambda: spec([fk.linf(x) <= fk.parameter("eps")], safe), r"spec.at\(eps=...\)"),
    ("FK512", lambda: spec([box], call(network(), fk.parameter("eps") + x)[0] <= 1), "eps"),
    ("FK301", lambda: fk.same_except(x, y), "one shape"),
    ("FK309", lambda: fk.same_except(x, x, "roh"), "rho, theta"),
    ("FK302", lambda: fk.same_except(x, x, (0, 2)), "shape"),
    ("FK506", lambda: fk.same_except(x, x, "rho", (0, 1)), "at least one"),
    ("FK507", lambda: fk.top_k(fk.var((40,)), 20), "subsets"),
    ("FK501", lambda: spec([], safe), "fk.between"),
    ("FK502", lambda: spec([x >= 0], safe), r"no upper bound of x.rho"),
    ("FK502", lambda: spec([fk.between(0, rho, 1)], safe), r"no lower bound of x.theta"),
    ("FK502", lambda: spec([box | (x >= 0)], safe), r"case 2"),
    ("FK503", lambda: spec([box, rho >= 2], safe), r"x\.rho >= 2 and x\.rho <= 1 contradict"),
    ("FK504", lambda: spec([box], y - y <= 1), "cancels"),
    ("FK505", lambda: spec([box], x <= 1), "net"),
    ("FK506", lambda: fk.all(True, safe), "no conditions"),  # type: ignore[arg-type]
    ("FK506", lambda: safe & True, "no conditions"),
    ("FK506", lambda: True | safe, "no conditions"),
    ("FK506", lambda: fk.any(x), "comparison"),  # type: ignore[arg-type]
    ("FK506", lambda: fk.implies(x >= 0, True), "comparison"),  # type: ignore[arg-type]
    ("FK506", lambda: fk.all([]), "at least one"),
    ("FK506", lambda: fk.implies(x >= 0, [x <= 1, safe]), r"fk.all\(\[...\]\)"),  # type: ignore[arg-type]
    ("FK507", lambda: spec([fk.l1(fk.var((1, 30))) <= 1], safe), "linf"),
    ("FK507", lambda: spec([box, *[fk.abs(y) >= k for k in range(1, 9)]], safe), "linf"),
    ("FK508", lambda: nested(rho, 120), "fk.max"),
    ("FK508", lambda: alternating(120), "fk.all"),
    ("FK509", lambda: spec([box, fk.between(0, image, 1)], safe), r"image\[0, 0, 0, 0\]"),
]


def nested(value: Any, depth: int) -> object:
    for _ in range(depth):
        value = abs(value - 1)
    return value


def alternating(depth: int) -> object:
    condition = safe
    for k in range(depth):
        condition = condition & (rho <= k) if k % 2 else condition | (rho <= k)
    return condition


@pytest.mark.parametrize(("code", "bad", "hint"), BAD, ids=[f"{code}-{k}" for k, (code, *_) in enumerate(BAD)])
def test_a_bad_specification_has_a_code_a_place_and_a_fix(code: str, bad: Callable[[], object], hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        bad()
    diagnostic = caught.value.diagnostic
    assert caught.value.code == diagnostic.code == code
    assert diagnostic.place is not None and diagnostic.place.file == __file__
    assert diagnostic.place.expression
    assert diagnostic.found and diagnostic.wanted and diagnostic.fix
    assert re.search(hint, str(caught.value)), str(caught.value)


def test_every_code_is_met_here_or_in_the_tests_of_spec() -> None:
    warned, elsewhere = {"FK204"}, {"FK510", "FK511", "FK513", "FK514", "FK515", "FK516", "FK517"}
    assert {code for code, *_ in BAD} | warned | elsewhere == {code for code in CODES if code < "FK6"}


def test_the_place_is_the_expression_and_not_its_line_only() -> None:
    with pytest.raises(SpecError) as caught:
        first, second = rho <= 1, rho <= "one"  # noqa: F841
    place = caught.value.diagnostic.place
    assert place is not None and place.expression == 'rho <= "one"'


def test_without_source_the_message_lists_what_to_write() -> None:
    with pytest.raises(SpecError, match=r"fk.between\(lo, x, hi\)") as caught:
        eval(compile("0 <= rho <= 1", "<string without lines>", "eval"), {"rho": rho, "__name__": "user"})
    assert caught.value.code == "FK105"


def test_without_columns_the_message_lists_what_to_write(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    lines = ["from farkas.specs import language as fk", "x = fk.var((1,))", "if 0 <= x[0] <= 1:", "    pass"]
    program.write_text("\n".join(lines))
    command = [sys.executable, "-X", "no_debug_ranges", str(program)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "FK105" in done.stderr and "program.py:3\n" in done.stderr and "fk.between(lo, x, hi)" in done.stderr


def test_an_unknown_label_is_an_attribute_error() -> None:
    assert not hasattr(x, "roh")
    with pytest.raises(UnknownLabel):
        _ = x.roh


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1, Q(1)),
        (0.1, Q(1, 10)),
        (-1e-6, Q(-1, 10**6)),
        ("1/255", Q(1, 255)),
        (" -2e-3 ", None),
        ("0.1/3", Q(1, 30)),
        (Decimal("0.10"), Q(1, 10)),
        (Q(1, 3), Q(1, 3)),
        (np.float32(0.1), Q(13421773, 2**27)),
        (np.float64(0.1), Q(3602879701896397, 2**55)),
        (np.int8(-3), Q(-3)),
        (np.uint64(2**64 - 1), Q(2**64 - 1)),
        (1e300, Q(10**300)),
    ],
)
def test_numbers_are_exact(value: object, wanted: Q | None) -> None:
    if wanted is None:
        wanted = Q(-2, 1000)
    assert exact(value) == wanted


@pytest.mark.parametrize(
    ("value", "meant"), [(1 / 255, "'1/255'"), (2 / 3, "'2/3'"), (0.1 + 0.2, "0.30000000000000004")]
)
def test_a_computed_float_warns_and_tells_the_string(value: float, meant: str) -> None:
    with pytest.warns(SpecWarning, match=re.escape(meant)) as caught:
        assert exact(value) == Q(Decimal(repr(value)))
    assert caught[0].filename == __file__


def test_a_list_of_computed_floats_warns_once() -> None:
    with pytest.warns(SpecWarning, match="and 1 more") as caught:
        _ = x - [[1 / 255, 2 / 255]]
    assert len(caught) == 1


def test_numpys_numbers_and_arrays_may_stand_on_the_left() -> None:
    half = np.float32(0.5)
    for made in (half * x, np.array([[half, half]]) * x, x * half):
        assert [list(form.terms.values()) for form in made.forms] == [[Q(1, 2)], [Q(1, 2)]]
    assert repr(half <= rho) == repr(np.array(0.5) <= rho) == repr(rho >= half)


def test_numpys_operators_are_those_of_tensors() -> None:
    """With an array on the left, which NumPy asks first, and with the same array as a tensor on the left."""
    array, half = np.array([[0.5, -2.0]]), np.float32(0.5)
    constants = fk.var((1, 2)) * 0 + array
    pairs = [
        (array + x, constants + x), (array - x, constants - x), (array * x, constants * x), (half - x, 0.5 - x),
        (array @ x.T, constants @ x.T), (array <= x, constants <= x), (array < x, constants < x),
        (array >= x, constants >= x), (array > x, constants > x), (array == x, x == constants),
        (array != x, x != constants), (x / array, x * [2, "-1/2"]),
    ]  # fmt: skip
    assert [repr(made) for made, _ in pairs] == [repr(wanted) for _, wanted in pairs]
    values = [(made.forms, wanted.forms) for made, wanted in pairs if not hasattr(made, "formulas")]
    assert [[dict(f.terms) | {"": f.constant} for f in made] for made, _ in values] == [
        [dict(f.terms) | {"": f.constant} for f in wanted] for _, wanted in values
    ]


@given(st.integers(-(10**9), 10**9), st.integers(0, 12))
def test_decimals_that_are_written_do_not_warn(digits: int, places: int) -> None:
    value = float(f"{digits}e-{places}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert exact(value) == Q(digits, 10**places)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_means_a_decimal_that_it_is_nearest_to(value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpecWarning)
        assert float(exact(value)) == value
        assert exact(np.float64(value)) == Q(value)


def test_explanations_name_their_code_and_unknown_codes_list_all() -> None:
    assert explain("fk101").startswith("FK101: chained comparison\n")
    assert all(code in explain("FK999") for code in CODES)


def test_specifications_are_built_in_threads_at_once() -> None:
    found: list[object] = []

    def build(low: int) -> None:
        own = fk.var((1, 2))
        (output,) = call(network(), own)
        form = normal_form([fk.between(low, own, low + 1).formula], (output <= low).formula)
        found.append((low, form.property.cases[0].lower[0]))

    threads = [threading.Thread(target=build, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [(k, k) for k in range(8)]


def test_reprs_are_short() -> None:
    assert repr(x) == "<tensor (1, 2), first entry x.rho>"
    assert repr(2 * rho - 1) == "<value 2*x.rho - 1>"
    assert repr(rho <= 1) == "<condition: x.rho - 1 <= 0>"
    assert repr(fk.argmax(y)) == "<argmax of 3 values>"
