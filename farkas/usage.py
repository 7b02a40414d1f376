"""What the commands share: exit codes, the error of wrong usage, and the forms of their arguments."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

COMPLETED, UNDECIDED, BAD_INPUT, REJECTED, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 4, 130


class Usage(Exception):
    """The command line is wrong; the message says what was found and what was wanted."""


def say(message: str) -> None:
    """A line for people."""
    print(f"farkas: {message}", file=sys.stderr)


def emit(text: str) -> None:
    """Standard output, all of it at once; a reader who has left already does not change what the command found."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_output()


def abandon_output() -> None:
    """Sends what is still to be written nowhere, so that the interpreter does not complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command_parser(
    command: str, description: str, *, usage: str | None = None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """A parser for one command; options are written out in full."""
    import argparse

    return argparse.ArgumentParser(
        prog=f"farkas {command}", description=description, usage=usage, epilog=epilog, allow_abbrev=False
    )


def named_network(word: str) -> tuple[str, str]:
    """Name and file of `f=NET.onnx`; no name for `NET.onnx`, and for a file whose own name has a `=`."""
    name, equals, path = word.partition("=")
    return (name, path) if equals and name.isidentifier() and not Path(word).exists() else ("", word)


def positive(word: str) -> float:
    """A finite number above 0; ValueError otherwise (argparse names the option)."""
    value = float(word)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def counted(word: str) -> int:
    """An integer from 1 up; ValueError otherwise."""
    value = int(word)
    if value < 1:
        raise ValueError
    return value


positive.__name__, counted.__name__ = "positive number", "positive count"  # argparse prints these names
