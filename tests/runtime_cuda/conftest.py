"""The backends: every test that takes `backend` runs on NumPy and, where a device is at hand, on CuPy."""

import pytest

from farkas.runtime_cuda.backend import Backend, cupy_backend, numpy_backend


@pytest.fixture(scope="session", params=["numpy", pytest.param("cupy", marks=pytest.mark.cuda)])
def backend(request: pytest.FixtureRequest) -> Backend:
    return numpy_backend() if request.param == "numpy" else cupy_backend()
