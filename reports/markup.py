"""HTML and SVG as text in which nothing unescaped can stand: elements are made of words and of other elements."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

EMPTY = frozenset({"br", "circle", "col", "img", "input", "line", "meta", "path", "polyline", "rect", "use"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | Markup | Iterable["str | Markup"] | None


def el(name: str, /, *children: Child, **attributes: object) -> Markup:
    """An element.

    Attributes: a final underscore is dropped (`class_`), others become hyphens; True stands alone, None and False are
    left out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        known = key.rstrip("_").replace("_", "-")
        words.append(known if value is True else f'{known}="{escape(_text(value))}"')
    head = " ".join(words)
    return Markup(f"<{head}/>" if name in EMPTY else f"<{head}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Pieces one after the other; what is no markup is escaped."""
    found: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            found.append(child if isinstance(child, Markup) else escape(child, quote=False))
        else:
            found.append(join(*child))
    return Markup("".join(found))


def _text(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
