"""Pictures of certified accuracy over the radius, and of the critical radius of every point."""

from __future__ import annotations

from fractions import Fraction

from farkas.reports import plots
from farkas.reports.facts import Report
from farkas.reports.markup import Markup, el
from farkas.reports.plots import Axis
from farkas.reports.radii import Chain, Family, families
from farkas.reports.sections import cell, numeric, rowhead, section, table, th
from farkas.reports.sources import Sources

WIDTH, HEIGHT, ROW = 460, 250, 15
FEW = 3  # points that are too few for a curve of shares
MOST = 60  # points in the picture of critical radii


def curves(report: Report, sources: Sources) -> Markup | None:
    """The section; None where no instances are about one point with several radii."""
    found = families(report.entries, sources)
    if not found:
        return None
    intro = (
        "Instances of one network that call the same outputs unsafe, on input sets of which one contains the next, "
        "are one point with several radii, from the middle of the smallest set. A proof holds in every smaller set, a "
        "violation in every larger one; what lies between is not known."
    )
    parts = [_one(k, one) for k, one in enumerate(found) if len(one.chains) >= FEW]
    few = [_critical(k, one, _title(one)) for k, one in enumerate(found) if len(one.chains) < FEW]
    if few:
        parts.append(
            el("article", el("h3", "Networks with few points"), el("div", *few, class_="figures"), class_="one")
        )
    return section("radii", "Certified accuracy and critical radii", *parts, intro=intro)


def _title(family: Family) -> str:
    return f"{family.network}, {family.category}"


def _one(number: int, family: Family) -> Markup:
    told = f"{len(family.chains)} points, {len(family.radii)} radii; {family.semantics}"
    return el(
        "article", el("h3", family.network, el("span", f" {family.category}: {told}", class_="small")),
        el("div", _accuracy(number, family), _critical(number, family), class_="figures"), _table(family),
        class_="one",
    )  # fmt: skip


def _accuracy(number: int, family: Family) -> Markup:
    """Two lines of steps, each drawn to the side that claims less, and what is not known between them."""
    total = len(family.chains)
    shares = list(family.shares())
    x = plots.across(0, float(family.radii[-1]), WIDTH, "radius")
    y = plots.upward(0, 100, HEIGHT, "% of points")
    below = [(x.at(float(r)), y.at(100 * proved / total)) for r, proved, _ in shares]
    above = [(x.at(float(r)), y.at(100 * (total - violated) / total)) for r, _, violated in shares]
    lower = [(x.start, below[0][1]), below[0]]
    for place, height in below[1:]:  # between two radii, what is proved with the larger one
        lower += [(lower[-1][0], height), (place, height)]
    upper = plots.steps([(x.start, y.end), *above])
    corners = "L".join(f"{a:.5g} {b:.5g}" for a, b in (*upper, *reversed(lower)))
    area = el("path", d=f"M{corners}z", class_="unknown")
    last = shares[-1]
    told = (
        f"At the smallest radius {plots.number(float(shares[0][0]))}, {shares[0][1]} of {total} points are proved and "
        f"{shares[0][2]} violated; at the largest, {plots.number(float(last[0]))}, {last[1]} and {last[2]}."
    )
    chart = plots.figure(f"a{number}", WIDTH, HEIGHT, f"Certified accuracy of {family.network}", told, plots.axes(x, y),
                         area, plots.line(upper, "line l2"), plots.line(lower, "line l1"))  # fmt: skip
    return el("figure", el("figcaption", "certified accuracy over the radius"), chart,
              plots.legend(("line l1", "proved"), ("line l2", "not violated"), ("line unknown", "open")))  # fmt: skip


def _critical(number: int, family: Family, name: str = "") -> Markup:
    """For every point the interval of its critical radius."""
    chains = sorted(family.chains, key=_order)[:MOST]
    height = ROW * len(chains) + plots.TOP + plots.BOTTOM
    x = Axis(0, float(family.radii[-1]), 130, WIDTH - plots.RIGHT, "radius")
    y = Axis(0, len(chains), plots.TOP, height - plots.BOTTOM, "")
    drawn: list[Markup] = [
        el("line", x1=x.at(value), x2=x.at(value), y1=y.start, y2=y.end, class_="grid") for value in x.ticks
    ]
    drawn += [plots.text(x.at(value), y.end + 14, plots.number(value), "middle") for value in x.ticks]
    drawn.append(plots.text((x.start + x.end) / 2, y.end + 32, "radius", "middle", "name"))
    for k, chain in enumerate(chains):
        drawn += _interval(chain, x, y.at(k + 0.5))
    told = "; ".join(f"{chain.name} {_words(chain)}" for chain in chains)
    more = f", {len(chains)} of {len(family.chains)} points" if len(chains) < len(family.chains) else ""
    shapes = (("circle", "mark proved", "largest proved"), ("diamond", "mark violated", "smallest violated"))
    legend = [
        el("li", el("svg", plots.mark(6, 6, shape, words, class_), width=12, height=12, aria_hidden="true"), " ", words)
        for shape, class_, words in shapes
    ]
    return el("figure", el("figcaption", f"{name}{': ' if name else ''}critical radius of every point{more}"),
              plots.figure(f"c{number}", WIDTH, height, f"Critical radii of {family.network}", told, *drawn),
              el("ul", *legend, class_="legend"))  # fmt: skip


def _interval(chain: Chain, x: Axis, y: float) -> list[Markup]:
    name = chain.name if len(chain.name) <= 20 else chain.name[:9] + "…" + chain.name[-10:]
    left = x.start if chain.proved is None else x.at(float(chain.proved))
    right = x.end if chain.violated is None else x.at(float(chain.violated))
    parts = [
        plots.text(x.start - 8, y + 4, name, "end", "in"),
        el("line", x1=left, x2=right, y1=y, y2=y, class_="between"),
    ]
    if chain.proved is not None:
        parts.append(plots.mark(left, y, "circle", f"{chain.name}: proved {_short(chain.proved)}", "mark proved"))
    if chain.violated is not None:
        told = f"{chain.name}: violated {_short(chain.violated)}"
        parts.append(plots.mark(right, y, "diamond", told, "mark violated"))
    return parts


def _table(family: Family) -> Markup:
    rows = []
    for chain in family.chains:
        radii = ", ".join(_short(one.radius) for one in chain.asked)
        rows.append((rowhead(chain.name), numeric(_float(chain.proved), _short(chain.proved)),
                     numeric(_float(chain.violated), _short(chain.violated)), cell(radii)))  # fmt: skip
    head = ["point", th("largest proved", "num"), th("smallest violated", "num"), "radii asked about"]
    caption = f"Critical radii of {family.network}"
    return el("details", el("summary", "Radii as numbers"), table(caption, head, rows, class_="sortable narrow"))


def _order(chain: Chain) -> tuple[float, float]:
    return _float(chain.proved) or 0.0, _float(chain.violated) or float("inf")


def _words(chain: Chain) -> str:
    proved = "proved with none" if chain.proved is None else f"proved with {_short(chain.proved)}"
    return f"{proved}, violated with {'none' if chain.violated is None else _short(chain.violated)}"


def _float(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _short(value: Fraction | None) -> str:
    return "–" if value is None else f"{float(value):.6g}"
