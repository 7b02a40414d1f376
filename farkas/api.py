"""The Python API: load a network, ask a question, get an answer that carries its evidence.

    net = load("controller.onnx")
    match verify(net, "safe.vnnlib", timeout=60):
        case Holds() as answer: ...       # no admissible execution violates the property
        case Violated() as answer: ...    # answer.witness does
        case Unknown() as answer: ...     # answer.reason, answer.detail

    print(verify_all(net, "safe.vnnlib", ["real", "f32-any", "f32-order:seq-fma"], timeout=60))     # a table
    verify({"f": net, "g": load("pruned.onnx")}, "close.vnnlib")    # VNN-LIB 2.x, several networks by their names

Bad files raise a subclass of FarkasError whose message names the file; running out of time or memory is an answer.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from farkas.agreement import agree
from farkas.choices import TRUSTED, make_options, one_of
from farkas.engine.options import Reporter
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify as decide
from farkas.files import FilePath, UnreadableFile, Unsupported, naming, read_bytes, write_bytes
from farkas.ir.errors import FarkasError
from farkas.modes import chosen_semantics, first_semantics, parse_semantics, question_semantics, require_order
from farkas.networks import Network, Networks, load, network_semantics
from farkas.properties import Asked, load_property, load_question
from farkas.specs.query import Semantics
from farkas.table import Verdicts, decide_all

__all__ = [
    "TRUSTED", "Asked", "FilePath", "Holds", "Network", "Networks", "Unknown", "UnreadableFile", "Unsupported",
    "Verdict", "Verdicts", "Violated", "agree", "chosen_semantics", "export", "load", "load_property", "load_question",
    "make_options", "naming", "network_semantics", "parse_semantics", "question_semantics", "read_bytes",
    "require_order", "verify", "verify_all", "write_bytes",
]  # fmt: skip


def verify(
    net: Networks,
    property: Asked,
    *,
    timeout: float | None = None,
    semantics: Semantics | str | None = None,
    certificate: FilePath | None = None,
    trust: Collection[str] = (),
    engines: Collection[str] | None = None,
    seed: int = 0,
    memory_gb: float | None = None,
    device: str = "numpy",
    report: Reporter | None = None,
    branching: str = "sensitivity",
    smt_solver: str = "z3",
    milp_solver: str = "highs",
    threads: int = 1,
) -> Holds | Violated | Unknown:
    """Does some execution of `net` from the property's input set reach its unsafe region?

    net: a network, or the networks that a VNN-LIB 2.x property declares, by name.
    property: a path, the bytes of a file, or a Property (which counts the inputs and outputs of several networks in
    their order); timeout: seconds, reading included; None for no limit.
    semantics: "f32-any", "real", "f32-order:" and an order, or "int-exact"; by default real where the property declares
    its tensors real, else f32-any for float32 networks, int-exact for quantised ones, and real for float64 ones.
    certificate: file to write the certificate to; then `Holds` is claimed only after the checker accepted it.
    trust: whose word is taken where the checker cannot check (TRUSTED); engines: those that may work (ENGINES), None
    for all; memory_gb: of the queue of open boxes; report: called now and then with the search's progress and the
    seconds so far; branching: how neurons are chosen where their signs are split: "sensitivity", "babsr" or "fsb".
    smt_solver: of the engine lra, "z3", "pysmt" or "pysmt:" and a name; milp_solver: of the engine milp, "highs",
    "gscip", "cp-sat" or "mathopt-highs".  threads: processes that share the boxes of input splitting and the checker's
    work on a certificate: they are forked from this one, so no other thread of it should run then.

    Raises FarkasError when an argument or a file cannot be used; out of time or memory is `Unknown`.
    """
    start = time.monotonic()
    mode = first_semantics(net, semantics)
    options = make_options(
        timeout=timeout, certify=certificate is not None, trust=trust, engines=engines, seed=seed, memory_gb=memory_gb,
        device=device, report=report, branching=branching, smt_solver=smt_solver, milp_solver=milp_solver,
        threads=threads,
    )  # fmt: skip
    try:
        question = load_question(net, property)
        mode = question_semantics(net, question, semantics)
        if certificate is not None and not question.text:
            raise FarkasError("a certificate names the property by its file's digest; pass its path or its bytes")
        if timeout is not None:
            left = timeout - (time.monotonic() - start)
            if left <= 0:
                return Unknown(Reason.TIMEOUT, "no time was left when the files had been read", mode)
            options = replace(options, timeout_s=left)
        verdict = question.told(decide(question.query(mode), options))
    except MemoryError:
        return Unknown(Reason.MEMORY, "out of memory; allow more, or split the property", mode)
    if certificate is not None and not isinstance(verdict, Unknown) and verdict.certificate is not None:
        write_bytes(Path(certificate), verdict.certificate)
    return verdict


def verify_all(
    net: Networks,
    property: Asked,
    semantics: Sequence[Semantics | str],
    *,
    timeout: float | None = None,
    **options: Any,
) -> Verdicts:
    """The verdicts in several semantics, by name, within one timeout; prints as a table.

    options: those of `verify`, without `certificate`.  A semantics that this network or property does not have is
    `Unknown`, reason `unsupported`, and leaves the others alone; whatever else is wrong raises FarkasError.
    """
    start = time.monotonic()
    modes = [parse_semantics(mode) if isinstance(mode, str) else mode for mode in semantics]
    make_options(timeout=timeout, **options)
    asked = load_question(net, property)

    def decided(mode: Semantics, share: float) -> Verdict:
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - start)) * share
        return verify(net, asked, semantics=mode, timeout=left, **options)

    return decide_all(modes, decided, lambda mode: require_order(net, mode))


def export(
    net: Networks,
    property: Asked,
    format: str,
    *,
    semantics: Semantics | str | None = None,
    bounds: str | None = None,
    phases: str = "big-m",
) -> str:
    """The query as the text of a file for another solver; its first lines say what it states.

    format: "smt2-lra", "smt2-fp", "mps" or "lp"; semantics: by default "real", for smt2-fp "f32-order:seq-fma";
    bounds: of the neurons, "crown" (default), "interval" (default of smt2-fp) or "none"; phases: how mps and lp state
    unstable neurons, "big-m" or "multiple-choice".

    Raises FarkasError for what the format cannot state.
    """
    from farkas.engine.export import BOUNDS, FORMATS, PHASES, Bounds, ExportOptions, Format, Phases, default_semantics
    from farkas.engine.export import export as written

    form: Format = one_of("format", format, FORMATS)
    stated: Phases = one_of("phases", phases, PHASES)
    bounded: Bounds | None = None if bounds is None else one_of("bounds", bounds, BOUNDS)
    question = load_question(net, property)
    mode = default_semantics(form) if semantics is None else question_semantics(net, question, semantics)
    return written(question.query(mode), form, ExportOptions(bounded, stated))
