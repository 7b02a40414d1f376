"""Which array module runs, and what is said where there is no device."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from farkas.runtime_cuda.backend import Backend, cupy_backend


class CudaError(Exception):
    pass


def fake(count: int | None) -> SimpleNamespace:
    """A CuPy that sees `count` devices, or whose driver fails."""

    def devices() -> int:
        if count is None:
            raise CudaError("no driver")
        return count

    runtime = SimpleNamespace(getDeviceCount=devices, CUDARuntimeError=CudaError)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))


def test_without_cupy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"pip install 'farkas\[cuda12\]'"):
        cupy_backend()


@pytest.mark.parametrize(("count", "message"), [(None, "no usable CUDA device: no driver"), (0, "no CUDA device")])
def test_without_a_device_the_reason_is_given(monkeypatch: pytest.MonkeyPatch, count: int | None, message: str) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake(count))
    with pytest.raises(RuntimeError, match=message):
        cupy_backend()


def test_with_a_device_cupy_is_the_array_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake(1))
    backend = cupy_backend()
    assert backend.name == "cupy" and backend.xp is sys.modules["cupy"]


def test_values_move_there_and_back(backend: Backend) -> None:
    values = np.array([1.5, -2.0])
    there = backend.asarray(values)
    assert isinstance(there, backend.xp.ndarray)
    back = backend.to_numpy(there)
    assert isinstance(back, np.ndarray) and back.tolist() == [1.5, -2.0]
