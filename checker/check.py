"""The check: certificate, networks and property as bytes; the whole claim that was accepted, or a rejection.

A property may speak of several networks, and twice of one.  Each is given by its name; the certificate must have been
made for these names with these bytes, in the order of the property's declarations, and the checker joins the networks.

    farkas-check CERTIFICATE --network [f=]NET.onnx... --property QUERY.vnnlib [--semantics S] [--verdict V]

Exit codes: 0 accepted; 2 usage, or a network or property that cannot be read or do not fit; 3 rejected.
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

from farkas.checker import container, property2, replay, ties
from farkas.checker.builder import Shape
from farkas.checker.errors import CertificateRejected, MalformedInput
from farkas.checker.integer import integer_network
from farkas.checker.kernel import Reference
from farkas.checker.network import read_networks
from farkas.checker.property import read_property
from farkas.checker.prover import Kernel
from farkas.checker.query import SEMANTICS, Property, Query, build_query, query_hash
from farkas.checker.steps import Program
from farkas.checker.walk import failing_leaves, parse_proof

MAX_INPUT = 1 << 29
DEFAULT_SEMANTICS, REAL = "f32-any", "real"
Named = Sequence[tuple[str, bytes]]
Networks = bytes | Named
"""The one network of a property, or (name, bytes) of each; in the property's order where it declares no names."""


@dataclass(frozen=True)
class Accepted:
    """The claim that was accepted.

    unsat: no admissible execution (semantics) of the networks with these names and hashes, from a point of the
    property's input set, is unsafe.  sat: the replayed one is.  vacuous: parts of the property that no point can meet.
    """

    verdict: str
    semantics: str
    networks: tuple[tuple[str, str], ...]
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
            *(f"network {name + ' ' if name else ''}sha256: {digest}" for name, digest in self.networks),
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


def read_asked(text: bytes) -> tuple[Property, tuple[property2.Network, ...]]:
    """The normal form, and the networks that the property declares: none in VNN-LIB 1.0.  Raises MalformedInput."""
    if not property2.is_version_2(text):
        return read_property(text), ()
    document = property2.read_document(text)
    return document.property, document.networks


def bind(declared: Sequence[property2.Network], networks: Networks) -> Named:
    """(name, bytes) of every declared network, in order; a property about one network gives it no name.

    A network that equals another has its file, given or not, and a single file needs no name.  Raises MalformedInput
    for names that are missing, too many, or given twice, and for a copy with a file of its own.
    """
    pairs = [("", networks)] if isinstance(networks, bytes) else list(networks)
    models = {network.model for network in declared}
    files = dict(pairs)
    if len(files) < len(pairs) or not files:
        raise MalformedInput("network", f"every network has a name of its own; found {[name for name, _ in pairs]}")
    if not declared:
        return pairs if len(pairs) > 1 else [("", pairs[0][1])]
    if files.keys() == {""} and len(models) == 1:
        files = dict.fromkeys(models, files[""])
    bound: dict[str, bytes] = {}
    for network in declared:
        own = files.pop(network.name, None)
        data = own if network.model == network.name else bound[network.model]
        if data is None:
            raise MalformedInput("network", f"the property is about a network {network.name!r}, which is not given")
        if own not in (None, data):
            raise MalformedInput("network", f"{network.name!r} is given another file than {network.model!r}, its equal")
        bound[network.name] = data
    if files:
        raise MalformedInput("network", f"the property declares no network {min(files)!r}")
    return [("", data) for data in bound.values()] if len(declared) == 1 else list(bound.items())


def load_query(networks: Networks, prop: bytes, semantics: str) -> tuple[Query, Program, tuple[str, ...]]:
    """The integer query, the steps for a replay, and warnings; all files decompressed.  Raises MalformedInput."""
    parsed, declared = read_asked(prop)
    about_free, columns = ties.reduce(parsed, semantics != "real")
    query, program = _load(bind(declared, networks), parsed, about_free, columns, declared, semantics)
    return query, program, about_free.vacuous


def _load(
    networks: Named,
    parsed: Property,
    about_free: Property,
    columns: Sequence[int],
    declared: Sequence[property2.Network],
    semantics: str,
) -> tuple[Query, Program]:
    """The query and the steps, both over the free inputs."""
    tied = about_free.inputs < parsed.inputs
    hidden = [[name for name, _ in network.hidden] for network in declared]
    program, interfaces = read_networks(networks, columns if tied else None, hidden)
    for network, own in zip(declared, interfaces, strict=False):
        _check_shapes(f"inputs of {network.name!r}", network.inputs, own.inputs)
        computed = (*network.outputs, *(shape for _, shape in network.hidden))
        _check_shapes(f"outputs and hidden tensors of {network.name!r}", computed, own.outputs)
    sizes = (program.sizes[0], program.sizes[program.output])
    if (about_free.inputs, parsed.outputs) != sizes:
        found = f"{parsed.inputs} inputs and {parsed.outputs} outputs"
        raise MalformedInput("property", f"it has {found}, the network {sizes[0]} and {sizes[1]}")
    return build_query(integer_network(program), about_free, semantics, parsed), program


def _check_shapes(what: str, declared: Sequence[Shape], found: Sequence[Shape]) -> None:
    """Equal but for dimensions of 1, which move no element."""
    if [[n for n in shape if n != 1] for shape in declared] != [[n for n in shape if n != 1] for shape in found]:
        raise MalformedInput("property", f"it declares {what} of shapes {list(declared)}, the file has {list(found)}")


def check(
    certificate: bytes,
    networks: Networks,
    prop: bytes,
    *,
    semantics: str | None = None,
    verdict: str | None = None,
    kernel: Kernel | None = None,
) -> Accepted:
    """The accepted claim.  networks, prop: file contents, gzip or not.  semantics, verdict: what is expected, by
    default real where the property declares its tensors real, else f32-any, and either verdict.  kernel: default the
    reference.

    Raises CertificateRejected, or MalformedInput when a network or the property cannot be read.
    """
    header, payloads = container.decode(certificate)
    text = decompressed(prop, "property")
    expected = semantics or (REAL if property2.is_declared_real(text) else DEFAULT_SEMANTICS)
    if header.semantics != expected:
        raise CertificateRejected("header", f"it speaks of semantics {header.semantics}; {expected} is expected")
    if verdict is not None and header.verdict != verdict:
        raise CertificateRejected("header", f"its verdict is {header.verdict}; {verdict} is expected")
    digest = hashlib.sha256(text).hexdigest()
    if header.property != digest:
        raise CertificateRejected("header", f"it is about another property; this one has SHA-256 {digest}")
    parsed, declared = read_asked(text)
    given = [(name, decompressed(data, "network")) for name, data in bind(declared, networks)]
    digests = tuple((name, hashlib.sha256(data).hexdigest()) for name, data in given)
    if header.networks != digests:
        raise CertificateRejected("header", f"it is about another network or other names; here {_listed(digests)}")
    about_free, columns = ties.reduce(parsed, header.semantics != "real")
    query, program = _load(given, parsed, about_free, columns, declared, header.semantics)
    found = {"query": query_hash(query), "cases": len(query.cases), "off_grid": query.off_grid}
    for name, value in found.items():
        if getattr(header, name) != value:
            raise CertificateRejected("header", f"{name} is {getattr(header, name)}; this query has {value}")
    chosen: Kernel = Reference() if kernel is None else kernel
    executor = ""
    if header.verdict == "unsat":
        _check_unsat(header, payloads, query, chosen)
    else:
        executor = _check_sat(header, payloads, replay.Asked(parsed, columns), query, program)
    return Accepted(
        verdict=header.verdict,
        semantics=header.semantics,
        networks=digests,
        property=digest,
        query=header.query,
        cases=header.cases,
        leaves=header.leaves,
        off_grid=header.off_grid,
        executor=executor,
        kernel=header.kernel,
        tier=chosen.tier,
        vacuous=about_free.vacuous,
    )


def _listed(networks: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name or 'the network'} has SHA-256 {digest}" for name, digest in networks)


def _check_unsat(header: container.Header, payloads: dict[int, bytes], query: Query, kernel: Kernel) -> None:
    proof = parse_proof(header, payloads, query)
    found = proof.tree.leaves
    if found != header.leaves:
        raise CertificateRejected("header", f"leaves is {header.leaves}; the tree has {found}")
    failing = failing_leaves(query, proof, kernel, first_only=True)
    if failing:
        raise CertificateRejected(f"TREE leaf {failing[0]} of {found}", "it does not close")


def _check_sat(
    header: container.Header, payloads: dict[int, bytes], asked: replay.Asked, query: Query, program: Program
) -> str:
    if header.leaves or header.intermediate:
        raise CertificateRejected("header", "a sat certificate has no leaves and no intermediate rules")
    return replay.check_point(asked, query.rounded, program, container.parse_json(payloads[container.POINT], "POINT"))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="farkas-check", description="Check a certificate with the trusted checker.")
    parser.add_argument("certificate", type=Path)
    network = "an ONNX file, .gz accepted; with its name where the property declares several networks"
    parser.add_argument("--network", required=True, action="append", metavar="[NAME=]FILE", help=network)
    parser.add_argument("--property", required=True, type=Path, metavar="FILE", help="the VNN-LIB file, .gz accepted")
    parser.add_argument("--semantics", choices=SEMANTICS)
    parser.add_argument("--verdict", choices=container.VERDICTS, help="the expected verdict (default: either)")
    parser.add_argument("--tier", choices=["exact"], default="exact")
    options = parser.parse_args(argv)
    try:
        networks = [(name, path.read_bytes()) for name, path in map(_named_path, options.network)]
        files = options.certificate.read_bytes(), networks, options.property.read_bytes()
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


def _named_path(text: str) -> tuple[str, Path]:
    """Name and path of `[f=]NET.onnx`; a file whose name contains '=' is taken as it stands."""
    path = Path(text)
    if path.exists() or "=" not in text:
        return "", path
    name, _, rest = text.partition("=")
    return name, Path(rest)


if __name__ == "__main__":
    sys.exit(main())
