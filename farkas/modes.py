"""The arithmetic that a question is asked in: by its name, by what the property declares, or by the network."""

from __future__ import annotations

import numpy as np

from farkas.files import Unsupported
from farkas.ir.errors import FarkasError, UnsupportedOperator
from farkas.networks import Network, Networks, all_networks, is_quantised, network_semantics
from farkas.questions import Question
from farkas.specs.query import Semantics


def parse_semantics(word: str) -> Semantics:
    """The semantics of that name; raises FarkasError for anything else."""
    for semantics in Semantics:
        if word == semantics.value:
            return semantics
    names = ", ".join(s.value for s in Semantics)
    raise FarkasError(f"semantics '{word}' is unknown; known are {names}")


def chosen_semantics(net: Network, semantics: Semantics | str | None) -> Semantics:
    """The semantics asked for, or the default of the network's elements."""
    if semantics is None:
        return net.semantics
    mode = parse_semantics(semantics) if isinstance(semantics, str) else semantics
    if net.is_real_only and mode is not Semantics.REAL:
        raise Unsupported(
            f"semantics '{mode.value}': the network says that it preserves the reals only, for what was put in front "
            "of it or behind it rounds, and no one executes that; ask in semantics 'real', or about the network itself"
        )
    if mode is Semantics.INT_EXACT and not is_quantised(net.graph):
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
    found = {chosen_semantics(one, semantics) for one in all_networks(net)}
    if len(found) > 1:
        names = " and ".join(sorted(mode.value for mode in found))
        raise Unsupported(f"the networks are of different kinds ({names}); one question is about one kind")
    return found.pop()


def first_semantics(net: Networks, semantics: Semantics | str | None) -> Semantics:
    """The semantics as far as it is known before the property is read."""
    return chosen_semantics(all_networks(net)[0], semantics)


def require_order(net: Networks, mode: Semantics) -> None:
    """Raises Unsupported where a single order does not say how some node of a network is summed up."""
    for one in all_networks(net):
        _require_order(one, mode)


def _require_order(net: Network, mode: Semantics) -> None:
    if mode is not Semantics.MLAS_K256_FMA or net.graph.dtype != "float32" or is_quantised(net.graph):
        return  # the sequential orders are defined for every operator
    from farkas.ir.execute import execute

    try:
        execute(net.graph, np.zeros(net.inputs, dtype=np.float32), "mlas-k256-fma")
    except UnsupportedOperator as error:
        raise Unsupported(f"semantics '{mode.value}': {error}") from error
