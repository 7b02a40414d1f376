"""One specification for every point of a dataset and every value of its parameters, asked one after the other.

    @fk.prop(each=zip(images, labels), params={"eps": ["1/64", "1/32", "1/16"]})
    def stays(image, label, eps):
        return fk.patterns.robust(net, image, label, eps)

    results = stays.check(timeout=10)         # a table; results.curve() is the certified accuracy over eps

A cell is a point with values of the parameters.  Cells of one point are asked from the middle of the grid outwards, and
a cell that follows from one that is decided is not asked again:

    what is unsafe for A is unsafe for B, and B holds      A holds
    what is unsafe for A is unsafe for B, A is violated    B is violated, by the same witness

Whether it follows is seen in the normal forms and nowhere else (`follows`): same networks, each box of A inside one of
B with the same unsafe region above it.  So nobody has to say that balls grow with eps, and a parameter that does
something else costs its questions and no soundness.  With seven radii three questions are enough.

One point's failure does not lose the others: what cannot be asked is a row that says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from farkas.api import FilePath
from farkas.engine.verdict import Holds, Unknown, Violated
from farkas.ir.errors import FarkasError
from farkas.prop_results import Outcome, Results, Row
from farkas.spec import Spec
from farkas.specs.boxes import nearest32
from farkas.specs.diagnostics import SpecError, fail
from farkas.specs.query import Case

if TYPE_CHECKING:
    from farkas.prop_critical import CriticalResults

CENTRE = "FK517"  # of a specification whose centre violates it

Value = object
Reporter = Callable[[Row], None]


@dataclass(frozen=True)
class Prop:
    """A function that makes a specification of a point and parameters, with the points and the grid of parameters."""

    function: Callable[..., Spec]
    points: tuple[Any, ...]
    params: Mapping[str, tuple[Value, ...]]

    @property
    def name(self) -> str:
        return self.function.__name__

    def __call__(self, *arguments: Any, **params: Value) -> Spec:
        """The specification of one point, as the function makes it."""
        return self.function(*arguments, **params)

    def spec(self, point: int, **params: Value) -> Spec:
        """The specification of a point, by its number."""
        item = self.points[point]
        return self(*(item if isinstance(item, tuple) else (item,)), **params)

    def grid(self) -> list[dict[str, Value]]:
        """All choices of the parameters' values, the last parameter fastest."""
        return [dict(zip(self.params, values, strict=True)) for values in product(*self.params.values())]

    def without(self, param: str) -> Prop:
        """The same without values of a parameter."""
        return replace(self, params={name: values for name, values in self.params.items() if name != param})

    def specs(self) -> dict[str, Spec]:
        """The specifications of all cells by point and parameters, as a suite for `farkas bench`.

        Misclassified points are left out.  Raises what else goes wrong, FarkasError or what the function raises.
        """
        found: dict[str, Spec] = {}
        for point, params in product(range(len(self.points)), self.grid()):
            name = ",".join([str(point), *(f"{key}={value}" for key, value in params.items())])
            try:
                found[name] = self.spec(point, **params)
            except SpecError as error:
                if error.code != CENTRE:
                    raise
        return found

    def check(self, *, report: Reporter | None = None, **options: Any) -> Results:
        """All cells, asked: options are those of `rows`; report: called with every row as soon as it is there."""
        found: list[Row] = []
        for row in self.rows(**options):
            found.append(row)
            if report is not None:
                report(row)
        return Results(self.name, tuple(self.params), tuple(found)).ordered()

    def rows(
        self, *, timeout: float | None = None, certificates: FilePath | None = None, **options: Any
    ) -> Iterator[Row]:
        """The rows one by one, in the order of their decision; an interrupt leaves the caller with those so far.

        timeout: seconds for every question.  certificates: a folder for the certificates of all cells that are asked.
        options: those of `Spec.check`.
        """
        if certificates is not None:
            Path(certificates).mkdir(parents=True, exist_ok=True)
        for point in range(len(self.points)):
            yield from self._point(point, certificates, {"timeout": timeout, **options})

    def critical(self, param: str, low: Value, high: Value, **options: Any) -> CriticalResults:
        """Up to which value of a parameter it holds, at every point and choice of the other parameters.

        options: those of `Spec.critical`: `tolerance`, `timeout` (of every point), `semantics` ...
        """
        from farkas.prop_critical import search

        return search(self, param, low, high, options)

    def _point(self, point: int, certificates: FilePath | None, options: Mapping[str, Any]) -> Iterator[Row]:
        """The rows of one point."""
        cells = self.grid()
        decided: list[tuple[Row, Spec]] = []
        for place in halving(len(cells)):
            row = Row(point, place, {name: str(value) for name, value in cells[place].items()})
            own = dict(options)
            if certificates is not None:
                own["certificate"] = Path(certificates) / f"{self.name}-{point}-{place}.nnc"
            start = time.monotonic()
            with recorded(row) as record:
                spec = self.spec(point, **cells[place])
                record.row = implied(row, spec, decided) or _asked(row, spec, own)
                decided.append((record.row, spec))
            yield replace(record.row, time_s=time.monotonic() - start)


@dataclass
class _Record:
    """The row of a cell, which what goes wrong replaces by one that says so."""

    row: Row


@contextmanager
def recorded(row: Row) -> Iterator[_Record]:
    """Turns what is raised inside into a row: a centre that violates is no question, everything else an error.

    A loop over a dataset ends with all other points decided, so this is the one place that catches every exception, of
    the user's function too; the row keeps it for whoever wants to raise it again.
    """
    record = _Record(row)
    try:
        yield record
    except SpecError as error:
        outcome = Outcome.MISCLASSIFIED if error.code == CENTRE else Outcome.ERROR
        record.row = replace(row, outcome=outcome, detail=str(error), error=error)
    except Exception as error:  # noqa: BLE001  # see above; nothing here is believed afterwards
        record.row = replace(row, outcome=Outcome.ERROR, detail=f"{type(error).__name__}: {error}", error=error)


def _asked(row: Row, spec: Spec, options: Mapping[str, Any]) -> Row:
    """The row with the engine's verdict."""
    if not isinstance(spec, Spec):
        raise FarkasError(f"the function returned {type(spec).__name__}; a specification, fk.Spec(...), is wanted")
    verdict = spec.check(**options)
    match verdict:
        case Holds():
            return replace(row, outcome=Outcome.HOLDS, evidence=verdict.evidence, verdict=verdict)
        case Violated():
            return replace(row, outcome=Outcome.VIOLATED, evidence=verdict.evidence, verdict=verdict)
        case Unknown():
            detail = f"{verdict.reason.value}: {verdict.detail}"
            return replace(row, outcome=Outcome.UNKNOWN, detail=detail, verdict=verdict)


def implied(row: Row, spec: Spec, decided: Sequence[tuple[Row, Spec]]) -> Row | None:
    """The row with a verdict that follows from another cell of the same point; None when none does."""
    for known, other in decided:
        holds = known.outcome is Outcome.HOLDS and follows(spec, other)
        if holds or (known.outcome is Outcome.VIOLATED and follows(other, spec)):
            return replace(known, place=row.place, params=row.params, source=known.place)
    return None


def follows(small: Spec, large: Spec) -> bool:
    """Whether every counterexample of `small` is one of `large`, as their normal forms show, asked in one semantics.

    False says nothing.  A single point of a box is read as its nearest binary32 number, which need not lie in a wider
    interval around the decimal, so such a coordinate has to be a point of both boxes, or a binary32 number.
    """
    one, other = small.property, large.property
    if (one.inputs, one.outputs, one.monomials) != (other.inputs, other.outputs, other.monomials):
        return False
    if small.semantics != large.semantics:
        return False
    copies, others = small.normal.copies, large.normal.copies
    if len(copies) != len(others) or not all(a.is_like(b) for a, b in zip(copies, others, strict=True)):
        return False
    return all(any(_inside(case, wider) for wider in other.cases) for case in one.cases)


def _inside(case: Case, wider: Case) -> bool:
    """Whether a box lies in another one, and all its disjuncts are disjuncts there."""
    ends = zip(case.lower, case.upper, wider.lower, wider.upper, strict=True)
    return set(case.disjuncts) <= set(wider.disjuncts) and all(
        c <= a and b <= d and (a != b or c == d or nearest32(a) == a) for a, b, c, d in ends
    )


def halving(count: int) -> list[int]:
    """The numbers below `count`: the middle one, then those of both halves, as a search by halving meets them."""
    found, parts = [], [(0, count)]
    for low, high in parts:
        if low < high:
            middle = (low + high) // 2
            found.append(middle)
            parts += [(low, middle), (middle + 1, high)]
    return found


def prop(
    *, each: Iterable[Any], params: Mapping[str, Iterable[Value]] | None = None
) -> Callable[[Callable[..., Spec]], Prop]:
    """Decorates a function that makes a specification: it is asked for each point and every choice of parameters.

    each: points; a tuple, as from zip(images, labels), is the function's positional arguments, anything else its first.
    params: values by the names of keyword arguments; numbers as in the language, `{"eps": ["1/255", "2/255"]}`.

    Raises SpecError when there is no point or no value.
    """
    points = tuple(each)
    grid = {name: tuple(values) for name, values in (params or {}).items()}
    for name, values in {"each": points, **grid}.items():
        if not values:
            fail("FK601", found=f"`{name}` is empty", wanted="at least one entry", fix="a list, an array or a zip")
    return lambda function: Prop(function, points, MappingProxyType(grid))
