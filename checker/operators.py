"""The operators that the checker knows, by family: each reads its operands and attributes, and appends steps or moves
elements.

A handler takes (builder, inputs, attributes, number of outputs) and returns the outputs.  It removes every attribute
that it has understood; the caller refuses what is left.
"""

from __future__ import annotations

from farkas.checker import operators_choice, operators_conv, operators_linear, operators_mean, operators_movement
from farkas.checker.builder import Handler

OPERATORS: dict[str, Handler] = {
    **operators_choice.HANDLERS,
    **operators_conv.HANDLERS,
    **operators_linear.HANDLERS,
    **operators_mean.HANDLERS,
    **operators_movement.HANDLERS,
}
