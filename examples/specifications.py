"""Specifications in Python, one of each kind, and the answers to expect: `python -m examples.specifications [NAME]...`.

Each function asks one question about the example networks and returns the answer in a few words; the table at the end
says which one is expected and why.  docs/patterns explains the questions.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import farkas as fk
from examples.reference import read
from farkas.optimum import Optimum

FOLDER = Path(__file__).resolve().parent
TIMEOUT_S = 60.0
SLACK = 1e-5  # between the executions of the verifier and those of NumPy


def network(name: str) -> fk.Network:
    return fk.load(FOLDER / "networks" / f"{name}.onnx")


def robustness() -> str:
    """Twenty images of strokes, within 1/32 and within 1/2 in every pixel."""
    net, data = network("glyphs"), np.load(FOLDER / "strokes.npz")

    @fk.prop(each=zip(data["images"][:20], data["labels"], strict=False), params={"eps": ["1/32", "1/2"]})
    def stays(image: object, label: int, eps: object) -> fk.Spec:
        return fk.patterns.robust(net, image, int(label), eps, domain=(0, 1))

    results = stays.check(timeout=TIMEOUT_S)
    return ", ".join(f"{p.holds} proved and {p.refuted} refuted at {p.value}" for p in results.curve().points)


def advisory() -> str:
    """An aircraft that falls behind, in metres, degrees and metres a second: no turn is advised."""
    behind = {
        "range": (7000, 9500), "bearing": (-148, -127), "heading": (-17, 17), "own": (200, 250), "other": (50, 120),
    }  # fmt: skip
    units = ["0.001", "0.0174533", "0.0174533", "0.001", "0.001"]
    spec = fk.patterns.advised(network("avoidance"), behind, only=0, prepare=lambda x: x * units)
    return spec.check(timeout=TIMEOUT_S).word


def monotonicity() -> str:
    """sin x cos y rises with x, up to 1/20: two executions, y in common."""
    spec = fk.patterns.monotone(network("wave"), {"x": (-1, 1), "y": ("-0.5", "0.5")}, "x", slack="0.05")
    return spec.check(timeout=TIMEOUT_S).word


def lipschitz() -> str:
    """How far outputs are apart where inputs are 1/10 apart, and the range of the output on a square."""
    net = network("wave")
    apart = fk.patterns.modulus(net, {"x": (0, "0.5"), "y": (0, "0.5")}, "0.1", gap="0.03", timeout=TIMEOUT_S)
    values = fk.patterns.range_of(net, (-2, 2), gap="0.02", timeout=TIMEOUT_S)

    axis = np.linspace(-2.0, 2.0, 401)  # in steps of 0.01
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    seen = read(FOLDER / "networks" / "wave.onnx").run(points).ravel()
    ten = seen.reshape(401, 401)[200:251, 200:251]
    jump = float(np.abs(ten[10:, :-10] - ten[:-10, 10:]).max())  # y rises and x falls by 0.1
    inside = [
        encloses(apart, jump, 0.03), encloses(values.upper, float(seen.max()), 0.02),
        encloses(values.lower, float(seen.min()), 0.02),
    ]  # fmt: skip
    return "enclosed" if all(inside) else f"{apart}, {values}"


def encloses(found: Optimum, seen: float, gap: float) -> bool:
    """Whether the interval is narrow and a value that was seen at a point of a grid is not beyond what is proved."""
    if found.proved is None or found.gap is None:
        return False
    within = seen <= found.proved + SLACK if found.sense == "maximize" else seen >= found.proved - SLACK
    return within and found.gap <= gap


def fairness() -> str:
    """Whoever would be granted or refused a loan with a lead of 2 would be in another group as well."""
    people = {"income": (0, 1), "debt": (0, 1), "age": (0, 1), "group": (0, 1)}
    return fk.patterns.fair(network("loans"), people, "group", margin=2).check(timeout=TIMEOUT_S).word


def equivalence() -> str:
    """A network and its copy with rounded weights differ by at most 1/50."""
    spec = fk.patterns.equivalent(network("wave"), network("wave_rounded"), (-2, 2), eps="0.02")
    return spec.check(timeout=TIMEOUT_S).word


def disc() -> str:
    """On the unit disc sin x cos y stays below 19/20: a polynomial condition on the inputs."""
    net = network("wave")
    x = fk.var(net.input, labels=("x", "y"))
    given = [fk.between(-1, x, 1), x.x**2 + x.y**2 <= 1]
    return fk.Spec(given, prove=net(x) <= "0.95").check(timeout=TIMEOUT_S, trust=["crown"]).word


def quantised() -> str:
    """A network and its 8-bit copy differ by at most 1/5 on the whole square, and somewhere by more than 1/20."""
    net, copy = network("wave"), network("wave_int8")
    box = fk.patterns.in_range(net, (-2, 2), high=2).property  # of which only the box is read
    words = [
        type(fk.agree(net, copy, box, within=within, timeout=TIMEOUT_S, trust=("crown", "cp-sat"))).__name__
        for within in ("0.2", "0.05")
    ]
    return ", ".join(words)


class Example(NamedTuple):
    """A question, the answer to expect, and why it is expected."""

    ask: Callable[[], str]
    expected: str
    reason: str


EXAMPLES = (
    Example(robustness, "20 proved and 0 refuted at 1/32, 0 proved and 20 refuted at 1/2", "at 1/2 strokes vanish"),
    Example(advisory, "unsat", "the property avoidance_astern_is_clear, in other units and a slightly smaller box"),
    Example(monotonicity, "unsat", "the derivative cos x cos y is above 0.47"),
    Example(lipschitz, "enclosed", "what a grid of points shows"),
    Example(fairness, "unsat", "loans were granted by income and debt"),
    Example(equivalence, "unsat", "weights are off by 1/512 at most"),
    Example(disc, "unsat", "sin 1 is 0.84, and the network is off by less than 0.05"),
    Example(quantised, "Agree, Disagree", "8 bits are coarse"),
)


def main(names: list[str]) -> int:
    """Asks the named questions, or all; 1 when an answer is not the expected one."""
    failed = False
    for example in EXAMPLES:
        if not names or example.ask.__name__ in names:
            start = time.monotonic()
            found = example.ask()
            failed |= found != example.expected
            took = time.monotonic() - start
            print(f"{example.ask.__name__:13} {took:6.2f} s  {found}  ({example.reason})", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
