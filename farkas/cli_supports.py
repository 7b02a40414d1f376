"""`farkas supports`: capabilities in the words of the VNN-LIB 2.0 standard, chapter on the solver's command line.

What is said here is what works: VNN-LIB 1.0 and 2.x (of 2.1 all but `initialized`), several inputs, outputs and
networks, atoms linear in inputs and outputs together, properties brought to disjunctive normal form.  int8 and uint8
are those of quantised networks, whose inputs may be codes themselves; such a network is asked about alone.  float64 is
missing from the element types although such networks are read: their verdicts are about the reals (type `real`), not
about float64 executions.
"""

from __future__ import annotations

from collections.abc import Mapping

from farkas.usage import COMPLETED, Usage, command_parser

ANSWERS: Mapping[str, tuple[str, ...]] = {
    "onnx-element-types": ("float32", "int8", "uint8", "real"),
    "vnnlib-versions": ("1.0", "2.1"),  # smallest, greatest
    "hidden-node-theories": ("NH",),  # no hidden nodes
    "multiple-input-output-theories": ("SIO", "MIO"),  # several inputs and outputs too
    "multiple-network-theories": ("SNET", "MENET", "MINET", "MNET"),  # copies, and networks of one or of any structure
    "multiple-node-comparison-theories": ("SNC", "MNC"),  # comparisons between the input and the output too
    "arithmetic-complexity-theories": ("BND", "OUTC", "LIN"),  # bounds, output comparisons, linear terms
    "optimised-disjunctive-reasoning": ("false",),  # disjunctive normal form
    "serialise-assignments": ("true",),
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
        return tuple(sorted({*supported_operators(), *quantised_operators()}))
    return str(OPSETS[0]), str(OPSETS[-1])
