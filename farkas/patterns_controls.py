"""Patterns about a box of inputs with names and units: the advice given, the range of outputs, how they grow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import farkas as fk
from farkas.optimum import Bounds
from farkas.patterns_inputs import Answer, Domain, Entry, Prepare, Value, entry, named, others_near, variable
from farkas.specs.diagnostics import fail


def advised(
    net: fk.Network,
    domain: Domain,
    *,
    never: int | Iterable[int] = (),
    only: int | Iterable[int] = (),
    prepare: Prepare | None = None,
    answer: Answer = fk.argmin,
) -> fk.Spec:
    """In a box of situations the advice is `never` one of these, or `only` one of those.

    domain: bounds of every input by name, in the order and the units of the network's input, or, with `prepare`, in
    those that `prepare` turns into the network's.  answer: the advice, by default the lowest cost.

    The form of the properties of ACAS Xu: Katz et al., Reluplex, CAV 2017.
    """
    x, given = variable(net, domain)
    advice = answer(net(x if prepare is None else prepare(x)))
    refused, allowed = _places(never), _places(only)
    if bool(refused) == bool(allowed):
        fail("FK601", found="both or none of `never` and `only`", wanted="one of them", fix="never=0, or only=(1, 2)")
    # There is always one advice, so `only` is `never` of the others, which has one conjunction for each of them.
    refused = refused or [place for place in range(len(advice.values)) if place not in allowed]
    return fk.Spec(given, prove=fk.all(advice != place for place in refused))


def _places(places: int | Iterable[int]) -> list[int]:
    return [int(places)] if isinstance(places, int | np.integer) else list(places)


def monotone(
    net: fk.Network,
    domain: Domain,
    inputs: Iterable[Entry] | Entry,
    *,
    output: Entry = 0,
    decreasing: bool = False,
    slack: Value = 0,
    prepare: Prepare | None = None,
) -> fk.Spec:
    """Where only the named inputs rise, together or alone, the output does not fall (does not rise if `decreasing`).

    Two executions on the domain, with all other inputs in common.  slack: by how much the output may go the wrong way
    all the same.  Without slack two executions on one input have to give one number, which binary32 does not promise;
    over the reals the question is then sharp wherever the inputs meet, and is seldom decided by bounds.

    Liu et al., Certified monotonic neural networks, NeurIPS 2020.
    """
    (low, given), (high, more) = variable(net, domain, "low"), variable(net, domain, "high")
    rising = [low.ravel()[k] <= high.ravel()[k] for k in named(low, inputs)]
    ready = (low, high) if prepare is None else (prepare(low), prepare(high))
    first, second = (entry(net(x), output) for x in ready)
    prove = second <= first + slack if decreasing else first <= second + slack
    return fk.Spec([*given, *more, *rising, *others_near(low, high, inputs)], prove=prove)


def in_range(
    net: fk.Network,
    domain: Domain,
    low: Value | None = None,
    high: Value | None = None,
    *,
    output: Entry | None = None,
    prepare: Prepare | None = None,
) -> fk.Spec:
    """On the domain the output, or all of them, lie between `low` and `high`, numbers or arrays; None: no such end."""
    x, given = variable(net, domain)
    y = net(x if prepare is None else prepare(x))
    if output is not None:
        y = entry(y, output)
    ends = ([] if low is None else [y >= low]) + ([] if high is None else [y <= high])
    if not ends:
        fail("FK601", found="no range", wanted="`low`, `high` or both", fix="low=0")
    return fk.Spec(given, prove=fk.all(ends))


def range_of(
    net: fk.Network, domain: Domain, *, output: Entry = 0, prepare: Prepare | None = None, **options: Any
) -> Bounds:
    """The least and the greatest value of an output on the domain, each as a certified interval.

    options: those of `fk.bounds`: `gap`, `timeout`, `semantics`, `certificate`, `report` ...

    Dutta et al., Output range analysis for deep feedforward neural networks, NFM 2018.
    """
    x, given = variable(net, domain)
    return fk.bounds(entry(net(x if prepare is None else prepare(x)), output), given=given, **options)
