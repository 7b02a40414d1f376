"""Errors that a property or witness file can cause; each says where, what was found and what was wanted."""

from farkas.ir.errors import FarkasError


class MalformedProperty(FarkasError):
    """The property is not a well-formed query; `line` and `column` count from 1 and point at the offending text."""

    def __init__(self, message: str, line: int, column: int) -> None:
        """`message` says what was found and what was wanted, without the position."""
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


class MalformedWitness(FarkasError):
    """The witness text is not the list of (X_i value) and (Y_j value) pairs that it has to be."""
