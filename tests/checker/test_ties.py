"""Rule 7 of the normal form: the checker and the engine read equal inputs alike, each by the written rule."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction as F
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farkas.checker import container, property2
from farkas.checker.check import check, load_query
from farkas.checker.errors import CertificateRejected, MalformedInput
from farkas.checker.query import Atom, Case, Property
from farkas.checker.ties import reduce
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verdict import Violated
from farkas.engine.verify import verify
from farkas.ir.joined import Part
from farkas.specs.query import Semantics
from farkas.specs.ties import reduced
from farkas.specs.vnnlib2 import read_document
from tests.nets import dense

ROUND = ((0, F(1)), (1, F(-1)))
BACK = ((0, F(-1)), (1, F(1)))


def atom(x: tuple[tuple[int, F], ...], c: F | int = 0, *, strict: bool = False) -> Atom:
    return Atom(x, (), F(c), strict)


def pair(first: tuple[Any, Any], second: tuple[Any, Any], *atoms: Atom) -> Property:
    """X_0 == X_1 in these intervals."""
    lower, upper = (F(first[0]), F(second[0])), (F(first[1]), F(second[1]))
    return Property(2, 1, (Case(lower, upper, ((atom(ROUND), atom(BACK), *atoms),)),), ("before",))


def test_equal_inputs_are_one_in_what_their_intervals_have_in_common() -> None:
    found, columns = reduce(pair((0, 2), (1, 3), atom(((0, F(2)), (1, F(1))), 4)), rounded=False)
    assert columns == (0, 0)
    assert found == Property(1, 1, (Case((F(1),), (F(2),), ((atom(((0, F(3)),), 4),),)),), ("before",))


def test_in_binary32_different_decimals_may_mean_one_number() -> None:
    near = F(13421773, 2**27)  # 0.1 rounded to 24 bits
    asked = pair(("0.1", "0.1"), ("0.1000000005", "0.1000000005"))
    over_the_reals, _ = reduce(asked, rounded=False)
    assert not over_the_reals.cases and "case 0 is vacuous" in over_the_reals.vacuous[1]
    (case,) = reduce(asked, rounded=True)[0].cases
    assert (case.lower, case.upper) == ((near,), (near,))
    assert not reduce(pair((0, "0.1"), ("0.1", 1)), rounded=True)[0].cases  # 0.1 itself is no binary32 number
    (case,) = reduce(pair((0, "0.1"), ("0.1", 1)), rounded=False)[0].cases
    assert (case.lower, case.upper) == ((F(1, 10),), (F(1, 10),))


def test_an_interval_without_binary32_numbers_stays_so_that_nothing_is_claimed() -> None:
    for first, second in ((("0.1", "0.1000000001"), (0, 1)), ((0, 1), ("0.1", "0.1000000001"))):
        (case,) = reduce(pair(first, second), rounded=True)[0].cases
        assert (case.lower, case.upper) == ((F(1, 10),), (F("0.1000000001"),))
    (case,) = reduce(pair(("0.1", "0.1"), ("0.1", "0.1")), rounded=True)[0].cases
    assert case.lower == (F(1, 10),)  # counted and brought to the grid with all other points


@pytest.mark.parametrize(
    "other",
    [
        atom(BACK, 0, strict=True),
        atom(BACK, 1),
        atom(BACK, -1),
        atom(((0, F(-1)), (1, F(2)))),
        atom(((0, F(-2)), (1, F(1)))),
        atom(((0, F(-1)), (1, F(1)), (2, F(1)))),
        atom(((0, F(-1)), (2, F(1)))),
        atom(ROUND),
        Atom(BACK, ((0, F(1)),), F(0), False),
    ],
)
def test_nothing_else_ties(other: Atom) -> None:
    asked = Property(3, 1, (Case((F(0),) * 3, (F(1),) * 3, ((atom(ROUND), other),)),), ())
    assert reduce(asked, rounded=False) == (asked, (0, 1, 2))


def test_products_speak_of_free_inputs_and_those_that_become_equal_are_added_up() -> None:
    """x_0 x_1 + 2 x_1^2 + 3 x_1 y - x_0 y with x_1 = x_0 is 3 x_0^2 + 2 x_0 y."""
    products = (((0, 2), F(1)), ((2, 2), F(2)), ((1, 2), F(3)), ((0, 1), F(-1)))
    other = Atom((), (), F(4), False, products)
    cancelling = Atom((), (), F(4), False, (((0, 2), F(1)), ((2, 2), F(-1))))
    found, _ = reduce(pair((0, 2), (1, 3), other, cancelling), rounded=False)
    assert found.cases[0].disjuncts == ((Atom((), (), F(4), False, (((0, 0), F(3)), ((0, 1), F(2)))),),)


def test_every_disjunct_of_every_case_has_to_say_so() -> None:
    box = (F(0),) * 2, (F(1),) * 2
    both = (atom(ROUND), atom(BACK))
    for cases in ((Case(*box, (both, ())),), (Case(*box, (both,)), Case(*box, ((atom(ROUND),),)))):
        asked = Property(2, 1, cases, ())
        assert reduce(asked, rounded=False) == (asked, (0, 1))
    assert reduce(Property(2, 1, (Case(*box, (both, both)),), ()), rounded=False)[1] == (0, 0)


def test_a_false_statement_about_constants_is_kept() -> None:
    found, _ = reduce(pair((0, 1), (0, 1), atom(ROUND, -1), atom(ROUND, 0, strict=True), atom(BACK, 1)), rounded=False)
    assert found.cases[0].disjuncts == ((atom((), -1), atom((), 0, strict=True)),)


# Both readers, from the same bytes.

numbers = st.sampled_from(
    ["0.0", "0.1", "0.100000001490116119384765625", "0.1000000005", "0.2", "-0.3", "1.0", "1e-46"]
)
INPUTS = 6
indices = st.integers(0, INPUTS - 1)


def name(i: int) -> str:
    return f"X_f[0,{i}]" if i < 3 else f"X_g[{i - 3}]"


equations = st.builds(
    lambda i, k, form: [form.format(name(i), name(k))],
    indices, indices, st.sampled_from(["(== {0} {1})", "(and (>= {0} {1}) (<= {0} {1}))", "(== (* 3 {0}) (* {1} 3.0))",
                                       "(== (- {0} {1}) 0)"]),
)  # fmt: skip
others = st.builds(
    lambda i, k, c, form: [form.format(name(i), name(k), c)],
    indices, indices, numbers, st.sampled_from(["(<= (+ {0} {1}) {2})", "(< {0} {1})", "(<= (- {0} {1}) {2})",
                                                "(!= {0} {1})", "(>= (+ {0} (* 2 {1}) Y_f) {2})", "(<= {0} {2})"]),
)  # fmt: skip


@st.composite
def documents(draw: Callable[[Any], Any]) -> str:
    """Two networks of three inputs and one output; every input has bounds of its own."""
    ties = draw(st.lists(equations, min_size=1, max_size=4))
    asserted = [line for group in (*ties, *draw(st.lists(others, max_size=3))) for line in group]
    if draw(st.booleans()):
        again = " ".join(ties[0])
        asserted.append(f"(or (and {again} (<= Y_f 0.5)) {again} {draw(others)[0]})")
    ends = [sorted((draw(numbers), draw(numbers)), key=F) for _ in range(INPUTS)]
    boxes = [f"(<= {name(i)} {high}) (>= {name(i)} {low})" for i, (low, high) in enumerate(ends)]
    lines = draw(st.permutations([f"(assert {line})" for line in (*asserted, f"(and {' '.join(boxes)})")]))
    return "\n".join(
        [
            "(vnnlib-version <2.0>)",
            "(declare-network f (declare-input X_f float32 [1,3]) (declare-output Y_f float32 []))",
            "(declare-network g (declare-input X_g float32 [3]) (declare-output Y_g float32 []))",
            *lines,
        ]
    )


@given(documents(), st.booleans())
def test_engine_and_checker_reduce_every_file_to_the_same_property(text: str, rounded: bool) -> None:
    theirs = reduced(read_document(text.encode()).property(), Semantics.F32_ANY if rounded else Semantics.REAL)
    asked = property2.read_document(text.encode()).property
    ours, columns = reduce(asked, rounded)
    assert (columns, ours.inputs) == (theirs.columns, theirs.property.inputs)
    dropped = len(theirs.property.vacuous) - len(theirs.asked.vacuous)
    assert len(ours.vacuous) - len(asked.vacuous) == dropped == len(asked.cases) - len(ours.cases)
    plain = [
        (c.lower, c.upper, [[(a.x, a.y, a.c, a.strict) for a in atoms] for atoms in c.disjuncts]) for c in ours.cases
    ]
    assert plain == [
        (c.lower, c.upper, [[(a.x, a.y, a.c, a.strict) for a in atoms] for atoms in c.disjuncts])
        for c in theirs.property.cases
    ]


# Certificates.

NET = dense([([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), ([[1.0, -1.0]], [0.0])])
TEXT = b"""(vnnlib-version <2.0>)
(declare-network f (declare-input X_f float32 [1,2]) (declare-output Y_f float32 [1,1]))
(declare-network g (equal-to f) (declare-input X_g float32 [1,2]) (declare-output Y_g float32 [1,1]))
(assert (and (>= X_f[0,0] 0.1) (<= X_f[0,0] 0.1) (>= X_f[0,1] 0.0) (<= X_f[0,1] 1.0)))
(assert (and (>= X_g[0,0] 0.1) (<= X_g[0,0] 0.1) (>= X_g[0,1] 0.5) (<= X_g[0,1] 2.0)))
(assert (or (and (== X_f[0,0] X_g[0,0]) (>= X_f[0,1] 7.0)) (and (== X_f[0,0] X_g[0,0]) (== X_g[0,1] X_f[0,1]))))
(assert (>= (+ Y_f[0,0] Y_g[0,0]) 0.125))
"""


def violated() -> tuple[Query, bytes]:
    """Two copies of relu(x_0) - relu(x_1) at x_0 = 0.1 and an x_1 in [0.5, 1]: -0.9 at least up to x_1 = 0.55."""
    text = TEXT.replace(b"0.125", b"-0.9")
    parts = [Part(name, NET.graph, NET.data) for name in "fg"]
    query = Query.of(parts, read_document(text).property(), Semantics.F32_ANY, text)
    verdict = verify(query, Options(timeout_s=10.0, certify=True))
    assert isinstance(verdict, Violated) and verdict.certificate is not None, verdict
    return query, verdict.certificate


def test_a_witness_is_one_of_the_property_as_it_was_asked() -> None:
    """The first alternative contradicts the bounds of X_f[0,1]; where the second holds, all inputs are tied."""
    query, certificate = violated()
    assert (query.property.inputs, query.asked.inputs) == (2, 4)
    accepted = check(certificate, NET.data, query.property_bytes, verdict="sat")
    assert (accepted.cases, accepted.off_grid) == (1, 2)
    _, payloads = container.decode(certificate)
    point = container.parse_json(payloads[container.POINT], "POINT")
    assert isinstance(point, dict) and len(point["input"]) == 4
    assert point["input"][:2] == point["input"][2:]


def test_a_witness_off_the_equations_or_out_of_a_box_is_rejected() -> None:
    query, certificate = violated()
    header, payloads = container.decode(certificate)
    point = container.parse_json(payloads[container.POINT], "POINT")
    assert isinstance(point, dict)

    def why(**changed: Any) -> str:
        data = container.encode(header, [(container.POINT, container.canonical_json({**point, **changed}))])
        with pytest.raises(CertificateRejected) as error:
            check(data, NET.data, query.property_bytes, verdict="sat")
        return str(error.value)

    tenth, half, quarter, nine = "3dcccccd", "3f000000", "3e800000", "3f100000"  # 0.1, 0.5, 0.25, 0.5625
    assert point["input"][0] == tenth
    assert "input 3 is not equal to another one" in why(input=[tenth, half, tenth, nine])
    assert "input 3 lies outside" in why(input=[tenth, quarter, tenth, quarter])
    assert "2 inputs and 2 outputs do not fit" in why(input=[tenth, half])
    assert "has no disjunct 0 in case 1" in why(case=1)


def test_points_off_the_grid_are_counted_over_all_inputs() -> None:
    integer, program, _ = load_query([("f", NET.data)], TEXT, "f32-any")
    assert (integer.off_grid, integer.network.sizes[0], program.sizes[0]) == (2, 2, 2)
    (case,) = integer.cases
    assert (case.lower, case.upper) == ((F(1, 10), F(1, 2)), (F(1, 10), F(1)))


def test_a_property_of_too_many_tied_inputs_does_not_fit_the_network() -> None:
    text = TEXT.replace(b"[1,2]", b"[1,3]")
    boxes = b"(assert (and (== X_f[0,2] 0.0) (== X_g[0,2] 0.0) (== X_f[0,2] X_g[0,2])))"
    with pytest.raises(MalformedInput, match="it has 6 inputs, the network 4"):
        load_query([("f", NET.data)], text + boxes, "real")
