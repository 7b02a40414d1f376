"""Patterns about two executions: similar inputs, two networks on one input, and how fast outputs change.

Two answers are the same when no two different classes are the answers.  For k classes that is k (k - 1) conjunctions,
`first is i and second is j`; "both are i, for some i" is the same condition, whose negation would multiply out to
(2 k - 2)^k of them: 32 768 for five classes instead of 20.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import farkas as fk
from farkas.optimum import Optimum
from farkas.patterns_inputs import Decision, Domain, Entry, Prepare, Value, entry, others_near, variable
from farkas.specs.diagnostics import fail
from farkas.specs.language_conditions import Condition
from farkas.specs.language_positions import Position
from farkas.specs.language_tensors import Tensor


def fair(
    net: fk.Network,
    domain: Domain,
    protected: Iterable[Entry] | Entry,
    *,
    similar: Value = 0,
    eps: Value | None = None,
    margin: Value = 0,
    answer: Decision = fk.argmax,
    prepare: Prepare | None = None,
) -> fk.Spec:
    """Two individuals who differ in the protected inputs, and by at most `similar` in all others, are treated alike.

    domain: bounds of every input, with names; protected: names or places; similar: in the units of the domain, a number
    for all or an array of the input's shape.  Alike: no outputs differ by more than `eps`; without it they get one
    answer, a position or a condition such as `lambda y: y[0, 0] >= 0`.

    margin: of positions: two answers are different only where the first is ahead of all others by at least this much.
    Without one the claim is about individuals on the boundary between two answers too, which is sharp: bounds prove it
    only of a network that has none in the domain.

    Dwork et al., Fairness through awareness, ITCS 2012; Galhotra et al., Fairness testing, ESEC/FSE 2017.
    """
    (a, given), (b, more) = variable(net, domain, "a"), variable(net, domain, "b")
    near = others_near(a, b, protected, similar)
    first, second = (net(x if prepare is None else prepare(x)) for x in (a, b))
    alike = same(answer, first, second, margin) if eps is None else fk.linf(first - second) <= eps
    return fk.Spec([*given, *more, *near], prove=alike)


def equivalent(
    first: fk.Network,
    second: fk.Network,
    domain: Domain,
    *,
    eps: Value | None = None,
    margin: Value = 0,
    answer: Decision = fk.argmax,
    prepare: Prepare | None = None,
) -> fk.Spec:
    """Two networks agree on every input of the domain: no outputs differ by more than `eps`, or, without it, in answer.

    The networks have inputs and outputs of one shape; the second may be a pruned, fused or retrained copy.  margin: as
    in `fair`, answers are different only where that of the first network is ahead of all others by this much.

    Kleine Büning, Kern and Sinz, Verifying equivalence properties of neural networks with ReLU activation functions,
    CP 2020; Paulsen, Wang and Wang, ReluDiff, ICSE 2020.
    """
    x, given = variable(first, domain)
    ready = x if prepare is None else prepare(x)
    y, z = first(ready), second(ready)
    if y.shape != z.shape:
        fail(
            "FK301", found=f"outputs of shapes {y.shape} and {z.shape}", wanted="one shape", fix="networks of one kind"
        )
    return fk.Spec(given, prove=same(answer, y, z, margin) if eps is None else fk.linf(y - z) <= eps)


def lipschitz(
    net: fk.Network,
    domain: Domain,
    constant: Value,
    *,
    slack: Value = 0,
    output: Entry | None = None,
    prepare: Prepare | None = None,
) -> fk.Spec:
    """On the domain the output moves by at most `constant` times the distance of two inputs, both in the norm linf.

    output: one entry of the output; None: all of them.  slack: what may be added to that; where two inputs meet, the
    claim without slack is sharp, which bounds cannot prove and binary32 does not promise.  For the best constant at a
    distance d see `modulus`, whose quotient by d is a lower bound of the Lipschitz constant.

    Virmaux and Scaman, Lipschitz regularity of deep neural networks, NeurIPS 2018.
    """
    (a, given), (b, more) = variable(net, domain, "a"), variable(net, domain, "b")
    moved = _moved(net, a, b, output, prepare)
    return fk.Spec([*given, *more], prove=moved <= constant * fk.linf(a - b) + slack)


def modulus(
    net: fk.Network,
    domain: Domain,
    distance: Value,
    *,
    output: Entry | None = None,
    prepare: Prepare | None = None,
    **options: Any,
) -> Optimum:
    """How far two outputs can be apart when the inputs are at most `distance` apart, both in the norm linf.

    A certified interval.  Divided by the distance, `attained` is a lower bound of the Lipschitz constant on the domain;
    over a domain that is no wider than the distance, `proved` bounds the variation of the output.  output: one entry,
    None: all.  options: those of `fk.maximize`: `gap`, `timeout`, `semantics`, `certificate`, `report` ...

    Virmaux and Scaman, Lipschitz regularity of deep neural networks, NeurIPS 2018.
    """
    (a, given), (b, more) = variable(net, domain, "a"), variable(net, domain, "b")
    near = [*given, *more, fk.linf(a - b) <= distance]
    return fk.maximize(_moved(net, a, b, output, prepare), given=near, **options)


def _moved(net: fk.Network, a: Tensor, b: Tensor, output: Entry | None, prepare: Prepare | None) -> Tensor:
    """The distance of two outputs, or of one entry of them."""
    change = net(a if prepare is None else prepare(a)) - net(b if prepare is None else prepare(b))
    return fk.linf(change if output is None else entry(change, output))


def same(answer: Decision, first: Tensor, second: Tensor, margin: Value = 0) -> Condition:
    """The condition that two outputs give one answer, where the first is ahead by a margin."""
    one, other = answer(first), answer(second)
    if isinstance(one, Condition) and isinstance(other, Condition):
        return fk.all((one >> other) & (other >> one))
    if not isinstance(one, Position) or not isinstance(other, Position):
        return fail(
            "FK601", found=f"an answer that is {type(one).__name__}", wanted="a position or a condition",
            fix="answer=fk.argmax, or lambda y: y[0, 0] >= 0",
        )  # fmt: skip
    classes, others = len(one.values), len(other.values)
    return fk.all([~(_ahead(one, i, margin) & (other == j)) for i in range(classes) for j in range(others) if i != j])


def _ahead(position: Position, place: int, margin: Value) -> Condition:
    """The condition that the position is a place, by a margin over all others."""
    if margin == 0:
        return position == place
    values = Tensor((len(position.values),), position.values)
    return fk.all([values[place] >= values[k] + margin for k in range(len(position.values)) if k != place])
