"""`farkas supports`: capabilities in the words of the VNN-LIB 2.0 standard, chapter on the solver's command line.

What is said here is what works: VNN-LIB 1.0 and 2.x (of 2.1 all but `initialized`), several inputs, outputs and
networks, hidden tensors, comparisons of polynomials in all of these together, properties brought to disjunctive normal
form.  int8 and uint8 are those of quantised networks, whose inputs may be codes themselves; such a network is asked
about alone.  float64 is missing from the element types although such networks are read: their verdicts are about the
reals (type `real`), not about float64 executions.  Certificates have a format of their own (docs/certificate.md), not
the standard's format of proofs, so `--unsat-proofs` is false.
"""

from __future__ import annotations

from collections.abc import Mapping

from farkas.usage import COMPLETED, Usage, command_parser

ANSWERS: Mapping[str, tuple[str, ...]] = {
    "onnx-element-types": ("float32", "int8", "uint8", "real"),
    "vnnlib-versions": ("1.0", "2.1"),  # smallest, greatest
    "hidden-node-theories": ("NH", "H"),  # without and with hidden nodes
    "multiple-input-output-theories": ("SIO", "MIO"),  # several inputs and outputs too
    "multiple-network-theories": ("SNET", "MENET", "MINET", "MNET"),  # copies, and networks of one or of any structure
    "multiple-node-comparison-theories": ("SNC", "MNC"),  # comparisons between the input and the output too
    "arithmetic-complexity-theories": (
        "BND",
        "OUTC",
        "LIN",
        "POLY",
    ),  # bounds, outputs compared, linear terms, polynomials
    "optimised-disjunctive-reasoning": ("false",),  # disjunctive normal form
    "serialise-assignments": ("true",),
    "unsat-proofs": ("false",),  # in the standard's own format
}


def main(words: list[str], start: float) -> int:
    """Runs `farkas supports`: the answers to the options given, in their order, one item a line."""
    parser = command_parser("supports", "Capabilities, one item a line.")
    for name in ("onnx-operators", "onnx-opset-versions", *ANSWERS):
        parser.add_argument(f"--{name}", dest="asked", action="append_const", const=name)
    asked: list[str] = parser.parse_args(words).asked or []
    if not asked:
        raise Usage(f"say what to report: --onnx-operators, --onnx-opset-versions, --{', --'.join(ANSWERS)}")
    print("\n".join(line for name in asked for line in answer(name)))
    return COMPLETED


def answer(name: str) -> tuple[str, ...]:
    """The lines for one capability."""
    if name in ANSWERS:
        return ANSWERS[name]
    from farkas.ir.onnx_import import OPSETS, quantised_operators, supported_operators

    if name == "onnx-operators":
        types = dict.fromkeys(supported_operators(), "float32 real") | dict.fromkeys(
            quantised_operators(), "int8 uint8"
        )
        types |= dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), "float32 int8 uint8")  # between the two
        return tuple(f"{name} {types[name]}" for name in sorted(types))
    return str(OPSETS[0]), str(OPSETS[-1])
