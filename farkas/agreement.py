"""Do a float32 network and its quantised copy agree on a box?"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from typing import TYPE_CHECKING

from farkas.choices import make_options
from farkas.files import FilePath, Unsupported
from farkas.ir.errors import FarkasError
from farkas.networks import Network, is_quantised
from farkas.properties import load_property
from farkas.specs.query import Property

if TYPE_CHECKING:
    from farkas.engine.integer_agreement import Agreement


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
    if not is_quantised(quantised.graph):
        raise Unsupported(f"the network {quantised.name or 'given as quantised'} has no quantised operators")
    if is_quantised(net.graph):
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
