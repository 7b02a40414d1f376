"""Other verifiers on the instances of a suite: a command with places for files and time, run like our own worker.

    tool.sh {onnx} {vnnlib} {timeout} {out}

Places: {onnx} (of several networks the list of the competition, `[('f', 'PATH'), ...]`), {vnnlib}, {timeout} in whole
seconds, {out} (a file for the result; without it, standard output is the result), {category}.  Compressed files are
handed over decompressed.  The result is that of the competition: the first line is `sat`, `unsat`, `timeout`, `unknown`
or `error`, after `sat` the counterexample follows.

What a command says is an answer to a question of its own in a store of its own, so that it is never asked twice, and
never mistaken for ours.  It has the timeout of the instance and GRACE_S to end; an answer later than a second after the
timeout is none, and no limit is put on its CPU time.
"""

from __future__ import annotations

import shlex
import string
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from farkas.batch.contents import Contents
from farkas.batch.plan import Plan
from farkas.batch.recorded import WORDS
from farkas.batch.records import Question, Row
from farkas.batch.suites import networks, query
from farkas.batch.tasks import Limits, Task, last_line
from farkas.batch.work import WITNESS
from farkas.specs.tokens import decompressed

PLACES = ("onnx", "vnnlib", "timeout", "out", "category")
GRACE_S = 5.0
OUT = "result.txt"


class BadCommand(Exception):
    """A command cannot be run on an instance; the message says why."""


@dataclass(frozen=True)
class OtherPlan(Plan):
    """How another verifier is run; a Plan, because all but the task is the same."""

    command: str = ""

    def question(self, row: Row, contents: Contents) -> Question:
        asked = super().question(row, contents)
        return replace(asked, semantics="", options={"command": self.command})

    def task(self, name: str, row: Row, folder: Path) -> Task:
        timeout = self.timeout(row)
        arguments = {
            "command": self.command, "networks": [(network, str(path)) for network, path in networks(row)],
            "property": str(query(row)), "timeout_s": timeout, "category": row.category,
        }  # fmt: skip
        return Task(name, str(folder), Limits(timeout + GRACE_S, None, self.memory_bytes), self.verifier, arguments)

    def as_json(self) -> dict[str, Any]:
        return {"command": self.command}


def plan_of(command: str, ours: Plan) -> OtherPlan:
    """The plan for a command, with the limits of ours; raises BadCommand."""
    words(command, dict.fromkeys(PLACES, ""))
    return OtherPlan(
        ours.timeout_s, ours.jobs, ours.memory_bytes, again=ours.again, verifier="farkas.batch.others:run",
        command=command,
    )  # fmt: skip


def words(command: str, values: Mapping[str, str]) -> list[str]:
    """The words of a command with its places filled; raises BadCommand."""
    try:
        texts = shlex.split(command)
        used = {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise BadCommand(f"'{command}': {error}") from error
    if not used <= set(PLACES):
        raise BadCommand(f"'{command}': {{{min(used - set(PLACES))}}} is no place; known are {', '.join(PLACES)}")
    if not {"onnx", "vnnlib"} <= used:
        raise BadCommand(f"'{command}' says nowhere what to verify; {{onnx}} and {{vnnlib}} are wanted")
    return [text.format_map(values) for text in texts]


def run(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What another verifier says about an instance."""
    out = folder / OUT
    values = {
        "onnx": _onnx(arguments["networks"], folder), "vnnlib": _plain(Path(arguments["property"]), folder),
        "timeout": f"{arguments['timeout_s']:.0f}", "out": str(out), "category": arguments["category"],
    }  # fmt: skip
    try:
        done = subprocess.run(
            words(arguments["command"], values), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        return {"verdict": "error", "reason": "crash", "message": f"the command cannot be run: {error}"}
    reads_out = "{out}" in arguments["command"]
    data = (out.read_bytes() if out.is_file() else b"") if reads_out else done.stdout
    verdict, witness = parsed(data.decode("utf-8", errors="replace"))
    if verdict == "error":
        message = last_line(done.stderr.decode("utf-8", errors="replace"))
        return {"verdict": "error", "reason": "crash", "message": f"exit code {done.returncode}: {message}"[:300]}
    reason = {"timed-out": "timeout", "unknown": "incomplete"}.get(verdict, "")
    if not witness:
        return {"verdict": verdict, "reason": reason}
    (folder / WITNESS).write_text(witness, encoding="utf-8")
    return {"verdict": verdict, "reason": reason, "files": [WITNESS]}


def parsed(text: str) -> tuple[str, str]:
    """Verdict and counterexample of a result; the verdict is `error` where there is no known word."""
    lines = text.strip().split("\n")
    for number, line in enumerate(lines):
        word = line.strip().lower()
        if word in WORDS:
            verdict = WORDS[word]
            return verdict, "\n".join(lines[number + 1 :]).strip() if verdict == "sat" else ""
    return "error", ""


def _onnx(files: Sequence[Sequence[str]], folder: Path) -> str:
    pairs = [(name, _plain(Path(path), folder)) for name, path in files]
    return pairs[0][1] if len(pairs) == 1 and not pairs[0][0] else repr(pairs)


def _plain(path: Path, folder: Path) -> str:
    """The file, or its decompressed copy in the folder."""
    if path.suffix != ".gz":
        return str(path)
    copy = folder / path.stem
    copy.write_bytes(decompressed(path.read_bytes()))
    return str(copy)
