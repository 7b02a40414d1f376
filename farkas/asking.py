"""Specifications checked one after the other within one time limit, with one place for the certificate of the last."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from farkas.api import FilePath, UnreadableFile
from farkas.engine.verdict import Holds, Verdict
from farkas.ir.errors import FarkasError
from farkas.spec import Spec
from farkas.specs.language_numbers import exact
from farkas.specs.query import Semantics

FIRST_SLICE_S = 1.0
LEAST_SLICE_S = 0.5
SHORTEST_S = 0.2  # of a share
SLICES = 20  # questions that a timeout is meant for at first


@dataclass(frozen=True)
class Limits:
    """When to stop, and where the certificate goes; options: of every question; begun: on the monotonic clock."""

    width: Fraction | None
    timeout_s: float | None
    certificate: Path | None
    options: dict[str, Any]
    begun: float = field(default_factory=time.monotonic)

    @staticmethod
    def of(
        name: str, width: object, timeout: float | None, certificate: FilePath | None,
        semantics: Semantics | str | None, options: dict[str, Any],
    ) -> Limits:  # fmt: skip
        """name: what the width is called.  Raises FarkasError for values that cannot be used."""
        if width is None and timeout is None:
            raise FarkasError(
                f"neither {name} nor timeout is given; say how narrow the interval shall be, or how long to try"
            )
        wanted = None if width is None else exact(width)
        if wanted is not None and wanted < 0:
            raise FarkasError(f"the {name} is {width}; a nonnegative number is wanted")
        if timeout is not None and not timeout >= 0:
            raise FarkasError(f"the timeout is {timeout} s; a nonnegative number is wanted")
        path = None if certificate is None else Path(certificate)
        if path is not None and not path.parent.is_dir():
            raise UnreadableFile(f"{path}: there is no folder {path.parent}")
        return Limits(wanted, timeout, path, {"semantics": semantics, **options})

    @property
    def first_slice_s(self) -> float:
        """The time of one question at first."""
        if self.timeout_s is None:
            return FIRST_SLICE_S
        return min(FIRST_SLICE_S, max(LEAST_SLICE_S, self.timeout_s / SLICES))

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.begun

    @property
    def is_over(self) -> bool:
        return self.timeout_s is not None and self.elapsed_s >= self.timeout_s

    def share_s(self, share: float, longest: float) -> float:
        """A share of the time spent so far, of what is left at most."""
        seconds = min(longest, max(SHORTEST_S, share * self.elapsed_s))
        return seconds if self.timeout_s is None else max(0.0, min(seconds, self.timeout_s - self.elapsed_s))

    def check(self, spec: Spec, seconds: float) -> Verdict:
        """The verdict within so many seconds; its certificate, if it holds, is put in its place whole."""
        if self.timeout_s is not None:
            seconds = max(0.0, min(seconds, self.timeout_s - self.elapsed_s))
        if self.certificate is None:
            return spec.check(timeout=seconds, **self.options)
        folder = self.certificate.parent
        with TemporaryDirectory(prefix=".farkas-", dir=folder) as own:
            verdict = spec.check(timeout=seconds, certificate=Path(own) / self.certificate.name, **self.options)
            if isinstance(verdict, Holds):
                for file in sorted(Path(own).iterdir()):
                    os.replace(file, folder / file.name)
        return verdict
