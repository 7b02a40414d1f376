"""Queries: what does not belong together is refused before any search, and different questions have different names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farkas.engine.query import Query
from farkas.ir.errors import FarkasError
from farkas.specs.query import Property, Semantics
from farkas.specs.vnnlib import read_property
from tests.checker.nets import vnnlib
from tests.nets import affine, atom, case, dense

NET = affine([[1.0, 2.0]])


def asked(inputs: int, outputs: int, semantics: Semantics = Semantics.REAL) -> Query:
    one = case([0] * inputs, [1] * inputs, [atom([1] + [0] * (outputs - 1), 0)])
    return Query(NET.graph, NET.data, Property(inputs, outputs, (one,)), semantics)


def test_a_property_of_another_size_is_refused() -> None:
    with pytest.raises(FarkasError, match=r"declares 3 inputs but the network takes 2 \(shape \(1, 2\)\)"):
        _ = asked(3, 1).program
    with pytest.raises(FarkasError, match="declares 2 outputs but the network gives 1"):
        _ = asked(2, 2).program
    assert asked(2, 1).program.input_size == 2


def test_a_float64_network_has_no_binary32_executions() -> None:
    net = dense([([[1.0, 2.0]], [0.0])], dtype=np.float64)
    one = case([0, 0], [1, 1], [atom([1], 0)])
    with pytest.raises(FarkasError, match="float64; only `--semantics real`"):
        _ = net.query([one], Semantics.F32_ANY).program
    assert net.query([one]).program.output_size == 1


def test_queries_that_differ_in_anything_have_different_hashes() -> None:
    texts = [vnnlib([0, 0], [1, 1], 1, f"(<= Y_0 {c}.0)") for c in (1, 2)]  # type: ignore[list-item] # integers will do
    queries = [
        Query(net.graph, net.data, read_property(text), semantics, text)
        for net in (NET, affine([[1.0, 3.0]]))
        for text in texts
        for semantics in Semantics
    ]
    assert len({query.sha256 for query in queries}) == len(queries) == 24
    assert replace(queries[0]).sha256 == queries[0].sha256
