"""What the words of a report mean, for a reader who was not there: evidence, and why something is open."""

from __future__ import annotations

from farkas.reports.facts import Entry, Standing

CERTIFIED, CHECKABLE, REPLAYED, TRUSTED = "certified", "checkable", "replayed", "trusted"

STANDING = {
    Standing.PROVED: "unsat: no input of the set violates",
    Standing.VIOLATED: "sat: an input that violates is given",
    Standing.OPEN: "no answer; nothing is claimed",
    Standing.UNSUPPORTED: "cannot be asked of this network or property",
    Standing.ERROR: "the files or the process failed",
    Standing.MISSING: "the run has not come to it",
}

EVIDENCE = {
    CERTIFIED: "the small independent checker accepted the written proof",
    CHECKABLE: "a complete proof tree, its leaves closed by outward-rounded bounds; not checked (--certify)",
    REPLAYED: "the violating input was executed, in the stated arithmetic and without tolerance",
    TRUSTED: "the word of a solver that no checker confirms, accepted on request",
}

# Why something is open: what that means, and what would help.
REASONS = {
    "timeout": ("the time was over before the search was complete", "a longer --timeout"),
    "killed": ("the time was over inside native code; the process was ended", "a longer --timeout"),
    "cpu": ("more CPU time was used than one core has", "a longer --timeout"),
    "late": ("the answer came after the time was over and does not count", "a longer --timeout"),
    "memory": ("the memory limit was reached", "a higher --memory"),
    "gap": ("proved over the reals, but rounding errors are larger than what is left", "--semantics real or one order"),
    "uncertified": ("refuted by a solver whose word no checker confirms", "--trust ENGINE, if that word is enough"),
    "incomplete": ("every way of deciding has come to its end", "another property, or a later version"),
    "overflow": ("a value may leave the range of binary32", "--semantics real, or a smaller input set"),
    "unsupported": ("an operator or a form of the property is not handled", "farkas supports lists what is"),
    "input": ("a file is missing or malformed", "the message names file, place and what was wanted"),
    "crash": ("the process that worked on it failed; no other instance was touched", "please report it"),
    "lost": ("the process was killed from outside", "--resume"),
    "not run": ("the run was interrupted before it", "--resume"),
}

SEMANTICS = {
    "f32-any": "every admissible execution in binary32: any order of summation, with or without fused operations",
    "real": "the reals, with the weights read as exact rational numbers",
    "int-exact": "the exact integers and roundings of the quantised graph",
}
SIGN = {
    Standing.PROVED: "✓", Standing.VIOLATED: "✗", Standing.OPEN: "?", Standing.UNSUPPORTED: "–", Standing.ERROR: "!",
    Standing.MISSING: "·",
}  # fmt: skip


def arithmetic(semantics: str) -> str:
    """What a semantics means, in a clause."""
    kind, _, order = semantics.partition(":")
    return f"binary32 in the one order of summation {order}" if kind == "f32-order" else SEMANTICS.get(kind, kind)


def evidence_of(entry: Entry) -> str:
    """The kind of evidence, without the engine's name; "" for what is not decided."""
    if entry.row is None or not entry.is_decided:
        return ""
    return entry.row.evidence.partition(":")[0]


def is_independent(entry: Entry) -> bool:
    """Whether the checker accepted the answer's certificate in a process of its own."""
    return entry.row is not None and entry.row.check == "accepted"


def meaning(reason: str) -> tuple[str, str]:
    """What a reason says, and what would help; the word itself where it is new."""
    return REASONS.get(reason, (reason, ""))
