"""Property 3 of ACAS Xu in feet, radians and feet a second: `python -m examples.acas_phi3 NET.onnx...`.

The intruder is ahead and comes towards us: then "clear of conflict" is not the advice, the one with the least score.
Katz et al., Reluplex: an efficient SMT solver for verifying deep neural networks, CAV 2017, property 3.

The networks read `(x - MEANS) / RANGES`, with the constants that they are published with; 6.28318530718 is 2 pi there.
Benchmarks write the same property about normalised inputs with nine decimals, such as 0.493380324 for 3.10 / (2 pi)
= 0.49338032358..., so their box is not quite this one: rho begins 1.4e-10 later and ends 6.5e-11 earlier, theta reaches
4.1e-10 further on both sides, psi begins 4.2e-10 later.  No binary32 number lies between any of these ends, nor between
those with 2 pi itself in place of its twelve digits, and a network reads binary32 numbers.  So in f32-any the three are
one question (tests/examples/test_acas_phi3.py compares the boxes); over the reals they are three.

All 45 networks are decided as published: the property holds for 42, and is violated by 1_7, 1_8 and 1_9.  0.7 s for all
(2026-11-20, a machine of two cores with other work on both).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import farkas as fk

MEANS = ("19791.091", "0", "0", "650", "600")
RANGES = ("60261", "6.28318530718", "6.28318530718", "1100", "1200")
APPROACH = {
    "rho": ("1500", "1800"),  # distance of the intruder, feet
    "theta": ("-0.06", "0.06"),  # where it is, from our heading counter-clockwise, radians
    "psi": ("3.10", "3.14159265359"),  # its heading, from ours counter-clockwise
    "v_own": ("980", "1200"),  # feet a second
    "v_int": ("960", "1200"),
}
CLEAR_OF_CONFLICT = 0
TIMEOUT_S = 60.0


def phi3(
    net: fk.Network,
    situation: Mapping[str, tuple[str, str]] = APPROACH,
    means: Sequence[str] = MEANS,
    ranges: Sequence[str] = RANGES,
) -> fk.Spec:
    """In the situation, whose entries are normalised with means and ranges, the advice is some turn."""
    return fk.patterns.advised(net, situation, never=CLEAR_OF_CONFLICT, prepare=lambda x: (x - means) / ranges)


def main(paths: list[str]) -> int:
    """Asks about every network; 2 without one, 1 when a question stays open."""
    if not paths:
        print("usage: python -m examples.acas_phi3 NET.onnx...", file=sys.stderr)
        return 2
    decided = True
    for path in paths:
        result = phi3(fk.load(path)).check(timeout=TIMEOUT_S)
        print(f"{path}: {result.word}, {result.statistics.time_s:.2f} s")
        if isinstance(result, fk.Violated):
            situation = result.named[0]
            print("  " + ", ".join(f"{name} {float(situation[name]):.6g}" for name in situation.labels))
        decided &= not isinstance(result, fk.Unknown)
    return int(not decided)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
