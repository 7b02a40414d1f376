"""Certificates stay valid: one that was written before a property could be about several networks.

Its header lists one network without a name.  The bytes are those of the version that wrote it; nothing here makes them.
A change that is no new rule or format must leave every byte of such a file as good as it was.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from farkas.checker import container
from farkas.checker.check import check
from farkas.checker.errors import CertificateRejected
from farkas.checker_fast.kernel import accelerated_kernel
from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verdict import Holds
from farkas.engine.verify import verify
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Semantics
from farkas.specs.vnnlib import read_property

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NETWORK, PROPERTY = EXAMPLES / "networks/pendulum.onnx", EXAMPLES / "properties/pendulum_point.vnnlib"
WRITTEN = base64.b64decode(
    "Tk5DMYcBAAB7ImNhc2VzIjoxLCJmb3JtYXQiOjEsImludGVybWVkaWF0ZSI6WzBdLCJrZXJuZWwiOiJjcm93bi1mcC0xIiwibGVhdmVzIjo0LCJu"
    "ZXR3b3JrcyI6W1siIiwiNGM1OTU0YjA3ZDJlYjBiMWI0MWVmZjkwMTRiYjUzZWQ1YmY2M2M0MTExOTBhYTk1MDIxZTdiZmM0YTI2ZDc3ZCJdXSwi"
    "b2ZmX2dyaWQiOjEsInByb2R1Y2VyIjoiZmFya2FzIDAuMS4wIiwicHJvcGVydHkiOiJhMDgzM2IyNzQwODMwMzZhNzgxOTk3MjhiYjUzNTZjODVh"
    "MmUwNTc2NjU5YWFjMzBkZGZlNGFiMTBiMWRkMjhmIiwicXVlcnkiOiIzNTkxNWU4ZTQzYWNhMzc5MzYzNmZjNWFkNGViOTI3ZGMyMmU5ZmE2YjRi"
    "NzdiYmQyMWE4NGQxNDcxMzMyNGYxIiwic2VtYW50aWNzIjoiZjMyLWFueSIsInZlcmRpY3QiOiJ1bnNhdCJ9ARkAAAB42ouOjjbSiY420DGMBQIw"
    "C86LBQB9awh5YQCMgbqaGO4CAOzgH6km3QIPAAAAeNpjZGRkYmZmBgAAMwAPz4eNMXepWYd8d2a/MBShg/8gAAAAaic4KlcH4AqwG+ijWvqlF5Mn"
    "Ve+yDaFcVWbjSUf5g+gwamdXm7tjYss0Sm+T/L8k"
)


@pytest.mark.parametrize("tier", ["exact", "accelerated"])
def test_a_certificate_of_a_single_network_is_accepted_as_it_was_written(tier: str) -> None:
    kernel = None if tier == "exact" else accelerated_kernel()
    network, prop = NETWORK.read_bytes(), PROPERTY.read_bytes()
    for given in (network, [("", network)], [("f", network)]):
        claim = check(WRITTEN, given, prop, semantics="f32-any", verdict="unsat", kernel=kernel)
        assert claim.networks == (("", hashlib.sha256(network).hexdigest()),) and claim.leaves == 4
    with pytest.raises(CertificateRejected, match="another network"):
        check(WRITTEN, (EXAMPLES / "networks/wave.onnx").read_bytes(), prop)


def test_the_same_certificate_is_written_today() -> None:
    """But for the producer's version and what zlib makes of the frames."""
    network, text = NETWORK.read_bytes(), PROPERTY.read_bytes()
    query = Query(load_onnx(network), network, read_property(text), Semantics.F32_ANY, text)
    verdict = verify(query, Options(timeout_s=20.0, certify=True))
    assert isinstance(verdict, Holds) and verdict.certificate is not None
    (header, frames), (written, wanted) = container.decode(verdict.certificate), container.decode(WRITTEN)
    assert frames == wanted
    assert (header.query, header.networks, header.property) == (written.query, written.networks, written.property)
