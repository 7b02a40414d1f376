"""Better slopes and pins for rows: projected ascent with the gradient of adjoint.py, many rows at once.

Adam on the variables of every row, with one step size for all of them.  A slope lies in [0, 1] whatever the network's
scale; a pin is measured in units of its neuron's coefficient, so that the same steps serve it.  Only columns that are
unstable somewhere in the batch become variables, for elsewhere the slope is known; and the best iterate of every row is
kept, so that no row ends below where it began.  float32 halves the traffic and only looks: the caller rounds what comes
out and bounds it anew.

The constants were chosen together, by the mean share of the gap to 150 steps that is left on seven networks (fully
connected of 2 to 6 layers and convolutional): at a root 0.25 after 4 steps, 0.05 after 10, under 0.01 after 20; three
splits below, from the parent's slopes, 0.53 after 2, 0.31 after 4, 0.08 after 10.  Adam's usual memory (0.9, 0.99) left
0.12 and 0.37 after 10 and 4; a first step of 0.1 left 0.19 and 0.37, of 1 left 0.10 and 0.61; pins in steps twice as
long changed little; rates of every row's own, cut where a step did worse and raised where it did better, left 0.16
after 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from farkas.ir.core import Relu
from farkas.runtime_cuda.adjoint import Passes, Pins, Relaxed, Start

RATE, DECAY = 0.3, 0.95  # the first step, of slopes and of pins in units of their neurons' coefficients
MOMENTUM, MEMORY = 0.5, 0.9
DAMPING = 0.1  # of a row's mean gradient, added to each variable's own: those that hardly matter move less
SLOPE_LEVELS = 256.0
PIN_UNIT = 2.0**-24
Bounds: TypeAlias = tuple[Any, Any]  # in force, (B, width) each
PIN_CUT = 2.0**-12  # of the row's largest: smaller pins cost bytes and bring nothing


@dataclass(frozen=True, eq=False)
class Variables:
    """slopes and pins of rows, flat: (B, R, width), in the precision of the passes."""

    slopes: Any
    pins: Any


@dataclass(frozen=True, eq=False)
class Allowed:
    """What may vary, flat (B, 1, width): open slopes, pins of the sign that refers to l, and to u."""

    slopes: Any
    on_lower: Any
    on_upper: Any


class _Columns:
    """The columns of some nodes that vary somewhere in the batch, gathered into one array (B, R, count)."""

    def __init__(self, passes: Passes, mask: Any, top: int) -> None:
        xp, self.parts, start = passes.xp, {}, 0
        for v, slot in passes.net.slots.items():
            columns = xp.flatnonzero(mask[:, :, slot].any(axis=(0, 1))) if v <= top else xp.zeros(0, dtype=int)
            if len(columns):
                self.parts[v] = (columns, slice(start, start + len(columns)))
                start += len(columns)
        self.count = start
        self.slots = passes.net.slots
        self.xp = xp

    def gather(self, flat: Any) -> Any:
        xp = self.xp
        if not self.parts:
            return xp.zeros((*flat.shape[:2], 0), dtype=flat.dtype)
        return xp.concatenate([flat[:, :, self.slots[v]][:, :, c] for v, (c, _) in self.parts.items()], axis=2)

    def scatter(self, packed: Any, flat: Any) -> Any:
        """`flat` (B, R, width) with the columns written into it, in place."""
        for v, (columns, part) in self.parts.items():
            flat[:, :, self.slots[v].start + columns] = packed[:, :, part]
        return flat


def climb(
    passes: Passes,
    start: Start,
    relaxed: Relaxed,
    allowed: Allowed,
    first: Variables,
    bounds: tuple[Any, Any],
    steps: int,
) -> tuple[Any, Variables]:
    """Estimated best values (B, R) and the variables that gave them, after `steps` steps from `first`."""
    search = _Search(passes, start, relaxed, allowed, first, bounds)
    for step in range(steps if search.alphas.count + search.betas.count else 0):
        search.evaluate()
        search.move(step)
    search.evaluate()
    return search.best, search.found(first)


class _Search:
    def __init__(
        self,
        passes: Passes,
        start: Start,
        relaxed: Relaxed,
        allowed: Allowed,
        first: Variables,
        bounds: tuple[Any, Any],
    ) -> None:
        xp = self.xp = passes.xp
        self.passes, self.start = passes, start
        self.alphas = _Columns(passes, allowed.slopes, start.top)
        self.betas = _Columns(passes, allowed.on_lower | allowed.on_upper, start.top)
        self.open = self.alphas.gather(allowed.slopes)
        self.low, self.high = self.betas.gather(allowed.on_lower), self.betas.gather(allowed.on_upper)
        l, u = (self.betas.gather(passes.cast(b)[:, None]) for b in bounds)
        # Variables of a row itself, not of the batch: a row's way must not depend on its company.
        free = self.open.sum(axis=2, keepdims=True) + (self.low | self.high).sum(axis=2, keepdims=True)
        self.free = passes.cast(xp.maximum(free, 1).astype(float))
        self.bound = xp.where(self.low, l, xp.where(self.high, u, 0.0))
        rows = start.const.shape
        self.relaxed = Relaxed(
            {v: xp.array(xp.broadcast_to(a, (*rows, a.shape[-1]))) for v, a in relaxed.a.items() if v <= start.top},
            relaxed.s,
            relaxed.t,
        )
        # Invariant: a closed slope is its known value, at the start and (its gradient being 0) ever after.
        known = passes.adaptive(relaxed)
        slopes = self.alphas.gather(xp.broadcast_to(first.slopes, (*rows, first.slopes.shape[-1])))
        self.theta = xp.where(self.open, slopes, self.alphas.gather(known))
        self.gamma = self.betas.gather(xp.broadcast_to(first.pins, (*rows, first.pins.shape[-1])))
        self.scale: Any = None
        self.best = xp.full(rows, -xp.inf, dtype=passes.dtype)
        self.best_theta, self.best_gamma = self.theta, self.gamma
        self.momentum: Any = 0.0
        self.memory: Any = 0.0
        self.readers: dict[int, list[int]] = {v: [] for v in passes.net.slots}
        for r, node in enumerate(passes.net.nodes):
            if isinstance(node, Relu) and node.source in self.readers:
                self.readers[node.source].append(r)

    def evaluate(self) -> None:
        """The rows' values at the present variables; the best are kept."""
        xp = self.xp
        for v, (columns, part) in self.alphas.parts.items():
            self.relaxed.a[v][:, :, columns] = self.theta[:, :, part]
        self.descent = self.passes.descend(self.start, self.relaxed, self._pins(), rigorous=False, keep=True)
        better = self.descent.value > self.best
        self.best = xp.where(better, self.descent.value, self.best)
        self.best_theta = xp.where(better[:, :, None], self.theta, self.best_theta)
        self.best_gamma = xp.where(better[:, :, None], self.gamma, self.best_gamma)

    def _pins(self) -> Pins | None:
        if not self.betas.count:
            return None
        xp, gamma = self.xp, {}
        for v, (columns, part) in self.betas.parts.items():
            whole = xp.zeros((*self.start.const.shape, self.passes.net.sizes[v]), dtype=self.passes.dtype)
            whole[:, :, columns] = self.gamma[:, :, part]
            gamma[v] = whole
        const = (self.gamma * self.bound).sum(axis=-1)
        return Pins(gamma, const, const)

    def move(self, step: int) -> None:
        """One step of Adam from the variables last evaluated."""
        xp = self.xp
        _, z = self.passes.ascend(self.descent, self.relaxed)
        if self.scale is None:
            self.scale = self._scale()
        gradient = xp.concatenate([self._slope_gradient(z), self._pin_gradient(z)], axis=2)
        self.momentum = MOMENTUM * self.momentum + (1 - MOMENTUM) * gradient
        self.memory = MEMORY * self.memory + (1 - MEMORY) * gradient * gradient
        size = xp.sqrt(self.memory / (1 - MEMORY ** (step + 1)))
        size = size + (DAMPING * size.sum(axis=2, keepdims=True) / self.free + 1e-20)
        change = (RATE * DECAY**step / (1 - MOMENTUM ** (step + 1))) * self.momentum / size
        self.theta = xp.minimum(xp.maximum(self.theta + change[:, :, : self.alphas.count], 0.0), 1.0)
        gamma = self.gamma + change[:, :, self.alphas.count :] * self.scale
        self.gamma = xp.clip(gamma, xp.where(self.high, -xp.inf, 0.0), xp.where(self.low, xp.inf, 0.0)).astype(
            gamma.dtype
        )

    def _slope_gradient(self, z: dict[int, Any]) -> Any:
        xp = self.xp
        gradient = xp.zeros(self.theta.shape, dtype=self.theta.dtype)
        for v, (columns, part) in self.alphas.parts.items():
            for r in self.readers[v]:
                if r in self.descent.crossings:
                    coef = xp.maximum(self.descent.crossings[r].coef[:, :, columns], 0.0)
                    gradient[:, :, part] += coef * z[v][:, :, columns]
        return gradient * self.open

    def _pin_gradient(self, z: dict[int, Any]) -> Any:
        xp = self.xp
        gradient = xp.zeros(self.gamma.shape, dtype=self.gamma.dtype)
        for v, (columns, part) in self.betas.parts.items():
            if v in z:
                gradient[:, :, part] = self.bound[:, :, part] - z[v][:, :, columns]
        return gradient * self.scale * (self.low | self.high)

    def _scale(self) -> Any:
        """What a pin is measured in: the size of the first coefficients over the neuron, and a share of the mean.

        1 where the row is 0.
        """
        xp = self.xp
        scale = xp.ones(self.gamma.shape, dtype=self.gamma.dtype)
        for v, (columns, part) in self.betas.parts.items():
            sizes = [abs(self.descent.crossings[r].coef) for r in self.readers[v] if r in self.descent.crossings]
            if sizes:
                total: Any = sum(sizes)
                scale[:, :, part] = total[:, :, columns] + 0.1 * total.mean(axis=2, keepdims=True)
        return xp.where(scale > 0, scale, 1.0)

    def found(self, first: Variables) -> Variables:
        xp, rows = self.xp, self.start.const.shape
        slopes = xp.array(xp.broadcast_to(first.slopes, (*rows, first.slopes.shape[-1])))
        pins = xp.zeros(slopes.shape, dtype=slopes.dtype)
        return Variables(self.alphas.scatter(self.best_theta, slopes), self.betas.scatter(self.best_gamma, pins))


def rounded_slopes(xp: Any, slopes: Any, is_open: Any) -> tuple[Any, Any]:
    """(bytes, slopes): the nearest byte b, meaning b/256 and 255 meaning 1; 0 where the slope is not free."""
    code = xp.clip(xp.floor(slopes * SLOPE_LEVELS + 0.5), 0.0, SLOPE_LEVELS - 1)
    code = xp.where(is_open & (code == code), code, 0.0).astype(xp.uint8)
    return code, slopes_of(xp, code)


def slopes_of(xp: Any, code: Any) -> Any:
    """The slopes that bytes mean, in float64."""
    return xp.where(code == 255, 1.0, code.astype(xp.float64) / SLOPE_LEVELS)


def rounded_pins(xp: Any, pins: Any) -> Any:
    """The nearest multiples of 2^-24, exactly, in float64; 0 where small beside the row's largest, or no number."""
    pins = pins.astype(xp.float64)
    pins = xp.where(xp.isfinite(pins) & (abs(pins) < 2.0**28), pins, 0.0)
    largest = abs(pins).max(axis=-1, keepdims=True, initial=0.0)
    return xp.where(abs(pins) > PIN_CUT * largest, xp.floor(pins / PIN_UNIT + 0.5) * PIN_UNIT, 0.0)
