"""The check: certificate, network and property as bytes; the whole claim that was accepted, or a rejection.

    farkas-check CERTIFICATE --network NET.onnx --property QUERY.vnnlib [--semantics S] [--verdict V] [--tier exact]

Exit codes: 0 accepted; 2 usage, or a network or property that cannot be read; 3 rejected.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farkas.checker import container, replay
from farkas.checker.errors import CertificateRejected, MalformedInput
from farkas.checker.integer import integer_network
from farkas.checker.kernel import Reference
from farkas.checker.network import read_network
from farkas.checker.property import read_property
from farkas.checker.prover import Kernel
from farkas.checker.query import SEMANTICS, Query, build_query, query_hash
from farkas.checker.steps import Program
from farkas.checker.walk import failing_leaves, parse_proof

MAX_INPUT = 1 << 29
DEFAULT_SEMANTICS = "f32-any"


@dataclass(frozen=True)
class Accepted:
    """The claim that was accepted.

    unsat: no admissible execution (semantics) of the network with this hash, from a point of the property's input set,
    is unsafe.  sat: the replayed one is.  vacuous: parts of the property that no point can meet.
    """

    verdict: str
    semantics: str
    network: str
    property: str
    query: str
    cases: int
    leaves: int
    off_grid: int
    executor: str
    kernel: str
    tier: str
    vacuous: tuple[str, ...]

    def lines(self) -> list[str]:
        """The claim in words."""
        meaning = {
            "unsat": "no execution from the input set is unsafe",
            "sat": f"an execution ({self.executor}) from the input set is unsafe",
        }
        lines = [
            f"accepted: {self.verdict}: {meaning[self.verdict]}",
            f"semantics: {self.semantics}",
            f"network sha256: {self.network}",
            f"property sha256: {self.property}",
            f"query sha256: {self.query}",
            f"kernel: {self.kernel}, tier: {self.tier}",
            f"cases: {self.cases}, leaves: {self.leaves}",
            f"point inputs moved to the nearest binary32: {self.off_grid}",
        ]
        return lines + [f"warning: {text}" for text in self.vacuous]


def decompressed(data: bytes, what: str) -> bytes:
    """The bytes of a file, after gunzip when it is gzip; hashes are of these.  Raises MalformedInput."""
    if data[:2] != b"\x1f\x8b":
        return data
    stream = zlib.decompressobj(31)
    try:
        result = stream.decompress(data, MAX_INPUT)
    except zlib.error as error:
        raise MalformedInput(what, f"it is no gzip file: {error}") from error
    if not stream.eof or stream.unused_data:
        raise MalformedInput(what, "its gzip data is cut off, too large, or followed by something")
    return result


def load_query(network: bytes, prop: bytes, semantics: str) -> tuple[Query, Program, tuple[str, ...]]:
    """The integer query, the steps for a replay, and warnings; both files decompressed.  Raises MalformedInput."""
    program = read_network(network)
    parsed = read_property(prop)
    sizes = (program.sizes[0], program.sizes[program.output])
    if (parsed.inputs, parsed.outputs) != sizes:
        found = f"{parsed.inputs} inputs and {parsed.outputs} outputs"
        raise MalformedInput("property", f"it has {found}, the network {sizes[0]} and {sizes[1]}")
    return build_query(integer_network(program), parsed, semantics), program, parsed.vacuous


def check(
    certificate: bytes,
    network: bytes,
    prop: bytes,
    *,
    semantics: str | None = None,
    verdict: str | None = None,
    kernel: Kernel | None = None,
) -> Accepted:
    """The accepted claim.  network, prop: file contents, gzip or not.  semantics (default f32-any), verdict: what is
    expected; verdict None accepts both.  kernel: default the reference.

    Raises CertificateRejected, or MalformedInput when the network or the property cannot be read.
    """
    header, payloads = container.decode(certificate)
    expected = DEFAULT_SEMANTICS if semantics is None else semantics
    if header.semantics != expected:
        raise CertificateRejected("header", f"it speaks of semantics {header.semantics}; {expected} is expected")
    if verdict is not None and header.verdict != verdict:
        raise CertificateRejected("header", f"its verdict is {header.verdict}; {verdict} is expected")
    files = decompressed(network, "network"), decompressed(prop, "property")
    digests = [hashlib.sha256(data).hexdigest() for data in files]
    if header.networks != (("", digests[0]),):
        raise CertificateRejected("header", f"it is about another network; this one has SHA-256 {digests[0]}")
    if header.property != digests[1]:
        raise CertificateRejected("header", f"it is about another property; this one has SHA-256 {digests[1]}")
    query, program, vacuous = load_query(*files, header.semantics)
    found = {"query": query_hash(query), "cases": len(query.cases), "off_grid": query.off_grid}
    for name, value in found.items():
        if getattr(header, name) != value:
            raise CertificateRejected("header", f"{name} is {getattr(header, name)}; this query has {value}")
    chosen: Kernel = Reference() if kernel is None else kernel
    executor = ""
    if header.verdict == "unsat":
        _check_unsat(header, payloads, query, chosen)
    else:
        executor = _check_sat(header, payloads, query, program)
    return Accepted(
        verdict=header.verdict,
        semantics=header.semantics,
        network=digests[0],
        property=digests[1],
        query=header.query,
        cases=header.cases,
        leaves=header.leaves,
        off_grid=header.off_grid,
        executor=executor,
        kernel=header.kernel,
        tier=chosen.tier,
        vacuous=vacuous,
    )


def _check_unsat(header: container.Header, payloads: dict[int, bytes], query: Query, kernel: Kernel) -> None:
    proof = parse_proof(header, payloads, query)
    found = proof.tree.leaves
    if found != header.leaves:
        raise CertificateRejected("header", f"leaves is {header.leaves}; the tree has {found}")
    failing = failing_leaves(query, proof, kernel, first_only=True)
    if failing:
        raise CertificateRejected(f"TREE leaf {failing[0]} of {found}", "it does not close")


def _check_sat(header: container.Header, payloads: dict[int, bytes], query: Query, program: Program) -> str:
    if header.leaves or header.intermediate:
        raise CertificateRejected("header", "a sat certificate has no leaves and no intermediate rules")
    return replay.check_point(query, program, container.parse_json(payloads[container.POINT], "POINT"))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="farkas-check", description="Check a certificate with the trusted checker.")
    parser.add_argument("certificate", type=Path)
    parser.add_argument("--network", required=True, metavar="[NAME=]FILE", help="the ONNX file, .gz accepted")
    parser.add_argument("--property", required=True, type=Path, metavar="FILE", help="the VNN-LIB file, .gz accepted")
    parser.add_argument("--semantics", choices=SEMANTICS, default=DEFAULT_SEMANTICS)
    parser.add_argument("--verdict", choices=container.VERDICTS, help="the expected verdict (default: either)")
    parser.add_argument("--tier", choices=["exact"], default="exact")
    options = parser.parse_args(argv)
    try:
        network = _network_path(options.network).read_bytes()
        files = options.certificate.read_bytes(), network, options.property.read_bytes()
        accepted = check(*files, semantics=options.semantics, verdict=options.verdict)
    except (MalformedInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CertificateRejected as error:
        print(f"rejected: {error}", file=sys.stderr)
        return 3
    try:
        print("\n".join(accepted.lines()), flush=True)
    except BrokenPipeError:  # whoever read the claim has seen enough; that it is accepted stands in the exit code
        with suppress(BrokenPipeError):
            sys.stdout.close()  # here, lest the interpreter complain about it at exit
    return 0


def _network_path(text: str) -> Path:
    """The path of `[f=]NET.onnx`; a file whose name contains '=' is taken as it stands."""
    path = Path(text)
    return path if path.exists() or "=" not in text else Path(text.partition("=")[2])


if __name__ == "__main__":
    sys.exit(main())
