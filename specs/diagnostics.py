"""What is wrong with a specification: a code, the place in the user's program, found, wanted and the fix.

The place is the innermost frame of the call stack that is no module of ours; Python keeps the columns of the
expression that each instruction comes from, so the message shows the expression itself and not its line only.
"""

import linecache
import sys
import warnings
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from farkas.ir.errors import FarkasError
from farkas.specs.diagnostics_codes import CODES


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the user's program: file, line and columns (from 0, in bytes of UTF-8) of the expression at work.

    expression: its text; empty when the source cannot be read.
    """

    file: str
    line: int
    end_line: int
    column: int
    end_column: int
    expression: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f": {self.expression}" if self.expression else "")


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding; `code` is a key of `farkas.specs.diagnostics_codes.CODES`."""

    code: str
    place: Place | None
    found: str
    wanted: str
    fix: str

    @property
    def title(self) -> str:
        """What kind of mistake it is."""
        return CODES[self.code].title

    def __str__(self) -> str:
        where = "" if self.place is None else f"\n  at     {self.place}"
        return f"{self.code}: {self.title}{where}\n  found  {self.found}\n  wanted {self.wanted}\n  fix    {self.fix}"


class SpecError(FarkasError):
    """A specification that means nothing, or not what it seems to mean."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(str(diagnostic))
        self.diagnostic = diagnostic

    @property
    def code(self) -> str:
        """The code of the diagnostic."""
        return self.diagnostic.code


class UnknownLabel(SpecError, AttributeError):
    """An attribute of a tensor that is neither its own nor a label."""


class SpecWarning(UserWarning):
    """A specification that means something, perhaps not what was meant."""


def fail(code: str, *, found: str, wanted: str, fix: str) -> NoReturn:
    """Raises SpecError at the place in the user's program that led here."""
    raise SpecError(Diagnostic(code, here(), found, wanted, fix))


def warn(code: str, *, found: str, wanted: str, fix: str) -> None:
    """Warns at the place in the user's program that led here."""
    place = here()
    text = str(Diagnostic(code, place, found, wanted, fix))
    if place is None:
        warnings.warn(text, SpecWarning, stacklevel=2)
    else:
        warnings.warn_explicit(text, SpecWarning, place.file, place.line)


def here() -> Place | None:
    """The place in the user's program: the innermost frame outside this package, and what cached properties add."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in ("farkas", "functools"):
        frame = frame.f_back
    return None if frame is None else _place(frame)


def _place(frame: FrameType) -> Place:
    positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    line, end_line, column, end_column = (value if value is not None else -1 for value in positions)
    if line < 0 or column < 0:
        return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_lineno, -1, -1, "")
    file = frame.f_code.co_filename
    lines = [linecache.getline(file, number, frame.f_globals).encode() for number in range(line, end_line + 1)]
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    text = " ".join(part.decode(errors="replace").strip() for part in lines).strip()
    return Place(file, line, end_line, column, end_column, text)
