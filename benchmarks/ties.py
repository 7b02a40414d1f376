"""What it saves to make equal inputs one: monotonicity and equivalence of examples/networks/avoidance.onnx.

    python benchmarks/ties.py [--timeout 60] [--repeat 3]

Prints a line per question and side, `tied` as Farkas works and `apart` with rule 7 of the normal form left out: free
inputs, verdict, boxes bounded, seconds.  The questions are about the inputs of the encounter box below:

    mono C      in two copies of the network, of which one is nearer and all else is the same, the cost of its first
                advice differs by less than C
    equiv C     the network and one whose weights were changed by 1 % or so at random give costs that differ by less
                than C
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnx
from onnx import numpy_helper

from farkas.engine.options import Options
from farkas.engine.query import Query
from farkas.engine.verify import verify
from farkas.ir.joined import Part
from farkas.ir.onnx_import import load_onnx
from farkas.specs.query import Semantics
from farkas.specs.ties import untied
from farkas.specs.vnnlib2 import read_document

NETWORK = Path(__file__).resolve().parent.parent / "examples" / "networks" / "avoidance.onnx"
BOX = (("8.0", "8.5"), ("-2.5", "-2.4"), ("-0.1", "0.1"), ("0.3", "0.4"), ("0.3", "0.4"))
QUESTIONS = (("mono", "0.0438"), ("mono", "0.0994"), ("equiv", "0.1289"), ("equiv", "0.2577"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print("question,side,inputs,verdict,boxes,seconds (least to most)")
    for kind, threshold in QUESTIONS:
        for side in ("tied", "apart"):
            print(_row(kind, threshold, side == "apart", options.timeout, options.repeat), flush=True)


def _row(kind: str, threshold: str, apart: bool, timeout_s: float, repeat: int) -> str:
    with patch("farkas.engine.query.reduced", lambda prop, _: untied(prop)) if apart else nullcontext():
        query = _query(kind, threshold)
    runs = sorted(_run(query, timeout_s) for _ in range(repeat))
    seconds, words, boxes = (" ".join(dict.fromkeys(column)) for column in zip(*runs, strict=True))
    side = "apart" if apart else "tied"
    return ",".join((f"{kind} {threshold}", side, str(query.property.inputs), words, boxes, seconds))


def _run(query: Query, timeout_s: float) -> tuple[str, str, str]:
    """Seconds, verdict, boxes."""
    start = time.monotonic()
    verdict = verify(query, Options(timeout_s=timeout_s))
    assert verdict.statistics is not None, "a verdict has statistics"
    return f"{time.monotonic() - start:6.2f}", verdict.word, str(verdict.statistics.boxes)


def _query(kind: str, threshold: str) -> Query:
    first = NETWORK.read_bytes()
    second = first if kind == "mono" else _changed(first)
    text = _text(kind, threshold).encode()
    parts = [Part(name, load_onnx(data), data) for name, data in (("f", first), ("g", second))]
    return Query.of(parts, read_document(text).property(), Semantics.F32_ANY, text)


def _changed(data: bytes) -> bytes:
    net, rng = onnx.load_from_string(data), np.random.default_rng(0)
    for tensor in net.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.ndim == 2:
            factor = 1 + 0.01 * rng.standard_normal(weight.shape)
            tensor.CopyFrom(numpy_helper.from_array((weight * factor).astype(np.float32), tensor.name))
    return bytes(net.SerializeToString())


def _text(kind: str, threshold: str) -> str:
    relation = "(equal-to f)" if kind == "mono" else ""
    lines = [
        "(vnnlib-version <2.0>)",
        "(declare-network f (declare-input X float32 [1,5]) (declare-output Y float32 [1,5]))",
        f"(declare-network g {relation} (declare-input U float32 [1,5]) (declare-output V float32 [1,5]))",
    ]
    for i, (low, high) in enumerate(BOX):
        lines.append(f"(assert (and (>= X[0,{i}] {low}) (<= X[0,{i}] {high})))")
        if kind == "equiv" or i:
            lines.append(f"(assert (== X[0,{i}] U[0,{i}]))")
        else:
            lines.append(f"(assert (and (>= U[0,{i}] X[0,{i}]) (>= U[0,{i}] {low}) (<= U[0,{i}] {high})))")
    if kind == "mono":
        return "\n".join([*lines, f"(assert (>= (- V[0,0] Y[0,0]) {threshold}))"])
    apart = [f"(>= (- Y[0,{k}] V[0,{k}]) {threshold}) (>= (- V[0,{k}] Y[0,{k}]) {threshold})" for k in range(5)]
    return "\n".join([*lines, f"(assert (or {' '.join(apart)}))"])


if __name__ == "__main__":
    main()
