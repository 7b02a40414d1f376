"""Counts the code that a claim stands on: `python tools/trusted_lines.py [--write]`.

Prints the tables of docs/trust.md, or with --write puts them there between the two marks; tests/test_trusted_base.py
fails when the page and the code differ.  A *code line* holds something to execute: no blank line, no comment, no string
that stands alone as a statement.

What needs which module is stated below, once, and compared with the modules whose functions a check calls.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "trust.md"
BEGIN, END = "<!-- tools/trusted_lines.py: begin -->", "<!-- tools/trusted_lines.py: end -->"

UNSAT, FAST, SAT = "`unsat`, tier exact", "`unsat`, tier accelerated", "`sat`"
EVERY = frozenset((UNSAT, FAST, SAT))
EMPTY = frozenset((tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
                   tokenize.ENCODING, tokenize.ENDMARKER))  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Modules of one folder that do one thing, and the claims that stand on them."""

    title: str
    folder: str
    modules: tuple[str, ...]
    claims: frozenset[str]


def _all_of(folder: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (ROOT / folder).glob("*.py")))


PARTS = (
    Part("runs first when `farkas.checker` is imported", "farkas", ("__init__",), EVERY),
    Part("command line, file, claim", "checker", ("__init__", "__main__", "check", "container", "errors"), EVERY),
    Part(
        "reading ONNX",
        "checker",
        (
            "builder",
            "network",
            "operators",
            "operators_choice",
            "operators_conv",
            "operators_linear",
            "operators_mean",
            "operators_movement",
            "protobuf",
            "steps",
            "windows",
        ),
        EVERY,
    ),
    Part("reading VNN-LIB", "checker", ("polynomials", "property", "property2", "property2_normal"), EVERY),
    Part(
        "the query: boxes, atoms, equal inputs, canonical text; binary32",
        "checker",
        ("binary32", "query", "ties"),
        EVERY,
    ),
    Part("numbers in bytes; plan, vectors", "checker", ("leb128", "plan"), frozenset((UNSAT, FAST))),
    Part("summation groups, weights as integers", "checker", ("groups", "integer"), frozenset((UNSAT, FAST))),
    Part("the rule `crown-fp-1`, rows of both rules", "checker", ("kernel", "products"), frozenset((UNSAT, FAST))),
    Part("the rule `crown-fp-2`", "checker", ("refine",), frozenset((UNSAT, FAST))),
    Part("ellipsoids: `crown-fp-3` and `crown-fp-4`", "checker", ("ellipsoid",), frozenset((UNSAT, FAST))),
    Part(
        "leaves and tree: every piece of the box is closed",
        "checker",
        ("prover", "tree", "walk"),
        frozenset((UNSAT, FAST)),
    ),
    Part("replay of a witness", "checker", ("replay",), frozenset((SAT,))),
    Part("the rule on batches, exactly in float64", "checker_fast", _all_of("checker_fast"), frozenset((FAST,))),
)


@dataclass(frozen=True)
class Count:
    """Lines of a text: all of them, and those that hold code."""

    lines: int
    code: int

    def __add__(self, other: Count) -> Count:
        return Count(self.lines + other.lines, self.code + other.code)


def count(text: str) -> Count:
    """The lines of a module's text."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in EMPTY:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return Count(len(text.splitlines()), len(code))


def files(part: Part) -> Iterator[Path]:
    """The files of a part."""
    return (ROOT / part.folder / f"{module}.py" for module in part.modules)


def total(parts: tuple[Part, ...]) -> Count:
    """The lines of all files of some parts."""
    return sum((count(path.read_text(encoding="utf-8")) for part in parts for path in files(part)), Count(0, 0))


def imported(parts: tuple[Part, ...]) -> list[str]:
    """The packages that the files of some parts import, but for ours; sorted."""
    names: set[str] = set()
    for path in (path for part in parts for path in files(part)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return sorted(names - {"__future__", "farkas"})


def tables() -> str:
    """The tables of the page."""
    rows = ["| part | module | lines | code lines |", "|---|---|---|---|"]
    for part in PARTS:
        for number, path in enumerate(files(part)):
            name = path.relative_to(ROOT).as_posix()
            found = count(path.read_text(encoding="utf-8"))
            rows.append(f"| {'' if number else part.title} | [{name}](../{name}) | {found.lines} | {found.code} |")
    rows += ["", "| claim | modules | lines | code lines |", "|---|---|---|---|"]
    for claim in (UNSAT, FAST, SAT):
        parts = tuple(part for part in PARTS if claim in part.claims)
        found = total(parts)
        rows.append(f"| {claim} | {sum(len(part.modules) for part in parts)} | {found.lines} | {found.code} |")
    standard = ", ".join(f"`{name}`" for name in imported(tuple(part for part in PARTS if part.folder == "checker")))
    rows += ["", f"From the standard library the folder `checker` imports {standard}."]
    return "\n".join(rows)


def page_with(found: str) -> str:
    """The page with these tables between its marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{found}\n{END}{after}"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 2
    if arguments:
        PAGE.write_text(page_with(tables()), encoding="utf-8")
    else:
        print(tables())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
