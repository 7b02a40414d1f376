"""Random integer networks, boxes and claims, of every shape that the rule knows and with numbers of every size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random

from hypothesis import strategies as st

from farkas.checker.kernel import OPEN, Point, ReferenceProver
from farkas.checker.query import Affine, Ball, Bound, Box, Claim, H, Input, K, Matrix, Network, Node, P, Relu, bisect

KINDS = ("dense", "sparse", "residual", "leaky", "affine", "relu", "wide")


@dataclass(frozen=True)
class Family:
    """What a random network is made of.

    weight, bias, box: bits of the largest number of each kind.  exact: the share of exact matrices.  blocks: kinds of
    blocks from which nodes are made.
    """

    weight: int = P
    bias: int = P
    box: int = H
    exact: float = 0.5
    blocks: tuple[str, ...] = KINDS
    width: int = 6
    depth: int = 4


def families() -> st.SearchStrategy[Family]:
    """Families whose numbers are of ordinary size."""
    return st.builds(
        Family,
        weight=st.sampled_from([10, P - 4, P, P + 3]),
        bias=st.sampled_from([4, P, P + 6]),
        box=st.sampled_from([H - 20, H - 4, H, H + 4]),
        exact=st.sampled_from([0.0, 0.5, 1.0]),
        blocks=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(tuple),
    )


def huge_families() -> st.SearchStrategy[Family]:
    """Families with numbers that no float64 holds, beside small ones."""
    return st.builds(
        Family,
        weight=st.sampled_from([P, P + 10, P + 17, P + 24, P + 40]),
        bias=st.sampled_from([P, P + 16, P + 30]),
        box=st.sampled_from([H, H + 12, H + 18, H + 24, H + 130]),
        exact=st.sampled_from([0.0, 1.0]),
    )


def steep_families() -> st.SearchStrategy[Family]:
    """Families with large weights over small boxes: coefficients outgrow a float64 while constants stay small."""
    return st.builds(
        Family,
        weight=st.sampled_from([P + 4, P + 7, P + 10, P + 13]),
        bias=st.sampled_from([1, 8]),
        box=st.sampled_from([1, 4, 10, 16]),
        exact=st.sampled_from([0.0, 0.5, 1.0]),
        blocks=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple),
        width=st.sampled_from([6, 6, 24]),
        depth=st.integers(2, 5),
    )


class Maker:
    """Appends nodes to a network, all numbers by `random`."""

    def __init__(self, random: Random, family: Family, inputs: int) -> None:
        self.random = random
        self.family = family
        self.nodes: list[Node] = [Input(inputs)]
        self.sizes = [inputs]

    def number(self, bits: int) -> int:
        """Of any size up to `bits`; often small, zero or a power of two."""
        pick = self.random.random()
        if pick < 0.1:
            return 0
        if pick < 0.2:
            return self.random.choice((-1, 1)) << self.random.randrange(bits + 1)
        size = bits if pick < 0.8 else self.random.randrange(1, bits + 1)
        return self.random.randrange(-(1 << size), 1 << size)

    def add(self, node: Node, size: int) -> int:
        self.nodes.append(node)
        self.sizes.append(size)
        return len(self.nodes) - 1

    def matrix(self, rows: int, columns: int, sparse: bool = False) -> Matrix:
        exact = self.random.random() < self.family.exact
        index = None
        if sparse:
            index = tuple(
                tuple(sorted(self.random.sample(range(columns), self.random.randint(0, columns)))) for _ in range(rows)
            )
        lengths = [columns] * rows if index is None else list(map(len, index))
        weights = tuple(tuple(self.number(self.family.weight) for _ in range(n)) for n in lengths)
        return Matrix(rows, columns, index, weights, exact)

    def diagonal(self, size: int, weight: int | None = None) -> Matrix:
        weights = [self.number(self.family.weight) if weight is None else weight for _ in range(size)]
        exact = weight is not None or self.random.random() < self.family.exact
        return Matrix(size, size, tuple((i,) for i in range(size)), tuple((w,) for w in weights), exact)

    def affine(self, *operands: tuple[Matrix, int]) -> int:
        rows = operands[0][0].rows
        bias = tuple(self.number(self.family.bias) for _ in range(rows))
        magnitude = tuple(abs(b) + self.random.randrange(3) for b in bias)
        terms = sum(matrix.columns for matrix, _ in operands)
        count = self.random.choice((0, terms, terms + 1))
        return self.add(Affine(operands, bias, self.random.random() < 0.5, magnitude, count), rows)

    def relu(self, v: int) -> int:
        return self.add(Relu(v), self.sizes[v])

    def block(self, kind: str, v: int) -> int:
        """Appends a block that reads node v (and maybe others); the node to go on from."""
        width = self.random.randint(1, self.family.width)
        match kind:
            case "dense" | "sparse":
                return self.relu(self.affine((self.matrix(width, self.sizes[v], kind == "sparse"), v)))
            case "residual":
                hidden = self.affine(
                    (self.matrix(self.sizes[v], self.sizes[v]), v), (self.diagonal(self.sizes[v], 1 << P), v)
                )
                return self.relu(hidden)
            case "leaky":  # c v + (1 - c) relu(v)
                return self.affine((self.diagonal(self.sizes[v]), v), (self.diagonal(self.sizes[v]), self.relu(v)))
            case "affine":
                return self.affine((self.matrix(width, self.sizes[v]), v))
            case "relu":
                return self.relu(self.relu(v))
            case _:  # reads an arbitrary earlier node as well
                other = self.random.randrange(len(self.nodes))
                return self.affine(
                    (self.matrix(width, self.sizes[v]), v), (self.matrix(width, self.sizes[other], True), other)
                )


def network(random: Random, family: Family) -> Network:
    """A network of `family`; the output may be any kind of node."""
    maker = Maker(random, family, random.randint(1, 3))
    v = 0
    for _ in range(random.randint(1, family.depth)):
        v = maker.block(random.choice(family.blocks), v)
    if random.random() < 0.8:
        v = maker.affine((maker.matrix(random.randint(1, 3), maker.sizes[v]), v))
    return Network(tuple(maker.nodes), tuple(maker.sizes), v)


def root(random: Random, family: Family, inputs: int) -> Box:
    ends = [sorted(random.randrange(-(1 << family.box), 1 << family.box) for _ in range(2)) for _ in range(inputs)]
    if random.random() < 0.2:
        ends[0] = [ends[0][0]] * 2
    if random.random() < 0.2:
        ends[-1][0] = 0
        ends[-1][1] = abs(ends[-1][1])
    return Box(tuple(l for l, _ in ends), tuple(u for _, u in ends))


def children(random: Random, box: Box, rounded: bool) -> list[Box]:
    """Halves of the box, and now and then a box that has nothing to do with it."""
    halves = bisect(box, random.randrange(len(box.lower)), rounded)
    if halves is None or random.random() < 0.1:
        shift = random.randrange(1 << H)
        return [Box(tuple(x + shift for x in box.lower), tuple(x + shift for x in box.upper), box.ball)]
    return list(halves)


def claims(
    random: Random, prover: ReferenceProver, points: Sequence[Point], sizes: tuple[int, int], most: int = 1 << 20
) -> list[Claim]:
    """One claim per point, coefficients up to `most`; thresholds at the reference kernel's bounds, or 2^-K beside."""
    result: list[Claim] = []
    for point in points:
        claim = [_bound(random, prover, point, sizes, most) for _ in range(random.randint(1, 3))]
        result.append((None, *claim) if random.random() < 0.05 else tuple(claim))
    return result


def _bound(random: Random, prover: ReferenceProver, point: Point, sizes: tuple[int, int], most: int) -> Bound:
    row, rule = _row(random, sizes[0], most), random.randrange(4)
    xrow = _row(random, sizes[1], most) if random.random() < 0.3 else ()
    lower = prover.row_bound(point, prover.output, row, xrow, rule) if point.status == OPEN else 0
    beside, strict = random.choice(((0, True), (0, True), (-1, False), (0, False), (1, True)))
    return Bound(rule, row, xrow, Fraction(lower + beside, 1 << K), strict)


def _row(random: Random, size: int, most: int) -> tuple[tuple[int, int], ...]:
    chosen = sorted(random.sample(range(size), random.randint(1, size)))
    return tuple((i, random.choice((1, -1, 3, -7, 0, most, random.randrange(-most, most)))) for i in chosen)


def ball(random: Random, box: Box) -> Ball:
    """An ellipsoid about the box, with its centre in it or beside, small or large, now and then thin or of one unit."""
    centre, axes = [], []
    for low, high in zip(box.lower, box.upper, strict=True):
        width = high - low + 1
        centre.append(random.choice((low, high, (low + high) // 2, random.randint(low - width, high + width))))
        axes.append(random.choice((0, 1, width // 4 + 1, width, 3 * width + 1, random.randint(1, 2 * width))))
    if not any(axes):
        axes[0] = max(1, box.upper[0] - box.lower[0])
    return Ball(tuple(centre), tuple(axes))
