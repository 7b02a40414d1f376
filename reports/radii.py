"""Certified accuracy and critical radii, found in what the properties say and not in what their files are called.

Two properties that call the same outputs unsafe, one of whose input sets lies in the other's, are about one point with
two radii.  Then a proof for the larger set holds in the smaller one, and a violation in the smaller set is one in the
larger.  So every chain of such sets has a largest radius that is proved and a smallest one that is violated; between
them nothing is known.  The radius of a set is the largest distance of an end of an interval from the middle of the
chain's smallest set: that is what was meant also where a domain cuts the sets off at some sides.

Sets are compared exactly.  Over binary32 an interval means its binary32 numbers, and a single number the nearest one,
which need not lie in an interval around it; so a single number counts as part of the same single number only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from farkas.reports.facts import Entry, Standing
from farkas.reports.sources import Sources, Unreadable
from farkas.specs.query import Case

MOST_PROPERTIES = 2000  # properties that are read for this


@dataclass(frozen=True)
class Asked:
    """An instance about one set; radius: from the middle of the smallest set of its chain."""

    entry: Entry
    case: Case
    radius: Fraction = Fraction(0)


@dataclass(frozen=True)
class Chain:
    """Instances about ever larger sets around one point, with the same unsafe outputs."""

    asked: tuple[Asked, ...]

    @property
    def proved(self) -> Fraction | None:
        """The largest radius that is proved."""
        return max((one.radius for one in self.asked if one.entry.standing is Standing.PROVED), default=None)

    @property
    def violated(self) -> Fraction | None:
        """The smallest radius that is violated."""
        return min((one.radius for one in self.asked if one.entry.standing is Standing.VIOLATED), default=None)

    @property
    def name(self) -> str:
        """The property of its smallest set."""
        return self.asked[0].entry.query


@dataclass(frozen=True)
class Family:
    """The chains of one network in one category, in one semantics; radii: all that were asked about, ascending."""

    category: str
    network: str
    semantics: str
    chains: tuple[Chain, ...]
    radii: tuple[Fraction, ...]

    def shares(self) -> Iterator[tuple[Fraction, int, int]]:
        """Radius, chains that are proved with it, chains that are violated with it."""
        for radius in self.radii:
            proved = sum(chain.proved is not None and radius <= chain.proved for chain in self.chains)
            violated = sum(chain.violated is not None and chain.violated <= radius for chain in self.chains)
            yield radius, proved, violated


def families(entries: Sequence[Entry], sources: Sources) -> list[Family]:
    """Those with some chain of several radii."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.category, entry.network), []).append(entry)
    found = []
    left = MOST_PROPERTIES
    for (category, network), group in groups.items():
        if len(group) < 2 or len(group) > left:
            continue
        left -= len(group)
        family = _family(category, network, group, sources)
        if family is not None:
            found.append(family)
    return found


def _family(category: str, network: str, group: Sequence[Entry], sources: Sources) -> Family | None:
    modes = Counter(e.row.semantics for e in group if e.row is not None and e.row.semantics)
    if not modes:
        return None
    semantics = modes.most_common(1)[0][0]
    asked = [one for entry in group if (one := _asked(entry, semantics, sources)) is not None]
    chains = chained(asked)
    if not any(len({one.radius for one in chain.asked}) > 1 for chain in chains):
        return None
    radii = {one.radius for chain in chains for one in chain.asked}
    return Family(category, network, semantics, tuple(chains), tuple(sorted(radii)))


def _asked(entry: Entry, semantics: str, sources: Sources) -> Asked | None:
    """The set of an instance that is about one; None for others, and for answers in another semantics."""
    if entry.row is None or entry.row.semantics not in ("", semantics):
        return None
    try:
        cases = sources.question(entry).property.cases
    except Unreadable:
        return None
    if len(cases) != 1 or not cases[0].lower:
        return None
    return Asked(entry, cases[0])


def chained(asked: Sequence[Asked]) -> list[Chain]:
    """The instances as chains: each joins the first one whose largest set lies in its own."""
    chains: list[list[Asked]] = []
    for one in sorted(asked, key=lambda one: (sum(one.case.upper) - sum(one.case.lower), one.entry.number)):
        for chain in chains:
            if chain[-1].case.disjuncts == one.case.disjuncts and lies_in(chain[-1].case, one.case):
                chain.append(one)
                break
        else:
            chains.append([one])
    return [_measured(chain) for chain in sorted(chains, key=lambda chain: chain[0].entry.number)]


def _measured(chain: Sequence[Asked]) -> Chain:
    """With radii from the middle of the first set."""
    first = chain[0].case
    middle = [(low + high) / 2 for low, high in zip(first.lower, first.upper, strict=True)]
    found = []
    for one in chain:
        ends = zip(one.case.lower, middle, one.case.upper, strict=True)
        found.append(replace(one, radius=max(max(at - low, high - at) for low, at, high in ends)))
    return Chain(tuple(found))


def lies_in(inner: Case, outer: Case) -> bool:
    """Whether all points of a box are points of the other, over the reals and as binary32 numbers."""
    return len(inner.lower) == len(outer.lower) and all(
        (low == least and high == most) or (least <= low < high <= most)
        for low, high, least, most in zip(inner.lower, inner.upper, outer.lower, outer.upper, strict=True)
    )
