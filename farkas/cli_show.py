"""`farkas show`: what a network, a property or a certificate contains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from farkas.process import use_threads
from farkas.usage import COMPLETED, Usage, command_parser

if TYPE_CHECKING:
    from farkas.api import Network
    from farkas.certificate_content import Content
    from farkas.certificate_file import CertificateFile
    from farkas.specs.query import Atom, Case, Property
    from farkas.specs.vnnlib2_document import Document

Label = Callable[[str, int], str]  # of the input or output ("input", "output") with this index
MOST_CASES = 5  # of a property that are listed one by one


def main(words: list[str], start: float) -> int:
    """Runs `farkas show`."""
    parser = command_parser("show", "What a file contains; .gz is accepted.")
    parser.add_argument("file", metavar="FILE", help="an .onnx, .vnnlib or .nnc file")
    args = parser.parse_args(words)
    use_threads(1)
    print("\n".join(_lines(Path(args.file))))
    return COMPLETED


def _lines(path: Path) -> Iterator[str]:
    from farkas import api
    from farkas.certificate_file import read_certificate_file

    match Path(path.name.removesuffix(".gz")).suffix:
        case ".onnx":
            return network_lines(api.load(path))
        case ".vnnlib":
            question = api.load_question(None, path)
            return property_lines(question.property, path.name, question.document)
        case ".nnc":
            with api.naming(path):
                return certificate_lines(read_certificate_file(api.read_bytes(path)))
        case suffix:
            raise Usage(f"{path}: the name ends in '{suffix}'; .onnx, .vnnlib (both also with .gz) or .nnc is wanted")


def network_lines(net: Network) -> Iterator[str]:
    """Summary, one row a node, and whether the checker reads the network."""
    from farkas.engine.certify import beyond_checker

    yield net.info()
    yield ""
    rows = [("node", "operator", "shape", "operands")]
    for node in net.graph.nodes:
        shape = "x".join(map(str, net.graph.shapes[node.name])) or "scalar"
        rows.append((node.name, node.op.onnx, shape, ", ".join(node.inputs)))
    yield from _table(rows)
    yield ""
    obstacle = beyond_checker(net.data)
    yield "certifiable: the checker reads this network" if obstacle is None else f"not certifiable: {obstacle}"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def property_lines(prop: Property, name: str, document: Document | None = None) -> Iterator[str]:
    """Counts, what a document declares, and the first cases with their boxes and atoms."""
    disjuncts = sum(len(case.disjuncts) for case in prop.cases)
    atoms = sum(len(atoms) for case in prop.cases for atoms in case.disjuncts)
    products = f", {len(prop.monomials)} products" if prop.monomials else ""
    hidden = sum(t.size for t in document.tensors if t.kind == "hidden") if document is not None else 0
    inside = f", {hidden} hidden" if hidden else ""
    yield f"property {name}: {prop.inputs} inputs, {prop.outputs - hidden} outputs{inside}{products}"
    yield f"  {len(prop.cases)} cases (input boxes), {disjuncts} disjuncts, {atoms} atoms"
    yield f"  sha256 {prop.sha256}"
    for network in () if document is None else document.networks:
        relation = f" ({network.relation} {network.other})" if network.relation else ""
        tensors = (
            f"{t.kind} {t.name} {t.element} [{','.join(map(str, t.shape))}]" + (f' "{t.onnx_name}"' * bool(t.onnx_name))
            for t in network.tensors
        )
        yield f"  network {network.name}{relation}: {', '.join(tensors)}"
    label = _with_products(prop, _flat if document is None else document.label)
    for warning in prop.vacuous:
        yield f"  warning: {warning}"
    for number, case in enumerate(prop.cases[:MOST_CASES]):
        yield from _case_lines(number, case, label)
    if len(prop.cases) > MOST_CASES:
        yield f"... and {len(prop.cases) - MOST_CASES} more cases"


def _flat(kind: str, index: int) -> str:
    """The name of an input or output in VNN-LIB 1.0."""
    return f"{'X' if kind == 'input' else 'Y'}_{index}"


def _with_products(prop: Property, label: Label) -> Label:
    """The names of the property's monomials, `X_0*Y_1`, behind those of the outputs."""

    def named(kind: str, index: int) -> str:
        if kind == "input" or index < prop.outputs:
            return label(kind, index)
        factors = prop.monomials[index - prop.outputs]
        return "*".join(label("input", k) if k < prop.inputs else label("output", k - prop.inputs) for k in factors)

    return named


def _case_lines(number: int, case: Case, label: Label) -> Iterator[str]:
    free = [i for i, (low, high) in enumerate(zip(case.lower, case.upper, strict=True)) if low < high]
    yield f"case {number}: {len(free)} free inputs, {len(case.lower) - len(free)} fixed"
    for i in free[:8]:
        yield f"  {float(case.lower[i]):.9g} <= {label('input', i)} <= {float(case.upper[i]):.9g}"
    if len(free) > 8:
        yield f"  ... and {len(free) - 8} more"
    for j, atoms in enumerate(case.disjuncts[:8]):
        yield f"  unsafe {j}: " + (" and ".join(atom_text(a, label) for a in atoms[:8]) or "always")
        if len(atoms) > 8:
            yield f"    ... and {len(atoms) - 8} more atoms"
    if len(case.disjuncts) > 8:
        yield f"  ... and {len(case.disjuncts) - 8} more disjuncts"


def atom_text(atom: Atom, label: Label = _flat) -> str:
    """`X_0 - 2 Y_1 <= 3/2`: the half-space with exact coefficients."""
    terms = [(label("input", i), a) for i, a in atom.x] + [(label("output", j), b) for j, b in atom.y]
    text = ""
    for name, value in terms:
        sign = "-" if value < 0 else "+"
        size = "" if abs(value) == 1 else f"{abs(value)} "
        text += f" {sign} {size}{name}" if text else f"{'-' if value < 0 else ''}{size}{name}"
    return f"{text or '0'} {'<' if atom.strict else '<='} {atom.c}"


def certificate_lines(certificate: CertificateFile) -> Iterator[str]:
    """Header, frames with their sizes, and the shape of the trees; nothing is checked."""
    from farkas.certificate_content import read_content

    yield f"certificate, {certificate.size} bytes (not checked: `farkas check` does that)"
    for key, value in sorted(certificate.header.items()):
        yield f"  {key}: {value}"
    yield ""
    rows = [("part", "bytes in file", "decompressed"), ("header", str(certificate.header_bytes), "")]
    rows += [(frame.name, str(frame.stored), str(len(frame.payload))) for frame in certificate.frames]
    yield from _table(rows)
    content = read_content(certificate)
    if content is not None:
        yield ""
        yield from _content_lines(content, sum(frame.stored for frame in certificate.frames))


def _content_lines(content: Content, stored: int) -> Iterator[str]:
    """The trees in numbers; stored: bytes of all frames."""
    shape, vectors, derived = content.shape, content.vectors, content.derivations
    yield f"trees: {shape.trees}, nodes: {shape.nodes}, leaves: {shape.leaves}, depth: {shape.depth}"
    if content.has_plan:
        yield f"cuts: {shape.cuts.total()} (inputs and neurons), forks: {shape.forks.total()}"
        yield (
            f"derivations: {derived.count} by {len(shape.recipes)} recipes: {derived.forward} forward passes, "
            f"{derived.layers} whole layers, rows of {derived.rows // 2} listed neurons"
        )
        pinned = sum(pins > 0 for pins in vectors.pins)
        yield (
            f"vectors: {len(vectors.pins)} over {content.columns} neurons, {vectors.slopes} slopes; "
            f"{sum(vectors.pins)} pins in {pinned} of them"
        )
    else:
        often = ", ".join(f"X_{i} {count}" for i, count in shape.cuts.most_common(8))
        yield f"bisections by input: {often or 'none'}"
    closed = ", ".join(f"{rule} {count}" for rule, count in content.leaves.most_common())
    yield f"leaves closed by: {closed}"
    yield f"leaf kinds in use: {len(shape.kinds)}; {stored / shape.leaves:.2f} bytes a leaf"
