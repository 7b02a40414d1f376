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

import os
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from farkas.engine.options import ENGINES, Options, Reporter
from farkas.engine.relu_branching import RULES
from farkas.engine.trusted import WORDS
from farkas.engine.verdict import Holds, Reason, Unknown, Verdict, Violated
from farkas.engine.verify import verify as decide
from farkas.ir.errors import FarkasError, MalformedNetwork, UnsupportedOperator
from farkas.ir.graph import Graph
from farkas.ir.joined import Part
from farkas.ir.onnx_edit import is_real_only
from farkas.ir.onnx_import import load_onnx
from farkas.ir.onnx_wire import decompressed
from farkas.questions import Question, bind
from farkas.specs.errors import MalformedProperty
from farkas.specs.query import Property, Semantics
from farkas.specs.tokens import decompressed as property_text
from farkas.specs.vnnlib import read_property
from farkas.specs.vnnlib2 import is_version_2, read_document
from farkas.specs.vnnlib2_document import UnsupportedQuery
from farkas.table import Verdicts, decide_all

__all__ = [
    "Holds", "Network", "Unknown", "UnreadableFile", "Unsupported", "Verdict", "Verdicts", "Violated", "agree",
    "export", "load", "load_property", "verify", "verify_all",
]  # fmt: skip

if TYPE_CHECKING:
    from farkas.engine.integer_agreement import Agreement
    from farkas.specs.language_calls import Declared
    from farkas.specs.language_tensors import Tensor

FilePath = str | os.PathLike[str]
Asked = FilePath | bytes | Property | Question
T = TypeVar("T")

TRUSTED = ("crown", *WORDS)  # whose word `trust` can take
DEVICES = ("numpy", "cupy")


class UnreadableFile(FarkasError):
    """A file is missing, a directory, or may not be read."""


class Unsupported(FarkasError):
    """The file is right, but this kind of network or property is not handled yet."""


@dataclass(frozen=True)
class Network:
    """A network that was read: its graph, the decompressed bytes it came from, their path, and its file's stem."""

    graph: Graph
    data: bytes = field(repr=False)
    path: Path | None = None
    name: str = ""

    @property
    def inputs(self) -> int:
        """The number of input values, over all input tensors."""
        return sum(prod(shape) for _, shape in self.graph.inputs)

    @property
    def outputs(self) -> int:
        """The number of output values, over all output tensors."""
        return sum(prod(self.graph.shapes[name]) for name in self.graph.outputs)

    @property
    def input(self) -> Declared:
        """The one input tensor, as `farkas.var` takes it; raises SpecError when there are several."""
        from farkas.specs.language_calls import only_input

        return only_input(self)

    def __call__(self, *arguments: Tensor) -> Tensor:
        """The one output tensor of an execution on variables, in a specification; raises SpecError."""
        from farkas.specs.language_calls import only_output

        return only_output(self, arguments)

    def outputs_at(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """All output tensors of an execution on variables, in a specification; raises SpecError."""
        from farkas.specs.language_calls import call

        return call(self, *arguments)

    def info(self) -> str:
        """What the network is, in a few lines: element type, inputs, outputs, operators, digest."""
        graph = self.graph
        kinds = Counter(node.op.onnx for node in graph.nodes)
        lines = [
            f"network {self.name or '(unnamed)'}: {graph.dtype}, {len(graph.nodes)} nodes",
            *(f"  input  {name} {_shape(shape)}{_integers(graph, name)}" for name, shape in graph.inputs),
            *(f"  output {name} {_shape(graph.shapes[name])}{_integers(graph, name)}" for name in graph.outputs),
            f"  operators: {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}",
            f"  semantics unless told otherwise: {chosen_semantics(self, None).value}",
            *(f"  note: {note}" for note in graph.notes),
            f"  sha256 {graph.sha256}",
        ]
        return "\n".join(lines)


Networks = Network | Mapping[str, Network]
"""The network, or the networks by the names that a VNN-LIB 2.x property declares."""


def load(path: FilePath) -> Network:
    """The network in an .onnx or .onnx.gz file.

    Raises UnreadableFile, MalformedNetwork or UnsupportedOperator; every message begins with the path.
    """
    place = Path(path)
    with naming(place):
        data = decompressed(read_bytes(place))
        graph = _graph(data)
    return Network(graph, data, place, place.name.removesuffix(".gz").removesuffix(".onnx"))


def load_property(source: FilePath | bytes, net: Networks | None = None) -> Property:
    """The property in a .vnnlib or .vnnlib.gz file (VNN-LIB 1.0 or 2.x), or in such a file's bytes.

    net: the network, or networks by name, that it has to fit; None: any.
    Raises UnreadableFile, Unsupported, MalformedProperty or Mismatch; every message begins with the path.
    """
    return _read(source, net).property


def load_question(net: Networks | None, source: Asked) -> Question:
    """A property with the networks it is about (None: just the property); `verify` and `export` take it in place of the
    property.

    Raises as `load_property`.
    """
    if isinstance(source, Question):
        return source
    if isinstance(source, Property):
        return Question(() if net is None else _parts(net), source)
    return _read(source, net)


def _read(source: FilePath | bytes, net: Networks | None) -> Question:
    if isinstance(source, bytes):
        return _question(property_text(source), net)
    place = Path(source)
    with naming(place):
        return _question(property_text(read_bytes(place)), net)


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
    "gscip", "cp-sat" or "mathopt-highs".

    Raises FarkasError when an argument or a file cannot be used; out of time or memory is `Unknown`.
    """
    start = time.monotonic()
    mode = _first_semantics(net, semantics)
    options = make_options(
        timeout=timeout, certify=certificate is not None, trust=trust, engines=engines, seed=seed, memory_gb=memory_gb,
        device=device, report=report, branching=branching, smt_solver=smt_solver, milp_solver=milp_solver,
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

    form: Format = _one_of("format", format, FORMATS)
    stated: Phases = _one_of("phases", phases, PHASES)
    bounded: Bounds | None = None if bounds is None else _one_of("bounds", bounds, BOUNDS)
    question = load_question(net, property)
    mode = default_semantics(form) if semantics is None else question_semantics(net, question, semantics)
    return written(question.query(mode), form, ExportOptions(bounded, stated))


def agree(
    net: Network,
    quantised: Network,
    box: FilePath | bytes | Property,
    *,
    within: str | float | Fraction | None = None,
    timeout: float | None = None,
    trust: Collection[str] = (),
    seed: int = 0,
) -> Agreement:
    """Do a float32 network and its quantised copy agree on the input box of a property?

    within: no outputs differ by more than this number, for every admissible execution of `net`; None: the same output
    is the largest of both, the lowest index on ties.  trust: `crown` and `cp-sat` are needed for `Agree`.

    Raises FarkasError for networks or properties that the question does not fit.
    """
    from farkas.engine.integer_agreement import Deployed
    from farkas.engine.integer_agreement import agree as decided

    options = make_options(timeout=timeout, trust=trust, seed=seed)
    asked = box if isinstance(box, Property) else load_property(box, net)
    if len(asked.cases) != 1:
        raise Unsupported(f"the property has {len(asked.cases)} input boxes; agreement is asked on one")
    if not _is_quantised(quantised.graph):
        raise Unsupported(f"the network {quantised.name or 'given as quantised'} has no quantised operators")
    if _is_quantised(net.graph):
        raise Unsupported(f"the network {net.name or 'given as float'} is quantised; a float32 network comes first")
    if within is None and net.outputs == 1:
        raise FarkasError("the networks have one output, which is always the largest; say within what distance")
    (case,), eps = asked.cases, None if within is None else _distance(within)
    return decided(
        Deployed(net.graph, net.data), Deployed(quantised.graph, quantised.data), case.lower, case.upper, eps, options
    )


def _distance(within: str | float | Fraction) -> Fraction:
    try:
        eps = Fraction(within)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise FarkasError(f"the distance '{within}' is no number") from error
    if eps < 0:
        raise FarkasError(f"the distance is {within}; a nonnegative number is wanted")
    return eps


def chosen_semantics(net: Network, semantics: Semantics | str | None) -> Semantics:
    """The semantics asked for, or the default of the network's elements."""
    real_only = is_real_only(net.data)
    if semantics is None:
        return Semantics.REAL if real_only else network_semantics(net.graph)
    mode = parse_semantics(semantics) if isinstance(semantics, str) else semantics
    if real_only and mode is not Semantics.REAL:
        raise Unsupported(
            f"semantics '{mode.value}': the network says that it preserves the reals only, for what was put in front "
            "of it or behind it rounds, and no one executes that; ask in semantics 'real', or about the network itself"
        )
    if mode is Semantics.INT_EXACT and not _is_quantised(net.graph):
        raise Unsupported(
            "semantics 'int-exact' is that of quantised networks (QuantizeLinear, QLinearMatMul, MatMulInteger ...); "
            f"this one has none of their operators; its own semantics is {network_semantics(net.graph).value}"
        )
    require_order(net, mode)
    return mode


def question_semantics(net: Networks, question: Question, semantics: Semantics | str | None) -> Semantics:
    """The semantics asked for; else real where the property declares real tensors, else that of the networks."""
    if semantics is None and question.document is not None and question.document.is_real:
        return Semantics.REAL
    found = {chosen_semantics(one, semantics) for one in _all(net)}
    if len(found) > 1:
        names = " and ".join(sorted(mode.value for mode in found))
        raise Unsupported(f"the networks are of different kinds ({names}); one question is about one kind")
    return found.pop()


def _first_semantics(net: Networks, semantics: Semantics | str | None) -> Semantics:
    """The semantics as far as it is known before the property is read."""
    return chosen_semantics(_all(net)[0], semantics)


def _all(net: Networks) -> list[Network]:
    """The networks, at least one."""
    found = [net] if isinstance(net, Network) else list(net.values())
    if not found:
        raise FarkasError("no network is given; a property is about one at least")
    return found


def _unnamed(net: Networks) -> Part:
    """The one network of a property that names none."""
    found = _all(net)
    if len(found) > 1:
        raise FarkasError(f"the property is VNN-LIB 1.0 and about one network; found {len(found)}; write it in 2.0")
    return Part("", found[0].graph, found[0].data)


def _parts(net: Networks) -> tuple[Part, ...]:
    """The networks of a property made in Python, in their order."""
    if isinstance(net, Network) or len(net) == 1:
        return (_unnamed(net),)
    return tuple(Part(name, one.graph, one.data) for name, one in net.items())


def require_order(net: Networks, mode: Semantics) -> None:
    """Raises Unsupported where a single order does not say how some node of a network is summed up."""
    for one in _all(net):
        _require_order(one, mode)


def _require_order(net: Network, mode: Semantics) -> None:
    if mode is not Semantics.MLAS_K256_FMA or net.graph.dtype != "float32" or _is_quantised(net.graph):
        return  # the sequential orders are defined for every operator
    from farkas.ir.execute import execute

    try:
        execute(net.graph, np.zeros(net.inputs, dtype=np.float32), "mlas-k256-fma")
    except UnsupportedOperator as error:
        raise Unsupported(f"semantics '{mode.value}': {error}") from error


def network_semantics(graph: Graph) -> Semantics:
    """int-exact for quantised networks, f32-any for other float32 ones, real for float64 ones."""
    if _is_quantised(graph):
        return Semantics.INT_EXACT
    return Semantics.F32_ANY if graph.dtype == "float32" else Semantics.REAL


def _is_quantised(graph: Graph) -> bool:
    from farkas.ir.integer_lowering import is_quantised

    return is_quantised(graph)


def parse_semantics(word: str) -> Semantics:
    """The semantics of that name; raises FarkasError for anything else."""
    for semantics in Semantics:
        if word == semantics.value:
            return semantics
    names = ", ".join(s.value for s in Semantics)
    raise FarkasError(f"semantics '{word}' is unknown; known are {names}")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the file's path in front of the message of a FarkasError raised inside."""
    try:
        yield
    except FarkasError as error:
        error.args = (f"{path}: {error}",)
        raise


def read_bytes(path: Path) -> bytes:
    """The file's bytes; raises UnreadableFile (without the path, which `naming` adds)."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadableFile("there is no such file") from error
    except IsADirectoryError as error:
        raise UnreadableFile("this is a directory; a file is wanted") from error
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; raises UnreadableFile."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UnreadableFile(f"{path}: cannot be written: {error.strerror}") from error


def make_options(
    *, timeout: float | None = None, certify: bool = False, trust: Collection[str] = (),
    engines: Collection[str] | None = None, seed: int = 0, memory_gb: float | None = None, device: str = "numpy",
    report: Reporter | None = None, branching: str = "sensitivity", smt_solver: str = "z3", milp_solver: str = "highs",
) -> Options:  # fmt: skip
    """The engine's options from those of `verify`; raises FarkasError for a value that is none."""
    if timeout is not None and not timeout >= 0:
        raise FarkasError(f"the timeout is {timeout} s; a nonnegative number is wanted")
    if memory_gb is not None and not memory_gb > 0:
        raise FarkasError(f"the memory limit is {memory_gb} GB; a positive number is wanted")
    _require_known("engine", trust, TRUSTED, " to trust")
    _require_known("engine", engines or (), ENGINES)
    _require_known("device", (device,), DEVICES)
    _require_known("branching", (branching,), RULES)
    if engines is not None and not engines:
        raise FarkasError(f"no engine may work; name some of {', '.join(ENGINES)}")
    if device == "cupy":
        _require_cupy()
    if milp_solver != "highs":
        from farkas.encoders.milp import SOLVERS

        _require_known("MILP solver", (milp_solver,), SOLVERS)
    return Options(
        timeout_s=timeout, certify=certify, trust=frozenset(trust), seed=seed,
        memory_bytes=Options.memory_bytes if memory_gb is None else int(memory_gb * 2**30), report=report,
        device=device, branching=branching, engines=None if engines is None else frozenset(engines),
        smt_solver=smt_solver, milp_solver=milp_solver,
    )  # fmt: skip


def _one_of(what: str, found: str, known: tuple[T, ...]) -> T:
    """The member of `known` that is spelled so."""
    for name in known:
        if name == found:
            return name
    raise FarkasError(f"there is no {what} '{found}'; known are {', '.join(map(str, known))}")


def _require_known(what: str, found: Collection[str], known: Collection[str], purpose: str = "") -> None:
    for name in sorted(set(found) - set(known)):
        raise FarkasError(f"there is no {what} '{name}'{purpose}; known are {', '.join(known)}")


def _require_cupy() -> None:
    from farkas.runtime_cuda.backend import cupy_backend

    try:
        cupy_backend()
    except RuntimeError as error:
        raise FarkasError(f"device 'cupy': {error}; the device 'numpy' needs nothing") from error


def _graph(data: bytes) -> Graph:
    if not data:
        raise MalformedNetwork("the file is empty; an ONNX network is wanted")
    try:
        return load_onnx(data)
    except MalformedNetwork as error:
        if data[:64].lstrip()[:1] in (b"(", b";"):
            raise MalformedNetwork("this is text, as of a property; an ONNX network is wanted") from error
        raise


def _question(text: bytes, net: Networks | None) -> Question:
    """The question that a property's decompressed bytes ask."""
    try:
        if is_version_2(text):
            document = read_document(text)
            parts = () if net is None else bind(document, {"": net} if isinstance(net, Network) else net)
            return Question(parts, document.property(), text, document)
        part = None if net is None else _unnamed(net)
        inputs, outputs = (None, None) if part is None else (part.inputs, part.outputs)
        return Question(() if part is None else (part,), read_property(text, inputs=inputs, outputs=outputs), text)
    except UnsupportedQuery as error:
        raise Unsupported(str(error)) from error
    except MalformedProperty as error:
        if error.line == 1 and text[:1] == b"\x08":
            raise MalformedProperty("this is no text but, by its first byte, an ONNX network", 1, 1) from error
        raise


def _integers(graph: Graph, name: str) -> str:
    """The type of a tensor that holds integers."""
    return f" of {graph.elements[name]}" if name in graph.elements else ""


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
