"""What this installation has, and what the installed onnxruntime computes: findings, one a line.

Nothing here is needed for a verdict, and nothing here may fail: whatever goes wrong in looking at a thing is that
thing's finding.  Solvers are looked up, not loaded; onnxruntime is run on small networks (farkas.engine.fingerprint,
farkas.engine.accumulation), because only its bits say in which order it adds up.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

OK: Literal["ok"] = "ok"
MISSING: Literal["missing"] = "missing"
DIFFERS: Literal["differs"] = "differs"  # it is there, and is not what Farkas would like it to be

# Distributions that come with Farkas, and what each is for.
REQUIRED = (
    ("numpy", "bounds and executions"),
    ("networkx", "graphs as NetworkX has them"),
    ("onnx", "writing networks"),
    ("onnxruntime", "the second execution of every binary32 witness"),
    ("highspy", "linear and mixed-integer programs (HiGHS)"),
    ("ortools", "integer networks (CP-SAT), other mixed-integer solvers (MathOpt)"),
    ("z3-solver", "exact arithmetic over the reals, the floating-point theory"),
    ("pysmt", "a front to other SMT solvers"),
    ("rich", "the panel of batch runs"),
)
OPTIONAL = (
    ("bitwuzla", "the fastest solver of the floating-point theory", "pip install 'farkas[smt]'"),
    ("cvc5", "a second solver for cross-checks of the floating-point theory", "pip install 'farkas[smt]'"),
)
PYSMT_BACKENDS = (("z3", "z3"), ("cvc5", "cvc5"), ("msat", "mathsat"), ("yices", "yicespy"))
FEATURES = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimd", "asimddp")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    detail: what was found; gives, advice: what it would give and how to get it, where it is missing.
    """

    topic: str
    name: str
    status: Literal["ok", "missing", "differs"]
    detail: str
    gives: str = ""
    advice: str = ""

    def line(self) -> str:
        wanted = "; ".join(part for part in (self.gives and f"would give {self.gives}", self.advice) if part)
        told = ": ".join(part for part in (self.detail, wanted) if part)
        return f"{self.status:8}{self.name:26}{told}".rstrip()

    def as_dict(self) -> dict[str, str]:
        return {name: str(getattr(self, name)) for name in self.__dataclass_fields__}


def examine() -> Iterator[Finding]:
    """All findings, topic by topic; never raises."""
    topics: tuple[tuple[str, Callable[[str], Iterator[Finding]]], ...] = (
        ("packages", _packages),
        ("solvers", _solvers),
        ("machine", _machine),
        ("kernels", _kernels),
        ("onnxruntime", _orders),
        ("quantised networks", _integers),
        ("arithmetic", _arithmetic),  # last: after everything is loaded that might change it
    )
    for topic, look in topics:
        yield from _safely(topic, look)


def _safely(topic: str, look: Callable[[str], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a topic; what goes wrong in looking is one more."""
    try:
        yield from look(topic)
    except Exception as error:  # noqa: BLE001 - a doctor does not die of what the patient has
        yield Finding(topic, topic, MISSING, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages(topic: str) -> Iterator[Finding]:
    from farkas import __version__

    yield Finding(topic, "farkas", OK, __version__)
    yield Finding(topic, "python", OK, f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for name, gives in REQUIRED:
        version = _version(name)
        yield _present(topic, name, version, gives, "pip install farkas installs it")
    for name, gives, advice in OPTIONAL:
        yield _present(topic, name, _version(name), gives, advice)
    cupy = [name for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy") if _version(name)]
    version = f"{_version(cupy[0])} ({cupy[0]})" if cupy else None
    yield _present(topic, "cupy", version, "bounds on a GPU", "pip install 'farkas[cuda12]' or 'farkas[cuda13]'")


def _present(topic: str, name: str, version: str | None, gives: str, advice: str) -> Finding:
    return Finding(topic, name, OK, version) if version else Finding(topic, name, MISSING, "", gives, advice)


def _solvers(topic: str) -> Iterator[Finding]:
    from farkas.encoders.milp import SOLVERS

    for name, module, label, what in (
        ("lra: z3", "z3", "found", "refutations over the reals"),
        ("milp: highs", "highspy", "found", "linear and mixed-integer programs"),
        ("milp: OR-Tools", "ortools.math_opt", ", ".join(SOLVERS[1:]), "other mixed-integer solvers"),
        ("cp-sat", "ortools.sat", "found", "integer networks"),
    ):
        yield _present(topic, name, label if _loads(module) else None, what, "pip install farkas installs it")
    found = [name for name, module in PYSMT_BACKENDS if _loads("pysmt") and _loads(module)]
    told = f"backends {', '.join(found)}" if found else None
    yield _present(topic, "lra: pysmt", told, "refutations over the reals by any SMT solver", "pip install pysmt")
    from farkas.encoders.fp_solvers import installed_solvers

    found = list(installed_solvers())
    told = f"solvers {', '.join(found)}" if found else None
    advice = "pip install 'farkas[smt]'"
    yield _present(topic, "smt-fp", told, "verdicts for one order on the smallest networks", advice)
    if found and len(found) < 2:
        yield Finding(topic, "smt-fp, second solver", MISSING, "", "an `unsat` that two solvers say", advice)


def _loads(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent
        return False


def _machine(topic: str) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(topic, "processor", OK, f"{platform.machine()}, {cores} cores; {', '.join(_features()) or 'unknown'}")
    build: Any = np.show_config(mode="dicts")
    blas = build.get("Build Dependencies", {}).get("blas", {})
    threads = _blas_threads()
    told = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    yield Finding(topic, "BLAS", OK, told + (f", {threads} threads" if threads else ""))
    from farkas.runtime_cuda.backend import cupy_backend

    try:
        xp: Any = cupy_backend().xp
        properties = xp.cuda.runtime.getDeviceProperties(0)
        yield Finding(topic, "CUDA device", OK, properties["name"].decode())
    except RuntimeError as error:
        yield Finding(topic, "CUDA device", MISSING, "", "bounds on a GPU (--device cupy)", str(error))


def _features() -> list[str]:
    """Those of FEATURES that the processor has, where Linux says."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    words = {
        word for line in text.splitlines() if line.lower().startswith(("flags", "features")) for word in line.split()
    }
    return [name for name in FEATURES if name in words]


def _blas_threads() -> int | None:
    """Threads of the OpenBLAS that NumPy has loaded; None where there is none to ask."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for path in {line.split()[-1] for line in lines if "openblas" in line.lower()}:
        library = ctypes.CDLL(path)
        for name in ("scipy_openblas_get_num_threads64_", "scipy_openblas_get_num_threads", "openblas_get_num_threads"):
            if hasattr(library, name):
                return int(getattr(library, name)())
    return None


def _kernels(topic: str) -> Iterator[Finding]:
    from farkas.runtime_cuda import enumeration, native

    advice = "install where there is a C compiler, or: python setup.py build_ext --inplace"
    for name, is_there, gives in (
        ("bounds, compiled", native.available(), "bounds of boxes several times faster"),
        ("enumeration, compiled", enumeration.available(), "executions of single points many times faster"),
    ):
        if is_there:
            yield Finding(topic, name, OK, "found")
        elif os.environ.get("FARKAS_NATIVE", "1") == "0":
            yield Finding(topic, name, DIFFERS, "switched off by FARKAS_NATIVE=0")
        else:
            yield Finding(topic, name, MISSING, "", gives, advice)


def _orders(topic: str) -> Iterator[Finding]:
    """The declared orders that the installed runtime's products have, by form and optimisation level."""
    from farkas.engine.accumulation import reveal
    from farkas.engine.fingerprint import FORMS, convolution_orders, fingerprints, one_product
    from farkas.engine.runtime import Runtime
    from farkas.ir.binary32 import ORDERS, Float32

    found = fingerprints()
    executor = [order for order in ORDERS if found[False, order].matches]
    status, told = (OK, executor[0]) if executor else (DIFFERS, "none of the declared orders")
    yield Finding(topic, "executor id", status, f"{told}: {found[False, ORDERS[0]].runtime}")
    for level, name in ((False, "optimisation off"), (True, "optimisation all")):
        by_form: dict[str, list[str]] = {form: [] for form in FORMS}
        for order in ORDERS:
            for form, places in found[level, order].differs.items():
                if not places:
                    by_form[form].append(order)
        by_form["Conv"] = list(convolution_orders(optimised=level))
        parts = [f"{form}: {' or '.join(orders)}" for form, orders in by_form.items() if orders]
        other = [form for form in ("Gemm", "MatMul", "Conv") if not by_form[form]]
        told = "; ".join([*parts, *(f"{form}: none of the declared orders" for form in other)])
        yield Finding(topic, name, DIFFERS if "Gemm" in other or "MatMul" in other else OK, told)

    def gemm(weight: Float32, x: Float32, bias: Float32) -> Float32:
        y: Float32 = Runtime(one_product("Gemm", weight, bias)).run_shaped(x[None])[0]
        return y

    yield Finding(topic, "sums of Gemm", OK, reveal(gemm).describe())


def _integers(topic: str) -> Iterator[Finding]:
    """Whether quantised networks are computed as `int-exact` states."""
    from farkas.engine.fingerprint_integer import probe_integer

    found = probe_integer()
    names = ("int-exact", "QDQ graphs", "full-range weights")
    states = (OK if found.matches else DIFFERS, OK, DIFFERS if found.saturates else OK)
    for name, status, told in zip(names, states, found.describe(), strict=False):
        yield Finding(topic, name, status, told)


def _arithmetic(topic: str) -> Iterator[Finding]:
    from farkas.ir.binary32 import subnormals_are_kept

    if subnormals_are_kept():
        yield Finding(topic, "subnormals", OK, "kept, with all that is loaded")
    else:
        advice = "a loaded library was built with -ffast-math; load it in another process"
        yield Finding(topic, "subnormals", DIFFERS, "flushed to zero", "exact runs in binary32", advice)
