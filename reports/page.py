"""The page: one HTML file that loads nothing, in the order in which its reader asks.

What was asked, what was decided and on what evidence, and what is open and why come first; then the categories and all
instances; then charts, single searches and witnesses; then the environment.  Styles and script are in the file, named
by their digests in a policy that forbids everything else, so that the page cannot reach a network.  The script sorts,
filters and changes colours; without it everything is there all the same.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from farkas.batch.store import Store
from farkas.reports import charts
from farkas.reports.curves import curves
from farkas.reports.facts import Report
from farkas.reports.gallery import chosen, gallery
from farkas.reports.instances import environment, instances, moment
from farkas.reports.markup import Child, Markup, el, join
from farkas.reports.searches import candidates, searches
from farkas.reports.sections import categories, evidence, section, verdict
from farkas.reports.sources import Sources

HERE = Path(__file__).resolve().parent


def page(report: Report, store: Store) -> str:
    """The whole file; store: where witnesses and certificates are read from."""
    sources = Sources(report.run)
    pictured = chosen(report)
    searched = candidates(report)
    shown = {entry.number for entry in (*pictured, *searched)}
    parts = [
        ("result", "Result", verdict(report)),
        ("evidence", "Evidence", evidence(report)),
        ("categories", "Categories", categories(report)),
        ("charts", "Times", _charts(report)),
        ("instances", "Instances", instances(report, shown)),
        ("radii", "Radii", curves(report, sources)),
        ("searches", "Searches", searches(report, store, sources, searched)),
        ("witnesses", "Witnesses", gallery(report, store, sources, pictured)),
        ("environment", "Environment", environment(report, f"{store.path.name}.files")),
    ]
    found = [(name, title, part) for name, title, part in parts if part is not None]
    links = [el("li", el("a", title, href=f"#{name}")) for name, title, _ in found]
    return _document(
        f"Verification report: {_name(report)}",
        el("a", "Skip to the result", href="#main", class_="skip"),
        _head(report), el("nav", el("ul", *links), aria_label="Sections"),
        el("main", *(part for _, _, part in found), id="main"), _foot(report),
    )  # fmt: skip


def _name(report: Report) -> str:
    """The suite for people: the file's name, or the folder's."""
    return Path(report.run.suite).name or report.run.suite


def _head(report: Report) -> Markup:
    run = report.run
    told = f"Run {run.id}, {run.state}, begun {moment(run.started)}. Farkas {run.environment.get('farkas', '?')}."
    return el("header", el("p", "Verification report", class_="kicker"), el("h1", _name(report)), el("p", told))


def _foot(report: Report) -> Markup:
    told = (
        "This page was made from the store of the run and says no more than it. A proof is believed because the "
        "checker accepts its certificate; a violation because its input can be executed."
    )
    return el("footer", el("p", told))


def _charts(report: Report) -> Markup:
    drawn = [el("figure", el("figcaption", "Instances decided within a time"), charts.cactus(report))]
    if report.against is not None:
        drawn.append(el("figure", el("figcaption", f"Times beside {report.against.name}"), charts.scatter(report)))
    return section("charts", "Times", el("div", *drawn, class_="figures"))


def _document(title: str, *body: Child) -> str:
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}"
    head = el(
        "head", el("meta", charset="utf-8"), el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"), el("title", title), el("style", Markup(style)),
    )  # fmt: skip
    content = join(*body, el("script", Markup(script)))
    return "<!doctype html>\n" + el("html", head, "\n", el("body", content), lang="en") + "\n"


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
