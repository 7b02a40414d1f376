"""Random plans of crown-fp-2: vectors, recipes, steps and claims, with numbers of every size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from random import Random

from farkas.checker.kernel import OPEN, Point, ReferenceProver
from farkas.checker.plan import MAX_PIN, Recipe, RowGroup, Vector
from farkas.checker.prover import Step
from farkas.checker.query import Bound, Box, Claim, F, K
from tests.checker_fast.networks import children


class Planner:
    """Makes plans for the network of a reference prover.

    pin: bits of the largest multiplier; wild: but now and then a larger one.
    """

    def __init__(
        self, random: Random, rows: ReferenceProver, columns: Sequence[int], pin: int = F + 2, wild: bool = True
    ) -> None:
        self.random = random
        self.rows = rows
        self.columns = columns
        self.pin = pin
        self.wild = wild
        self.neurons = rows.first[-1]

    def vector(self, top: int) -> Vector:
        """Pins are on neurons below `top`."""
        random = self.random
        slopes = bytes(random.choice((0, 1, 128, 254, 255, random.randrange(256))) for _ in self.columns)
        pinned = sorted(random.sample(range(top), random.randint(0, top))) if random.random() < 0.7 else []
        cut = random.choice((0, len(slopes), random.randint(0, len(slopes))))
        return Vector(slopes[:cut], tuple((g, self._gamma()) for g in pinned))

    def _gamma(self) -> int:
        size = self.random.randint(1, 62) if self.wild and self.random.random() < 0.1 else self.pin
        return self.random.choice((-1, 1)) * min(self.random.randint(1, 1 << size), MAX_PIN - 1)

    def group(self, layer: int) -> RowGroup:
        random = self.random
        size = self.rows.first[layer + 1] - self.rows.first[layer]
        pick = random.random()
        if pick < 0.3:
            return RowGroup(layer, None, random.randrange(4), ())
        neurons = tuple(sorted(random.sample(range(size), random.randint(0 if pick < 0.4 else 1, size))))
        if pick < 0.6:
            return RowGroup(layer, neurons, random.randrange(4), ())
        vectors = tuple(self.vector(self.rows.first[layer + 1]) for _ in range(2 * len(neurons)))
        return RowGroup(layer, neurons, -1, vectors)

    def recipe(self) -> Recipe:
        """Now and then several groups of one layer."""
        layers = len(self.rows.layers)
        chosen = sorted(self.random.randrange(layers) for _ in range(self.random.randint(0, 4))) if layers else []
        return Recipe(self.random.random() < 0.3, tuple(map(self.group, chosen)))

    def steps(self, box: Box, rounded: bool) -> list[Step]:
        """What may lie below a tree node with this box."""
        pick = self.random.random()
        if pick < 0.4:
            return [Step(box, None, self.recipe())]
        recipe = self.recipe() if self.random.random() < 0.5 else None
        if pick < 0.8 and self.neurons:
            neuron = self.random.randrange(self.neurons)
            return [Step(box, (neuron, active), recipe) for active in (False, True)]
        return [Step(child, None, recipe) for child in children(self.random, box, rounded)]

    def claims(self, points: Sequence[Point]) -> list[Claim]:
        """One claim per point; thresholds at the reference kernel's bounds, or 2^-K beside; empty rows among them."""
        return [tuple(self._bound(point) for _ in range(self.random.randint(1, 3))) for point in points]

    def _bound(self, point: Point) -> Bound:
        random, rows = self.random, self.rows
        outputs, inputs = rows.sizes[rows.output], rows.sizes[0]
        chosen = sorted(random.sample(range(outputs), random.randint(0, outputs)))
        row = tuple((j, random.choice((1, -1, 3))) for j in chosen)
        xrow = ((random.randrange(inputs), random.choice((1, -2))),) if random.random() < 0.2 else ()
        top = rows.first[sum(v < rows.output for v in rows.layers)]
        vector = self.vector(top) if random.random() < 0.6 else None
        rule = random.randrange(4)
        lower = rows.row_bound(point, rows.output, row, xrow, rule, vector) if point.status == OPEN else 0
        beside, strict = random.choice(((0, True), (0, True), (-1, False), (0, False), (1, True)))
        return Bound(rule, row, xrow, Fraction(lower + beside, 1 << K), strict, vector)
