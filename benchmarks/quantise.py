"""int8 copies of float networks, made by onnxruntime's own quantiser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx


def quantised(data: bytes, points: npt.NDArray[Any], *, operators: bool = False, signed: bool = False) -> bytes:
    """A static quantisation, calibrated on points (k, ...) of the network's input, each with its batch axis.

    operators: QLinear operators, else QuantizeLinear and DequantizeLinear pairs; signed: S8S8 codes, else U8U8.  Mixed
    U8S8 is left out: its products saturate on x86 processors without VNNI.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load_model_from_string(data)
    initialised = {value.name for value in model.graph.initializer}
    name = next(value.name for value in model.graph.input if value.name not in initialised)

    class Samples(CalibrationDataReader):  # type: ignore[misc] # the base class is untyped
        def __init__(self) -> None:
            self._left: Iterator[Any] = iter(points.astype(np.float32))

        def get_next(self) -> Any:  # a dictionary, and None at the end
            point = next(self._left, None)
            return None if point is None else {name: point}

    kind = QuantType.QInt8 if signed else QuantType.QUInt8
    style = QuantFormat.QOperator if operators else QuantFormat.QDQ
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with TemporaryDirectory() as folder:
            path, prepared = Path(folder) / "quantised.onnx", Path(folder) / "prepared.onnx"
            # Makes MatMul and Add one Gemm, whose bias then has int32 codes.
            quant_pre_process(model, str(prepared), skip_symbolic_shape=True)
            quantize_static(prepared, str(path), Samples(), quant_format=style, activation_type=kind, weight_type=kind)
            return path.read_bytes()
    finally:
        logging.disable(level)
