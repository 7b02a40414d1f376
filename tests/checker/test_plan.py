"""PLAN and VECTORS: what is written is read, everything malformed is rejected with its place, nothing grows."""

from __future__ import annotations

import contextlib
import copy
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import leb128 as leb
from farkas.checker import plan as plan_module
from farkas.checker.errors import CertificateRejected
from farkas.checker.plan import Recipe, RowGroup, Vector, Vectors, parse_columns, parse_plan
from tests.checker.nets import leb128, vector_bytes

LAYERS = (3, 2)
COLUMNS = (0, 1, 3)


def vectors(payload: bytes, columns: int = 3, neurons: int = 5) -> Vectors:
    return Vectors(payload, columns, neurons)


# Numbers ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1 << 70), st.integers(1, 1 << 70))
def test_a_number_is_read_below_its_limit_only(number: int, more: int) -> None:
    data = leb128(number) + b"\x7f"
    assert leb.read(data, 0, number + more, "X") == (number, len(data) - 1)
    with pytest.raises(CertificateRejected, match="below"):
        leb.read(data, 0, number, "X")


@pytest.mark.parametrize(("data", "why"), [(b"", "cut off"), (b"\x80", "cut off"), (b"\x80\x00", "shortest")])
def test_a_number_has_one_form(data: bytes, why: str) -> None:
    with pytest.raises(CertificateRejected, match=why) as caught:
        leb.read(data, 0, 1 << 40, "X")
    assert caught.value.where == f"X byte {1 if data[1:] or data else 0}"


def test_a_huge_number_is_given_up_soon() -> None:
    with pytest.raises(CertificateRejected, match="below") as caught:
        leb.read(b"\x80" * (1 << 20), 0, 1 << 63, "X")
    assert caught.value.where == "X byte 11"


def test_zigzag_by_hand() -> None:
    assert [leb.zigzag(n) for n in range(5)] == [0, -1, 1, -2, 2]


# VECTORS ------------------------------------------------------------------------------------------------------------


def test_vectors_by_hand() -> None:
    # two bytes for columns 0 and 1; pins: neuron 1 with +3 (zigzag 6), neuron 4 (gap 2) with -2 (zigzag 3)
    found = vectors(bytes([2, 128, 255, 2, 1, 6, 2, 3]) + bytes([0, 0]))
    assert len(found) == 2
    assert found[0] == Vector(b"\x80\xff", ((1, 3), (4, -2)))
    assert found[1] == Vector(b"", ())
    assert (found.top(0), found.top(1)) == (5, 0)


pins = st.dictionaries(
    st.integers(0, 40), st.integers(-(plan_module.MAX_PIN - 1), plan_module.MAX_PIN - 1).filter(bool), max_size=8
)


@given(st.lists(st.tuples(st.binary(max_size=20), pins), max_size=6))
def test_vectors_that_are_written_are_read(written: list[tuple[bytes, dict[int, int]]]) -> None:
    expected = [Vector(slopes, tuple(sorted(found.items()))) for slopes, found in written]
    payload = b"".join(map(vector_bytes, expected))
    found = vectors(payload, 20, 41)
    assert [found[i] for i in range(len(found))] == expected
    for length in range(len(payload)):  # every truncation is shorter by a vector, or malformed
        with contextlib.suppress(CertificateRejected):
            assert len(vectors(payload[:length], 20, 41)) < len(expected)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        ([4, 1, 2, 3, 4, 0], "below 4"),  # more bytes than columns
        ([2, 1], "cut off"),
        ([0], "cut off"),
        ([0, 6], "below 6"),  # more pins than neurons
        ([0, 1], "cut off"),
        ([0, 1, 5, 2], "below 5"),  # neuron 5 of 5
        ([0, 2, 4, 2, 0, 2], "below 0"),  # a pin behind the last neuron
        ([0, 2, 1, 2, 3, 2], "below 3"),
        ([0, 1, 0], "cut off"),
        ([0, 1, 0, 0], "multiplier 0"),
        ([0, 1, 0, 0x80, 0], "shortest"),
        ([0x80, 0, 0], "shortest"),
        ([0, 1, 0, *[0xFF] * 8, 0x7F], "below"),  # zigzag 2^63 - 1 is -2^62
        ([0, 1, 0, *[0x80] * 1000], "below"),
    ],
)
def test_malformed_vectors_are_rejected_with_the_byte(payload: list[int], why: str) -> None:
    with pytest.raises(CertificateRejected, match=why) as caught:
        vectors(bytes(payload))
    assert caught.value.where.startswith("VECTORS")


def test_the_largest_multiplier_is_read() -> None:
    largest = plan_module.MAX_PIN - 1
    for gamma in (largest, -largest):
        assert vectors(vector_bytes(Vector(b"", ((0, gamma),))))[0].pins == ((0, gamma),)


def test_more_vectors_than_the_limit_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "MAX_VECTORS", 3)
    assert len(vectors(bytes(6))) == 3
    with pytest.raises(CertificateRejected, match="more than 3"):
        vectors(bytes(8))


def test_vectors_take_the_memory_of_their_bytes() -> None:
    """Pins of two bytes each are not kept as numbers."""
    neurons = 2000
    payload = vector_bytes(Vector(b"", tuple((g, 1) for g in range(neurons)))) * 40
    tracemalloc.start()
    try:
        found = vectors(payload, 0, neurons)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 40
    assert kept < len(payload)


# PLAN ---------------------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "columns": [0, 1, 3],
    "forks": [[0], [1, 2]],
    "recipes": [
        {"forward": 1, "rows": []},
        {"forward": 0, "rows": [[0, "open", 2], [0, [1], 3], [1, [0, 1], -2]]},
    ],
}
FIVE = vector_bytes(Vector(b"\x01", ((2, 1),))) * 5


def test_a_plan_is_read() -> None:
    found = parse_plan(GOOD, LAYERS, 3, vectors(FIVE))
    assert found.columns == COLUMNS
    assert found.forks == (frozenset({0}), frozenset({1, 2}))
    explicit = RowGroup(1, (0, 1), -2, ())
    assert found.recipes == (
        Recipe(True, ()),
        Recipe(False, (RowGroup(0, None, 2, ()), RowGroup(0, (1,), 3, ()), explicit)),
    )


def test_resolving_puts_in_two_vectors_a_neuron() -> None:
    told = [Vector(bytes([i]), ()) for i in range(5)]
    found = vectors(b"".join(map(vector_bytes, told)))
    recipe = found.resolve(parse_plan(GOOD, LAYERS, 3, found).recipes[1])
    assert recipe.rows[2].vectors == tuple(told[1:])
    assert recipe.rows[0].vectors == recipe.rows[1].vectors == ()


def changed(path: list[Any], value: object) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    target: Any = data
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (["more"], [], "keys"),
        (["columns"], [1, 0], "ascending"),
        (["columns"], [0, 0], "ascending"),
        (["columns"], [5], "below 5"),
        (["columns"], [-1], "ascending"),
        (["columns"], [True], "ascending"),
        (["columns"], ["0"], "ascending"),
        (["columns"], {}, "a list"),
        (["forks"], {}, "a list"),
        (["forks", 0], [], "empty"),
        (["forks", 0], [3], "below 3"),
        (["forks", 0], [1, 0], "ascending"),
        (["forks", 0], 1, "a list"),
        (["recipes"], 1, "a list"),
        (["recipes", 0], [], "keys"),
        (["recipes", 0], {"forward": 1}, "keys"),
        (["recipes", 0, "forward"], 2, "forward must"),
        (["recipes", 0, "forward"], True, "forward must"),
        (["recipes", 0, "rows"], "open", "a list"),
        (["recipes", 1, "rows", 0], [0, "open"], "expected"),
        (["recipes", 1, "rows", 0], [0, "open", 2, 0], "expected"),
        (["recipes", 1, "rows", 0, 0], 2, "expected"),
        (["recipes", 1, "rows", 0, 0], -1, "expected"),
        (["recipes", 1, "rows", 0, 0], True, "expected"),
        (["recipes", 1, "rows", 0, 0], 1, "descend"),
        (["recipes", 1, "rows", 0, 1], "all", "a list"),
        (["recipes", 1, "rows", 0, 2], 4, "expected"),
        (["recipes", 1, "rows", 0, 2], -1, "need a list"),
        (["recipes", 1, "rows", 0, 2], -(1 << 70), "expected"),
        (["recipes", 1, "rows", 1, 1], [1, 1], "ascending"),
        (["recipes", 1, "rows", 1, 1], [3], "below 3"),
        (["recipes", 1, "rows", 1, 2], -5, "vectors 4 to 5 of 5"),
        (["recipes", 1, "rows", 2, 2], -3, "vectors 2 to 5 of 5"),
    ],
)
def test_malformed_plans_are_rejected(path: list[Any], value: object, why: str) -> None:
    with pytest.raises(CertificateRejected, match=why) as caught:
        parse_plan(changed(path, value), LAYERS, 3, vectors(FIVE))
    assert caught.value.where == "PLAN"


@pytest.mark.parametrize("data", [[], None, 1, {"columns": [], "forks": []}])
def test_what_is_no_plan_is_rejected(data: object) -> None:
    with pytest.raises(CertificateRejected, match="keys"):
        parse_columns(data, 5)


@pytest.mark.parametrize(("layer", "neuron", "fine"), [(0, 2, True), (0, 3, False), (1, 2, True), (1, 4, True)])
def test_pins_of_a_row_are_in_its_layer_or_below(layer: int, neuron: int, fine: bool) -> None:
    # layer 0 has the neurons 0 to 2, layer 1 the neurons 3 and 4
    found = vectors(vector_bytes(Vector(b"", ((neuron, -1),))) * 2)
    data = changed(["recipes", 1, "rows"], [[layer, [0], -1]])
    if fine:
        assert parse_plan(data, LAYERS, 3, found).recipes[1].rows[0].rule == -1
    else:
        with pytest.raises(CertificateRejected, match="above layer 0"):
            parse_plan(data, LAYERS, 3, found)


@pytest.mark.parametrize("number", range(4))
def test_pins_of_every_vector_of_a_group_are_looked_at(number: int) -> None:
    told = [Vector(b"", ((3, 1),)) if i == number else Vector(b"", ()) for i in range(4)]
    data = changed(["recipes", 1, "rows"], [[0, [0, 2], -1]])
    with pytest.raises(CertificateRejected, match=f"vector {number} pins"):
        parse_plan(data, LAYERS, 3, vectors(b"".join(map(vector_bytes, told))))
