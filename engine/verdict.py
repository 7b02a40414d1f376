"""Answers.  `Holds` cannot be made without a closed proof tree (or words that the user trusts), nor `Violated` without
a replay record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from farkas.engine.choices import Choice
from farkas.engine.replay import Replay
from farkas.engine.tree import ClosedTree
from farkas.engine.trusted import Trusted
from farkas.specs.query import Semantics
from farkas.specs.witness import Named


class Reason(StrEnum):
    """Why a query stayed undecided."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    GAP = "gap"
    UNCERTIFIED = "uncertified"
    UNSUPPORTED = "unsupported"
    INCOMPLETE = "incomplete"
    OVERFLOW = "overflow"


@dataclass(frozen=True)
class ArmStatistics:
    """What one way of deciding did: seconds, boxes or nodes bounded, leaves closed, still open, linear programs."""

    name: str
    time_s: float = 0.0
    boxes: int = 0
    leaves: int = 0
    open: int = 0
    programs: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RungStatistics:
    """What a rung of the ladder did: seconds, pieces looked at, refuted by its word, candidates offered for replay."""

    name: str
    time_s: float = 0.0
    pieces: int = 0
    refuted: int = 0
    candidates: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Statistics:
    """What a run did: boxes bounded, leaves closed, boxes still open, seconds of wall and CPU time.

    bound: best proved margin of the worst open box (None when none is open); closest: how far the closest candidate
    was from violating, in the units of the property's left-hand sides (None when none was met); engine: what computed
    the bounds: `compiled`, or the array module; arms: by which ways, in the order of their first run; switches: how
    often one way was left for another; attack_s: in the search for witnesses; rules: leaves by what closes them;
    programs: linear programs solved; rungs: what the ladder did with the pieces that the arms left; unstable: neurons
    that the root of a case left unstable, the most of all cases (None when no root was bounded); choices: which arm was
    taken up when, and why (the first ones of very many); shared: boxes that helping processes bounded, of all; lost:
    helpers that were lost on the way, what they had in hand was done again.
    """

    boxes: int = 0
    leaves: int = 0
    open: int = 0
    bound: float | None = None
    closest: float | None = None
    time_s: float = 0.0
    cpu_s: float = 0.0
    engine: str = "numpy"
    off_grid: int = 0
    arms: tuple[ArmStatistics, ...] = ()
    switches: int = 0
    attack_s: float = 0.0
    rules: Mapping[str, int] = field(default_factory=dict)
    programs: int = 0
    rungs: tuple[RungStatistics, ...] = ()
    unstable: int | None = None
    choices: tuple[Choice, ...] = ()
    shared: int = 0
    lost: int = 0

    @property
    def bounds(self) -> Mapping[str, float | None]:
        """How near the search came to either answer."""
        return {"margin": self.bound, "closest": self.closest}

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "arms": [arm.as_dict() for arm in self.arms],
            "rules": dict(self.rules),
            "rungs": [rung.as_dict() for rung in self.rungs],
            "choices": [choice.as_dict() for choice in self.choices],
        }


@dataclass(frozen=True, repr=False)
class Holds:
    """`unsat`: no execution of the stated semantics violates the property.

    tree: the closed tree, or what rests on trusted words; evidence: `checkable`, `certified` or `trusted:<engine>`;
    certificate: the accepted file's bytes, when asked for.
    """

    tree: ClosedTree | Trusted
    semantics: Semantics
    evidence: str
    warnings: tuple[str, ...] = ()
    certificate: bytes | None = field(default=None, repr=False)
    statistics: Statistics = Statistics()

    def __post_init__(self) -> None:
        if not isinstance(self.tree, ClosedTree | Trusted):
            raise TypeError("Holds needs a ClosedTree, or words that are trusted")
        if isinstance(self.tree, Trusted) and self.evidence != self.tree.evidence:
            raise ValueError(f"evidence '{self.evidence}' for a proof that rests on {self.tree.evidence}")
        if self.evidence not in ("checkable", "certified") and not self.evidence.startswith("trusted:"):
            raise ValueError(f"'{self.evidence}' is no evidence for `unsat`")
        if (self.evidence == "certified") != (self.certificate is not None):
            raise ValueError("evidence `certified` goes with an accepted certificate, and only with one")

    @property
    def word(self) -> str:
        return "unsat"

    @property
    def witness(self) -> None:
        """There is none."""
        return None

    @property
    def bounds(self) -> Mapping[str, float | None]:
        """How near the search came: `Statistics.bound` and `closest`, as `margin` and `closest`."""
        return self.statistics.bounds

    def __repr__(self) -> str:
        return _line(self)

    def _repr_html_(self) -> str:
        return _table(self)


@dataclass(frozen=True, repr=False)
class Violated:
    """`sat`: the witness lies in the input set and violates, as the replay record shows.

    assignment: the witness in the words of the property's own language, when that is not VNN-LIB 1.0; in_binary32: of
    a witness over the reals, whether its nearest binary32 point violates as well, on a named executor and on
    onnxruntime; None in other semantics and where there is no such run; named: the variables and the outputs of a
    witness of a specification made in Python, by their names there.
    """

    replay: Replay
    semantics: Semantics
    warnings: tuple[str, ...] = ()
    certificate: bytes | None = field(default=None, repr=False)
    statistics: Statistics = Statistics()
    assignment: str = field(default="", repr=False)
    in_binary32: bool | None = None
    named: tuple[Named, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.replay, Replay):
            raise TypeError("Violated needs a Replay")

    @property
    def evidence(self) -> str:
        return "replayed"

    @property
    def word(self) -> str:
        return "sat"

    @property
    def witness(self) -> str:
        """The witness in VNN-COMP's format, or that of VNN-LIB 2.x; its decimals are the exact values."""
        return self.assignment or self.replay.text

    @property
    def bounds(self) -> Mapping[str, float | None]:
        """How near the search came: `Statistics.bound` and `closest`, as `margin` and `closest`."""
        return self.statistics.bounds

    def __repr__(self) -> str:
        return _line(self)

    def _repr_html_(self) -> str:
        return _table(self)


@dataclass(frozen=True)
class GapReport:
    """A box on which the reals prove what binary32 does not.

    case: number in the property; lower, upper: the box; point: where bounds of any order fail; margin: left by the
    bounds over the reals on the box; band: by how much rounding errors at the point exceed what the bounds leave there.
    """

    case: int
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    point: tuple[float, ...]
    margin: float
    band: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Unknown:
    """Undecided, with the reason, how far the search got, and what would help; gap: of the reason `gap`, an example."""

    reason: Reason
    detail: str
    semantics: Semantics
    warnings: tuple[str, ...] = ()
    statistics: Statistics = Statistics()
    evidence: str = ""
    gap: GapReport | None = None

    @property
    def witness(self) -> None:
        """None was found."""
        return None

    @property
    def certificate(self) -> None:
        """There is none."""
        return None

    @property
    def word(self) -> str:
        return "timed-out" if self.reason is Reason.TIMEOUT else "unknown"

    @property
    def bounds(self) -> Mapping[str, float | None]:
        """How near the search came: `Statistics.bound` and `closest`, as `margin` and `closest`."""
        return self.statistics.bounds

    def __repr__(self) -> str:
        return _line(self)

    def _repr_html_(self) -> str:
        return _table(self)


Verdict = Holds | Violated | Unknown


def _line(verdict: Verdict) -> str:
    from farkas.engine.verdict_text import line

    return line(verdict)


def _table(verdict: Verdict) -> str:
    from farkas.engine.verdict_text import table

    return table(verdict)
