"""The two ways in which a check ends without an acceptance."""

from __future__ import annotations


class CheckerError(Exception):
    """Base of the checker's exceptions."""


class MalformedInput(CheckerError):
    """The network or the property cannot be read, or uses something that this checker does not know."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


class CertificateRejected(CheckerError):
    """The certificate does not prove its claim about these bytes."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why
