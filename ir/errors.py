"""Errors that a user can cause: each names the thing, the value found, the value wanted and the next step."""


class FarkasError(Exception):
    """Something in the input cannot be used; the message says what, where and what to do."""


class MalformedNetwork(FarkasError):
    """The network file is truncated, inconsistent or not a network."""


class ShapeError(MalformedNetwork):
    """Two shapes of a network do not fit together."""


class UnsupportedOperator(FarkasError):
    """The network uses an operator, or an attribute of one, that has no meaning here yet."""
