"""Who is right when two verifiers contradict each other: by evidence alone, never by votes or names.

What counts for an `unsat` of ours is a certificate that the checker accepts in a fresh interpreter; where the run kept
none, one is made now.  What counts for a `sat`, whoever says it, is its counterexample, executed here without tolerance
in the arithmetic of our answer (farkas.engine.replay).  A word without such evidence counts for nothing:

    certificate accepted    counterexample replays      ruling
    yes                     no, or none                 the other verifier is wrong
    no                      yes                         whoever said unsat is wrong
    yes                     yes                         both stand: something is wrong with Farkas
    no                      no, or none                 open

The rules of the competition know tolerances; a counterexample that only they accept is reported as such and decides
nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from subprocess import DEVNULL, run
from typing import TYPE_CHECKING, Any

from farkas.batch.comparison import Answer
from farkas.batch.records import Row
from farkas.batch.stages import CHECK_LIMIT_S
from farkas.batch.suites import networks, query
from farkas.batch.tasks import Limits, Task
from farkas.batch.validation import RULES, Unreplayable, Validator, read_point, read_text
from farkas.specs.errors import MalformedWitness
from farkas.specs.tokens import decompressed

if TYPE_CHECKING:
    from farkas.engine.query import Query
    from farkas.specs.query import Semantics

CERTIFICATE = "certificate.nnc"
FUNCTION = "farkas.batch.adjudication:work"
EXTRA_S = 600.0


class Ruling(StrEnum):
    """Whose answer the evidence refutes."""

    THEIRS = "the other verifier is wrong"
    OURS = "Farkas is wrong"
    BOTH = "both pieces of evidence stand: Farkas is wrong somewhere"
    OPEN = "neither answer is confirmed"

    @property
    def is_ours(self) -> bool:
        return self in (Ruling.OURS, Ruling.BOTH)


@dataclass(frozen=True)
class Finding:
    """A contradiction and what came of it; reasons: what was looked at, in order."""

    row: Row
    ours: Answer
    theirs: Answer
    source: str
    ruling: Ruling
    reasons: tuple[str, ...]
    certificate: Path | None = None


def task(name: str, row: Row, ours: Answer, theirs: Answer, folder: Path) -> Task:
    """The process that looks at the evidence."""
    arguments = {
        "row": [row.number, row.category, row.onnx, row.vnnlib, row.folder, row.timeout_s, row.expected],
        "verdict": ours.verdict, "semantics": ours.semantics, "ours": _text(ours.witness),
        "theirs": _text(theirs.witness), "certificate": _text(ours.certificate), "timeout_s": row.timeout_s,
    }  # fmt: skip
    return Task(name, str(folder), Limits(2 * row.timeout_s + EXTRA_S + CHECK_LIMIT_S), FUNCTION, arguments)


def _text(path: Path | None) -> str:
    return "" if path is None else str(path)


def work(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """In a process of its own: `ruling` and `reasons`; a certificate that was made is in the folder."""
    row = Row(*arguments["row"])
    paths = {name: Path(arguments[name]) if arguments[name] else None for name in ("ours", "theirs", "certificate")}
    if arguments["verdict"] == "sat":
        stands, why = replayed(row, paths["ours"], arguments["semantics"])
        ruling = Ruling.OPEN if stands is None else Ruling.THEIRS if stands else Ruling.OURS
        reasons = [f"the counterexample of Farkas {why}"]
        if paths["certificate"] is not None:
            accepted, told = checked(row, paths["certificate"], arguments["semantics"], "sat")
            reasons.append(f"its certificate {told}")
            ruling = ruling if accepted else Ruling.OURS
        return {"ruling": ruling.value, "reasons": reasons}
    certificate, reasons = _certificate(row, paths["certificate"], arguments, folder)
    accepted = False
    if certificate is not None:
        accepted, told = checked(row, certificate, arguments["semantics"], "unsat")
        reasons.append(f"the certificate of Farkas {told}")
    stands, why = replayed(row, paths["theirs"], arguments["semantics"])
    reasons.append(f"the counterexample of the other verifier {why}")
    if not stands and paths["theirs"] is not None:
        judged = Validator().judge(row, paths["theirs"], RULES["2026"])
        reasons.append(f"by the rules of 2026 it is {judged.standing}{f': {judged.message}' * bool(judged.message)}")
    return {"ruling": ruled(accepted=accepted, stands=bool(stands)).value, "reasons": reasons}


def ruled(*, accepted: bool, stands: bool) -> Ruling:
    """Our `unsat` against their `sat`."""
    match accepted, stands:
        case True, True:
            return Ruling.BOTH
        case True, False:
            return Ruling.THEIRS
        case False, True:
            return Ruling.OURS
        case _:
            return Ruling.OPEN


def _certificate(
    row: Row, known: Path | None, arguments: Mapping[str, Any], folder: Path
) -> tuple[Path | None, list[str]]:
    """The certificate of an `unsat`, made now if there is none."""
    if known is not None:
        return known, []
    from farkas import api
    from farkas.ir.errors import FarkasError

    place = folder / CERTIFICATE
    try:
        nets = {name: api.load(path) for name, path in networks(row)}
        timeout = 2 * arguments["timeout_s"] + EXTRA_S / 2
        verdict = api.verify(nets, query(row), semantics=arguments["semantics"], timeout=timeout, certificate=place)
    except FarkasError as error:
        return None, [f"no certificate could be made: {error}"]
    if not place.is_file() or verdict.word != "unsat":
        return None, [f"asked again, with a certificate, Farkas says {verdict.word}"]
    return place, ["the run kept no certificate; one was made now"]


def checked(row: Row, certificate: Path, semantics: str, verdict: str) -> tuple[bool, str]:
    """Whether the checker accepts a certificate, in a fresh interpreter."""
    words = [
        sys.executable, "-m", "farkas", "check", str(certificate), *network_words(networks(row)), "--property",
        str(query(row)), "--tier", "accelerated", "--semantics", semantics, "--verdict", verdict,
    ]  # fmt: skip
    done = run(words, stdin=DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout.startswith("accepted"):
        return True, "is accepted by the checker"
    return False, f"is not accepted: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"


def network_words(files: Sequence[tuple[str, Path | str]]) -> list[str]:
    """The options that name networks to `farkas check`."""
    return [word for name, path in files for word in ("--network", f"{name}={path}" if name else str(path))]


def replayed(row: Row, witness: Path | None, semantics: str) -> tuple[bool | None, str]:
    """Whether a counterexample violates, executed here in an arithmetic, without tolerance; None: it cannot be said."""
    from farkas import api
    from farkas.ir.errors import FarkasError

    text = None if witness is None else read_text(witness)
    if not text:
        return None, "was not given"
    try:
        nets = {name: api.load(path) for name, path in networks(row)}
        question = api.load_question(nets, query(row))
        mode = api.question_semantics(nets, question, semantics or None)
        _, inputs, _ = read_point(decompressed(query(row).read_bytes()), text)
        return _replayed(question.query(mode), inputs, mode)
    except MalformedWitness as error:
        return False, f"is malformed: {error}"
    except (Unreplayable, FarkasError, OSError) as error:
        return None, f"could not be replayed: {error}"


def _replayed(query: Query, inputs: Sequence[Fraction], mode: Semantics) -> tuple[bool | None, str]:
    from farkas.engine.replay import Replayer
    from farkas.specs.boxes import nearest32
    from farkas.specs.query import Semantics

    if mode is Semantics.INT_EXACT:
        return None, "is not replayed in int-exact"
    values = list(inputs)
    if mode.is_binary32:
        rounded = [nearest32(value) for value in inputs]
        values = [Fraction(value) for value in rounded if value is not None]
    columns = query.ties.columns
    if len(values) != len(columns):
        return False, f"has {len(inputs)} inputs, some perhaps beyond binary32; wanted {len(columns)}"
    free = [values[columns.index(column)] for column in range(max(columns) + 1)]
    if [free[column] for column in columns] != values:
        return False, "does not lie in the input set: inputs differ that have to be equal"
    replayer = Replayer(query.graph, query.program, query.network, mode, query.parts, query.ties)
    for number, case in enumerate(query.property.cases):
        record = replayer.attempt_exact(number, case, free)
        if record is not None and list(record.inputs) == values:
            return True, f"violates the property ({mode.value}, executor {record.executor}, without tolerance)"
    return False, f"does not violate the property in {mode.value}, without tolerance"
