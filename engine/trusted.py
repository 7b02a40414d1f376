"""Proofs that rest on somebody's word: a solver's `unsat`, or an enumeration's.

The checker has no rule for them, so they are no certificates, and an answer that rests on one says `unsat` only when
the user trusts the engine by name.  Where several engines were asked about the same piece and agreed, the word is that
of all of them, and to trust one suffices; a proof of several pieces needs a trusted word for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

WORDS = (
    "z3", "pysmt", "bitwuzla", "cvc5", "order-terms", "float-intervals", "enumeration", "cp-sat",
)  # fmt: skip


@dataclass(frozen=True)
class Word:
    """`what` holds no violation, says each of the engines by itself."""

    engines: tuple[str, ...]
    what: str

    def __post_init__(self) -> None:
        if not self.engines:
            raise ValueError("a word needs somebody who gives it")

    def is_accepted(self, trust: Collection[str]) -> bool:
        return any(engine in trust for engine in self.engines)


@dataclass(frozen=True)
class Trusted:
    """What refutes a query piece by piece: `closed` leaves by bounds, and the words for all that is left."""

    words: tuple[Word, ...]
    closed: int = 0

    def __post_init__(self) -> None:
        if not self.words or not all(isinstance(word, Word) for word in self.words):
            raise ValueError("a proof that rests on words needs one")

    @property
    def engines(self) -> tuple[str, ...]:
        """Everybody whose word is used, sorted."""
        return tuple(sorted({engine for word in self.words for engine in word.engines}))

    @property
    def evidence(self) -> str:
        return f"trusted:{','.join(self.engines)}"

    def accepted_by(self, trust: Collection[str]) -> bool:
        """Whether every word is given by someone whom the user trusts."""
        return all(word.is_accepted(trust) for word in self.words)

    def needed(self, trust: Collection[str]) -> tuple[str, ...]:
        """One engine for every word that none of the trusted ones gives."""
        return tuple(dict.fromkeys(word.engines[0] for word in self.words if not word.is_accepted(trust)))

    @property
    def leaves(self) -> int:
        return self.closed + len(self.words)

    def leaf_rules(self) -> Counter[str]:
        """Pieces by who refuted them; those that bounds closed count as `rule`."""
        counts = Counter(",".join(word.engines) for word in self.words)
        if self.closed:
            counts["rule"] = self.closed
        return counts
