"""What becomes of the bounds of a specification in binary32: how many are moved, and one of them by name."""

from __future__ import annotations

from fractions import Fraction

from farkas.specs.boxes import down32, nearest32, up32
from farkas.specs.language_inputs import Slot
from farkas.specs.language_property import NormalForm
from farkas.specs.numbers import brief


def rounding(normal: NormalForm) -> str:
    """What a verdict in binary32 says about bounds that are no binary32 numbers; empty when all of them are."""
    slots = [slot for copy in normal.copies for slot in copy.slots]
    known: dict[Fraction, bool] = {}
    moved: dict[tuple[int, bool, Fraction, Fraction], None] = {}
    for case in normal.property.cases:
        for place, (low, high) in enumerate(zip(case.lower, case.upper, strict=True)):
            for end, upper in ((low, False), (high, True))[: 1 if low == high else 2]:
                if not _is_binary32(end, known):
                    moved[place, upper, end, low if upper else high] = None
    if not moved:
        return ""
    place, upper, end, other = next(iter(moved))
    what = f"{len(moved)} bounds are no binary32 numbers and were"
    if len(moved) == 1:
        what = "1 bound is no binary32 number and was"
    return f"{what} rounded into the input set, as {_example(slots[place], end, upper, end == other)}"


def _is_binary32(value: Fraction, known: dict[Fraction, bool]) -> bool:
    if value not in known:
        known[value] = nearest32(value) == value
    return known[value]


def _example(slot: Slot, end: Fraction, upper: bool, point: bool) -> str:
    near = nearest32(end) if point else down32(end) if upper else up32(end)
    sign = "==" if point else "<=" if upper else ">="
    return f"{slot.name} {sign} {brief(end)}, which means {sign} {'nothing' if near is None else f'{near:.9g}'}"
