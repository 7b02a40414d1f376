"""onnxruntime on the CPU, the second executor of every binary32 witness; no other module imports onnxruntime.

One thread, the CPU provider, and graph optimisation off: then the operators of the file are executed one by one and the
run stays inside the class of executions that `f32-any` speaks of.  With optimisation on, onnxruntime folds
BatchNormalization into the weights of a convolution, which that class leaves out.  Quantised networks are the other way
round: with optimisation on, what stands between DequantizeLinear and QuantizeLinear is one product of integers, which
is how `int-exact` reads it; with it off, it is a sum of float32 numbers.  The version and the options are part of what
a witness records (`describe`).
"""

from __future__ import annotations

import math
import platform
from typing import Any

import numpy as np
import numpy.typing as npt

from farkas.ir.errors import FarkasError
from farkas.ir.onnx_wire import decompressed

Numbers = npt.NDArray[Any]
PROVIDER = "CPUExecutionProvider"
FLOAT = "tensor(float)"
TYPES = {FLOAT: np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32}


class RuntimeFailure(FarkasError):
    """onnxruntime could not load or run a network; the message carries its own."""


class Runtime:
    """One network loaded into onnxruntime."""

    def __init__(self, network: bytes, *, optimised: bool = False, integers: bool = False) -> None:
        """network: the bytes of an .onnx file, gzip-compressed or not; optimised: all graph optimisations, or none;
        integers: inputs and outputs may be integers as well, of `TYPES`.
        """
        import onnxruntime

        self.version: str = onnxruntime.__version__
        self.optimised = optimised
        self._errors = _error_types()
        levels = onnxruntime.GraphOptimizationLevel
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4  # what goes wrong is raised; nothing is printed
        try:
            self._session: Any = onnxruntime.InferenceSession(decompressed(network), options, providers=[PROVIDER])
        except self._errors as error:
            raise RuntimeFailure(
                f"onnxruntime {self.version} does not load the network: {_first_line(error)}"
            ) from error
        self._name, self._shape, self.input_type, self.output_type = self._interface(integers)

    def _interface(self, integers: bool) -> tuple[str, tuple[int, ...], Any, Any]:
        """Name and shape of the only input, dynamic dimensions 1, and the element types of input and output."""
        initialised = {value.name for value in self._session.get_overridable_initializers()}
        inputs = [value for value in self._session.get_inputs() if value.name not in initialised]
        outputs = self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise RuntimeFailure(
                f"the network has {len(inputs)} inputs and {len(outputs)} outputs; replay wants one of each"
            )
        wanted = TYPES if integers else {FLOAT: np.float32}
        for value in (inputs[0], outputs[0]):
            if value.type not in wanted:
                raise RuntimeFailure(f"'{value.name}' has type {value.type}; replay wants {' or '.join(wanted)}")
        shape = tuple(d if isinstance(d, int) else 1 for d in inputs[0].shape)
        return inputs[0].name, shape, TYPES[inputs[0].type], TYPES[outputs[0].type]

    def run(self, x: Numbers) -> Numbers:
        """Outputs (..., m), flat, of the points x (..., n), flat; each point is one call, so no batch changes its bits.

        Raises RuntimeFailure when sizes or types do not fit or onnxruntime fails.
        """
        size = math.prod(self._shape)
        if x.dtype != self.input_type or x.shape[-1] != size:
            raise RuntimeFailure(
                f"the network takes {size} {np.dtype(self.input_type)} values, not {x.shape[-1]} of type {x.dtype}"
            )
        outputs = [self.run_shaped(point.reshape(self._shape)).ravel() for point in x.reshape(-1, size)]
        return np.stack(outputs).reshape(*x.shape[:-1], -1)

    def run_shaped(self, x: Numbers) -> Numbers:
        """The output for one input tensor as onnxruntime takes it, batch axis included."""
        try:
            (y,) = self._session.run(None, {self._name: np.ascontiguousarray(x)})
        except self._errors as error:
            raise RuntimeFailure(f"onnxruntime {self.version} fails on an input: {_first_line(error)}") from error
        return np.asarray(y, dtype=self.output_type)

    def describe(self) -> str:
        """Version, provider, options and machine: what has to be stated with bits that it returned."""
        level = "all" if self.optimised else "off"
        return (
            f"onnxruntime {self.version}, {PROVIDER}, 1 thread, graph optimisation {level}, "
            f"{platform.system()} {platform.machine()}"
        )


def _error_types() -> tuple[type[Exception], ...]:
    """onnxruntime's exceptions; they have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore[reportAttributeAccessIssue] # C

    found = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*found, RuntimeError, ValueError)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
