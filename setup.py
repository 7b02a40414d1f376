"""The optional compiled kernel of bound propagation; everything else is in pyproject.toml.

Without a C compiler the installation succeeds all the same, and NumPy computes the same bounds.  In a checkout,
`python setup.py build_ext --inplace` puts the kernel beside runtime_cuda/native.py, which loads it.
"""

from setuptools import Extension, setup

KERNEL = Extension(
    "farkas.runtime_cuda._crown",
    sources=["runtime_cuda/crown_kernel.c"],
    depends=["runtime_cuda/crown_lanes.h"],
    # No -ffast-math: a NaN must never prove.  Contraction is covered by the error terms.
    extra_compile_args=["-std=gnu11", "-O3", "-ffp-contract=fast"],
    optional=True,
)

setup(ext_modules=[KERNEL])
