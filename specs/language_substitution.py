"""Other forms in the place of leaves: values of parameters, what entries stand for, options of maxima."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from farkas.specs.language_forms import (
    ONE,
    Factor,
    Form,
    Greatest,
    Leaf,
    Norm,
    Product,
    combination,
    greatest,
    leaf,
    number,
    scaled,
)
from farkas.specs.language_formulas import And, Comparison, Either, Formula, Or, conjunction, disjunction
from farkas.specs.language_products import norm, times


@dataclass(eq=False)
class Substitution:
    """image: the form in the place of a leaf; None: the leaf stays, and what it is made of is looked at.

    A leaf that stands in several places has one image, so that what cancelled before still does.
    """

    image: Callable[[Factor], Form | None]
    known: dict[Leaf, Form | None] = field(default_factory=dict)

    def form(self, form: Form) -> Form:
        """The form with images for leaves; the very same one where nothing changes."""
        images = {key: self._leaf(key) for key in form.terms}
        if all(image is None for image in images.values()):
            return form
        if len(form.terms) == 1:
            ((key, value),) = form.terms.items()
            image = scaled(images[key] or leaf(key), value)
            return Form(image.terms, image.constant + form.constant)
        parts = [(leaf(key) if (own := images[key]) is None else own, value) for key, value in form.terms.items()]
        return combination([*parts, (number(form.constant), ONE)])

    def formula(self, formula: Formula) -> Formula:
        """The formula with images for leaves."""
        match formula:
            case Comparison(form, strict):
                changed = self.form(form)
                return formula if changed is form else Comparison(changed, strict)
            case And(parts):
                return conjunction([self.formula(part) for part in parts])
            case Or(parts):
                return disjunction([self.formula(part) for part in parts])
            case Either(holds, fails):
                return Either(self.formula(holds), self.formula(fails))

    def _leaf(self, key: Leaf) -> Form | None:
        if key not in self.known:
            self.known[key] = self._found(key)
        return self.known[key]

    def _found(self, key: Leaf) -> Form | None:
        if isinstance(key, Product):
            images = [self._leaf(factor) for factor in key.factors]
            if all(image is None for image in images):
                return None
            total = number(ONE)
            for factor, image in zip(key.factors, images, strict=True):
                total = times(total, leaf(factor) if image is None else image)
            return total
        image = self.image(key)
        if image is not None or not isinstance(key, Greatest | Norm):
            return image
        old = key.options if isinstance(key, Greatest) else key.parts
        new = [self.form(form) for form in old]
        if all(a is b for a, b in zip(old, new, strict=True)):
            return None
        return greatest(new) if isinstance(key, Greatest) else norm(new)


def leaves(form: Form) -> Iterator[Factor]:
    """All leaves in a form, in order of appearance, maxima and norms before what they are made of; no products."""
    for key in form.terms:
        for factor in key.factors if isinstance(key, Product) else (key,):
            yield factor
            if isinstance(factor, Greatest | Norm):
                for part in factor.options if isinstance(factor, Greatest) else factor.parts:
                    yield from leaves(part)


def formula_leaves(formula: Formula) -> Iterator[Factor]:
    """All leaves in a formula."""
    match formula:
        case Comparison(form):
            yield from leaves(form)
        case And(parts) | Or(parts):
            for part in parts:
                yield from formula_leaves(part)
        case Either(holds):
            yield from formula_leaves(holds)
