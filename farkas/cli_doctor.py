"""`farkas doctor`: what this installation has and lacks, and which executor the installed onnxruntime is.

Standard output: findings topic by topic, a line each, that begins with `ok`, `missing` or `differs`; a missing thing is
told with what it would give and how to install it.  With --json an array of objects.  Exit code 0, whatever it finds.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

from farkas.process import use_threads
from farkas.usage import COMPLETED, command_parser, counted, emit

if TYPE_CHECKING:
    from farkas.engine.doctor import Finding


def main(words: list[str], start: float) -> int:
    """Runs `farkas doctor`."""
    parser = command_parser("doctor", "What is installed, what is missing, and what onnxruntime computes here.")
    parser.add_argument("--json", action="store_true", help="an array of objects")
    parser.add_argument("--threads", type=counted, default=1, metavar="N", help="BLAS threads (default 1)")
    args = parser.parse_args(words)
    use_threads(args.threads)
    from farkas.engine.doctor import examine

    findings = list(examine())
    emit(json.dumps([finding.as_dict() for finding in findings]) + "\n" if args.json else text(findings))
    return COMPLETED


def text(findings: list[Finding]) -> str:
    """The findings under the names of their topics."""
    lines = []
    for topic, group in groupby(findings, key=lambda finding: finding.topic):
        lines += [topic, *(f"  {finding.line()}" for finding in group)]
    return "\n".join(lines) + "\n"
