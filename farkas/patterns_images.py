"""Local robustness: what a classifier answers at one image, it answers at all images near it.

`near` is a norm ball, chosen pixels, or brightness and contrast.  The conclusion is about the answer itself, ties and
all: `argmax` is the lowest index among the greatest scores, so the label's score is strictly above those before it.

The l1 ball.  `fk.l1` of n entries is 2^n linear cuts, exact, and no conclusion for more than a handful.  For more
entries the ball is stated by what raises and what lowers a pixel, two variables for each:

    x = x0 + more - less,    0 <= more, less <= eps,    sum(more) + sum(less) <= eps

These x are the ball, exactly: take the positive and the negative part of x - x0.  The one row over all variables, with
a multiplier, is the dual norm of the bound that it is added to, so nothing is lost at the last layer.  The network then
reads numbers that are computed, which only the reals do without rounding: with many entries l1 is asked in `real`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy.typing as npt

import farkas as fk
from farkas.patterns_inputs import Answer, Mask, Prepare, Value, free, point, within
from farkas.specs.diagnostics import fail
from farkas.specs.language_conditions import Condition
from farkas.specs.language_numbers import exact
from farkas.specs.language_tensors import Tensor, tensor

Norm = Literal["linf", "l1", "l2"]

FEW = 6  # entries whose l1 norm is written out: 64 cuts


def robust(
    net: fk.Network,
    image: Value,
    label: int,
    eps: Value | None = None,
    *,
    norm: Norm = "linf",
    mask: npt.ArrayLike | None = None,
    domain: tuple[Value, Value] | None = None,
    prepare: Prepare | None = None,
    answer: Answer = fk.argmax,
) -> fk.Spec:
    """The answer is `label` for every image within `eps` of this one.

    image: in the shape of the network's input, axes of length 1 in front may be left out; in its units, or, with
    `prepare`, in those that `prepare` turns into the network's (`lambda x: (x - mean) / deviation`).
    eps: the radius, in the units of the image; for linf also an array, one for every pixel; None: no ball, so that
    `mask` and `domain` say all.  mask: true where pixels may change, the others are those of the image.
    domain: (low, high) of all pixels, numbers or arrays.  answer: `fk.argmin` for costs.
    Raises SpecError, code FK517, when the answer at the image itself is another one.
    l1 of more than 6 entries, and a `prepare` that mixes entries, are asked in semantics `real` only.

    Szegedy et al., Intriguing properties of neural networks, ICLR 2014.
    """
    near = _near(net, image, eps, norm, mask, domain)
    return near.proving(answer(_call(net, near.x, prepare)) == label)


def targeted(
    net: fk.Network,
    image: Value,
    target: int,
    eps: Value | None = None,
    *,
    norm: Norm = "linf",
    mask: npt.ArrayLike | None = None,
    domain: tuple[Value, Value] | None = None,
    prepare: Prepare | None = None,
    answer: Answer = fk.argmax,
) -> fk.Spec:
    """The answer is never `target` for an image within `eps` of this one, whatever else it may be.

    A counterexample is a targeted attack.  The arguments are those of `robust`.

    Carlini and Wagner, Towards evaluating the robustness of neural networks, IEEE S&P 2017.
    """
    near = _near(net, image, eps, norm, mask, domain)
    return near.proving(answer(_call(net, near.x, prepare)) != target)


def in_top(
    net: fk.Network,
    image: Value,
    label: int,
    k: int,
    eps: Value | None = None,
    *,
    norm: Norm = "linf",
    mask: npt.ArrayLike | None = None,
    domain: tuple[Value, Value] | None = None,
    prepare: Prepare | None = None,
) -> fk.Spec:
    """`label` is among the k highest scores for every image within `eps` of this one.

    The other arguments are those of `robust`.  Of equal scores the lower index comes first, as in `fk.top_k`.

    Jia et al., Certified robustness for top-k predictions against adversarial perturbations via randomized smoothing,
    ICLR 2020.
    """
    near = _near(net, image, eps, norm, mask, domain)
    return near.proving(fk.top_k(_call(net, near.x, prepare), k).contains(label))


def photometric(
    net: fk.Network,
    image: Value,
    label: int,
    *,
    brightness: tuple[Value, Value] = (0, 0),
    contrast: tuple[Value, Value] = (1, 1),
    prepare: Prepare | None = None,
    answer: Answer = fk.argmax,
) -> fk.Spec:
    """The answer is `label` for `contrast * image + brightness`, with both numbers in their intervals.

    Two variables drive all pixels, so small networks are decided by cutting two intervals.  The pixels are computed, so
    the semantics is `real`.  Values are not clipped: choose intervals that keep them in their range.

    Pei et al., Towards practical verification of machine learning: the case of computer vision systems, 2017.
    """
    x0 = point(net, image)
    light = fk.var(2, name="light", labels=("brightness", "contrast"))
    given = [within(light.brightness, brightness), within(light.contrast, contrast)]
    prove = answer(_call(net, light.contrast * x0 + light.brightness, prepare)) == label
    return fk.Spec(given, prove, centre=[light == (0, 1)] if _holds(brightness, 0) and _holds(contrast, 1) else None)


def _holds(ends: tuple[Value, Value], value: int) -> bool:
    """Whether an interval of numbers holds a value; an end that is a parameter or an expression does not say."""
    return not any(isinstance(end, Tensor) for end in ends) and exact(ends[0]) <= value <= exact(ends[1])


@dataclass(frozen=True, eq=False)
class _Near:
    """The image that is quantified over, what is given about it, and the conditions that it is the image itself."""

    x: Tensor
    given: list[Condition]
    centre: list[Condition]

    def proving(self, prove: Condition) -> fk.Spec:
        return fk.Spec(self.given, prove, centre=self.centre)


def _call(net: fk.Network, x: Tensor, prepare: Prepare | None) -> Tensor:
    return net(x if prepare is None else prepare(x))


def _near(
    net: fk.Network,
    image: Value,
    eps: Value | None,
    norm: Norm,
    mask: npt.ArrayLike | None,
    domain: tuple[Value, Value] | None,
) -> _Near:
    """All that `robust` says about the image."""
    x0, changing = point(net, image), free(net, mask)
    if eps is None and domain is None and changing.any():
        fail("FK601", found="neither `eps` nor `domain`", wanted="how far pixels may change", fix="eps='1/255'")
    if eps is not None and norm == "l1" and changing.sum() > FEW:
        return _moved(x0, eps, changing, domain)
    x = fk.var(net.input, name="x")
    given = [] if changing.all() else [x[~changing] == x0[~changing]]
    if domain is not None:
        given.append(within(x, domain))
    if eps is not None and changing.any():
        given += _ball(x[changing] - x0[changing], _radius(net, eps, changing, norm), norm)
    return _Near(x, given, [x == x0])


def _radius(net: fk.Network, eps: Value, changing: Mask, norm: Norm) -> Tensor:
    """The radius, or one for every entry that may change."""
    radius = tensor(eps)
    if not radius.shape:
        return radius
    if norm != "linf":
        fail("FK301", found=f"an array of radii for {norm}", wanted="one radius", fix="norm='linf', or one number")
    return point(net, radius)[changing]


def _ball(change: Tensor, radius: Tensor, norm: Norm) -> list[Condition]:
    """The conditions that the change is in the ball; they bound every entry."""
    given = [fk.abs(change) <= radius]
    match norm:
        case "linf":
            return given
        case "l1":
            return [*given, fk.l1(change) <= radius]
        case "l2":
            return [*given, fk.l2(change) <= radius]
        case _:
            return fail("FK601", found=f"the norm {norm!r}", wanted="'linf', 'l1' or 'l2'", fix="norm='linf'")


def _moved(x0: Tensor, eps: Value, changing: Mask, domain: tuple[Value, Value] | None) -> _Near:
    """The l1 ball by what raises and what lowers each entry; see the module's docstring."""
    more, less = fk.var(x0.shape, name="more"), fk.var(x0.shape, name="less")
    given = [more >= 0, less >= 0, more <= eps, less <= eps, more.sum() + less.sum() <= eps]
    if not changing.all():
        given += [more[~changing] <= 0, less[~changing] <= 0]
    if domain is not None:
        given += [more <= domain[1] - x0, less <= x0 - domain[0]]
    return _Near(x0 + more - less, given, [more == 0, less == 0])
