"""The run in Markdown, for the summary of a continuous integration: the result, the categories, what needs a look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from farkas.reports.facts import Entry, Report, Standing
from farkas.reports.figures import Figures, by_reason, correctness, figures, headline
from farkas.reports.words import meaning

MOST = 20  # instances that are named


def markdown(report: Report) -> str:
    """The text of the file."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {_plain(headline(report))}"
    yield ""
    yield f"{'**Wrong:** ' if report.wrong or report.disputed else ''}{_plain(correctness(report))}"
    yield ""
    yield from _named("Wrong or contradictory", report.wrong, lambda entry: "; ".join(entry.complaints))
    yield from _named("Decided otherwise elsewhere", report.disputed, lambda entry: entry.disagreement)
    yield from _categories(report)
    reasons = by_reason(report)
    if reasons:
        yield "## Not decided"
        yield ""
        for reason, count in reasons:
            yield f"- {count} {_plain(reason)}: {_plain(meaning(reason)[0])}"
        yield ""
    failed = [entry for entry in report.entries if entry.standing is Standing.ERROR]
    yield from _named("Errors", failed, lambda entry: "" if entry.row is None else entry.row.message)
    environment = report.run.environment
    yield f"Run `{report.run.id}`, {report.run.state}; Farkas {_plain(str(environment.get('farkas', '?')))}, digest of"
    yield f"its files `{str(environment.get('code', '?'))[:16]}`."


def _categories(report: Report) -> Iterator[str]:
    head = ["category", "n", *(s.value for s in Standing if s is not Standing.MISSING), "wrong", "median s", "PAR-2 s"]
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    groups = [figures(name, group) for name, group in report.categories.items()]
    if len(groups) > 1:
        groups.append(figures("all", report.entries))
    for one in groups:
        yield f"| {' | '.join(_cells(one))} |"
    yield ""


def _cells(one: Figures) -> Iterator[str]:
    yield _plain(one.name)
    yield str(one.total)
    yield from (str(one.count(standing)) for standing in Standing if standing is not Standing.MISSING)
    yield str(one.wrong)
    yield "-" if one.median_s is None else f"{one.median_s:.2f}"
    yield f"{one.par2_s:.1f}"


def _named(title: str, entries: Sequence[Entry], told: Callable[[Entry], str]) -> Iterator[str]:
    if not entries:
        return
    yield f"## {title}"
    yield ""
    for entry in entries[:MOST]:
        said = _plain(told(entry))
        yield f"- {_plain(entry.category)}: `{_code(entry.network)}` `{_code(entry.query)}`{': ' if said else ''}{said}"
    if len(entries) > MOST:
        yield f"- and {len(entries) - MOST} more"
    yield ""


def _plain(text: str) -> str:
    """Words that Markdown leaves alone, in one line."""
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").replace("|", "/").split())
