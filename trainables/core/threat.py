"""Threat models: how far an attack may move an input, and steps inside that ball.

Norms are "linf" and "l2", per example over all its values; eps is in the units of the input; box is
the range of valid inputs or None. The projections are exact: onto the ball, then onto the box. For
an x inside the box the second never leaves the ball.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .errors import SettingError
from .quantities import number, one_of, several
from .randomness import Draws

NORMS = {"linf": "linf", "inf": "linf", "l2": "l2", "2": "l2"}
Box = tuple[float, float] | None


def norm_name(value: Any) -> str:
    """The name of a norm; "2", 2, "inf" and upper case are accepted, too."""
    return NORMS[one_of("norm", str(value).lower(), NORMS)]


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
    return flat.abs().amax(1) if norm == "linf" else torch.linalg.vector_norm(flat, dim=1)


def _per_example(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def project(delta: Tensor, norm: str, eps: Tensor) -> Tensor:
    """The nearest perturbation in the ball; l2 only shrinks."""
    if norm == "linf":
        return torch.clamp(delta, -eps, eps)
    length = size(delta, norm).clamp_min(1e-12)
    return delta * _per_example((eps / length).clamp(max=1.0), delta)


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The unit step that climbs most: sign of the gradient (linf) or its direction (l2)."""
    if norm == "linf":
        return gradient.sign()
    return gradient / _per_example(size(gradient, norm).clamp_min(1e-12), gradient)


def uniform_in_ball(like: Tensor, norm: str, eps: Tensor, draws: Draws) -> Tensor:
    """A perturbation drawn uniformly from the ball.

    For l2 the first n of n + 2 normals, divided by the length of all n + 2, are uniform in the unit
    ball of n dimensions (Voelker, Gosmann and Stewart 2017).
    """
    if norm == "linf":
        return (2 * draws.uniform(like) - 1) * eps
    normals = draws.normal(like, extra=2)
    inside = normals / torch.linalg.vector_norm(normals, dim=1, keepdim=True)
    found: Tensor = inside[:, :-2].view_as(like) * eps
    return found


def enforce(x: Tensor, x_adv: Tensor, norm: str, eps: Tensor, box: Box) -> Tensor:
    """`x_adv` moved into the ball around x and into the box, whatever an attack returned."""
    x_adv = x + project(x_adv - x, norm, eps)
    return x_adv if box is None else torch.clamp(x_adv, *box)
