"""The operators, one file per family; each file lists its classes in OPS and its ONNX operators in IMPORTERS."""

from __future__ import annotations

from collections.abc import Mapping

from farkas.ir.op import Importer, Op
from farkas.ir.ops import activation, affine, movement

OPS: tuple[type[Op], ...] = (*affine.OPS, *activation.OPS, *movement.OPS)
IMPORTERS: Mapping[str, Importer] = {**affine.IMPORTERS, **activation.IMPORTERS, **movement.IMPORTERS}
