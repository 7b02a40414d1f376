"""The operators, one file per family.

A file lists its classes in OPS and the importers of its ONNX operators in IMPORTERS; those of data movement, whose ONNX
forms are many, are in farkas.ir.ops.layout.  Operators on codes (farkas.ir.ops.quantised) are not among OPS: they have
no meaning in core operators.
"""

from __future__ import annotations

from collections.abc import Mapping

from farkas.ir.op import Importer, Op
from farkas.ir.ops import (
    activation,
    affine,
    convolution,
    layout,
    movement,
    multiplication,
    pooling,
    quantised_onnx,
    scaling,
)

OPS: tuple[type[Op], ...] = (
    *affine.OPS,
    *scaling.OPS,
    *multiplication.OPS,
    *convolution.OPS,
    *pooling.OPS,
    *activation.OPS,
    *movement.OPS,
)
IMPORTERS: Mapping[str, Importer] = {
    **affine.IMPORTERS,
    **scaling.IMPORTERS,
    **convolution.IMPORTERS,
    **pooling.IMPORTERS,
    **activation.IMPORTERS,
    **layout.IMPORTERS,
    **quantised_onnx.IMPORTERS,
}
