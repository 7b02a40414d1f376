"""One backward and one forward pass of a linear relaxation whose lower slopes and pins are variables.

The idea.  A row over a node's value is rewritten node by node towards the input (see crown.py).  Where the lower slope
of every unstable neuron is a free number in [0, 1], the bound is a concave function of the slopes, and so it is of the
pins: multipliers gamma of known facts z_j >= l_j (gamma > 0) or z_j <= u_j (gamma < 0), by which a row Lambda over z
becomes Lambda - gamma with the constant gamma l_j (gamma u_j), because gamma (z_j - l_j) is never negative.  After a
split the fact is a phase and the pins are the multipliers of beta-CROWN.

The gradient needs no tape.  The bound is the minimum over the box of a linear function; let x* be the minimising
corner, and run x* forward through the very lines that the row took: relu(z) becomes a z where its coefficient A is
positive, s z + t where it is not.  The values z that come out are the derivatives of the bound by the coefficients,

    d bound / d a_j = max(A_j, 0) z_j,      d bound / d gamma_j = -(z_j - l_j)  (u_j for gamma < 0),

one pass each way, and the forward pass is as cheap as the network itself.

Rigour.  A `Passes` of float64 with `rigorous` computes the same bound as crown.py, error terms and outward rounding
included, and is sound for every slope that is a multiple of 1/256 in [0, 1] and every pin: the error vector of a node
is subtracted as |Lambda| E with Lambda after the pin, which also covers the rounding of that subtraction; the constants
of the pins bring their own term.  Everything else (float32, unrounded slopes) only looks for good slopes.

Hot loops choose by arithmetic, not by `where`: on a mask without pattern that took twelve times as long (7.4 and 0.6
microseconds for 2048 numbers on a Zen 4; a whole crossing 21.6 and 6.5).

Xu et al., Fast and Complete: Enabling Complete Neural Network Verification with Rapid and Massively Parallel
Incomplete Verifiers, ICLR 2021; Wang et al., Beta-CROWN, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from farkas.ir.core import Affine, Input, Product, Relu
from farkas.ir.products import refused
from farkas.runtime_cuda.ball import Ball, span
from farkas.runtime_cuda.crown import ADAPTIVE, TINY, lines
from farkas.runtime_cuda.patches import Patches, patches
from farkas.runtime_cuda.prepared import Prepared
from farkas.runtime_cuda.rounding import U64, engine_gamma, up


@dataclass(frozen=True, eq=False)
class Ground:
    """What every subproblem of one box shares: the box, and the error terms proved for it.

    x_lower, x_upper: (n0,); error: (n,) of every Affine node of the unpacked program; floor: per Affine node what
    cutting coefficients to a checker's grid may cost a row; fixed: lines (a, s, t), each (n,), of the Relus whose
    source has no place in the flat storage; ball: what else is known of the points that are asked about.
    """

    x_lower: Any
    x_upper: Any
    error: Mapping[int, Any]
    floor: Mapping[int, float]
    fixed: Mapping[int, tuple[Any, Any, Any]]
    ball: Ball | None = None


@dataclass(eq=False)
class Relaxed:
    """Lines of the neurons by Affine node: lower slope a (B, R or 1, n), upper slope s and intercept t (B, 1, n)."""

    a: dict[int, Any]
    s: dict[int, Any]
    t: dict[int, Any]


@dataclass(frozen=True, eq=False)
class Pins:
    """gamma (B, R or 1, n) by Affine node, and the sums (B, R or 1) of gamma times its bound, and of their sizes."""

    gamma: dict[int, Any]
    const: Any
    size: Any


@dataclass(frozen=True, eq=False)
class Start:
    """Rows to be bounded: coefficients (B, R, n) by node, constants (B, R), and the highest node with a coefficient."""

    coefs: dict[int, Any]
    const: Any
    top: int


@dataclass(frozen=True, eq=False)
class Crossing:
    """How rows passed a Relu: coefficients over its value (B, R, n), their sign > 0, and the slope taken."""

    coef: Any
    on: Any
    slope: Any


@dataclass(frozen=True, eq=False)
class Descent:
    """value (B, R), input coefficients (B, R, n0), and by Relu node how the rows passed (when kept)."""

    value: Any
    inputs: Any
    crossings: dict[int, Crossing]
    reached: frozenset[int]


class Passes:
    """Passes over a prepared program (perhaps packed) in one precision; `full` is the program before packing."""

    def __init__(
        self, net: Prepared, full: Prepared, ground: Ground, tick: Callable[[], None], *, single: bool = False
    ) -> None:
        self.net = net
        self.xp = xp = net.backend.xp
        self.tick = tick
        self.single = single
        self.dtype = xp.float32 if single else xp.float64
        self.kept = net.backend.asarray(net.kept)  # neuron numbers of the columns
        self.positions = {v: self.kept[slot] - full.slots[v].start for v, slot in net.slots.items()}
        self.maps = {
            v: [(operand.map.on(self.cast) if single else operand.map, operand.source) for operand in layer.operands]
            for v, layer in net.layers.items()
        }
        self.bias = {v: self.cast(layer.bias) for v, layer in net.layers.items()}
        self.error = {v: e[self.positions[v]] if v in self.positions else e for v, e in ground.error.items()}
        self.floor = ground.floor
        self._plans: dict[int, Patches | None] = {}
        self.fixed = {r: tuple(self.cast(a)[None, None] for a in three) for r, three in ground.fixed.items()}
        self.x_lower, self.x_upper = self.cast(ground.x_lower), self.cast(ground.x_upper)
        mid = 0.5 * (ground.x_lower + ground.x_upper)
        radius = up(
            xp.maximum(ground.x_upper - mid, mid - ground.x_lower)
        )  # [mid - radius, mid + radius] holds the box
        self.mid, self.radius = self.cast(mid), self.cast(radius)
        gamma = engine_gamma(2 * net.sizes[0])
        self.reach = radius + up(gamma * (abs(mid) + radius))
        self.ball = None
        if ground.ball is not None:
            held, centre = ground.ball.scale > 0, xp.where(ground.ball.scale > 0, ground.ball.centre, mid)
            self.ball = Ball(*(self.cast(part) for part in (centre, ground.ball.scale, ground.ball.radius)))
            self.beside = self.cast(xp.where(held, 0.0, radius))
            self.beside_reach = xp.where(held, up(gamma * abs(centre)), self.reach)

    def cast(self, values: Any) -> Any:
        """Floating-point arrays in this precision; index arrays as they are."""
        return values.astype(self.dtype) if values.dtype.kind == "f" and values.dtype != self.dtype else values

    def cast_start(self, start: Start) -> Start:
        return Start({v: self.cast(c) for v, c in start.coefs.items()}, self.cast(start.const), start.top)

    def plan(self, v: int) -> Patches | None:
        """How rows of node v pass as patches, if they may."""
        if v not in self._plans:
            self._plans[v] = patches(self.net, v)
        return self._plans[v]

    def relax(self, lower: Any, upper: Any, top: int | None = None) -> Relaxed:
        """Lines from bounds in force (B, width), with the adaptive lower slope; of the nodes below `top` only."""
        net, found = self.net, Relaxed({}, {}, {})
        for v, slot in net.slots.items():
            if top is None or v < top:
                made = lines(self.xp, lower[:, slot], upper[:, slot], (ADAPTIVE,), net.widest, net.resolution)
                found.a[v] = self.cast(made.lower[0])[:, None]
                found.s[v] = self.cast(made.upper)[:, None]
                found.t[v] = self.cast(made.intercept)[:, None]
        return found

    def adaptive(self, relaxed: Relaxed) -> Any:
        """The lower slopes of some lines in one flat array (B, R or 1, width); 0 where there are none."""
        if not relaxed.a:
            return self.xp.zeros((1, 1, self.net.width), dtype=self.dtype)
        first = next(iter(relaxed.a.values()))
        flat = self.xp.zeros((*first.shape[:2], self.net.width), dtype=self.dtype)
        for v, a in relaxed.a.items():
            flat[:, :, self.net.slots[v]] = a
        return flat

    def with_slopes(self, relaxed: Relaxed, flat: Any, is_open: Any) -> Relaxed:
        """The same lines with other lower slopes, (B, R, width), where they are open, (B, 1, width)."""
        slots = self.net.slots
        a = {v: self.xp.where(is_open[:, :, slots[v]], flat[:, :, slots[v]], a) for v, a in relaxed.a.items()}
        return Relaxed(a, relaxed.s, relaxed.t)

    def pins(self, flat: Any, lower: Any, upper: Any) -> Pins | None:
        """Pins (B, R, width) with the bounds in force (B, width) that they refer to; None where all are zero."""
        xp = self.xp
        flat = self.cast(flat)
        if not flat.any():
            return None
        bound = xp.where(flat > 0, self.cast(lower)[:, None], self.cast(upper)[:, None])
        terms = xp.where(flat != 0, flat * xp.where(flat != 0, bound, 0.0), 0.0)
        gamma = {v: flat[:, :, slot] for v, slot in self.net.slots.items() if flat[:, :, slot].any()}
        return Pins(gamma, terms.sum(axis=-1), abs(terms).sum(axis=-1))

    def outputs(self, rows: Any, x_rows: Any) -> Start:
        """Rows (B, R, n_out) over the output, and (B, R, n0) or None over the input."""
        output = self.net.program.output
        coefs = {output: rows}
        if x_rows is not None:
            _accumulate(coefs, 0, x_rows)
        return Start(coefs, self.xp.zeros(rows.shape[:2], dtype=rows.dtype), output)

    def units(self, v: int, index: Any) -> Start:
        """Rows +z_i, then -z_i, of the listed neurons (B, R) of node v over its operands, error and floor included."""
        xp, layer = self.xp, self.net.layers[v]
        const = layer.bias[index]
        error = self.error[v][index] + self.floor[v]
        const = xp.concatenate([const - error, -const - error], axis=1)
        coefs: dict[int, Any] = {}
        for operand in layer.operands:
            rows = operand.map.unit_rows(index)
            _accumulate(coefs, operand.source, xp.concatenate([rows, -rows], axis=1))
        start = Start(coefs, const, v - 1)
        return self.cast_start(start) if self.single else start

    def descend(
        self, start: Start, relaxed: Relaxed, pins: Pins | None = None, *, rigorous: bool, keep: bool
    ) -> Descent:
        """Lower bounds of the rows over the box; `rigorous` adds every error term, `keep` the coefficients."""
        xp, nodes = self.xp, self.net.nodes
        self.tick()
        coefs, const = dict(start.coefs), start.const
        if pins is not None:
            const = const + pins.const
        crossings: dict[int, Crossing] = {}
        reached = set()
        for v in range(start.top, 0, -1):
            coef, gamma = coefs.pop(v, None), pins.gamma.get(v) if pins is not None else None
            if gamma is not None:
                if coef is None:
                    coef = xp.zeros((*const.shape, gamma.shape[-1]), dtype=self.dtype)
                coef = coef - gamma
            if coef is None:
                continue
            reached.add(v)
            node = nodes[v]
            match node:
                case Input():
                    raise AssertionError("the input is node 0")
                case Relu(source=source):
                    a, s, t = self.lines_of(v, source, relaxed)
                    negative = xp.minimum(coef, 0.0)
                    const = const + _dot(negative, t)
                    if keep:
                        on = coef > 0
                        slope = on * (a - s) + s  # exactly a or s for multiples of 1/256
                        crossings[v] = Crossing(coef, on, slope)
                        _accumulate(coefs, source, coef * slope)
                    else:
                        _accumulate(coefs, source, sloped(coef, negative, a, s))
                case Affine():
                    const = const + self._times(coef, self.bias[v])
                    if rigorous:
                        const = const - self._times(abs(coef), self.error[v]) - self.floor[v]
                    for shape, source in self.maps[v]:
                        _accumulate(coefs, source, self._apply(shape.rmv, coef))
                case Product():
                    raise refused("neuron splitting")
                case _:
                    assert_never(node)
        rows = coefs[0] if 0 in coefs else xp.zeros((*const.shape, self.net.sizes[0]), dtype=self.dtype)
        value = self._least(rows, const, pins) if rigorous else self._estimate(rows, const)
        return Descent(value, rows, crossings, frozenset(reached))

    def lines_of(self, r: int, source: int, relaxed: Relaxed) -> tuple[Any, Any, Any]:
        if r in self.fixed:
            return self.fixed[r]
        return relaxed.a[source], relaxed.s[source], relaxed.t[source]

    def ascend(self, descent: Descent, relaxed: Relaxed) -> tuple[Any, dict[int, Any]]:
        """The minimising corner (B, R, n0), and by Affine node the values (B, R, n) that the rows' lines give it."""
        xp, nodes = self.xp, self.net.nodes
        if self.single:
            corner = (descent.inputs <= 0) * (self.x_upper - self.x_lower) + self.x_lower
        else:  # exactly ends of the box
            corner = xp.where(descent.inputs > 0, self.x_lower, self.x_upper)
        if self.ball is not None:
            corner = self._on_ball(self.ball, descent.inputs, corner)
        values = {0: corner}
        for v in sorted(descent.reached):
            node = nodes[v]
            match node:
                case Input():
                    raise AssertionError("the input is node 0")
                case Relu(source=source):
                    crossing = descent.crossings[v]
                    _, _, t = self.lines_of(v, source, relaxed)
                    values[v] = crossing.slope * values[source] + ~crossing.on * t
                case Affine():
                    total: Any = self.bias[v]
                    for shape, source in self.maps[v]:
                        total = total + self._apply(shape.mv, values[source])
                    values[v] = total
                case Product():
                    raise refused("neuron splitting")
                case _:
                    assert_never(node)
        return corner, values

    def _apply(self, function: Callable[[Any], Any], rows: Any) -> Any:
        """A map on rows (B, R, n), as one product rather than B of them."""
        out = function(rows.reshape(rows.shape[0] * rows.shape[1], rows.shape[2]))
        return self.cast(out).reshape(*rows.shape[:-1], out.shape[-1])

    def _times(self, rows: Any, vector: Any) -> Any:
        return (rows.reshape(rows.shape[0] * rows.shape[1], rows.shape[2]) @ vector).reshape(rows.shape[:2])

    def _estimate(self, rows: Any, const: Any) -> Any:
        value = const + self._times(rows, self.mid) - self._times(abs(rows), self.radius)
        return value if self.ball is None else self.xp.maximum(value, const + self._over_ball(self.ball, rows))

    def _over_ball(self, ball: Ball, rows: Any) -> Any:
        """About the least value of the rows (B, R, n0) over the ball, and over the box in what that leaves free."""
        length = self.xp.sqrt(self._times(rows * rows, ball.scale))
        return self._times(rows, ball.centre) - self._times(abs(rows), self.beside) - ball.radius * length

    def _on_ball(self, ball: Ball, rows: Any, corner: Any) -> Any:
        """The minimising points: of the ball where its bound is the better one, else the corners."""
        xp = self.xp
        length = xp.sqrt(self._times(rows * rows, ball.scale))
        share = ball.radius / xp.maximum(length, 1e-30)
        lowest = xp.where(ball.scale > 0, ball.centre - rows * ball.scale * share[:, :, None], corner)
        better = self._over_ball(ball, rows) > self._times(rows, self.mid) - self._times(abs(rows), self.radius)
        return xp.where(better[:, :, None], lowest, corner)

    def _least_over_ball(self, ball: Ball, rows: Any, const: Any) -> Any:
        """As crown.Propagator bounds rows over a ball, rounded down but for the last sums."""
        gamma = engine_gamma(2 * self.net.sizes[0])
        least = const + self._times(rows, ball.centre) - self._times(abs(rows), self.beside_reach)
        return least - span(self.xp, ball.radius, self._times(rows * rows, ball.scale), gamma)

    def _least(self, rows: Any, const: Any, pins: Pins | None) -> Any:
        """The minimum over the box, rounded down.

        `reach` is the radius and gamma64 times the magnitude, for the rounding of either product over the input.
        """
        value = const + self._times(rows, self.mid) - self._times(abs(rows), self.reach)
        if self.ball is not None:
            other = self._least_over_ball(self.ball, rows, const)
            value = self.xp.where(other > value, other, value)  # a NaN bounds nothing
        if pins is not None:
            # The sum of the pins' constants, and every sum of constants that it enters.
            value = value - engine_gamma(2 * self.net.width) * pins.size
        return self.settled(value)

    def settled(self, value: Any) -> Any:
        """A computed bound, below what its last sums may have lost; a NaN bounds nothing."""
        value = value - 64 * U64 * abs(value) - TINY
        return self.xp.where(value == value, value, -self.xp.inf)


def sloped(coef: Any, negative: Any, a: Any, s: Any) -> Any:
    """Coefficients times the slope of their line: a where positive, s where negative; `negative` is used up."""
    out = coef - negative
    out *= a
    negative *= s
    out += negative
    return out


def _accumulate(coefs: dict[int, Any], node: int, rows: Any) -> None:
    coefs[node] = coefs[node] + rows if node in coefs else rows


def _dot(rows: Any, values: Any) -> Any:
    """(B, R, n) with (B or 1, 1, n) -> (B, R)."""
    b, r, n = rows.shape
    if values.shape[0] == 1:
        return (rows.reshape(b * r, n) @ values[0, 0]).reshape(b, r)
    if r == 1:
        return (rows * values).sum(axis=-1)
    return (rows @ values.reshape(values.shape[0], n, 1))[:, :, 0]
