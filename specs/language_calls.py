"""Variables, and networks called with them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from math import prod
from typing import Any, NamedTuple, NoReturn

import numpy as np

from farkas.ir.op import Shape
from farkas.specs.diagnostics import fail
from farkas.specs.language_forms import (
    Application,
    Callee,
    Form,
    Parameter,
    Product,
    Variable,
    leaf,
    text,
)
from farkas.specs.language_tensors import Tensor, tensor

Argument = Tensor | Sequence[Any]
"""What a network is called with: a tensor, or nested lists of tensors and numbers."""


class Declared(NamedTuple):
    """An input of a network: its name and shape."""

    name: str
    shape: Shape


def var(of: Declared | Sequence[int] | int, *, name: str = "x", labels: Sequence[str] = ()) -> Tensor:
    """A variable of the shape of a network's input (`net.input`), or of any other.

    labels: names of its entries in row-major order, which become attributes; none, or one for each.
    Two calls make two variables, whatever their names.  Raises SpecError.
    """
    shape = _shape(of.shape if isinstance(of, Declared) else of)
    _require_labels(labels, prod(shape))
    variable = Variable(name, shape, tuple(labels))
    forms = tuple([leaf((variable, k)) for k in range(prod(shape))])
    return Tensor(shape, forms, tuple(labels))


def _shape(shape: object) -> Shape:
    lengths = (shape,) if isinstance(shape, int | np.integer) else shape
    if not isinstance(lengths, Sequence) or not all(_is_length(length) for length in lengths):
        fail("FK310", found=str(shape)[:60], wanted="net.input, or positive lengths", fix="fk.var(net.input)")
    return tuple(int(length) for length in lengths)


def _is_length(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 0


def _require_labels(labels: Sequence[str], size: int) -> None:
    wanted, fix = f"{size} distinct names", "one name for each entry, in row-major order"
    if isinstance(labels, str) or (labels and len(labels) != size):
        fail("FK308", found=f"{len(labels)} labels for {size} entries", wanted=wanted, fix=fix)
    for k, label in enumerate(labels):
        if not str(label).isidentifier() or label.startswith("_"):
            fail(
                "FK308", found=f"the label {label!r}", wanted="a name of Python", fix="letters, digits and underscores"
            )
        if label in labels[:k]:
            fail("FK308", found=f"the label '{label}' twice", wanted=wanted, fix=fix)
        if hasattr(Tensor, label):
            fail("FK308", found=f"the label '{label}', which every tensor has", wanted=wanted, fix=f"'{label}_value'")


def call(network: Callee, *arguments: Argument) -> tuple[Tensor, ...]:
    """The outputs of one execution of a network; raises SpecError when the arguments do not fit its inputs.

    arguments: tensors, or lists, of the shapes of the inputs, with entries that are affine in variables (see
    `farkas.specs.language_inputs` for what that means).
    """
    graph = network.graph
    if len(arguments) != len(graph.inputs):
        names = ", ".join(name for name, _ in graph.inputs)
        fail(
            "FK312", found=f"{len(arguments)} tensors", wanted=f"{len(graph.inputs)}: {names}",
            fix="one tensor for each input",
        )  # fmt: skip
    forms: list[Form] = []
    for (name, shape), given in zip(graph.inputs, arguments, strict=True):
        argument = _argument(name, given)
        _require_shape(name, shape, argument)
        for index, form in enumerate(argument.forms):
            _require_affine(name, index, form)
        forms.extend(argument.forms)
    outputs = tuple(tuple(graph.shapes[name]) for name in graph.outputs)
    application = Application(network, tuple(forms), outputs)
    values, start = [], 0
    for shape in outputs:
        values.append(Tensor(shape, tuple([leaf((application, k)) for k in range(start, start + prod(shape))])))
        start += prod(shape)
    return tuple(values)


def _argument(name: str, given: object) -> Tensor:
    """A tensor, or a list of tensors and numbers, with a variable somewhere in it; raises SpecError."""
    argument = tensor(given) if isinstance(given, Tensor | list | tuple) else None
    if argument is None or not any(form.terms for form in argument.forms):
        fail(
            "FK404", found=f"{type(given).__name__} as input '{name}'",
            wanted="a variable, or what is computed from one",
            fix="x = fk.var(net.input), and x == the numbers in `given`",
        )  # fmt: skip
    return argument


def only_input(network: Callee) -> Declared:
    """The one input of a network; raises SpecError when there are several."""
    inputs = network.graph.inputs
    if len(inputs) != 1:
        _several("inputs", inputs, "a variable for each shape, and net.outputs_at(a, b)")
    ((name, shape),) = inputs
    return Declared(name, shape)


def only_output(network: Callee, arguments: Sequence[Argument]) -> Tensor:
    """The one output of an execution of a network; raises SpecError when there are several."""
    outputs = call(network, *arguments)
    if len(outputs) != 1:
        graph = network.graph
        _several("outputs", [(name, graph.shapes[name]) for name in graph.outputs], "net.outputs_at(x)[0]")
    return outputs[0]


def _several(what: str, tensors: Sequence[tuple[str, Shape]], fix: str) -> NoReturn:
    names = ", ".join(f"{name} {shape}" for name, shape in tensors)
    fail("FK511", found=f"{len(tensors)} {what}: {names}", wanted="one", fix=fix)


def _require_affine(name: str, index: int, form: Form) -> None:
    """Raises SpecError for an input that is not an affine form over entries of variables."""
    for key in form.terms:
        factors = key.factors if isinstance(key, Product) else (key,)
        entries = [factor for factor in factors if not isinstance(factor, Parameter)]
        if len(entries) > 1 or not all(isinstance(e, tuple) and isinstance(e[0], Variable) for e in entries):
            fail(
                "FK404", found=f"{text(form)} as entry {index} of input '{name}'",
                wanted="sums of entries of variables, each times a number",
                fix="call the network with a variable, and state in `given` what it has to do with others",
            )  # fmt: skip


def _require_shape(name: str, shape: Shape, argument: Tensor) -> None:
    found = argument.shape
    if found == shape:
        return
    wanted = f"shape {tuple(shape)} of input '{name}'"
    if len(found) == len(shape) and sorted(found) == sorted(shape):
        axes = next(order for order in permutations(range(len(shape))) if tuple(found[k] for k in order) == shape)
        fail(
            "FK306", found=f"shape {found}", wanted=wanted,
            fix=f".transpose({', '.join(map(str, axes))}) if these are the same axes in another order",
        )  # fmt: skip
    fix = (
        f".reshape({shape}) if the order of the entries is right" if prod(found) == prod(shape) else "fk.var(net.input)"
    )
    fail("FK305", found=f"shape {found}", wanted=wanted, fix=fix)
