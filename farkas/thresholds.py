"""Which threshold to ask about next: an interval that narrows around the greatest value of an expression.

`expression <= t` is a question that is answered yes (the greatest value is proved to be at most t), no (a witness
attains more), or not in time.  Questions far from the greatest value are cheap and those close to it dear, for the
number of pieces that a proof has to be cut into grows as its slack shrinks; so bisection is right in cost as well: the
last question takes about as long as all before it.

- At first one end is missing: steps that grow fourfold look for it.
- Between ends of one sign but different size the middle is the geometric one.
- A threshold that stays open for its slice of time is walked around: between it and the ends there may be easier
  ones.  Only when those are used up does the slice grow, threefold, and the middle is asked again.  One that more time
  does not help (rounding errors, say) stays out.
- A candidate that came close tells what the next witness may attain, and the threshold right below is asked about.
- Thresholds are the shortest decimals near the middle: they are what is proved, and people read them.

The same serves the critical value of a parameter, of which both ends are known from the start.

Nothing here is trusted: an end of the interval comes from a verdict on the very threshold, whatever was asked before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import inf, isqrt

FIRST_STEP = Fraction(1, 64)
GROWTH = 4
SLICE_GROWTH = 3.0
LARGEST = Fraction(2) ** 130  # no value of a network in binary32 is as large
APART = 16  # a threshold is worth asking when it takes that part off the interval
MOST_HOPELESS = 12
MOST_SLOW = 4  # thresholds that were open at the end of their slices, before it grows, while an end is missing
UNEVEN = 8  # ends whose quotient is larger have their geometric mean for a middle


@dataclass(eq=False)
class Thresholds:
    """low, high: the ends so far (of maxima what is attained and what is proved), None where there is none; gap: the
    width to stop at; slice_s: the time that one question may take now; open: thresholds without an answer, and the
    seconds (inf: more would not help) they had; hint: a threshold that a witness may exceed; step: the last one that
    looked for a missing end."""

    gap: Fraction | None
    slice_s: float
    low: Fraction | None = None
    high: Fraction | None = None
    open: dict[Fraction, float] = field(default_factory=dict)
    hint: Fraction | None = None
    step: Fraction = Fraction(0)

    @property
    def is_narrow(self) -> bool:
        """Whether the interval is as narrow as was asked for; without a gap, a millionth of its ends."""
        if self.low is None or self.high is None:
            return False
        return self.high - self.low <= self._width

    @property
    def _width(self) -> Fraction:
        if self.gap is not None:
            return self.gap
        assert self.low is not None and self.high is not None, "an interval has two ends"
        return max(abs(self.low), abs(self.high)) / 10**6

    def next(self) -> Fraction | None:
        """The threshold to ask about; None when the interval is narrow, or when no question would help."""
        if self.is_narrow or sum(seconds == inf for seconds in self.open.values()) >= MOST_HOPELESS:
            return None
        if self.low is None or self.high is None:
            return self._outward()
        hint, self.hint = self.hint, None
        if hint is not None and self._is_worth(hint, self.low, self.high):
            return hint
        return self._between(self.low, self.high)

    def at_least(self, value: Fraction) -> None:
        """What is looked for is not less."""
        self.low = value if self.low is None else max(value, self.low)

    def at_most(self, threshold: Fraction) -> None:
        """What is looked for is not greater."""
        self.high = threshold if self.high is None else min(threshold, self.high)

    def undecided(self, threshold: Fraction, more_time_helps: bool) -> None:
        self.open[threshold] = self.slice_s if more_time_helps else inf

    def nearly(self, value: Fraction) -> None:
        """A value that a candidate seems to have had: worth asking about right below."""
        if self.low is not None and value > self.low:
            self.hint = between(self.low + (value - self.low) * Fraction(15, 16), value)

    def _is_worth(self, threshold: Fraction, low: Fraction, high: Fraction) -> bool:
        return low + (high - low) / APART < threshold < high and threshold not in self.open

    def _outward(self) -> Fraction | None:
        """Steps from what is known; from 0 to both sides when nothing is."""
        known = self.low if self.low is not None else self.high
        if known is None and not self.step and not self.open:
            return Fraction(0)
        if sum(self.slice_s <= seconds < inf for seconds in self.open.values()) >= MOST_SLOW:
            self.slice_s, self.step = SLICE_GROWTH * self.slice_s, Fraction(0)
        self.step = GROWTH * self.step if self.step else max(FIRST_STEP, abs(known or Fraction(0)) / 4)
        if self.step > LARGEST:
            return None
        up = self.low is not None or (self.high is None and len(self.open) % 2 == 0)
        raw = (known or Fraction(0)) + (self.step if up else -self.step)
        return between(raw - self.step / 8, raw + self.step / 8)

    def _between(self, low: Fraction, high: Fraction) -> Fraction | None:
        inside = {t: seconds for t, seconds in self.open.items() if low < t < high}
        while inside:
            tried = sorted(t for t, seconds in inside.items() if seconds >= self.slice_s)
            if not tried:
                break
            above, below = high - tried[-1], tried[0] - low
            finest = self._width / 4  # then the two together can still be narrow
            apart = finest if inside[tried[0]] == inside[tried[-1]] == inf else max(finest, (high - low) / APART)
            if max(above, below) > apart:
                return middle(tried[-1], high) if above >= below else middle(low, tried[0])
            if inside[tried[0]] == inside[tried[-1]] == inf:
                return None
            self.slice_s *= SLICE_GROWTH
        return middle(low, high)


def middle(low: Fraction, high: Fraction) -> Fraction:
    """A short decimal about half-way between two numbers, in size where they differ much in size."""
    small, large = sorted((abs(low), abs(high)))
    if low * high > 0 and large > UNEVEN * small:
        mean = Fraction(isqrt(int(small * large * 4**64)), 2**64)
        centre = mean if high > 0 else -mean
        if low < centre < high:
            return between(centre - abs(centre) / 8, centre + abs(centre) / 8)
    return between(low + (high - low) * Fraction(7, 16), low + (high - low) * Fraction(9, 16))


def between(low: Fraction, high: Fraction) -> Fraction:
    """The decimal with the fewest places strictly between two numbers, the one nearest to their middle."""
    centre, unit = (low + high) / 2, Fraction(1)
    while 10 * unit < high - low:
        unit *= 10
    while True:
        found = round(centre / unit) * unit
        if low < found < high:
            return found
        unit /= 10
