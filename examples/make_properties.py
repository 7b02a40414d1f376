"""Writes the example properties, and `suite.csv` with the truth of each: `python -m examples.make_properties`.

Each property is a claim about what its network was fitted to; some are true of the network and some are false.  The
column `expected` is what `reference.py` and `milp.py` found, by sampling, by subdivision, by a mixed-integer program:
`sat` when there is a counterexample, `unsat` when there is a proof.  What they cannot judge is an error here, no guess.
"""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from examples.make_networks import SIDE
from examples.milp import proves_by_milp
from examples.reference import Judged, Unsafe, proves, read, refutes
from examples.training import Array

FOLDER = Path(__file__).resolve().parent
Box = tuple[tuple[str, str], ...]
Disjuncts = tuple[tuple[str, ...], ...]
MOST_CUT = 6  # inputs that a proof by subdivision can cut; with more it gets one box, then a mixed-integer program
ATOM = re.compile(r"\((<=|>=) (\S+) (\S+)\)")


@dataclass(frozen=True)
class Property:
    """What must not happen: an input in one of the boxes whose output meets all atoms of one disjunct of that box."""

    name: str
    network: str
    claim: str
    cases: tuple[tuple[Box, Disjuncts], ...]
    timeout_s: int = 60


def wave() -> list[Property]:
    """sin x cos y on [-2, 2]^2, fitted with an error below 0.05."""
    everywhere: Box = (("-2.0", "2.0"),) * 2
    crest: Box = (("1.3", "1.8"), ("-0.3", "0.3"))
    trough: Box = (("-1.8", "-1.3"), ("-0.3", "0.3"))
    return [
        Property("wave_positive", "wave", "positive where sin and cos are",
                 (((("0.5", "1.5"), ("-0.5", "0.5")), (("(<= Y_0 0.3)",),)),)),
        Property("wave_amplitude", "wave", "never above 1.05 nor below -1.05",
                 ((everywhere, (("(>= Y_0 1.05)",), ("(<= Y_0 -1.05)",))),)),
        Property("wave_peak", "wave", "never above 0.9",
                 (((("0.0", "2.0"), ("-1.0", "1.0")), (("(>= Y_0 0.9)",),)),)),
        Property("wave_band", "wave", "never between 0.45 and 0.46",
                 ((everywhere, (("(>= Y_0 0.45)", "(<= Y_0 0.46)"),)),)),
        Property("wave_below_x", "wave", "sin x cos y stays below x",
                 (((("0.8", "2.0"), ("-1.0", "1.0")), (("(>= Y_0 X_0)",),)),)),
        Property("wave_extremes", "wave", "high on the crest and low in the trough",
                 ((crest, (("(<= Y_0 0.8)",),)), (trough, (("(>= Y_0 -0.8)",),)))),
    ]  # fmt: skip


def least(index: int, others: tuple[int, ...]) -> tuple[str, ...]:
    """The atoms that make output `index` a smallest one."""
    return tuple(f"(<= Y_{index} Y_{other})" for other in others)


def avoidance() -> list[Property]:
    """The lowest cost is the advice: 0 clear, 1 weak left, 2 weak right, 3 strong left, 4 strong right.

    "It" is the intruder; inputs are its distance, bearing and heading, our speed and its speed.
    """
    behind: Box = (("8.5", "9.5"), ("2.7", "3.0"), ("-0.2", "0.2"), ("0.2", "0.3"), ("0.05", "0.1"))
    head_on: Box = (("1.6", "1.9"), ("-0.1", "0.1"), ("2.95", "3.1"), ("0.2", "0.25"), ("0.2", "0.25"))
    astern: Box = (("7.0", "9.5"), ("-2.6", "-2.2"), ("-0.3", "0.3"), ("0.2", "0.25"), ("0.05", "0.12"))
    wide: Box = (("8.0", "10.0"), ("2.5", "3.1"), ("-0.5", "0.5"), ("0.2", "0.3"), ("0.05", "0.15"))
    turn = tuple(least(index, (0, 1, 2, 3, 4)[:index] + (0, 1, 2, 3, 4)[index + 1 :]) for index in (1, 2, 3, 4))
    return [
        Property("avoidance_astern_is_clear", "avoidance", "no turn is advised when it falls behind on the right",
                 ((astern, turn),)),
        Property("avoidance_behind_is_cheap", "avoidance", "going on costs less than 0.2 when it falls behind",
                 ((behind, (("(>= Y_0 0.2)",),)),)),
        Property("avoidance_head_on_is_dear", "avoidance", "going on costs more than 0.4 when it comes head on",
                 ((head_on, (("(<= Y_0 0.4)",),)),)),
        Property("avoidance_wide_is_clear", "avoidance", "no turn is advised in a wide box behind", ((wide, turn),)),
        Property("avoidance_head_on_no_strong_left", "avoidance", "strong left is never the advice head on",
                 ((head_on, (least(3, (0, 1, 2, 4)),)),)),
    ]  # fmt: skip


def stroke(kind: int) -> Array:
    """A clear stroke on a grey ground; all values are multiples of 1/16, so binary32 numbers."""
    image = np.full((SIDE, SIDE), 0.125)
    step = np.arange(-3, 4)
    direction = np.array([[0, 1], [1, 0], [1, 1], [-1, 1]])[kind]
    image[4 + step * direction[0], 4 + step * direction[1]] = 0.875
    return image


def around(image: Array, radius: float, free: tuple[tuple[int, int], ...] = ()) -> Box:
    """Every pixel within `radius`, and the pixels `free` anywhere in [0, 1]."""
    low, high = image - radius, image + radius
    for row, column in free:
        low[row, column], high[row, column] = 0.0, 1.0
    return tuple((str(a), str(b)) for a, b in zip(low.ravel(), high.ravel(), strict=True))


def glyphs() -> list[Property]:
    """Outputs are the scores of horizontal, vertical, falling and rising; the highest is the answer."""
    corner = ((0, 0), (0, 1), (1, 0), (1, 1))
    middle = ((3, 3), (3, 4), (4, 3), (4, 4))

    return [
        Property("glyphs_horizontal_close", "glyphs", "stays horizontal within 1/64",
                 ((around(stroke(0), 2.0**-6), changes(0)),)),
        Property("glyphs_vertical_far", "glyphs", "stays vertical within 3/8",
                 ((around(stroke(1), 0.375), changes(1)),)),
        Property("glyphs_falling_corner", "glyphs", "stays falling whatever the four corner pixels are",
                 ((around(stroke(2), 0.0, corner), changes(2)),)),
        Property("glyphs_rising_middle", "glyphs", "stays rising whatever the four middle pixels are",
                 ((around(stroke(3), 0.0, middle), changes(3)),)),
    ]  # fmt: skip


def changes(kind: int) -> Disjuncts:
    """Some other stroke scores as high as this one."""
    return tuple((f"(>= Y_{other} Y_{kind})",) for other in range(4) if other != kind)


def many_inputs() -> list[Property]:
    """Robustness over all pixels, where signs of neurons have to be told apart instead of pixels."""
    return [
        Property("wide_horizontal_near", "wide", "stays horizontal within 7/128",
                 ((around(stroke(0), 7 / 128), changes(0)),)),
        Property("wide_falling_near", "wide", "stays falling within 7/128",
                 ((around(stroke(2), 7 / 128), changes(2)),)),
        Property("wide_rising_far", "wide", "stays rising within 3/32",
                 ((around(stroke(3), 3 / 32), changes(3)),)),
        Property("deep_horizontal_near", "deep", "stays horizontal within 5/128",
                 ((around(stroke(0), 5 / 128), changes(0)),)),
        Property("deep_rising_far", "deep", "stays rising within 3/32",
                 ((around(stroke(3), 3 / 32), changes(3)),)),
    ]  # fmt: skip


def pendulum() -> list[Property]:
    """Outputs are angle and rate 0.1 s later."""
    square: Box = (("-1.0", "1.0"),) * 2
    return [
        Property("pendulum_angle_bounded", "pendulum", "the angle stays within 1.15 when both start within 1",
                 ((square, (("(>= Y_0 1.15)",), ("(<= Y_0 -1.15)",))),)),
        Property("pendulum_angle_kept", "pendulum", "the angle does not leave [-1, 1] at all",
                 ((square, (("(>= Y_0 1.0)",), ("(<= Y_0 -1.0)",))),)),
        Property("pendulum_falls_back", "pendulum", "released at the right it swings back",
                 (((("0.8", "1.2"), ("-0.1", "0.1")), (("(>= Y_1 -0.05)",),)),)),
        # 0.3 is no binary32 number: the point means its nearest one.
        Property("pendulum_point", "pendulum", "from an angle of 0.3 the angle grows with the rate",
                 (((("0.3", "0.3"), ("0.2", "1.0")), (("(<= Y_0 0.3)",),)),)),
    ]  # fmt: skip


def text(prop: Property, inputs: int, outputs: int) -> str:
    """The property in VNN-LIB 1.0: bounds and atoms as separate assertions, or one disjunction when boxes differ."""
    lines = [f"; {prop.network}: {prop.claim}. Unsafe when not.", ""]
    lines += [f"(declare-const X_{i} Real)" for i in range(inputs)]
    lines += [f"(declare-const Y_{i} Real)" for i in range(outputs)] + [""]
    if len(prop.cases) == 1:
        box, disjuncts = prop.cases[0]
        lines += [f"(assert {atom})" for atom in bounds(box)] + [""]
    else:
        disjuncts = tuple((*bounds(box), *atoms) for box, group in prop.cases for atoms in group)
    if len(disjuncts) == 1:
        lines += [f"(assert {atom})" for atom in disjuncts[0]]
    else:
        lines += ["(assert (or", *(f"    (and {' '.join(atoms)})" for atoms in disjuncts), "))"]
    return "\n".join(lines) + "\n"


def bounds(box: Box) -> list[str]:
    return [f"({op} X_{i} {pair[k]})" for i, pair in enumerate(box) for k, op in enumerate((">=", "<="))]


def unsafe(disjuncts: Disjuncts, inputs: int, outputs: int) -> Unsafe:
    """The rows of `left - right <= 0` for every atom."""
    atoms = [atom for group in disjuncts for atom in group]
    table = np.zeros((len(atoms), inputs + outputs + 1))
    for row, atom in zip(table, atoms, strict=True):
        match = ATOM.fullmatch(atom)
        assert match is not None, atom
        sign = 1.0 if match[1] == "<=" else -1.0
        for side, term in ((sign, match[2]), (-sign, match[3])):
            if term[:2] in ("X_", "Y_"):
                row[int(term[2:]) + (inputs if term[0] == "Y" else 0)] += side
            else:
                row[-1] += side * float(Fraction(term))
    ends = np.cumsum([len(group) for group in disjuncts])
    groups = tuple(tuple(range(end - len(group), end)) for end, group in zip(ends, disjuncts, strict=True))
    return Unsafe(table[:, :inputs], table[:, inputs:-1], table[:, -1], groups)


def truth(prop: Property, network: Judged) -> str:
    """`sat` or `unsat`, as found without Farkas."""
    verdict = "unsat"
    for box, disjuncts in prop.cases:
        low, high = (np.array([float(pair[k]) for pair in box]) for k in (0, 1))
        query = unsafe(disjuncts, network.inputs, len(network.output.bias))
        if refutes(network, low, high, query, np.random.default_rng(0)) is not None:
            return "sat"
        many = int((high > low).sum()) > MOST_CUT
        proved = proves(network, low, high, query, 1 if many else 100_000) is not None
        if not proved and not (many and proves_by_milp(network, low, high, query)):
            verdict = "unjudged"
    if verdict == "unjudged":
        raise ValueError(f"{prop.name}: neither a counterexample nor a proof; choose another box or threshold")
    return verdict


def properties() -> list[Property]:
    return [*wave(), *avoidance(), *glyphs(), *many_inputs(), *pendulum()]


def main() -> int:
    rows = []
    for prop in properties():
        network = read(FOLDER / "networks" / f"{prop.network}.onnx")
        written = text(prop, network.inputs, len(network.output.bias))
        (FOLDER / "properties" / f"{prop.name}.vnnlib").write_text(written, encoding="ascii", newline="\n")
        rows.append((f"networks/{prop.network}.onnx", f"properties/{prop.name}.vnnlib", prop.timeout_s,
                     truth(prop, network)))
        print(rows[-1][1:], flush=True)
    with (FOLDER / "suite.csv").open("w", encoding="ascii", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("onnx", "vnnlib", "timeout", "expected"), *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
