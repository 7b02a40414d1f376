"""One instance of the competition: `instance.py prepare|run CATEGORY ONNX VNNLIB [RESULTS TIMEOUT]`.

What is asked is what the competition's own replay decides: executions in binary32 for float32 networks, also where a
property declares its tensors real.  Farkas's own bounds are taken where the checker cannot read an operator or a
product (`--trust crown`); no solver's word is.  Nothing depends on the category or on the names of files.

A `sat` is said only if its text, as it is printed, is accepted by a replay under the rules (farkas.batch.validation),
that is on onnxruntime with its default options, whose outputs are printed.  Where an interval of the property is a
single number that is no binary32 number, the printed input is that number, which every reader rounds to the same input
and which lies in the box as printed.  The engine ends RESERVE_S before the timeout; `run_instance.sh` kills at the
timeout.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))  # before NumPy is loaded

import time  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

from farkas.batch.procfs import cores  # noqa: E402
from farkas.batch.records import Row  # noqa: E402
from farkas.batch.suites import BadSuite, networks, query  # noqa: E402
from farkas.process import OutOfTime, alarm, started  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from farkas.batch.validation import Validator
    from farkas.engine.verdict import Violated
    from farkas.questions import Question

RESERVE_S = 0.5
ALARM_S = 0.25


def row_of(category: str, onnx: str, vnnlib: str, timeout_s: float) -> Row:
    """The instance; paths are relative to the working folder, or to the category's folder, above the property's."""
    here = Row(0, category, onnx, vnnlib, os.getcwd(), timeout_s)
    above = Row(0, category, onnx, str(Path(vnnlib).resolve()), str(Path(vnnlib).resolve().parent.parent), timeout_s)
    for row in (here, above):
        if all(path.is_file() for _, path in networks(row)):
            return row
    return here


def missing(row: Row) -> list[str]:
    """What is not there."""
    return [str(path) for path in (*(path for _, path in networks(row)), query(row)) if not path.is_file()]


def prepare(row: Row) -> int:
    """Whether all files are there and the installation starts; reads no instance."""
    import farkas.api  # noqa: F401 - so that the disk's cache has it

    for path in missing(row):
        print(f"prepare_instance: {path}: there is no such file", file=sys.stderr)
    return 1 if missing(row) else 0


def answer(row: Row, start: float) -> str:
    """The text of the results file."""
    from farkas import api
    from farkas.engine.verdict import Holds, Reason, Violated
    from farkas.ir.errors import FarkasError, UnsupportedOperator

    limit = row.timeout_s - RESERVE_S
    try:
        with alarm(max(0.0, limit + ALARM_S - (time.monotonic() - start))):
            nets = {name: api.load(path) for name, path in networks(row)}
            question = api.load_question(nets, query(row))
            mode = {net.semantics for net in nets.values()}.pop()
            left = max(0.0, limit - (time.monotonic() - start))
            verdict = api.verify(nets, question, timeout=left, semantics=mode, trust=("crown",), threads=cores())
            if isinstance(verdict, Holds):
                return "unsat\n"
            if isinstance(verdict, Violated):
                return accepted(row, question, verdict)
            return "timeout\n" if verdict.reason is Reason.TIMEOUT else "unknown\n"
    except OutOfTime:
        return "timeout\n"
    except MemoryError:
        return "unknown\n"
    except FarkasError as error:
        print(f"run_instance: {error}", file=sys.stderr)
        return "unknown\n" if isinstance(error, api.Unsupported | UnsupportedOperator) else "error\n"


def accepted(row: Row, question: Question, verdict: Violated) -> str:
    """`sat` with the text that stands best under the rules; `unknown` where none is accepted."""
    from farkas.batch.validation import RULES, Standing, Validator

    validator = Validator()
    texts = [*printed(row, question, verdict, validator), verdict.witness]
    judged = [(validator.judge_text(row, text, RULES["2026"]), text) for text in texts]
    for standing in (Standing.CORRECT, Standing.UP_TO_TOLERANCE, Standing.UNSUPPORTED):
        for judgement, text in judged:
            if judgement.standing is standing:
                return f"sat\n{text}"
    print(f"run_instance: the counterexample is not accepted: {judged[0][0].message}", file=sys.stderr)
    return "unknown\n"


def printed(row: Row, question: Question, verdict: Violated, validator: Validator) -> Iterator[str]:
    """The counterexample with the property's own numbers where it fixes an input (and where another one is tied to
    that), and the outputs of a run with default options; then with those numbers at fixed inputs alone."""
    from farkas.batch.validation import Unreplayable
    from farkas.ir.errors import FarkasError
    from farkas.specs.vnnlib2_assignment import write_assignment
    from farkas.specs.witness import write_witness

    replay = verdict.replay
    ends = list(zip(replay.case.lower, replay.inputs, replay.case.upper, strict=True))
    fixed = {value: low for low, value, high in ends if low == high}
    tied = [fixed.get(value, value) for value in replay.inputs]
    alone = [low if low == high else value for low, value, high in ends]
    for inputs in (tied, alone):
        try:
            outputs = validator.outputs(row, question.property, inputs)
        except (Unreplayable, FarkasError):
            outputs = None
        values = outputs or replay.runtime_outputs or replay.outputs
        if question.document is None:
            yield write_witness(inputs, values)
        else:
            yield write_assignment(question.document, inputs, values)


def run(row: Row, results: Path, start: float) -> int:
    """Decides the instance; the results file is written as the last thing."""
    absent = missing(row)
    for path in absent:
        print(f"run_instance: {path}: there is no such file", file=sys.stderr)
    results.write_text("error\n" if absent else answer(row, start), encoding="ascii")
    return 0


def main(words: list[str]) -> int:
    start = started()
    command, category, onnx, vnnlib, *rest = words
    try:
        row = row_of(category, onnx, vnnlib, float(rest[1]) if rest else 0.0)
    except BadSuite as error:
        print(f"{command}_instance: {error}", file=sys.stderr)
        return 1
    return prepare(row) if command == "prepare" else run(row, Path(rest[0]), start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
