"""A folder for every contradiction: files, both answers, our evidence, and how to see it all again.

    network.onnx (or NAME.onnx each), property.vnnlib     what was asked, decompressed
    ours.csv, theirs.csv                                  both answers, as results files
    ours/, theirs/                                        their counterexamples
    ours.json, certificate.nnc                            more about our answer, and its certificate
    instances.csv                                         the question as a suite
    README.md, SHA256SUMS                                 what is wrong, and the commands that show it

The commands of the README run in the folder itself and need Farkas, and for the other answer its verifier, alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import farkas
from farkas.batch.adjudication import CERTIFICATE, Finding, network_words
from farkas.batch.comparison import Answer
from farkas.batch.environment import code_digest, environment
from farkas.batch.recorded import stem
from farkas.batch.suites import networks, query
from farkas.batch.validation import read_text
from farkas.specs.tokens import decompressed
from farkas.specs.vnnlib2 import is_version_2

PROPERTY, SUMS = "property.vnnlib", "SHA256SUMS"


def write_bundle(finding: Finding, parent: Path) -> Path:
    """The folder of a contradiction; one that is there already is made anew."""
    row = finding.row
    name = re.sub(r"[^\w.-]+", "-", f"{row.category}-{stem(finding.ours)}")[:80]
    question = "\0".join((row.category, row.onnx, row.vnnlib, finding.source))
    place = parent / f"{name}-{hashlib.sha256(question.encode()).hexdigest()[:8]}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    files = [(network, f"{network or 'network'}.onnx") for network, _ in networks(row)]
    for (_, source), (_, target) in zip(networks(row), files, strict=True):
        (place / target).write_bytes(decompressed(source.read_bytes()))
    text = decompressed(query(row).read_bytes())
    (place / PROPERTY).write_bytes(text)
    column = files[0][1] if len(files) == 1 and not files[0][0] else repr(files)
    asked = Answer(row.category, column, PROPERTY, "")
    _write_ours(finding, place)
    for side, answer in (("ours", finding.ours), ("theirs", finding.theirs)):
        _write_answer(side, answer, asked, place)
    quoted = f'"{column}"' if "," in column else column
    (place / "instances.csv").write_text(f"{quoted},{PROPERTY},{row.timeout_s:g}\n", encoding="utf-8")
    readme = "\n".join(_readme(finding, files, place, is_2=is_version_2(text))) + "\n"
    (place / "README.md").write_text(readme, encoding="utf-8")
    _write_sums(place)
    return place


def _write_ours(finding: Finding, place: Path) -> None:
    answer = finding.ours
    content: dict[str, Any] = {key: value for key, value in asdict(answer).items() if not isinstance(value, Path)}
    content |= {"environment": environment(code_digest()), "ruling": finding.ruling.value, "reasons": finding.reasons}
    (place / "ours.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    certificate = finding.certificate or answer.certificate
    if certificate is not None and certificate.is_file():
        shutil.copyfile(certificate, place / CERTIFICATE)


def _write_answer(side: str, answer: Answer, asked: Answer, place: Path) -> None:
    """An answer as a results file, with its counterexample in a folder of the same name."""
    line = io.StringIO()
    row = (place.name, asked.onnx, PROPERTY, 0, answer.verdict, f"{answer.wall_s:.3f}")
    csv.writer(line, lineterminator="\n").writerow(row)
    (place / f"{side}.csv").write_text(line.getvalue(), encoding="utf-8")
    text = None if answer.witness is None else read_text(answer.witness)
    if text:
        (place / side).mkdir()
        (place / side / f"{stem(asked)}.counterexample").write_text(text, encoding="utf-8")


def _readme(finding: Finding, files: list[tuple[str, str]], place: Path, *, is_2: bool) -> Iterator[str]:
    row, ours, theirs = finding.row, finding.ours, finding.theirs
    yield f"# {ours.title}: {ours.verdict} against {theirs.verdict}\n"
    mode = ours.semantics or "semantics not known"
    taken = f"in {ours.wall_s:.2f} s of {row.timeout_s:g} s"
    yield f"- Farkas {farkas.__version__} says **{ours.verdict}** ({mode}), {taken}."
    yield f"- `{finding.source}` says **{theirs.verdict}**, in {theirs.wall_s:.2f} s."
    yield f"- Ruling: **{finding.ruling}**.\n"
    yield from (f"  - {reason}" for reason in finding.reasons)
    yield "\nThe files are copies (SHA256SUMS), decompressed; `ours.json` has the machine and all versions.\n"
    yield "## To see it again, in this folder\n"
    yield "```sh"
    limits = ["--semantics", ours.semantics] if ours.semantics else []
    named = network_words(list(files))
    asked = [PROPERTY, *named] if is_2 else [files[0][1], PROPERTY]
    yield shlex.join(["farkas", "verify", *asked, *limits, "--timeout", f"{row.timeout_s:g}"])
    if (place / CERTIFICATE).is_file():
        yield shlex.join(["farkas", "check", CERTIFICATE, *named, "--property", PROPERTY, *limits])
    side = "ours" if ours.verdict == "sat" else "theirs"
    yield f"farkas score {side}={side}.csv --suite instances.csv --witnesses {side} # replays the counterexample"
    yield "```"
    if "{" in finding.source:
        yield "\nand the other verifier, its places filled (a path of it is from where it was started):\n"
        yield f"```sh\n{_filled(finding, files)}\n```"


def _filled(finding: Finding, files: list[tuple[str, str]]) -> str:
    from farkas.batch.others import words

    onnx = files[0][1] if len(files) == 1 and not files[0][0] else repr(files)
    timeout = f"{finding.row.timeout_s:.0f}"
    values = {"onnx": onnx, "vnnlib": PROPERTY, "timeout": timeout, "out": "again.txt"}
    return shlex.join(words(finding.source, {**values, "category": finding.row.category}))


def _write_sums(place: Path) -> None:
    paths = sorted(path for path in place.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(place)}\n" for path in paths]
    (place / SUMS).write_text("".join(lines), encoding="utf-8")
