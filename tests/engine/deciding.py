"""Random properties of small networks, and what has to be true of every verdict about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import assert_never

import numpy as np

from farkas.engine.options import Options
from farkas.engine.verdict import Holds, Unknown, Verdict, Violated
from farkas.engine.verify import verify
from farkas.ir.core import Program, run_exact
from farkas.specs.query import Atom, Case, Semantics
from tests.engine.pieces import witness
from tests.nets import Box, Net, atom

MARGIN = Fraction(1, 1000)


def decided(net: Net, cases: Sequence[Case], semantics: Semantics = Semantics.REAL, timeout_s: float = 3.0) -> Verdict:
    """The engine's own answer, also where the checker has no reading of the network yet."""
    return verify(net.query(cases, semantics), Options(timeout_s=timeout_s, trust=frozenset({"crown"})))


def random_atom(rng: np.random.Generator, program: Program, box: Box, rank: int) -> Atom:
    """An atom over some outputs, and inputs now and then, that about `rank` of 16 points of the box satisfy."""
    y = [Fraction(int(v), 4) for v in rng.integers(-4, 5, program.output_size)]
    x = [Fraction(int(v), 4) for v in rng.integers(-4, 5, program.input_size)] if rng.random() < 0.3 else []
    draft = atom(y, 0, x=x, strict=bool(rng.random() < 0.3))
    shares = rng.integers(0, 9, (16, program.input_size))
    points = [[l + (u - l) * Fraction(int(s), 8) for l, u, s in zip(*box, row, strict=True)] for row in shares]
    values = sorted(draft.value(point, list(run_exact(program, point))) for point in points)
    shift = Fraction(int(rng.integers(0, 17)), 64) * (1 + values[-1] - values[0])
    return replace(draft, c=values[rank] - shift)


def random_cases(rng: np.random.Generator, program: Program, box: Box, conjunctive: bool) -> list[Case]:
    """One to three cases; each a disjunction, of conjunctions or of single atoms."""

    def disjunct() -> tuple[Atom, ...]:
        if conjunctive:
            return tuple(random_atom(rng, program, box, 8) for _ in range(rng.integers(2, 4)))
        return (random_atom(rng, program, box, 0),)

    def one() -> Case:
        return Case(*part(rng, box), tuple(disjunct() for _ in range(rng.integers(1, 4))))

    return [one() for _ in range(rng.integers(1, 4))]


def part(rng: np.random.Generator, box: Box) -> Box:
    """A box inside the box, with ends in sixteenths of its width."""
    ends = [sorted(rng.integers(0, 17, 2)) for _ in box[0]]
    lower = tuple(l + (u - l) * Fraction(int(a), 16) for l, u, (a, _) in zip(*box, ends, strict=True))
    upper = tuple(l + (u - l) * Fraction(int(b), 16) for l, u, (_, b) in zip(*box, ends, strict=True))
    return lower, upper


def moved(cases: Sequence[Case], by: Fraction) -> list[Case]:
    """The cases with every threshold raised by `by`: with by > 0 more is unsafe."""
    return [
        replace(c, disjuncts=tuple(tuple(replace(a, c=a.c + by) for a in atoms) for atoms in c.disjuncts))
        for c in cases
    ]


def is_unsafe(program: Program, cases: Sequence[Case]) -> bool:
    """Exactly, over the reals."""
    return any(witness(program, c) is not None for c in cases)


def check_real(net: Net, cases: Sequence[Case]) -> str:
    """The word of the verdict over the reals, after comparing it with the exact answer.

    Never wrong; and given at all wherever thresholds may move by a thousandth without another answer.
    """
    verdict = decided(net, cases)
    unsafe = is_unsafe(net.program, cases)
    match verdict:
        case Holds():
            assert not unsafe, "unsat, but the property is violated"
        case Violated(replay=replay):
            assert unsafe, "sat, but nothing violates"
            found = cases[replay.case_number]
            assert found.contains(replay.inputs)
            outputs = list(run_exact(net.program, replay.inputs))
            assert all(a.holds(replay.inputs, outputs) for a in found.disjuncts[replay.disjunct])
        case Unknown():
            moves = -MARGIN if unsafe else MARGIN
            assert is_unsafe(net.program, moved(cases, moves)) != unsafe, f"undecided with a margin: {verdict}"
        case _:
            assert_never(verdict)
    return verdict.word
