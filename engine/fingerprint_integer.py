"""Does the installed onnxruntime compute quantised networks as `int-exact` states?

Integer products have one value in every order; three things are up to the runtime, and are probed where it runs:

  - the binary32 steps of requantisation: multiplier (s_x s_w) / s_y, accumulator to float32, product, ties to even;
  - whether a graph of QuantizeLinear and DequantizeLinear is computed with integers (with graph optimisation, as the
    reading `fused` says) or with dequantised float32 numbers (without it);
  - U8S8 kernels of x86 processors without VNNI add pairs of products in 16 bits and saturate (vpmaddubsw):
    255 * 127 + 255 * 127 > 32767.  Weights of 7 bits (reduce_range), and U8U8 or S8S8, are not affected.

Each form is a one-layer network, run on random inputs and on `run_integer`; every output is compared.  Scales are such
that results spread over the codes; for S8 and U8 weights of full range the inputs lie at the upper end of the codes, so
that a kernel that saturates is found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from farkas.engine.onnx_writer import model, node
from farkas.engine.runtime import Runtime
from farkas.ir.integer import run_integer
from farkas.ir.integer_lowering import lower_integer
from farkas.ir.onnx_import import load_onnx

Form = Literal["QLinearMatMul", "QLinearConv", "QDQ MatMul", "QDQ Conv"]
Codes = Literal["U8U8", "S8S8", "U8S8 reduced", "U8S8"]
FORMS: tuple[Form, ...] = get_args(Form)
CODES: tuple[Codes, ...] = get_args(Codes)
LENGTH, ROWS, POINTS = 36, 17, 40
X_SCALE, W_SCALE = 0.0173, 0.0091


@dataclass(frozen=True)
class IntegerFingerprint:
    """How many of the outputs differed, by form, codes and whether graph optimisation was on."""

    runtime: str
    differs: dict[tuple[Form, Codes, bool], int]

    @property
    def matches(self) -> bool:
        """Quantised operators at both levels, and QDQ graphs with optimisation, are `int-exact`; U8S8 left aside."""
        return not any(
            found
            for (form, codes, optimised), found in self.differs.items()
            if codes != "U8S8" and (optimised or form.startswith("QLinear"))
        )

    @property
    def fuses_without_optimisation(self) -> bool:
        """QDQ graphs are `int-exact` without graph optimisation as well."""
        plain = [k for k in self.differs if k[0].startswith("QDQ") and not k[2] and k[1] != "U8S8"]
        return not any(self.differs[k] for k in plain)

    @property
    def saturates(self) -> bool:
        """Products of uint8 codes and full-range int8 weights differ, where those of reduced range do not."""
        return self.matches and any(
            found for (form, codes, optimised), found in self.differs.items()
            if codes == "U8S8" and (optimised or form.startswith("QLinear"))
        )  # fmt: skip

    def describe(self) -> tuple[str, ...]:
        """One line for each finding."""
        if not self.matches:
            wrong = sorted({f"{f} {c}" for (f, c, on), n in self.differs.items() if n and (on or f[1] == "L")})
            return (f"int-exact does not hold for {self.runtime}: {', '.join(wrong)}",)
        off = "as int-exact too" if self.fuses_without_optimisation else "in float32, another function in its last bits"
        wide = (
            "saturate 16-bit partial sums on this machine: quantise with reduce_range"
            if self.saturates
            else "are exact on this machine"
        )
        return (
            f"int-exact holds for {self.runtime}: QLinearMatMul and QLinearConv, QDQ graphs with graph optimisation",
            f"QDQ graphs without graph optimisation are computed {off}",
            f"uint8 codes times int8 weights of full range {wide}",
        )


def probe_integer(*, seed: int = 0) -> IntegerFingerprint:
    """Compares onnxruntime with `run_integer`; about 0.3 s of CPU time."""
    rng = np.random.default_rng(seed)
    differs: dict[tuple[Form, Codes, bool], int] = {}
    described = ""
    for form in FORMS:
        for codes in CODES:
            data = one_layer(form, codes, rng)
            program = lower_integer(load_onnx(data))
            x = _inputs(codes, rng)
            stated = run_integer(program, x)
            for optimised in (True, False):
                runtime = Runtime(data, optimised=optimised)
                described = described or runtime.describe()
                differs[form, codes, optimised] = int((runtime.run(x) != stated).sum())
    return IntegerFingerprint(described.split(",")[0], differs)


def _inputs(codes: Codes, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Points (POINTS, LENGTH) whose codes fill their range, or its upper end."""
    low, high = (-128, 127) if codes == "S8S8" else (200, 255) if codes == "U8S8" else (0, 255)
    zero = 3 if codes == "S8S8" else 120
    chosen = rng.integers(low, high, (POINTS, LENGTH), endpoint=True)
    return ((chosen - zero) * np.float32(X_SCALE)).astype(np.float32)


def one_layer(form: Form, codes: Codes, rng: np.random.Generator) -> bytes:
    """The bytes of a network of one quantised product, of LENGTH inputs."""
    signed = codes == "S8S8"
    x_type = np.dtype(np.int8 if signed else np.uint8)
    w_type = np.dtype(np.uint8 if codes == "U8U8" else np.int8)
    low, high = (-64, 64) if codes == "U8S8 reduced" else (int(np.iinfo(w_type).min), int(np.iinfo(w_type).max))
    is_conv = form.endswith("Conv")
    weight = rng.integers(low, high, (ROWS, 1, 3, 3) if is_conv else (LENGTH, ROWS), endpoint=True).astype(w_type)
    if codes == "U8S8":
        weight = np.where(weight < 0, low, high).astype(w_type)
    w_zero = 128 if codes == "U8U8" else 0
    spread = X_SCALE * W_SCALE * 9000.0 * float(np.sqrt(9 if is_conv else LENGTH))
    numbers = {"xs": X_SCALE, "ws": W_SCALE, "ys": spread / 60}
    constants: dict[str, Any] = {name: np.array(value, dtype=np.float32) for name, value in numbers.items()}
    constants |= {"xz": np.array(3 if signed else 120, x_type), "wz": np.array(w_zero, w_type), "w": weight}
    constants |= {"yz": np.array(-7 if signed else 131, x_type)}
    shapes = ((1, 1, 6, 6), (1, ROWS, 4, 4)) if is_conv else ((1, LENGTH), (1, ROWS))
    return model(list(_nodes(form)), constants, *shapes)


def _nodes(form: Form) -> Iterator[bytes]:
    yield node("QuantizeLinear", ["x", "xs", "xz"], "q")
    if form.startswith("QLinear"):
        yield node(form, ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz"], "p")
        yield node("DequantizeLinear", ["p", "ys", "yz"], "y")
        return
    yield node("DequantizeLinear", ["q", "xs", "xz"], "d")
    yield node("DequantizeLinear", ["w", "ws", "wz"], "v")
    if form == "QDQ MatMul":  # its float results show in which arithmetic they were computed
        yield node("MatMul", ["d", "v"], "y")
        return
    yield node("Conv", ["d", "v"], "c")
    yield node("QuantizeLinear", ["c", "ys", "yz"], "p")
    yield node("DequantizeLinear", ["p", "ys", "yz"], "y")
