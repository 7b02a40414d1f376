"""Do a float32 network and its quantised copy agree on a box?

    within eps      |f_j(x) - g_j(x)| <= eps for every output j, or
    same argmax     the same output is the largest of both (the lowest index on ties),

for every binary32 point x of the box, every admissible binary32 execution f (`f32-any`), and g in exact integers.

Method.  The box is cut along the input codes of g, so that every piece is a box of codes and, by the points that have
these codes, a box of inputs.  Linear bounds of both and of their difference (`integer_difference`) close most pieces.
A piece of one code vector, a cell, has a constant g, and then the question is a property of f alone, on the points of
the cell, for `verify` to decide.

A disagreement is an input at which f violates that property of its cell, on an executor and on onnxruntime, and at
which onnxruntime gives the bits of g's exact run.

What it rests on: bounds of f that the checker does not see in this form (`crown`), bounds and runs of g (`cp-sat`), and
whatever `verify` says about cells.  The words say how many pieces each of them has settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from farkas.engine.budget import Budget
from farkas.engine.integer_difference import PairBounds
from farkas.engine.integer_replay import IntegerExecutor, one_zero
from farkas.engine.options import Options
from farkas.engine.problem import Matrix, float_up
from farkas.engine.query import Query
from farkas.engine.replay import Replay, Replayer
from farkas.engine.trusted import Trusted, Word
from farkas.engine.verdict import Holds, Reason, Unknown, Violated
from farkas.engine.verify import verify
from farkas.ir import lowering
from farkas.ir.core import Affine, run_float
from farkas.ir.error_terms import LARGEST_COUNT
from farkas.ir.errors import FarkasError, UnsupportedOperator
from farkas.ir.graph import Graph
from farkas.ir.integer import decoded, run_codes
from farkas.ir.integer_codes import input_codes
from farkas.ir.integer_lowering import lower_integer
from farkas.ir.integer_unary import Integers
from farkas.ir.linear import Vector
from farkas.specs.boxes import binary32_box
from farkas.specs.query import Atom, Case, Property, Semantics

BATCH = 32
SAMPLES = 1024
REPLAYS = 8  # samples that look worst, replayed at the start
CELL_S = 2.0  # of `verify` for one cell, at most
TRUST = frozenset({"crown"})


@dataclass(frozen=True)
class Deployed:
    """A network: its graph, and the bytes of its file for onnxruntime."""

    graph: Graph
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Pieces:
    """What the box was cut into: pieces bounded, closed by bounds of both, cells settled by `verify`, still open."""

    bounded: int = 0
    closed: int = 0
    cells: int = 0
    open: int = 0


@dataclass(frozen=True)
class Agree:
    """No admissible execution of f differs from g by more than was asked; `proof` says whose words that takes."""

    proof: Trusted
    pieces: Pieces
    time_s: float

    @property
    def evidence(self) -> str:
        return self.proof.evidence


@dataclass(frozen=True)
class Disagree:
    """An input at which they differ.

    replay: of f, against the property that g's outputs make of its cell; integer_outputs: of g, bit for bit the same on
    `integer_runtime`.
    """

    replay: Replay
    integer_outputs: tuple[Fraction, ...]
    integer_runtime: str
    pieces: Pieces
    time_s: float

    @property
    def inputs(self) -> tuple[Fraction, ...]:
        return self.replay.inputs

    @property
    def float_outputs(self) -> tuple[Fraction, ...]:
        return self.replay.outputs


Agreement = Agree | Disagree | Unknown


def agree(
    network: Deployed,
    quantised: Deployed,
    lower: Sequence[Fraction],
    upper: Sequence[Fraction],
    eps: Fraction | None,
    options: Options,
) -> Agreement:
    """Whether the outputs are within `eps` of each other on the box, or, with eps None, have the same argmax.

    Agree only when options.trust accepts the words that it rests on; else Unknown, reason uncertified.
    """
    run = _Run(network, quantised, tuple(lower), tuple(upper), eps, options)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return run.decide()


class _Run:
    """One question of agreement."""

    def __init__(
        self,
        network: Deployed,
        quantised: Deployed,
        lower: tuple[Fraction, ...],
        upper: tuple[Fraction, ...],
        eps: Fraction | None,
        options: Options,
    ) -> None:
        self.budget, self.options, self.eps = Budget.of(options.timeout_s), options, eps
        self.network, self.lower, self.upper = network, lower, upper
        self.program = lower_integer(quantised.graph)
        self.float_program = lowering.lower(network.graph)
        self._check()
        box = binary32_box(lower, upper)
        self.empty = box.empty
        ends = (np.nan_to_num(end.astype(np.float64)) for end in (box.lower, box.upper))
        self.inputs = input_codes(self.program, *ends)
        self.executor = IntegerExecutor(self.program, quantised.data)
        self.replayer = Replayer(network.graph, self.float_program, network.data, Semantics.F32_ANY)
        self.bounds = PairBounds(self.float_program, self.program, self.inputs)
        self.rng = np.random.default_rng(options.seed)
        sizes = np.array([len(own) for own in self.inputs.codes])
        self.queue: list[tuple[Integers, Integers]] = [(np.zeros_like(sizes), sizes - 1)]
        self.words: list[Word] = []
        self.undecided: Unknown | None = None
        self.bounded = self.closed = self.cells = 0

    def _check(self) -> None:
        n, m = self.program.input_size, self.program.output_size
        own = self.float_program.input_size, self.float_program.output_size
        if own != (n, m):
            raise FarkasError(
                f"the float network has {own[0]} inputs and {own[1]} outputs, the quantised one {n} and {m}"
            )
        if self.program.encode is None:
            raise UnsupportedOperator("the quantised network takes integers; agreement wants one that takes float32")
        if self.network.graph.dtype != "float32":
            raise UnsupportedOperator(f"the float network computes in {self.network.graph.dtype}, not in float32")
        for node in self.float_program.nodes:
            if isinstance(node, Affine) and node.rounding.count > LARGEST_COUNT:
                raise UnsupportedOperator(f"a sum of {node.rounding.count} terms has no any-order error bound")

    @property
    def pieces(self) -> Pieces:
        return Pieces(self.bounded, self.closed, self.cells, len(self.queue))

    def decide(self) -> Agreement:
        if self.empty:
            return self._unknown(Reason.INCOMPLETE, "the box holds no binary32 point; widen it")
        found = self._falsify()
        while found is None and self.undecided is None and self.queue and not self.budget.is_spent:
            taken = self.queue[-BATCH:]
            del self.queue[-BATCH:]
            cells = [box for box in taken if (box[0] == box[1]).all()]
            wide = [box for box in taken if (box[0] < box[1]).any()]
            found = self._bound(np.array([b[0] for b in wide]), np.array([b[1] for b in wide])) if wide else None
            for box in cells:
                found = found or self._cell(box[0])
        if found is not None:
            return found
        if self.undecided is not None:
            return self.undecided
        if self.queue:
            return self._unknown(
                Reason.TIMEOUT,
                f"after {self.budget.elapsed_s:.1f} s {self.bounded} pieces bounded, {self.closed + self.cells} "
                f"closed, {len(self.queue)} open; allow more with --timeout, or make the box smaller",
            )
        return self._agree()

    # What is asked at one vector of codes.

    def _integer_outputs(self, codes: Integers) -> npt.NDArray[np.float64]:
        values = decoded(self.program, run_codes(self.program, codes)[self.program.output])
        return np.asarray(values, dtype=np.float64)

    def _case(self, positions: Integers) -> Case:
        """The cell's points, and as its unsafe region what f must not do there."""
        codes = self._codes(positions)
        none = np.zeros(len(codes), dtype=bool)
        lower, upper = (
            tuple(Fraction(float(v)) for v in self.inputs.ends(codes, last)) for last in (none, ~none)
        )  # fmt: skip
        outputs = [Fraction(float(v)) for v in self._integer_outputs(codes)]
        one = Fraction(1)
        if self.eps is None:
            best = max(range(len(outputs)), key=lambda j: (outputs[j], -j))
            others = [i for i in range(len(outputs)) if i != best]
            atoms = [Atom((), tuple(sorted(((best, one), (i, -one)))), Fraction(0), strict=i > best) for i in others]
        else:
            above = [Atom((), ((j, -one),), -(g + self.eps), strict=True) for j, g in enumerate(outputs)]
            below = [Atom((), ((j, one),), g - self.eps, strict=True) for j, g in enumerate(outputs)]
            atoms = above + below
        return Case(lower, upper, tuple((atom,) for atom in atoms))

    def _cell_query(self, cases: tuple[Case, ...]) -> Query:
        prop = Property(self.program.input_size, self.program.output_size, cases)
        return Query(self.network.graph, self.network.data, prop, Semantics.F32_ANY)

    def _codes(self, positions: Integers) -> Integers:
        n = range(len(self.inputs.codes))
        return np.stack([self.inputs.codes[i][positions[..., i]] for i in n], axis=-1)

    # Disagreement.

    def _falsify(self) -> Disagree | None:
        """The samples that differ most."""
        sizes = np.array([len(own) for own in self.inputs.codes])
        positions = self.rng.integers(0, sizes, (SAMPLES, len(sizes)))
        positions[0], positions[1], positions[2] = sizes // 2, 0, sizes - 1
        return self._try(positions)

    def _try(self, positions: Integers) -> Disagree | None:
        codes = self._codes(positions)
        x = self.inputs.points(codes)
        f, g = run_float(self.float_program, x)[self.float_program.output], self._integer_outputs(codes)
        if self.eps is None:
            suspicious = np.flatnonzero(f.argmax(axis=1) != g.argmax(axis=1))
        else:
            far = abs(f - g).max(axis=1)
            order = np.argsort(-far, kind="stable")
            suspicious = order[far[order] > float(self.eps)]
        for k in suspicious[:REPLAYS]:
            found = self._replay(positions[k], x[k])
            if found is not None:
                return found
        return None

    def _replay(self, positions: Integers, x: Vector) -> Disagree | None:
        case = self._case(positions)
        found = self.replayer.attempt(0, case, x)
        return None if found is None else self._confirmed(found)

    def _confirmed(self, found: Replay) -> Disagree | None:
        """Both networks on the witness of f: g on its two executors."""
        x = one_zero(np.array([float(v) for v in found.inputs]))
        outputs, runtime = self.executor.outputs(x), self.executor.confirm(x)
        if outputs is None or runtime is None:
            detail = self.executor.deviation or "an output of the quantised network is not finite"
            self.undecided = self._unknown(Reason.INCOMPLETE, detail)
            return None
        return Disagree(found, outputs, runtime, self.pieces, self.budget.elapsed_s)

    # Agreement.

    def _bound(self, lower: Integers, upper: Integers) -> Disagree | None:
        """Bound a batch of pieces, close those on which both agree, cut the others in two."""
        self.bounded += len(lower)
        low, high = self._codes(lower), self._codes(upper)
        middles = (lower + upper) // 2
        best = self._integer_outputs(self._codes(middles)).argmax(axis=1)
        pair = self.bounds.bound(low, high, self._rows(best))
        if self.eps is None:
            ties = self._ties(best)
            closed = np.all([np.where(ties, v >= 0, v > 0).all(axis=1) for v in (pair.f, pair.g)], axis=0)
        else:
            closed = (pair.difference >= float_up(-self.eps)).all(axis=1)
        self.closed += int(closed.sum())
        for b in np.flatnonzero(~closed):
            self._cut(lower[b], upper[b], pair.influence[b])
        return None if closed.all() else self._try(middles[~closed])

    def _rows(self, best: Integers) -> Matrix:
        """(B, R, m): each output and its negation; or output best[b] minus each other one."""
        m = self.program.output_size
        if self.eps is not None:
            return np.broadcast_to(np.concatenate([np.eye(m), -np.eye(m)]), (len(best), 2 * m, m))
        rows = np.eye(m)[best][:, None] - np.eye(m)
        return np.asarray(np.take_along_axis(rows, self._others(best)[..., None], axis=1))

    def _others(self, best: Integers) -> Integers:
        """(B, m - 1): the other outputs."""
        m = self.program.output_size
        return np.array([[i for i in range(m) if i != j] for j in best], dtype=np.int64).reshape(len(best), m - 1)

    def _ties(self, best: Integers) -> npt.NDArray[np.bool_]:
        """(B, m - 1): the rows that may be 0, as output best[b] comes first."""
        return self._others(best) > best[:, None]

    def _cut(self, lower: Integers, upper: Integers, influence: Vector) -> None:
        width = upper - lower
        i = int(np.where(width > 0, influence + 1e-30 * width, -1.0).argmax())
        middle = (lower[i] + upper[i]) // 2
        first, second = upper.copy(), lower.copy()
        first[i], second[i] = middle, middle + 1
        self.queue += [(lower, first), (second, upper)]

    def _cell(self, positions: Integers) -> Disagree | None:
        """One vector of codes: a property of f alone."""
        options = replace(
            self.options,
            timeout_s=min(CELL_S, max(0.0, self.budget.left_s)),
            trust=self.options.trust | TRUST,
            certify=False,
            report=None,
        )
        verdict = verify(self._cell_query((self._case(positions),)), options)
        match verdict:
            case Holds(tree=tree):
                self.cells += 1
                if isinstance(tree, Trusted):
                    self.words += tree.words
                return None
            case Violated(replay=replay):
                return self._confirmed(replay)
            case Unknown() if self.budget.is_spent:
                self.queue.append((positions, positions))
                return None
            case Unknown():
                self.undecided = replace(verdict, detail=f"on a cell of constant codes: {verdict.detail}")
                return None

    def _agree(self) -> Agree | Unknown:
        what = f"{self.closed} boxes of codes" + (f" and {self.cells} single ones" if self.cells else "")
        own = [
            Word(("crown",), f"bounds of the float network on {what}"),
            Word(("cp-sat",), f"bounds and runs of the quantised network on {what}"),
        ]
        proof = Trusted((*own, *self.words))
        if not proof.accepted_by(self.options.trust):
            return self._unknown(
                Reason.UNCERTIFIED,
                f"they agree ({'; '.join(word.what for word in own)}), but no checker confirms it; accept with "
                "--trust crown --trust cp-sat",
            )
        return Agree(proof, self.pieces, self.budget.elapsed_s)

    def _unknown(self, reason: Reason, detail: str) -> Unknown:
        return Unknown(reason, detail, Semantics.F32_ANY)
