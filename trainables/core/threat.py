"""Threat models: how far an attack may move an input, and steps inside that ball.

Norms are "linf", "l2" and "l1", per example over all its values; eps is in the units of the input;
box is the range of valid inputs or None. The projections are exact: onto the ball, then onto the
box. For an x inside the box the second never leaves the ball.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .errors import SettingError
from .quantities import number, one_of, several
from .randomness import Draws

NORMS = {"linf": "linf", "inf": "linf", "l2": "l2", "2": "l2", "l1": "l1", "1": "l1"}
Box = tuple[float, float] | None


def norm_name(value: Any, allowed: Iterable[str] = ("linf", "l2", "l1")) -> str:
    """The name of one of the allowed norms; "2", 2, "inf" and upper case are accepted, too."""
    given = str(value).lower()
    return one_of("norm", NORMS.get(given, given), allowed)


def box_of(value: Any) -> Box:
    """The least and the greatest valid input as two rising numbers, or None."""
    if value is None:
        return None
    low, high = (number("box", one) for one in several("box", value, 2))
    if low >= high:
        raise SettingError(f"box must rise, found {list(value)!r}")
    return low, high


def size(delta: Tensor, norm: str) -> Tensor:
    """The norm of every example's perturbation, [b]."""
    flat = delta.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1)
    length: Tensor = torch.linalg.vector_norm(flat, 2 if norm == "l2" else 1, dim=1)
    return length


def per_example(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def project(delta: Tensor, norm: str, eps: Tensor) -> Tensor:
    """The nearest perturbation in the ball; l2 only shrinks, l1 shrinks all by the same number."""
    if norm == "linf":
        return torch.clamp(delta, -eps, eps)
    if norm == "l1":
        return _project_l1(delta, eps)
    length = size(delta, norm).clamp_min(1e-12)
    return delta * per_example((eps / length).clamp(max=1.0), delta)


def _project_l1(delta: Tensor, eps: Tensor) -> Tensor:
    """Soft thresholding by the one number that leaves a length of eps (Duchi et al. 2008)."""
    flat = delta.flatten(1)
    falling = flat.abs().sort(dim=1, descending=True).values
    count = torch.arange(1, flat.shape[1] + 1, device=flat.device)
    thresholds = (falling.cumsum(1) - eps) / count
    last = (falling > thresholds).sum(1, keepdim=True).clamp_min(1) - 1
    threshold = thresholds.gather(1, last).clamp_min(0)
    return (flat.sign() * (flat.abs() - threshold).clamp_min(0)).view_as(delta)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The unit step that climbs most.

    The sign of the gradient (linf), its direction (l2), or its largest value alone (l1).
    """
    if norm == "linf":
        return gradient.sign()
    if norm == "l1":
        flat = gradient.flatten(1)
        largest = flat.abs().argmax(1, keepdim=True)
        step = torch.zeros_like(flat).scatter(1, largest, flat.gather(1, largest).sign())
        return step.view_as(gradient)
    # By its largest value first: squares of very small and of very large numbers leave float32.
    top = per_example(size(gradient, "linf"), gradient)
    scaled = gradient / torch.where(top > 0, top, 1.0)
    return scaled / per_example(size(scaled, norm).clamp_min(1e-12), scaled)


def uniform_in_ball(like: Tensor, norm: str, eps: Tensor, draws: Draws) -> Tensor:
    """A perturbation drawn uniformly from the ball.

    For l2 the first n of n + 2 normals, divided by the length of all n + 2, are uniform in the unit
    ball of n dimensions (Voelker, Gosmann and Stewart 2017). For l1 the same holds of n + 1
    exponential numbers, each half a sum of two squared normals, and their sum; signs are random.
    """
    if norm == "linf":
        return (2 * draws.uniform(like) - 1) * eps
    if norm == "l1":
        n = like[0].numel()
        one, other = draws.normal(like, extra=n + 2).chunk(2, dim=1)
        sizes = (one.square() + other.square()) / 2
        share = sizes[:, :n] / sizes.sum(1, keepdim=True)
        return (one[:, :n].sign() * share).view_as(like) * eps
    normals = draws.normal(like, extra=2)
    inside = normals / torch.linalg.vector_norm(normals, dim=1, keepdim=True)
    found: Tensor = inside[:, :-2].view_as(like) * eps
    return found


def enforce(x: Tensor, x_adv: Tensor, norm: str, eps: Tensor, box: Box) -> Tensor:
    """`x_adv` moved into the ball around x and into the box, whatever an attack returned.

    A value that is no finite number becomes that of x.
    """
    x_adv = torch.where(x_adv.isfinite(), x_adv, x)
    x_adv = x + project(x_adv - x, norm, eps)
    return x_adv if box is None else torch.clamp(x_adv, *box)
