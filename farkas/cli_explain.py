"""`farkas explain`: what the code of a diagnostic means, and what to write instead."""

from __future__ import annotations

from farkas.usage import COMPLETED, Usage, command_parser, emit


def main(words: list[str], start: float) -> int:
    """Runs `farkas explain`; start is not looked at: it answers at once."""
    del start
    parser = command_parser("explain", "What the code of a diagnostic means, and what to write instead.")
    parser.add_argument("code", nargs="?", metavar="CODE", help="as in FK101; all codes when left out")
    args = parser.parse_args(words)
    from farkas.specs.diagnostics_codes import CODES, explain

    if args.code is None:
        emit("".join(f"{code}  {known.title}\n" for code, known in CODES.items()))
        return COMPLETED
    if args.code.upper() not in CODES:
        raise Usage(f"there is no code '{args.code}'; `farkas explain` lists all of them")
    emit(explain(args.code) + "\n")
    return COMPLETED
