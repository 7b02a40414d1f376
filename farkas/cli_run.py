"""`farkas run`: execute a network on one input, bit for bit as a declared order of accumulation says.

Standard output: one line per output value, `Y_0 VALUE BITS`: the shortest decimal that reads back as the same binary32
number, and its 32 bits in hexadecimal.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farkas.process import use_threads
from farkas.usage import COMPLETED, Usage, command_parser

if TYPE_CHECKING:
    from farkas.api import Network
    from farkas.ir.binary32 import Float32


def main(words: list[str], start: float) -> int:
    """Runs `farkas run`."""
    parser = command_parser("run", "Execute a float32 network on one input.")
    parser.add_argument("network", metavar="NET.onnx", help=".gz is accepted")
    parser.add_argument("input", metavar="INPUT.npy", help="the input values, in any shape of the right size")
    parser.add_argument("--order", default="seq-fma", metavar="ID",
                        help="order of accumulation: seq-fma (default), seq-muladd or mlas-k256-fma")  # fmt: skip
    args = parser.parse_args(words)
    use_threads(1)
    from farkas.api import load
    from farkas.ir.execute import execute

    net = load(args.network)
    if args.order == "mlas-k256-fma":
        # The name says what onnxruntime computes; where the installed one computes otherwise, it is refused.
        from farkas.engine.fingerprint import require_mlas_k256

        require_mlas_k256()
    outputs = execute(net.graph, _input(args.input, net), args.order).ravel()
    bits = outputs.view("uint32")
    print("\n".join(f"Y_{j} {value} {bit:08x}" for j, (value, bit) in enumerate(zip(outputs, bits, strict=True))))
    return COMPLETED


def _input(path: str, net: Network) -> Float32:
    """The values of the file, flat, as binary32; nothing is rounded silently."""
    import numpy as np

    try:
        with Path(path).open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise Usage(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, EOFError) as error:
        raise Usage(f"{path}: no NumPy array ({error}); write one with numpy.save") from error
    if values.size != net.inputs:
        raise Usage(f"{path}: shape {values.shape} holds {values.size} values; the network takes {net.inputs}")
    if values.dtype.kind not in "fiu":
        raise Usage(f"{path}: element type {values.dtype}; float32 is wanted")
    with np.errstate(over="ignore"):
        flat = values.ravel().astype(np.float32)
    if not np.isfinite(flat).all():
        raise Usage(f"{path}: a value is infinite, NaN, or beyond the range of float32")
    if not np.array_equal(flat.astype(values.dtype), values.ravel()):
        raise Usage(f"{path}: some {values.dtype} value is no float32 number; convert with astype('float32') yourself")
    return flat
