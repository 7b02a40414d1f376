"""Farkas: a verifier for neural networks whose every answer can be checked.

    import farkas as fk

    net = fk.load("controller.onnx")
    result = fk.verify(net, "safe.vnnlib", timeout=60)

    x = fk.var(net.input, labels=("height", "speed"))
    spec = fk.Spec(given=[fk.between(0, x.height, 1), fk.between("-0.1", x.speed, "0.1")], prove=fk.argmax(net(x)) == 2)
    result = spec.check(timeout=60)

The public names load on first use (PEP 562).  Laziness is not only for speed: `import farkas.checker`
runs this file first, and the checker's claim to stand on the standard library alone would be empty
if this file imported the engine (tests/test_checker_purity.py).
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Holds", "Network", "Spec", "SpecError", "SpecWarning", "Unknown", "Violated", "__version__", "abs", "agree", "all",
    "any", "argmax", "argmin", "between", "bounds", "dot", "explain", "export", "find", "from_vnnlib", "implies", "l1",
    "l2", "lift", "linf", "load", "max", "maximize", "maximum", "mean", "min", "minimize", "minimum", "parameter",
    "patterns", "prop", "same_except", "sum", "top_k", "var", "verify", "verify_all",
]  # fmt: skip

if TYPE_CHECKING:
    from farkas import patterns
    from farkas.api import Network, agree, export, load, verify, verify_all
    from farkas.engine.verdict import Holds, Unknown, Violated
    from farkas.optimise import bounds, find, maximize, minimize
    from farkas.prop_loop import prop
    from farkas.reading import from_vnnlib, lift
    from farkas.spec import Spec
    from farkas.specs.diagnostics import SpecError, SpecWarning
    from farkas.specs.diagnostics_codes import explain
    from farkas.specs.language import (
        abs,
        all,
        any,
        argmax,
        argmin,
        between,
        dot,
        implies,
        l1,
        l2,
        linf,
        max,
        maximum,
        mean,
        min,
        minimum,
        parameter,
        same_except,
        sum,
        top_k,
        var,
    )
else:
    # In the else branch, so that type checkers still reject names that do not exist.
    def __getattr__(name: str) -> object:
        """The public object `name`, from the module that defines it; AttributeError for any other name."""
        from importlib import import_module

        if name == "patterns":
            return import_module("farkas.patterns")
        homes = {
            "Network": "farkas.api",
            "agree": "farkas.api",
            "export": "farkas.api",
            "load": "farkas.api",
            "verify": "farkas.api",
            "verify_all": "farkas.api",
            "Holds": "farkas.engine.verdict",
            "Unknown": "farkas.engine.verdict",
            "Violated": "farkas.engine.verdict",
            "prop": "farkas.prop_loop",
            "Spec": "farkas.spec",
            "SpecError": "farkas.specs.diagnostics",
            "SpecWarning": "farkas.specs.diagnostics",
            "explain": "farkas.specs.diagnostics_codes",
            **dict.fromkeys(("bounds", "find", "maximize", "minimize"), "farkas.optimise"),
            **dict.fromkeys(("from_vnnlib", "lift"), "farkas.reading"),
            **dict.fromkeys(
                ("abs", "all", "any", "argmax", "argmin", "between", "dot", "implies", "l1", "l2", "linf", "max",
                 "maximum", "mean", "min", "minimum", "parameter", "same_except", "sum", "top_k", "var"),
                "farkas.specs.language",
            ),
        }  # fmt: skip
        if name not in homes:
            raise AttributeError(f"module 'farkas' has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
