"""Farkas: a verifier for neural networks whose every answer can be checked.

    import farkas as fk

    net = fk.load("controller.onnx")
    result = fk.verify(net, "safe.vnnlib", timeout=60)

The public names load on first use (PEP 562).  Laziness is not only for speed: `import farkas.checker`
runs this file first, and the checker's claim to stand on the standard library alone would be empty
if this file imported the engine (tests/test_checker_purity.py).
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = ["Holds", "Network", "Unknown", "Violated", "__version__", "agree", "export", "load", "verify", "verify_all"]

if TYPE_CHECKING:
    from farkas.api import Network, agree, export, load, verify, verify_all
    from farkas.engine.verdict import Holds, Unknown, Violated
else:
    # In the else branch, so that type checkers still reject names that do not exist.
    def __getattr__(name: str) -> object:
        """The public object `name`, from the module that defines it; AttributeError for any other name."""
        from importlib import import_module

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
        }
        if name not in homes:
            raise AttributeError(f"module 'farkas' has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
