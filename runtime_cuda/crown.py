"""Lower bounds of linear functions of a network's neurons by backward substitution (CROWN), for a batch of boxes.

The idea.  A row Lambda over an Affine node's value is rewritten over its operands (A = Lambda W); at a Relu each
positive coefficient takes a lower line a z of the neuron and each negative one its upper line s z + t; at the input
the row is minimised over the box.  An upper bound is the negated lower bound of the negated row, so there is one pass.

Slopes are multiples of 1/256 and the intercept is recomputed from the slope, because the certificate's checker does
the same in integers: a tree found here closes there, up to flooring.  Any slope is sound with its own intercept
t >= max(relu(l) - s l, relu(u) - s u), for any a in [0, 1]; so neither rounding of a slope nor its choice needs proof.

Several lower slopes are tried at once for the property's rows and the best bound kept.  For intermediate rows one set
is enough: a second one took 7 % of the boxes off all of ACAS Xu and half as much time again.  Rows are computed only
for neurons that are unstable under the bounds inherited from the parent box, packed to the longest list in the batch;
inactive neurons are packed away before that.
Forward symbolic intervals were 13 times cheaper a box and needed 19 times the boxes.

Networks of convolutions (not `is_dense`) are wider and their rows dearer, and they take four short cuts; in CPU seconds
of the root of networks of 45 056, 53 632, 28 300 and 118 000 neurons, one thread of a Zen 4, each on top of the last:

    rows for neurons that intervals leave open, not for all       17.6   (over 60)   0.07   (over 100)
    lines carried forward first, few inputs free (forward.py)     13.5    3.9-7.7    0.014      -
    rows of low layers through cropped networks (cone.py)          7.2    2.7        0.014    59
    only what the property's outputs depend on                     -       -          -       11-14

Rows start at the operands of their neuron (`unit_rows`), and +z and -z share one pass down to the first Relu.

Rounding: see `rounding.py`; the vector E of every Affine node is subtracted as |Lambda| E.

Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions, NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, assert_never

from farkas.ir.core import Affine, Input, Product, Relu
from farkas.runtime_cuda.ball import Ball, span
from farkas.runtime_cuda.cone import Cone, Geometry
from farkas.runtime_cuda.forward import FEW, Sieve
from farkas.runtime_cuda.prepared import Layer, Prepared
from farkas.runtime_cuda.products import Plane, ProductLines, interval, product_lines
from farkas.runtime_cuda.rounding import U64, engine_gamma, up

ADAPTIVE, ZERO, PARALLEL = 0, 1, 2
SLOPE_SCALE = 256.0
TINY = 2.0**-1000  # covers underflow of float64 in a pass
CHUNK = 1 << 20  # coefficients of one array of a pass: 8 MiB, so that they stay cached and ticks come often
GROUP = 48  # rows of a neuron's own kind, times two, that run through a cropped network at once
INFLUENCE = 1 << 24  # numbers of rows over the input that are kept for branching, of one layer: 128 MiB
CROPPED = 0.6  # share of the whole network up to which a cropped one is worth its making


@dataclass(frozen=True, eq=False)
class Lines:
    """Linear relaxations of one Relu node over a batch: relu(z) >= a_rule z, relu(z) <= s z + t.

    lower: (rules, B, n); upper, intercept: (B, n).
    """

    lower: Any
    upper: Any
    intercept: Any


@dataclass(frozen=True, eq=False)
class Rows:
    """Lower bounds of rows over a batch, and what they were made of.

    value: (B, rules, R); inputs: (B, rules, R, n0) coefficients over the network's input; const: (B, rules, R);
    neurons: per Relu or Product node the coefficients (B, rules, R, n) over its value.
    """

    value: Any
    inputs: Any
    const: Any
    neurons: dict[int, Any]


@dataclass(eq=False)
class Boxes:
    """A batch of boxes under refinement: bounds and magnitudes per node, filled in network order.

    ball: what else is known of the points that are asked about.
    """

    x_lower: Any
    x_upper: Any
    lower: list[Any]
    upper: list[Any]
    magnitude: list[Any]
    error: dict[int, Any]
    lines: dict[int, Lines | ProductLines]
    empty: Any
    ball: Ball | None = None


@dataclass(frozen=True, eq=False)
class Refined:
    """What refinement of a batch yields: flat pre-activation bounds, emptiness, and the input coefficients of the rows.

    lower, upper: (B, width); empty: (B,) bool; influence: per refined node (index (B, R), coefficients of the lower
    and of the upper rows over the input, each (B, R, n0)), for branching; none for a node where they would be too many.
    """

    boxes: Boxes
    lower: Any
    upper: Any
    empty: Any
    influence: dict[int, tuple[Any, Any, Any]]


def lines(xp: Any, l: Any, u: Any, rules: tuple[int, ...], terms: int, resolution: float = 0.0) -> Lines:
    """Relaxations from bounds l, u: (B, n), for each rule of the lower slope.

    terms: how many intercepts a sum may have, for its rounding; intercepts are raised by `resolution` as well.
    """
    on = l >= 0
    unstable = ~(on | (u <= 0))  # anything that is not known to be stable, infinities included
    width = xp.where(unstable, u - l, 1.0)
    s = xp.where(unstable, xp.floor(SLOPE_SCALE * u / width + 0.5) / SLOPE_SCALE, on * 1.0)
    s = xp.clip(s, 0.0, 1.0)
    t = xp.maximum(-s * l, (1.0 - s) * u)
    # Raised for the roundings of t itself, and of coefficient times slope (a relative error of the slope).
    t = xp.where(unstable, up(t, terms) + 16 * U64 * xp.maximum(-l, u) + resolution, 0.0)
    choices = []
    for rule in rules:
        if rule == ADAPTIVE:
            a = xp.where(unstable, (u + l > 0) * 1.0, on * 1.0)
        elif rule == ZERO:
            a = on * 1.0
        else:
            assert rule == PARALLEL, f"unknown slope rule {rule}"
            a = s
        choices.append(a)
    return Lines(xp.stack(choices), s, t)


def _go_on() -> None:
    """The tick of a run without a deadline."""


class Propagator:
    """Bounds of one program: `refine` for all neurons of a batch of boxes, `bound` for rows over the output.

    intermediate: slope rules of the neurons' own rows; none for intervals only.
    tick: called before every substitution pass; it may raise to abandon the batch (a deadline on a large network).
    outputs: positions (k,) of the output that are asked about, None for all; in networks of convolutions, neurons that
        none of them depends on keep the bounds of intervals.
    execution: a further error (B, n) of an Affine node, given the bounds of the nodes before it: what an execution
        rounds away, where the prepared layer does not say so already.
    """

    def __init__(
        self,
        prepared: Prepared,
        intermediate: tuple[int, ...] = (ADAPTIVE,),
        tick: Callable[[], None] = _go_on,
        outputs: Any = None,
        execution: Callable[[int, Boxes], Any] | None = None,
    ) -> None:
        self.net = prepared
        self.xp = prepared.backend.xp
        self.rules = intermediate
        self.tick = tick
        self.outputs = outputs
        self.execution = execution

    def refine(
        self,
        x_lower: Any,
        x_upper: Any,
        lower: Any,
        upper: Any,
        *,
        influence: bool = False,
        ball: Ball | None = None,
    ) -> Refined:
        """Bounds of every refined node over the boxes, never looser than the inherited `lower`, `upper` (B, width).

        x_lower, x_upper: (B, n0). Sound for every execution of the prepared semantics (on points of the `ball`).
        """
        xp, net = self.xp, self.net
        count = len(net.nodes)
        boxes = Boxes(
            x_lower,
            x_upper,
            [None] * count,
            [None] * count,
            [None] * count,
            {},
            {},
            xp.zeros(x_lower.shape[0], dtype=bool) if ball is None else ball.misses(xp, x_lower, x_upper),
            ball,
        )
        new_lower, new_upper = xp.array(lower), xp.array(upper)
        found: dict[int, tuple[Any, Any, Any]] = {}
        sieve = self._sieve(x_lower, x_upper)
        for v, node in enumerate(net.nodes):
            match node:
                case Input():
                    self._set(boxes, v, x_lower, x_upper)
                case Relu(source=source):
                    self._set(boxes, v, xp.maximum(boxes.lower[source], 0.0), xp.maximum(boxes.upper[source], 0.0))
                    if self.rules:
                        l, u = boxes.lower[source], boxes.upper[source]
                        boxes.lines[v] = line = lines(xp, l, u, self.rules, net.widest, net.resolution)
                        if sieve is not None:
                            sieve.relu(v, source, line.lower[0], line.upper, line.intercept)
                case Affine():
                    l, u = self._interval(boxes, v)
                    if sieve is not None:
                        low, high = sieve.affine(v, boxes.error[v])
                        l, u = xp.where(low > l, low, l), xp.where(high < u, high, u)  # a NaN bounds nothing
                    if v in net.slots:
                        slot = net.slots[v]
                        old_l, old_u = new_lower[:, slot], new_upper[:, slot]
                        l, u = self._settle(boxes, xp.maximum(l, old_l), xp.minimum(u, old_u))
                        if self.rules:
                            wanted = (old_l < 0) & (old_u > 0) if net.is_dense else (l < 0) & (u > 0)
                            wanted = wanted | (v in net.factors)
                            if v in self.asked:
                                wanted = wanted & self.asked[v]
                            l, u = self._tighten(boxes, v, l, u, wanted, found if influence else None)
                        new_lower[:, slot], new_upper[:, slot] = l, u
                    self._set(boxes, v, l, u)
                case Product():
                    self._multiply(boxes, v, node)
                    if self.rules:
                        boxes.lines[v] = self._product_lines(boxes, node, self.rules)
                case _:
                    assert_never(node)
        return Refined(boxes, new_lower, new_upper, boxes.empty, found)

    @cached_property
    def asked(self) -> dict[int, Any]:
        """Masks by node of the neurons that matter; none for nodes all of whose neurons do."""
        if self.outputs is None or self.net.is_dense or self.net.program.has_products:
            return {}
        return self.geometry.seen(self.outputs)

    @cached_property
    def geometry(self) -> Geometry:
        return Geometry(self.net)

    def _sieve(self, x_lower: Any, x_upper: Any) -> Sieve | None:
        """Lines carried forward, where backward rows are costly and few inputs are free."""
        if self.net.is_dense or not self.rules or self.net.program.has_products:
            return None
        if int((x_lower < x_upper).any(axis=0).sum()) > FEW:
            return None
        return Sieve(self.net, x_lower, x_upper)

    def _settle(self, boxes: Boxes, l: Any, u: Any) -> tuple[Any, Any]:
        """Mark boxes with contradictory bounds as empty, and keep the numbers ordered; a NaN bounds nothing."""
        xp = self.xp
        l, u = xp.where(l == l, l, -xp.inf), xp.where(u == u, u, xp.inf)
        crossed = l > u
        if crossed.any():
            boxes.empty |= crossed.any(axis=1)
            l, u = xp.minimum(l, u), xp.maximum(l, u)
        return l, u

    def _set(self, boxes: Boxes, v: int, l: Any, u: Any) -> None:
        l, u = self._settle(boxes, l, u)
        boxes.lower[v], boxes.upper[v] = l, u
        boxes.magnitude[v] = self.xp.maximum(abs(l), abs(u))

    def _multiply(self, boxes: Boxes, v: int, node: Product) -> None:
        """Interval bounds of a Product node."""
        left, right = ((boxes.lower[u], boxes.upper[u]) for u in (node.left, node.right))
        self._set(boxes, v, *interval(self.xp, left, right, square=node.left == node.right))

    def _product_lines(self, boxes: Boxes, node: Product, rules: tuple[int, ...]) -> ProductLines:
        left, right = ((boxes.lower[u], boxes.upper[u]) for u in (node.left, node.right))
        return product_lines(self.xp, left, right, rules, self.net.widest, square=node.left == node.right)

    def _interval(self, boxes: Boxes, v: int) -> tuple[Any, Any]:
        """Interval bounds of an Affine node from its operands (midpoint-radius), error included."""
        layer: Layer = self.net.layers[v]
        error = layer.error(boxes.magnitude)
        if self.execution is not None:
            error = up(error + self.execution(v, boxes))
        boxes.error[v] = error
        mid: Any = layer.bias
        rad: Any = 0.0
        for operand in layer.operands:
            l, u = boxes.lower[operand.source], boxes.upper[operand.source]
            m = 0.5 * (l + u)
            mid = mid + operand.map.mv(m)
            rad = rad + operand.absolute.mv(self.xp.maximum(u - m, m - l))
        rad = up(rad, layer.fan_in + 16) + error
        return mid - rad, mid + rad

    def _tighten(self, boxes: Boxes, v: int, l: Any, u: Any, wanted: Any, found: Any) -> tuple[Any, Any]:
        """Backward bounds of the wanted neurons of node v, intersected with l, u: (B, n).

        In dense networks the wanted ones are those unstable in the parent, at the root all: the magnitudes of stable
        ones enter the error terms, where intervals are far too wide.  Elsewhere, where rows cost most and layers are
        wide, they are those that intervals and parent leave unstable.
        """
        xp = self.xp
        if not wanted.any():
            return l, u
        if found is not None and int(wanted.sum(axis=1).max()) * wanted.shape[0] * self.net.sizes[0] > INFLUENCE:
            found = None
        parts = [self._part(boxes, v, wanted, cone, found is not None) for cone in self._cones(v, wanted)]
        index, padded, low, high, *rows = (
            columns[0] if len(columns) == 1 else xp.concatenate(columns, axis=1)
            for columns in zip(*(part for part in parts if part is not None), strict=True)
        )
        # Positions that only pad the list stay as they were: a box's bounds must not depend on its batch.
        low, high = xp.where(padded, -xp.inf, low), xp.where(padded, xp.inf, high)
        tl = xp.maximum(xp.take_along_axis(l, index, axis=1), low)
        tu = xp.minimum(xp.take_along_axis(u, index, axis=1), high)
        tl, tu = self._settle(boxes, tl, tu)
        l, u = xp.array(l), xp.array(u)
        xp.put_along_axis(l, index, tl, axis=1)
        xp.put_along_axis(u, index, tu, axis=1)
        if found is not None:
            found[v] = (index, rows[0], rows[1])
        return l, u

    def _cones(self, v: int, wanted: Any) -> list[Cone | None]:
        """What to run the rows through: cropped networks of blocks of neurons where they save much, else the whole."""
        if self.net.is_dense or self.net.program.has_products:
            return [None]
        blocks = self.geometry.blocks(v, int(wanted.sum(axis=1).max()) // GROUP)
        if not blocks:
            return [None]
        middle = self.geometry.cone(v, blocks[len(blocks) // 2])
        if middle is None or middle.size > CROPPED * sum(self.net.sizes[: v + 1]):
            return [None]
        cones = [self.geometry.cone(v, block) for block in blocks]
        return [None] if any(cone is None for cone in cones) else cones

    def _part(self, boxes: Boxes, v: int, wanted: Any, cone: Cone | None, keep: bool) -> tuple[Any, ...] | None:
        """The wanted neurons of one cone: numbers, which only pad, bounds, and with `keep` rows over the input."""
        xp = self.xp
        inside = wanted if cone is None else wanted[:, cone.kept[v]]
        most = int(inside.sum(axis=1).max())
        if most == 0:
            return None
        index = xp.argsort(~inside, axis=1, kind="stable")[:, :most]
        padded = ~xp.take_along_axis(inside, index, axis=1)
        if cone is None:
            return index, padded, *self._unit_bounds(boxes, v, index, keep)
        part = Propagator(cone.net, self.rules, self.tick)
        low, high, *rows = part._unit_bounds(_cropped(boxes, cone), v, index, keep)
        if 0 in cone.kept:
            rows = [_spread(xp, part, cone.kept[0], self.net.sizes[0]) for part in rows]
        return cone.kept[v][index], padded, low, high, *rows

    def _unit_bounds(self, boxes: Boxes, v: int, index: Any, keep: bool) -> tuple[Any, ...]:
        """Backward bounds of the listed neurons (B, R), in chunks; with `keep` also their rows over the input."""
        batch, most = index.shape
        size = max(1, CHUNK // (2 * batch * len(self.rules) * max(self.net.sizes[:v])))
        parts = []
        for start in range(0, most, size):
            part = index[:, start : start + size]
            value, inputs = self._unit_rows(boxes, v, part)
            best, width = value.max(axis=1), part.shape[1]
            rows = (inputs[:, 0, :width], inputs[:, 0, width:]) if keep else ()
            parts.append((best[:, :width], -best[:, width:], *rows))
        if len(parts) == 1:
            return parts[0]
        return tuple(self.xp.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))

    def _unit_rows(self, boxes: Boxes, v: int, index: Any) -> tuple[Any, Any]:
        """Lower bounds of +z_i and -z_i for the listed neurons: value (B, rules, 2R), inputs (B, rules, 2R, n0).

        Both have the same coefficients, up to the sign, down to the first Relu, and share one pass as far as that.
        """
        xp, net, layer = self.xp, self.net, self.net.layers[v]
        value = layer.bias[index]
        loss = xp.take_along_axis(boxes.error[v], index, axis=1) + self._floor(boxes, layer)[:, 0]
        coefs: dict[int, Any] = {}
        for operand in layer.operands:
            _accumulate(coefs, operand.source, operand.map.unit_rows(index)[:, None])
        top = max(coefs)
        while isinstance(node := net.nodes[top], Affine):
            coef, layer = coefs.pop(top), net.layers[top]
            value = value + (coef @ layer.bias)[:, 0]
            loss = loss + (_dot(abs(coef), boxes.error[top]) + self._floor(boxes, layer))[:, 0]
            for operand in layer.operands:
                _accumulate(coefs, operand.source, operand.map.rmv(coef))
            top = max(coefs)
        assert isinstance(node, Input | Relu | Product), "an Affine node ends the walk"
        both = {u: xp.concatenate([coef, -coef], axis=2) for u, coef in coefs.items()}
        const = xp.concatenate([value - loss, -value - loss], axis=1)
        done = self._backward(boxes, v, both, const[:, None], keep=False)
        return done.value, done.inputs

    def bound(self, boxes: Boxes, rows: Any, x_rows: Any, rules: tuple[int, ...]) -> Rows:
        """Lower bounds of rows @ y + x_rows @ x over each box, for each slope rule.

        rows: (R, n_out) or (B, R, n_out); x_rows: the same with n0 columns, or None.
        """
        xp, net = self.xp, self.net
        batch = boxes.x_lower.shape[0]
        chosen = Boxes(
            boxes.x_lower, boxes.x_upper, boxes.lower, boxes.upper, boxes.magnitude, boxes.error, {}, boxes.empty,
            boxes.ball,
        )  # fmt: skip
        for r, node in enumerate(net.nodes):
            if isinstance(node, Relu):
                chosen.lines[r] = lines(
                    xp, boxes.lower[node.source], boxes.upper[node.source], rules, net.widest, net.resolution
                )
            elif isinstance(node, Product):
                chosen.lines[r] = self._product_lines(boxes, node, rules)
        rows = rows[None] if rows.ndim == 2 else rows
        coefs = {net.program.output: xp.broadcast_to(rows, (batch, *rows.shape[1:]))[:, None]}
        if x_rows is not None:
            x_rows = x_rows[None] if x_rows.ndim == 2 else x_rows
            _accumulate(coefs, 0, xp.broadcast_to(x_rows, (batch, *x_rows.shape[1:]))[:, None])
        return self._backward(chosen, net.program.output + 1, coefs, xp.zeros((batch, 1, rows.shape[1])), keep=True)

    def _backward(self, boxes: Boxes, start: int, coefs: dict[int, Any], const: Any, *, keep: bool) -> Rows:
        """Substitute from the nodes below `start` down to the input; coefs: node -> (B, rules or 1, R, n)."""
        xp, net = self.xp, self.net
        self.tick()
        neurons: dict[int, Any] = {}
        for v in range(start - 1, 0, -1):
            coef = coefs.pop(v, None)
            if coef is None:
                continue
            node = net.nodes[v]
            match node:
                case Input():
                    raise AssertionError("the input is node 0")
                case Relu(source=source):
                    if keep:
                        neurons[v] = coef
                    line = boxes.lines[v]
                    assert isinstance(line, Lines), "a Relu has lines of its own"
                    positive = xp.maximum(coef, 0.0)
                    negative = coef - positive
                    const = const + _dot(negative, line.intercept)
                    positive = positive * xp.moveaxis(line.lower, 0, 1)[:, :, None]
                    negative *= line.upper[:, None, None]
                    positive = positive + negative
                    _accumulate(coefs, source, positive)
                case Affine():
                    layer = net.layers[v]
                    const = const + coef @ layer.bias - _dot(abs(coef), boxes.error[v]) - self._floor(boxes, layer)
                    for operand in layer.operands:
                        _accumulate(coefs, operand.source, operand.map.rmv(coef))
                case Product(left=left, right=right):
                    if keep:
                        neurons[v] = coef
                    planes = boxes.lines[v]
                    assert isinstance(planes, ProductLines), "a Product has lines of its own"
                    positive = xp.maximum(coef, 0.0)
                    for part, plane in ((positive, planes.below), (coef - positive, planes.above)):
                        _accumulate(coefs, left, part * _by_rule(xp, plane.left))
                        if right != left:
                            _accumulate(coefs, right, part * _by_rule(xp, plane.right))
                        const = const + _dot_by_rule(xp, part, plane)
                case _:
                    assert_never(node)
        rows = coefs[0] if 0 in coefs else xp.zeros((*const.shape, net.sizes[0]))
        return self._concretise(boxes, rows, const, neurons)

    def _floor(self, boxes: Boxes, layer: Layer) -> Any:
        """(B, 1, 1): what cutting the coefficients over the layer's operands to the checker's grid may cost a row."""
        if layer.resolution == 0.0:
            return self.xp.zeros((1, 1, 1))
        return layer.resolution * layer.u_sum(boxes.magnitude)[:, :, None]

    def _concretise(self, boxes: Boxes, rows: Any, const: Any, neurons: dict[int, Any]) -> Rows:
        """The minimum of the rows over the box, as midpoint and radius: two products, not four."""
        mid = 0.5 * (boxes.x_lower + boxes.x_upper)
        radius = up(self.xp.maximum(boxes.x_upper - mid, mid - boxes.x_lower))
        # The radius, and what the rounding of either product may come to.
        reach = up(radius + engine_gamma(2 * self.net.sizes[0]) * up(abs(mid) + radius))
        value = const + _dot(rows, mid) - _dot(abs(rows), reach)
        if boxes.ball is not None:
            other = self._on_ball(boxes.ball, rows, const, mid, reach)
            value = self.xp.where(other > value, other, value)  # a NaN bounds nothing
        return Rows(value - 64 * U64 * abs(value) - TINY, rows, const, neurons)

    def _on_ball(self, ball: Ball, rows: Any, const: Any, mid: Any, reach: Any) -> Any:
        """The minimum of the rows over the ball, and over the box in the inputs that it does not restrict."""
        xp = self.xp
        held, gamma = ball.scale > 0, engine_gamma(2 * self.net.sizes[0])
        batch = mid.shape[0]
        middle = xp.where(held, xp.broadcast_to(ball.centre, mid.shape), mid)
        reach = xp.where(held, up(gamma * abs(middle)), reach)
        squares = _dot(rows * rows, xp.broadcast_to(ball.scale, (batch, len(ball.scale))))
        least = const + _dot(rows, middle) - _dot(abs(rows), reach)
        return least - span(xp, ball.radius[:, None, None], squares, gamma)


def _by_rule(xp: Any, values: Any) -> Any:
    """(rules, B, n) as (B, rules, 1, n)."""
    return xp.moveaxis(values, 0, 1)[:, :, None]


def _dot_by_rule(xp: Any, part: Any, plane: Plane) -> Any:
    """(B, rules or 1, R, n) with the constants of a plane -> (B, rules, R)."""
    return (part * _by_rule(xp, plane.const)).sum(axis=-1)


def _cropped(boxes: Boxes, cone: Cone) -> Boxes:
    """What a backward pass through the cone reads of boxes under refinement."""

    def crop(node: int, values: Any) -> Any:
        return values[..., cone.kept[node]] if node in cone.kept and values is not None else values

    return Boxes(
        crop(0, boxes.x_lower),
        crop(0, boxes.x_upper),
        [],
        [],
        [crop(node, values) for node, values in enumerate(boxes.magnitude)],
        {node: crop(node, values) for node, values in boxes.error.items()},
        {
            r: Lines(crop(r, o.lower), crop(r, o.upper), crop(r, o.intercept))
            for r, o in boxes.lines.items()
            if isinstance(o, Lines)  # programs with products are not cropped
        },
        boxes.empty,
    )


def _spread(xp: Any, rows: Any, kept: Any, size: int) -> Any:
    """Rows over some inputs as rows over all `size` of them."""
    out = xp.zeros((*rows.shape[:-1], size))
    out[..., kept] = rows
    return out


def _accumulate(coefs: dict[int, Any], node: int, rows: Any) -> None:
    coefs[node] = coefs[node] + rows if node in coefs else rows


def _dot(rows: Any, values: Any) -> Any:
    """(B, r, R, n) with (B, n) -> (B, r, R)."""
    b, r, k, n = rows.shape
    return (rows.reshape(b, r * k, n) @ values[:, :, None]).reshape(b, r, k)
