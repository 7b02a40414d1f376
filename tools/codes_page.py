"""The page about the codes of diagnostics: `python tools/codes_page.py --write` puts it into docs/codes.md.

What a code means is `farkas explain CODE`; the examples are the bad specifications that the tests make
(tests/specs/test_language_diagnostics.py, tests/farkas/test_bad_specifications.py), with the message that each gets.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "codes.md"
WIDTH = 120
HEAD = """# Codes of diagnostics

A specification that means nothing, or not what it seems to mean, raises `fk.SpecError` (FK204: warns with
`fk.SpecWarning`) where it is written. Its message has the code, the place, what was found, what was wanted, and the
fix; `error.diagnostic` has the same as fields, and `farkas explain FK101` or `fk.explain("FK101")` tells what is below.
`x` is a variable with the labels `rho` and `theta`, `rho` is `x.rho`, and `y` is what a network makes of it.

The tests write COUNT bad specifications, and each has to raise its code, at the expression that is wrong, with what to
write instead.
"""

sys.path.insert(0, str(ROOT))  # a script is run with its own folder for the first place to import from


def page() -> str:
    """The text of the page."""
    from farkas.specs.diagnostics_codes import CODES

    shown, counts = examples(), Counter(code for code, *_ in bad_specifications())
    parts = [HEAD.replace("COUNT", str(counts.total())), table(counts)]
    for code, explanation in CODES.items():
        parts.append(f"## {code}: {explanation.title}\n\n{fill(explanation.text, WIDTH)}\n{shown.get(code, '')}")
    return "\n".join(parts)


def bad_specifications() -> list[tuple[str, Callable[[], object], str]]:
    """Those that the tests make: code, what to do, a part of the message."""
    from tests.farkas.test_bad_specifications import MORE
    from tests.specs.test_language_diagnostics import BAD

    return [*BAD, *MORE]


def table(counts: Counter[str]) -> str:
    """Every code, with the number of bad specifications that get it."""
    from farkas.specs.diagnostics_codes import CODES

    rows = [
        f"| [{code}](#{_anchor(code)}) | {known.title} | {counts[code] or 'as a warning'} |"
        for code, known in CODES.items()
    ]
    return "\n".join(["| code | what | tested |", "|---|---|---|", *rows]) + "\n"


def _anchor(code: str) -> str:
    """The name that a section gets from its heading: small letters, words joined, other characters left out."""
    from farkas.specs.diagnostics_codes import CODES

    return re.sub(r"[^\w -]", "", f"{code}: {CODES[code].title}".lower()).replace(" ", "-")


def examples() -> dict[str, str]:
    """For every code the first of the bad specifications, and its message."""
    from farkas.specs.diagnostics import SpecError

    found: dict[str, str] = {}
    for code, bad, _ in bad_specifications():
        try:
            bad()
        except SpecError as error:
            found.setdefault(code, _told(error))
    return found


def _told(error: Exception) -> str:
    """The message in a block of its own, with the expression for its place."""
    from farkas.specs.diagnostics import SpecError

    assert isinstance(error, SpecError), "an example raises what it is an example of"
    said = error.diagnostic
    text = "" if said.place is None or said.place.file.endswith("test_language.py") else said.place.expression
    lines = [("at    ", text), ("found ", said.found), ("wanted", said.wanted), ("fix   ", said.fix)]
    return "\n```text\n" + "\n".join(f"{word} {line}" for word, line in lines if line) + "\n```\n"


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
