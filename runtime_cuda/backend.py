"""Which array module bounds run on: NumPy, or CuPy where a device is at hand; one source for both."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Backend:
    """An array module (`numpy` or `cupy`) and its name; all bounds are float64 on either."""

    xp: ModuleType
    name: str

    def asarray(self, values: Any) -> Any:
        """The values as an array of this backend, moved if they live elsewhere."""
        return self.xp.asarray(values)

    def to_numpy(self, values: Any) -> Any:
        return values.get() if hasattr(values, "get") else np.asarray(values)


def numpy_backend() -> Backend:
    return Backend(np, "numpy")


def cupy_backend() -> Backend:
    """CuPy on the first device; raises RuntimeError with the reason when there is none."""
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError("CuPy is not installed; pip install 'farkas[cuda12]' or 'farkas[cuda13]'") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"no usable CUDA device: {error}") from error
    if count == 0:
        raise RuntimeError("no CUDA device is visible")
    return Backend(cupy, "cupy")
