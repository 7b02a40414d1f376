"""onnxruntime on the CPU, the second executor of every binary32 witness; no other module imports onnxruntime.

One thread, the CPU provider, and graph optimisation off: then the operators of the file are executed one by one and the
run stays inside the class of executions that `f32-any` speaks of.  With optimisation on, onnxruntime folds
BatchNormalization into the weights of a convolution, which that class leaves out.  Quantised networks are the other way
round: with optimisation on, what stands between DequantizeLinear and QuantizeLinear is one product of integers, which
is how `int-exact` reads it; with it off, it is a sum of float32 numbers.  The version and the options are part of what
a witness records (`describe`).

A query about several networks runs each by itself (`Joined`), on its elements of one flat vector.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from farkas.ir.errors import FarkasError
from farkas.ir.joined import Part
from farkas.ir.onnx_wire import decompressed

Numbers = npt.NDArray[Any]
PROVIDER = "CPUExecutionProvider"
FLOAT = "tensor(float)"
TYPES = {FLOAT: np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32}


class RuntimeFailure(FarkasError):
    """onnxruntime could not load or run a network; the message carries its own."""


class Executor(Protocol):
    """Who runs flat points of a query: one network, or several."""

    def run(self, x: Numbers) -> Numbers: ...

    def describe(self) -> str: ...


class Runtime:
    """One network loaded into onnxruntime; several inputs are one flat vector, and several outputs."""

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
        self._inputs, self.input_type, self.output_type = self._interface(integers)
        self.size = sum(math.prod(shape) for _, shape in self._inputs)

    def _interface(self, integers: bool) -> tuple[list[tuple[str, tuple[int, ...]]], Any, Any]:
        """Names and shapes of the inputs, dynamic dimensions 1, and the element types of inputs and outputs."""
        initialised = {value.name for value in self._session.get_overridable_initializers()}
        inputs = [value for value in self._session.get_inputs() if value.name not in initialised]
        outputs = self._session.get_outputs()
        wanted = TYPES if integers else {FLOAT: np.float32}
        for value in (*inputs, *outputs):
            if value.type not in wanted:
                raise RuntimeFailure(f"'{value.name}' has type {value.type}; replay wants {' or '.join(wanted)}")
        kinds = [{value.type for value in values} for values in (inputs, outputs)]
        if any(len(kind) != 1 for kind in kinds):
            raise RuntimeFailure("the network has inputs, or outputs, of several types; replay wants one")
        shapes = [(value.name, tuple(d if isinstance(d, int) else 1 for d in value.shape)) for value in inputs]
        return shapes, TYPES[inputs[0].type], TYPES[outputs[0].type]

    def run(self, x: Numbers) -> Numbers:
        """Outputs (..., m), flat, of the points x (..., n), flat; each point is one call, so no batch changes its bits.

        Raises RuntimeFailure when sizes or types do not fit or onnxruntime fails.
        """
        if x.dtype != self.input_type or x.shape[-1] != self.size:
            raise RuntimeFailure(
                f"the network takes {self.size} {np.dtype(self.input_type)} values, not {x.shape[-1]} of type {x.dtype}"
            )
        outputs = [self._run_point(point) for point in x.reshape(-1, self.size)]
        return np.stack(outputs).reshape(*x.shape[:-1], -1)

    def _run_point(self, point: Numbers) -> Numbers:
        values, start = {}, 0
        for name, shape in self._inputs:
            stop = start + math.prod(shape)
            values[name] = np.ascontiguousarray(point[start:stop].reshape(shape))
            start = stop
        return np.concatenate([y.ravel() for y in self._call(values)])

    def run_shaped(self, x: Numbers) -> Numbers:
        """The output for one input tensor as onnxruntime takes it, batch axis included; for one of each only."""
        ((name, _),) = self._inputs
        (y,) = self._call({name: np.ascontiguousarray(x)})
        return y

    def _call(self, values: dict[str, Numbers]) -> list[Numbers]:
        try:
            found = self._session.run(None, values)
        except self._errors as error:
            raise RuntimeFailure(f"onnxruntime {self.version} fails on an input: {_first_line(error)}") from error
        return [np.asarray(y, dtype=self.output_type) for y in found]

    def describe(self) -> str:
        """Version, provider, options and machine: what has to be stated with bits that it returned."""
        level = "all" if self.optimised else "off"
        return (
            f"onnxruntime {self.version}, {PROVIDER}, 1 thread, graph optimisation {level}, "
            f"{platform.system()} {platform.machine()}"
        )


class Joined:
    """Several networks, each run by itself on its elements of the input; copies of one are loaded once."""

    def __init__(self, networks: Sequence[bytes]) -> None:
        loaded = {network: Runtime(network) for network in dict.fromkeys(networks)}
        self.runtimes = [loaded[network] for network in networks]

    def run(self, x: Numbers) -> Numbers:
        """Outputs (..., m) of all networks, one after the other; raises as `Runtime.run`."""
        size = sum(runtime.size for runtime in self.runtimes)
        if x.shape[-1] != size:
            raise RuntimeFailure(f"the networks take {size} values, not {x.shape[-1]}")
        ends = np.cumsum([runtime.size for runtime in self.runtimes])[:-1]
        parts = zip(self.runtimes, np.split(x, ends, axis=-1), strict=True)
        return np.concatenate([runtime.run(part) for runtime, part in parts], axis=-1)

    def describe(self) -> str:
        """As `Runtime.describe`, of all of them."""
        return self.runtimes[0].describe()


def runtime_of(parts: Sequence[Part]) -> Executor:
    """onnxruntime with the networks of a query.  Raises RuntimeFailure."""
    return Runtime(parts[0].executed) if len(parts) == 1 else Joined([part.executed for part in parts])


def _error_types() -> tuple[type[Exception], ...]:
    """onnxruntime's exceptions; they have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore[reportAttributeAccessIssue] # C

    found = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*found, RuntimeError, ValueError)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
