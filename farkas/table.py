"""Several semantics asked about one query: who is asked first, how the time is shared, and the table of the answers.

Every semantics is a query of its own.  They are asked one after the other, each with an equal share of the time that is
then left, so that what one does not need goes to those after it.  `f32-any` comes before the single orders: its `unsat`
speaks of every admissible order, so it answers them too, and by the same proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from farkas.engine.verdict import Holds, Reason, Unknown, Verdict
from farkas.ir.errors import FarkasError
from farkas.specs.query import Semantics


class Verdicts(dict[str, Verdict]):
    """Verdicts by the name of their semantics, in the order in which they were asked for; shown as a table."""

    @classmethod
    def of(cls, verdicts: Iterable[Verdict]) -> Verdicts:
        return cls((verdict.semantics.value, verdict) for verdict in verdicts)

    @property
    def are_decided(self) -> bool:
        """Whether every answer is `unsat` or `sat`."""
        return all(not isinstance(verdict, Unknown) for verdict in self.values())

    def lines(self) -> Iterator[str]:
        """One line a semantics: its name, the verdict's word, and what it rests on or why there is none."""
        rows = [(name, verdict.word, _basis(verdict)) for name, verdict in self.items()]
        first, second = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
        for name, word, basis in rows:
            yield f"{name:{first}}  {word:{second}}  {basis}"

    def __repr__(self) -> str:
        return "\n".join(self.lines())


def _basis(verdict: Verdict) -> str:
    return f"reason {verdict.reason.value}" if isinstance(verdict, Unknown) else f"evidence {verdict.evidence}"


def distinct(modes: Iterable[Semantics]) -> tuple[Semantics, ...]:
    """The semantics without repetitions, in their order."""
    return tuple(dict.fromkeys(modes))


def decide_all(
    modes: Sequence[Semantics],
    decide: Callable[[Semantics, float], Verdict],
    require: Callable[[Semantics], None] = lambda mode: None,
) -> Verdicts:
    """The verdicts of `decide(semantics, share)`; share: of the time that is left, how much the query may take.

    require: raises FarkasError for a semantics that the network does not have, also where another proof would do.
    What cannot be asked of this network or property in one semantics is `unknown`, reason `unsupported`, there.
    """
    found: dict[Semantics, Verdict] = {}
    turns = sorted(distinct(modes), key=_turn)
    for number, mode in enumerate(turns):
        covering = found.get(mode.covering)
        try:
            require(mode)
            if isinstance(covering, Holds):
                found[mode] = replace(covering, semantics=mode)
            else:
                found[mode] = decide(mode, 1.0 / (len(turns) - number))
        except FarkasError as error:
            found[mode] = Unknown(Reason.UNSUPPORTED, str(error), mode)
    return Verdicts.of(found[mode] for mode in distinct(modes))


def _turn(mode: Semantics) -> int:
    return 1 if mode.order is not None else 0
