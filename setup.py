"""The optional compiled kernels, of bound propagation and of enumeration; everything else is in pyproject.toml.

Without a C compiler the installation succeeds all the same, and NumPy computes the same bounds and the same runs.  In a
checkout, `python setup.py build_ext --inplace` puts the kernels beside runtime_cuda/native.py and enumeration.py, which
load them.
"""

from setuptools import Extension, setup

BOUNDS = Extension(
    "farkas.runtime_cuda._crown",
    sources=["runtime_cuda/crown_kernel.c"],
    depends=["runtime_cuda/crown_lanes.h"],
    # No -ffast-math: a NaN must never prove.  Contraction is covered by the error terms.
    extra_compile_args=["-std=gnu11", "-O3", "-ffp-contract=fast"],
    optional=True,
)

RUNS = Extension(
    "farkas.runtime_cuda._enumeration",
    sources=["runtime_cuda/enumeration_kernel.c"],
    depends=["runtime_cuda/enumeration_lanes.h"],
    # Each + and * rounds for itself; what is fused is written as fma.
    extra_compile_args=["-std=gnu11", "-O3", "-ffp-contract=off"],
    optional=True,
)

setup(ext_modules=[BOUNDS, RUNS])
