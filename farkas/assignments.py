"""The serialised assignments of VNN-LIB 2.x: a folder with one ONNX TensorProto, NAME.pb, for every declared variable.

The tensors have the declared element types; those of `real` variables are float64, the nearest to the exact value: the
text of the assignment, which `--witness` writes, has the value itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farkas.engine.verdict import Verdict
from farkas.questions import Question

if TYPE_CHECKING:
    from farkas.specs.vnnlib2_assignment import Assigned


def write_tensors(question: Question, verdict: Verdict, folder: Path) -> None:
    """Writes the files of a `sat` about a VNN-LIB 2.x property; raises UnreadableFile where that cannot be."""
    from farkas.api import UnreadableFile, write_bytes
    from farkas.engine.verdict import Violated
    from farkas.specs.vnnlib2_assignment import read_assignment

    assert question.document is not None and isinstance(verdict, Violated), "the command line has looked"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnreadableFile(f"{folder}: cannot be made: {error.strerror}") from error
    for tensor in read_assignment(verdict.assignment):
        write_bytes(folder / f"{tensor.name}.pb", serialised(tensor))


def serialised(tensor: Assigned) -> bytes:
    """The bytes of a TensorProto."""
    import numpy as np
    from onnx import numpy_helper

    dtype = np.dtype("float64" if tensor.element == "real" else tensor.element)
    kind = int if dtype.kind in "iu" else float
    values = np.array([kind(value) for value in tensor.values], dtype=dtype).reshape(tensor.shape)
    data: bytes = numpy_helper.from_array(values, tensor.name).SerializeToString()
    return data
