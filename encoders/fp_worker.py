"""One solver, one formula, one process: python -m farkas.encoders.fp_worker ENGINE SECONDS BYTES < formula

Limits of CPU time and memory are set before the solver is loaded, so they hold inside its native code too, and a crash
takes nothing along.  The answer is one line of JSON on stdout:

    {"answer": "sat" | "unsat" | "unknown", "model": {variable: bits of its binary32 value}, "detail": text}
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

ENGINES = ("bitwuzla", "cvc5", "z3")
Model = dict[str, int]


def main(arguments: list[str]) -> int:
    """Exit code 0 when there is an answer, `unknown` included."""
    engine, cpu_s, memory_bytes = arguments[0], int(arguments[1]), int(arguments[2])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer, model = solve(engine, sys.stdin.read())
        detail = ""
    except MemoryError:
        answer, model, detail = "unknown", {}, "out of memory"
    except Exception as error:  # noqa: BLE001  # solvers raise types of their own; the parent is told, and says unknown
        answer, model, detail = "unknown", {}, f"{type(error).__name__}: {error}"[:500]
    print(json.dumps({"answer": answer, "model": model, "detail": detail}), flush=True)
    return 0


def solve(engine: str, formula: str) -> tuple[str, Model]:
    """The solver's answer and, for `sat`, the bits of the formula's variables; in this process, without limits."""
    text = "\n".join(line for line in formula.splitlines() if not line.startswith(("(check-", "(get-")))
    match engine:
        case "bitwuzla":
            return _bitwuzla(text)
        case "cvc5":
            return _cvc5(text)
        case "z3":
            return _z3(text)
        case _:
            raise ValueError(f"'{engine}' is no solver of the floating-point theory")


def _bitwuzla(text: str) -> tuple[str, Model]:
    import bitwuzla

    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
    parser.parse(text, True, False)
    solver = parser.bitwuzla()
    result = solver.check_sat()
    if result != bitwuzla.Result.SAT:
        return ("unsat" if result == bitwuzla.Result.UNSAT else "unknown"), {}
    inputs = [(str(term.symbol()), term) for term in parser.get_declared_funs()]
    return "sat", {name: _bits(str(solver.get_value(term))) for name, term in inputs if _is_input(name)}


def _is_input(name: str) -> bool:
    """Inputs are x0, x1, ...; what else a formula declares follows from them."""
    return name.startswith("x")


def _bits(value: str) -> int:
    """The bits of a floating-point literal of SMT-LIB that is a number."""
    if "zero" in value:
        return 0
    fields = [field.strip("()") for field in value.split() if field.startswith("#b")]
    return int("".join(field[2:] for field in fields), 2)


def _cvc5(text: str) -> tuple[str, Model]:
    import cvc5 as module

    cvc5: Any = module  # its names come from a compiled module that type checkers cannot read
    solver = cvc5.Solver()
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "formula")
    symbols = parser.getSymbolManager()
    while not (command := parser.nextCommand()).isNull():
        command.invoke(solver, symbols)
    result = solver.checkSat()
    if not result.isSat():
        return ("unsat" if result.isUnsat() else "unknown"), {}
    inputs: list[tuple[str, Any]] = [(str(term), term) for term in symbols.getDeclaredTerms()]
    values = [(name, solver.getValue(term).getFloatingPointValue()[2]) for name, term in inputs if _is_input(name)]
    return "sat", {name: int(value.getBitVectorValue(), 2) for name, value in values}


def _z3(text: str) -> tuple[str, Model]:
    import z3

    solver = z3.Solver()
    solver.from_string(text)
    result = solver.check()
    if result != z3.sat:
        return ("unsat" if result == z3.unsat else "unknown"), {}
    model = solver.model()
    inputs = [(d.name(), model[d]) for d in model.decls() if _is_input(d.name())]
    values: list[tuple[str, Any]] = [(name, z3.simplify(z3.fpToIEEEBV(value))) for name, value in inputs]
    return "sat", {name: value.as_long() for name, value in values}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
