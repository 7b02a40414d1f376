"""Inputs of networks that are computed from variables.

An input of a network is an affine form over entries of variables.  When it is `a x + b` with a single entry x, and all
inputs that x is used for are the same `a x + b`, the specification can be told in terms of the network's own input z:

    x = (z - b) / a        substituted wherever `given` and `prove` mention x

This is exact, nothing is added to the network, and it means the same in every semantics: the inputs of the network are
the numbers z of its own arithmetic of which the exact preimage x satisfies `given`.  Units and normalisation are of
this kind.  An input that is a number is an input with equal bounds.

Everything else (one entry in several inputs in different ways, or several entries in one) is an affine map in front of
the network.  The network that is asked about then has the entries for inputs, and the map is part of it; its rounding
would be an arithmetic that no one runs, so such a specification is about the reals only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from farkas.specs.language_forms import ONE, ZERO, Application, Entry, Form, Variable, combination, leaf, number, text

Map = tuple[Fraction, Fraction]  # a, b of a x + b

IDENTITY: Map = ONE, ZERO


@dataclass(frozen=True, slots=True)
class Slot:
    """An input value of a network: `factor * entry + shift`, or the number `shift` when there is no entry."""

    entry: Entry | None
    factor: Fraction = ONE
    shift: Fraction = ZERO

    @property
    def name(self) -> str:
        """What it is, for people: the entry, or what is computed from it."""
        return text(Form({} if self.entry is None else {self.entry: self.factor}, self.shift))

    def value(self, z: Fraction) -> Fraction:
        """The value of the entry that the value z of the input comes from."""
        return (z - self.shift) / self.factor


@dataclass(frozen=True, eq=False, slots=True)
class Prefix:
    """An affine map in front of one input tensor: `z = rows @ entries + shifts`, flat in row-major order.

    number: of the input tensor; rows: for each of its entries, the coefficients of the entries.
    """

    number: int
    entries: tuple[Entry, ...]
    rows: tuple[tuple[Fraction, ...], ...]
    shifts: tuple[Fraction, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Copy:
    """How one call is asked about: the slots of its inputs, tensor by tensor, behind its prefixes."""

    application: Application
    tensors: tuple[tuple[Slot, ...], ...]
    prefixes: tuple[Prefix, ...]

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Those of all tensors."""
        return tuple([slot for tensor in self.tensors for slot in tensor])

    def is_like(self, other: Copy) -> bool:
        """Whether the network and its prefixes are the same."""
        ours, theirs = ([(p.number, p.rows, p.shifts) for p in copy.prefixes] for copy in (self, other))
        return self.application.network is other.application.network and ours == theirs


@dataclass(eq=False)
class _Tensor:
    """One input tensor of a call; `slots` is None when its inputs are computed in a way that needs a prefix."""

    forms: Sequence[Form]
    slots: list[Slot] | None


def copies(applications: Sequence[Application]) -> list[Copy]:
    """How the calls are asked about, so that every entry is used in one way only, or as it is."""
    calls = [[_Tensor(forms, _slots(forms)) for forms in _tensors(application)] for application in applications]
    while not _settled(calls):
        pass
    return [_copy(application, tensors) for application, tensors in zip(applications, calls, strict=True)]


def preimages(slots: Sequence[Slot]) -> dict[Entry, Form]:
    """What entries are in terms of the inputs of networks, which their leaves stand for then; without identities."""
    found = {}
    for slot in slots:
        if slot.entry is not None and (slot.factor, slot.shift) != IDENTITY:
            found[slot.entry] = combination(
                [(leaf(slot.entry), 1 / slot.factor), (number(slot.shift), -1 / slot.factor)]
            )
    return found


def is_affine(form: Form) -> bool:
    """Whether the form is affine in entries of variables."""
    return all(isinstance(key, tuple) and isinstance(key[0], Variable) for key in form.terms)


def _tensors(application: Application) -> Iterator[Sequence[Form]]:
    """The forms of every input tensor."""
    start = 0
    for _, shape in application.network.graph.inputs:
        yield application.arguments[start : start + prod(shape)]
        start += prod(shape)


def _slots(forms: Sequence[Form]) -> list[Slot] | None:
    slots = []
    for form in forms:
        if len(form.terms) > 1:
            return None
        slot = Slot(None, shift=form.constant)
        for key, factor in form.terms.items():
            slot = Slot(_entry(key), factor, form.constant)
        slots.append(slot)
    return slots


def _entry(key: object) -> Entry:
    assert isinstance(key, tuple), "a network was called with something that is not affine in variables"
    return key


def _settled(calls: Sequence[Sequence[_Tensor]]) -> bool:
    """Gives a prefix to tensors that use an entry in another way than others do; False when there were some."""
    maps: dict[Entry, Map | None] = {}  # None: used in several ways
    for tensor in (tensor for tensors in calls for tensor in tensors):
        if tensor.slots is None:
            for entry in _mixed(tensor.forms):
                maps[entry] = IDENTITY if maps.get(entry, IDENTITY) == IDENTITY else None
        else:
            for slot in tensor.slots:
                if slot.entry is not None:
                    own = slot.factor, slot.shift
                    maps[slot.entry] = own if maps.get(slot.entry, own) == own else None
    settled = True
    for tensor in (tensor for tensors in calls for tensor in tensors):
        if tensor.slots is not None and any(
            slot.entry is not None and maps[slot.entry] is None and (slot.factor, slot.shift) != IDENTITY
            for slot in tensor.slots
        ):
            tensor.slots, settled = None, False
    return settled


def _mixed(forms: Sequence[Form]) -> list[Entry]:
    """The entries of forms, each once, in order of appearance."""
    return list(dict.fromkeys(_entry(key) for form in forms for key in form.terms))


def _copy(application: Application, tensors: Sequence[_Tensor]) -> Copy:
    slots: list[tuple[Slot, ...]] = []
    prefixes = []
    for k, tensor in enumerate(tensors):
        if tensor.slots is not None:
            slots.append(tuple(tensor.slots))
            continue
        entries = _mixed(tensor.forms)
        rows = tuple(tuple(form.terms.get(entry, ZERO) for entry in entries) for form in tensor.forms)
        prefixes.append(Prefix(k, tuple(entries), rows, tuple(form.constant for form in tensor.forms)))
        slots.append(tuple(Slot(entry) for entry in entries))
    return Copy(application, tuple(slots), tuple(prefixes))
