"""Property files, and the questions that they ask of networks."""

from __future__ import annotations

from pathlib import Path

from farkas.files import FilePath, Unsupported, naming, read_bytes
from farkas.ir.errors import FarkasError
from farkas.ir.joined import Part
from farkas.networks import Network, Networks, all_networks
from farkas.questions import Question, bind
from farkas.specs.errors import MalformedProperty
from farkas.specs.query import Property
from farkas.specs.tokens import decompressed
from farkas.specs.vnnlib import read_property
from farkas.specs.vnnlib2 import is_version_2, read_document
from farkas.specs.vnnlib2_document import UnsupportedQuery

Asked = FilePath | bytes | Property | Question


def load_property(source: FilePath | bytes, net: Networks | None = None) -> Property:
    """The property in a .vnnlib or .vnnlib.gz file (VNN-LIB 1.0 or 2.x), or in such a file's bytes.

    net: the network, or networks by name, that it has to fit; None: any.
    Raises UnreadableFile, Unsupported, MalformedProperty or Mismatch; every message begins with the path.
    """
    return _read(source, net).property


def load_question(net: Networks | None, source: Asked) -> Question:
    """A property with the networks it is about (None: just the property); `verify` and `export` take it in place of the
    property.

    Raises as `load_property`.
    """
    if isinstance(source, Question):
        return source
    if isinstance(source, Property):
        return Question(() if net is None else _parts(net), source)
    return _read(source, net)


def _read(source: FilePath | bytes, net: Networks | None) -> Question:
    if isinstance(source, bytes):
        return _question(decompressed(source), net)
    place = Path(source)
    with naming(place):
        return _question(decompressed(read_bytes(place)), net)


def _question(text: bytes, net: Networks | None) -> Question:
    """The question that a property's decompressed bytes ask."""
    try:
        if is_version_2(text):
            document = read_document(text)
            parts = () if net is None else bind(document, {"": net} if isinstance(net, Network) else net)
            return Question(parts, document.property(), text, document)
        part = None if net is None else _unnamed(net)
        inputs, outputs = (None, None) if part is None else (part.inputs, part.outputs)
        return Question(() if part is None else (part,), read_property(text, inputs=inputs, outputs=outputs), text)
    except UnsupportedQuery as error:
        raise Unsupported(str(error)) from error
    except MalformedProperty as error:
        if error.line == 1 and text[:1] == b"\x08":
            raise MalformedProperty("this is no text but, by its first byte, an ONNX network", 1, 1) from error
        raise


def _unnamed(net: Networks) -> Part:
    """The one network of a property that names none."""
    found = all_networks(net)
    if len(found) > 1:
        raise FarkasError(f"the property is VNN-LIB 1.0 and about one network; found {len(found)}; write it in 2.0")
    return Part("", found[0].graph, found[0].data)


def _parts(net: Networks) -> tuple[Part, ...]:
    """The networks of a property made in Python, in their order."""
    if isinstance(net, Network) or len(net) == 1:
        return (_unnamed(net),)
    return tuple(Part(name, one.graph, one.data) for name, one in net.items())
