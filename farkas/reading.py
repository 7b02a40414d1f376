"""Property files read back as specifications, and witnesses of saved ones in their own terms.

`from_vnnlib` gives a `Spec` whose normal form is that of the file, case by case and atom by atom: what is asked is
exactly what the file asks, only that it has variables by name.  Its `given` and `prove` say the same in the language:
`given` is the smallest box around all boxes of the file, and `prove` that none of its disjuncts is true.

`lift` takes a witness of a file that `Spec.save` extended (`farkas.saving`) back to the networks and variables of the
specification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from farkas.api import FilePath, Network, load_question, naming, read_bytes
from farkas.engine.verdict import Violated
from farkas.ir.onnx_wire import decompressed as network_bytes
from farkas.questions import Question
from farkas.spec import Spec
from farkas.specs.language_calls import call, var
from farkas.specs.language_conditions import Condition
from farkas.specs.language_forms import Application, Entry, Form, Product, combination, leaf, number
from farkas.specs.language_formulas import Comparison, Formula, conjunction, disjunction, negation
from farkas.specs.language_inputs import copies
from farkas.specs.language_property import NormalForm
from farkas.specs.language_tensors import Tensor
from farkas.specs.query import Atom, Property, Semantics
from farkas.specs.side import FileName, Lifted, MalformedSide, Side
from farkas.specs.tokens import decompressed as property_bytes
from farkas.specs.witness import Witness, read_witness


def lift(side: FilePath, witness: FilePath | Witness | Violated) -> Lifted:
    """A witness of a saved specification in terms of its networks and variables.

    side: the side file, which has to stand beside the property and the network that it belongs to; witness: a file in
    VNN-COMP's format, what was read of one, or a verdict.
    Raises MalformedSide where the files do not belong together, and other FarkasErrors for what cannot be read.
    """
    place = Path(side)
    with naming(place):
        found = Side.parse(read_bytes(place).decode("utf-8", errors="replace"))
        _require(place, found.asked, property_bytes)
        _require(place, found.network, network_bytes)
    if isinstance(witness, Violated):
        return found.lift(read_witness(witness.witness))
    if isinstance(witness, Witness):
        return found.lift(witness)
    with naming(Path(witness)):
        return found.lift(read_witness(read_bytes(Path(witness)).decode("utf-8", errors="replace")))


def _require(side: Path, wanted: FileName, unpacked: Callable[[bytes], bytes]) -> None:
    """Raises MalformedSide where the file beside the side file is another one."""
    if Path(wanted.name).name != wanted.name:
        raise MalformedSide(f"found the file name {wanted.name!r}, wanted one without a folder")
    found = hashlib.sha256(unpacked(read_bytes(side.with_name(wanted.name)))).hexdigest()
    if found != wanted.sha256:
        raise MalformedSide(
            f"found '{wanted.name}' with the digest {found[:16]}..., wanted {wanted.sha256[:16]}...: "
            "it is not the file that was saved with this one; save again"
        )


def from_vnnlib(path: FilePath | bytes, net: Network | Mapping[str, Network]) -> Spec:
    """The specification that a VNN-LIB file (1.0 or 2.x, or its bytes) is about this network, or these by name.

    Its normal form is the file's, numbering and all; its variables have the names of the file's tensors, `X` in 1.0
    (the names of the network's inputs where these are several).  A document whose tensors are real is checked over
    the reals unless `check` is told otherwise.
    Raises as `farkas.verify` does for files that cannot be read or do not fit the networks.
    """
    question = load_question(net, path)
    networks = _networks(question, [net] if isinstance(net, Network) else list(net.values()))
    x: list[Form] = []
    y: list[Form] = []
    applications: list[Application] = []
    for network, variables in zip(networks, _variables(question), strict=True):
        outputs = [form for tensor in call(network, *variables) for form in tensor.forms]
        applications.append(_application(outputs[0]))
        x += [form for variable in variables for form in variable.forms]
        y += outputs
    prop = question.property
    given, unsafe = _Told(prop, x, y).formulas()
    real = question.document is not None and question.document.is_real
    return Spec.told(
        Condition((), (given,)), Condition((), (negation(unsafe),)), NormalForm(prop, tuple(copies(applications))),
        Semantics.REAL if real else None,
    )  # fmt: skip


def _networks(question: Question, given: Sequence[Network]) -> list[Network]:
    """The network of every part; one and the same for parts of the same file.

    Hidden tensors are further outputs of the network: it is made here, and saved with the specification.
    """
    known: dict[tuple[bytes, tuple[str, ...]], Network] = {}
    found = []
    for part in question.parts:
        own = next(network for network in given if network.data == part.data)
        if part.hidden:
            own = Network(part.graph, part.executed, None, own.name)
        found.append(known.setdefault((part.data, part.hidden), own))
    return found


def _variables(question: Question) -> list[list[Tensor]]:
    """A variable for every input of every network."""
    found = []
    for k, part in enumerate(question.parts):
        inputs = part.graph.inputs
        names = [name for name, _ in inputs] if len(inputs) > 1 else ["X"]
        if question.document is not None:
            names = [tensor.name for tensor in question.document.networks[k].inputs]
        found.append([var(shape, name=name) for name, (_, shape) in zip(names, inputs, strict=True)])
    return found


def _application(form: Form) -> Application:
    """The call that an output is of."""
    (key,) = form.terms
    assert isinstance(key, tuple) and isinstance(key[0], Application), "an output of a network is an entry of its call"
    return key[0]


class _Told:
    """A property in the formulas of the language; x, y: the forms of its inputs and outputs."""

    def __init__(self, prop: Property, x: Sequence[Form], y: Sequence[Form]) -> None:
        self.prop, self.x, self.y = prop, x, y
        factors = [_factor(form) for form in (*x, *y)]
        products = [leaf(Product(tuple(factors[k] for k in monomial))) for monomial in prop.monomials]
        self.columns = (*y, *products)
        self.known: dict[tuple[int, bool, Fraction], Comparison] = {}
        self.atoms: dict[int, Comparison] = {}

    def formulas(self) -> tuple[Formula, Formula]:
        """What is given, and what is unsafe."""
        cases = self.prop.cases
        if not cases:
            nothing = self.box([Fraction(1)] * self.prop.inputs, [Fraction(0)] * self.prop.inputs)
            return conjunction(nothing), Comparison(number(Fraction(0)), strict=True)
        lower = [min(case.lower[i] for case in cases) for i in range(self.prop.inputs)]
        upper = [max(case.upper[i] for case in cases) for i in range(self.prop.inputs)]
        unsafe = [
            conjunction([
                *(self.box(case.lower, case.upper) if len(cases) > 1 else ()),
                *(self.atom(atom) for atom in atoms),
            ] or [Comparison(number(Fraction(0)))])
            for case in cases for atoms in case.disjuncts
        ]  # fmt: skip
        return conjunction(self.box(lower, upper)), disjunction(unsafe)

    def box(self, lower: Sequence[Fraction], upper: Sequence[Fraction]) -> list[Formula]:
        """The bounds of all inputs."""
        return [
            self.bound(i, is_upper, end)
            for i, ends in enumerate(zip(lower, upper, strict=True))
            for is_upper, end in enumerate(ends)
        ]

    def bound(self, i: int, is_upper: int, end: Fraction) -> Comparison:
        key = i, bool(is_upper), end
        if key not in self.known:
            sign = Fraction(1 if is_upper else -1)
            self.known[key] = Comparison(combination([(self.x[i], sign), (number(end), -sign)]))
        return self.known[key]

    def atom(self, atom: Atom) -> Comparison:
        if id(atom) not in self.atoms:
            terms = [(self.x[i], a) for i, a in atom.x] + [(self.columns[j], b) for j, b in atom.y]
            form = combination([*terms, (number(atom.c), Fraction(-1))])
            self.atoms[id(atom)] = Comparison(form, atom.strict)
        return self.atoms[id(atom)]


def _factor(form: Form) -> Entry:
    (key,) = form.terms
    assert isinstance(key, tuple), "an input or output is an entry"
    return key
