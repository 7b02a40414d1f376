"""A query as a file for another program: SMT-LIB over the reals or in binary32, MPS, LP.

What makes the files small is presolve: bounds of all neurons are proved over the hull of the cases first, so that
stable neurons are no disjunctions and big-M constants are tight.  Every file says in its first lines what it states: of
which network and property, in which semantics, under which bounds, and what an answer means.  The bounds are Farkas's,
and no certificate comes with them; `--bounds none` states the network and the property alone.

  smt2-lra   in `real` the query itself; in binary32 modes every row widened by the error of all admissible orders, so
             that `unsat` speaks of every execution and a model is a candidate
  smt2-fp    one order, bit for bit, with the bounds of float-exact intervals (`interval`) or without
  mps, lp    the same as smt2-lra in floating-point coefficients, outward where they are rounded; solvers of such files
             have tolerances, so their answers are guides
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from textwrap import wrap
from typing import Literal, get_args

import numpy as np

from farkas import __version__
from farkas.encoders.fp_smtlib import smtlib_fp
from farkas.encoders.lp_format import write_lp
from farkas.encoders.mps import write_mps
from farkas.encoders.relu_network import EncodingOptions
from farkas.encoders.smt_real import Box, Proved, hull, property_problem
from farkas.encoders.smtlib_real import smtlib_real
from farkas.encoders.whole_query import encode_query
from farkas.encoders.whole_query import hull as float_hull
from farkas.engine.query import Query
from farkas.engine.real_query import needs_errors, propagated, prove, real_case
from farkas.ir.core import Program
from farkas.ir.errors import FarkasError
from farkas.runtime_cuda.backend import numpy_backend
from farkas.runtime_cuda.prepared import prepare
from farkas.runtime_cuda.root import Effort
from farkas.specs.query import Semantics

Format = Literal["smt2-lra", "smt2-fp", "mps", "lp"]
Bounds = Literal["none", "interval", "crown"]
Phases = Literal["big-m", "multiple-choice"]
FORMATS: tuple[Format, ...] = get_args(Format)
BOUNDS: tuple[Bounds, ...] = get_args(Bounds)
PHASES: tuple[Phases, ...] = get_args(Phases)
EFFORT = Effort(seconds=60.0, steps=20)  # of slope optimisation for the bounds of neurons; a file depends on steps only


@dataclass(frozen=True)
class ExportOptions:
    """bounds: how the neurons are bounded, None: `crown`, for smt2-fp `interval`; phases: how mps and lp state
    them and the maxima; error terms are columns of their own.
    """

    bounds: Bounds | None = None
    phases: Phases = "big-m"

    def bounds_for(self, form: Format) -> Bounds:
        return self.bounds or ("interval" if form == "smt2-fp" else "crown")


def default_semantics(form: Format) -> Semantics:
    """What a format states unless told otherwise: the reals, or the order seq-fma where it is about binary32."""
    return Semantics.SEQ_FMA if form == "smt2-fp" else Semantics.REAL


def export(query: Query, form: Format, options: ExportOptions | None = None) -> str:
    """The text of the file.  Raises FarkasError where the format cannot state the query."""
    options = options or ExportOptions()
    _require_statable(query, form, options)
    bounds = options.bounds_for(form)
    heading = "\n".join(_heading(query, form, bounds))
    match form:
        case "smt2-fp":
            order = query.semantics.order
            assert order is not None, "a format about one order has one"
            formula = smtlib_fp(query.graph, query.property, order, presolve=bounds == "interval")
            return "".join(f"; {line}\n" for line in heading.splitlines()) + formula
        case "smt2-lra":
            return _smt2_lra(query, bounds, heading)
        case _:
            return _linear(query, form, bounds, options.phases, heading)


def _require_statable(query: Query, form: Format, options: ExportOptions) -> None:
    semantics, bounds = query.semantics, options.bounds_for(form)
    if query.property.monomials and form != "smt2-lra":
        raise FarkasError(
            f"format {form} states linear atoms, and the property speaks of products; say --format smt2-lra, which "
            "then is a script in QF_NRA"
        )
    if semantics is Semantics.INT_EXACT:
        raise FarkasError(f"format {form} states no integer networks; they are decided by `farkas verify` (cp-sat)")
    if form == "smt2-fp" and semantics.order is None:
        orders = ", ".join(s.value for s in Semantics if s.order)
        raise FarkasError(f"format smt2-fp is about one order of accumulation; say --semantics {orders}")
    if form == "smt2-fp" and bounds == "crown":
        raise FarkasError("CROWN bounds are over the reals; format smt2-fp has --bounds interval (float-exact) or none")
    if form in ("mps", "lp") and bounds == "none":
        raise FarkasError(f"format {form} needs bounds of the neurons; say --bounds interval or crown")
    if form == "smt2-lra" and bounds == "none" and needs_errors(query.program, semantics):
        raise FarkasError("error terms come with bounds; say --bounds interval or crown, or --semantics real")


def _smt2_lra(query: Query, bounds: Bounds, heading: str) -> str:
    program, prop = query.lowered, query.property
    cases = [case for case in (real_case(case, query.semantics) for case in prop.cases) if case is not None]
    if not cases or bounds == "none":
        proved = Proved.nothing(program)
    else:
        proved = _proved(program, hull(cases), query.semantics, bounds)
    return smtlib_real(property_problem(program, prop.inputs, cases, proved, prop.monomials), heading)


def _linear(query: Query, form: Format, bounds: Bounds, phases: Phases, heading: str) -> str:
    x_lower, x_upper = float_hull(query.property, query.semantics)
    lower, upper = (tuple(Fraction(float(v)) for v in end) for end in (x_lower, x_upper))
    proved = _proved(query.program, (lower, upper), query.semantics, bounds)
    whole = encode_query(
        query.program, query.property, x_lower, x_upper, proved.lower, proved.upper, proved.errors,
        EncodingOptions(phases=phases, maxima=phases, errors="columns"), semantics=query.semantics,
    )  # fmt: skip
    comment = f"{heading}\n{whole.comment}"
    return write_mps(whole.model, comment) if form == "mps" else write_lp(whole.model, comment)


def _proved(program: Program, box: Box, semantics: Semantics, bounds: Bounds) -> Proved:
    found = prove(program, box, semantics, EFFORT) if bounds == "crown" else _intervals(program, box, semantics)
    if found is None:
        raise FarkasError("no finite error bound: an execution in binary32 may overflow; use --semantics real")
    return found


def _intervals(program: Program, box: Box, semantics: Semantics) -> Proved | None:
    """Bounds of all neurons by intervals alone, and the errors of inexact nodes; None where one is not finite."""
    net = prepare(program, binary32=semantics.is_binary32, backend=numpy_backend())
    ends = [np.array([float(q) for q in end]) for end in box]
    x_lower, x_upper = np.nextafter(ends[0], -np.inf), np.nextafter(ends[1], np.inf)
    return propagated(net, x_lower, x_upper, semantics, rules=())


def _heading(query: Query, form: Format, bounds: Bounds) -> Iterator[str]:
    """What the file states, and what an answer means."""
    mode, prop = query.semantics, query.property
    yield f"Farkas {__version__}, format {form}: does some execution of the network violate the property?"
    for part in query.parts:
        yield f"network {part.name + ' ' if part.name else ''}sha256 {part.graph.sha256}"
    yield f"property sha256 {prop.sha256 or 'none: it was not read from a file'}"
    yield f"semantics {mode.value}; bounds of neurons: {bounds}"
    none, some = ("unsat", "sat") if form.startswith("smt2") else ("infeasible", "feasible")
    holds = {
        Semantics.REAL: "no real input of the set violates it, weights read as exact rationals",
        Semantics.F32_ANY: "no binary32 input of the set violates it in any admissible execution",
    }.get(mode, f"no binary32 input of the set violates it when executed in the order {mode.order}")
    yield f"{none}: the property holds: {holds}."
    if form == "smt2-fp":
        yield "runs with an output that is not finite are left out: they neither violate nor are refuted."
    inexact = needs_errors(query.program, mode)
    if form == "smt2-fp" or not inexact:
        yield f"{some}: the property is violated" + ("." if form.startswith("smt2") else ", up to tolerances.")
    elif mode is Semantics.REAL:
        yield f"{some}: a candidate only, for coefficients that are quotients or roots stand as ranges; replay it."
    else:
        yield f"{some}: a candidate only, for rows are widened by the rounding errors of every order; replay it."
    if query.ties.is_tied:
        yield f"{query.asked.inputs} inputs, some equal by the property: {prop.inputs} are free; one by one these are"
        yield from wrap(" ".join(map(str, query.ties.columns)), 100)
    for warning in prop.vacuous:
        yield f"warning: {warning}"
    if query.sets.empty:
        yield f"warning: case {query.sets.empty[0]} holds no binary32 point; nothing is said about it"
