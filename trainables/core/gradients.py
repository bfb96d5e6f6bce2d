"""The gradients of several losses: each on its own if a weighter asks, else only their sum.

Reading `gramian` costs one backward pass per loss; the rows are kept and combined into `.grad`, so
no pass is done twice. Without it `descend` is one backward pass. Rows are combined parameter by
parameter, because copying a large network's gradients together costs half a backward pass; those of
a small one are copied, because there the number of operations is what costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from .parallel import Team

Row = list[Tensor | None]

# Up to this many numbers a row is flattened: measured, an eighth of a step of a two-layer network.
SMALL = 2**17
# Stands for a weight of 0 where a head's own gradient has to come through; float32 keeps it exact.
LEAST = 1e-12


class Gradients:
    """Gradients of k scalar losses with respect to a model's parameters.

    `scope` are the parameters that the Gramian is measured on. `shared` are all that the weighed
    gradient goes to; `private[i]` are those of loss i itself (its head), which take that loss's own
    gradient whatever its weight is. All may be iterators: they are walked only if they are needed.
    `coefficients` [k] stand in front of the losses (none: 1 each) and are part of every gradient.
    Parameters that do not require gradients are left out. Each process of a `team` finds the part
    of every gradient that its rows give, and all leave the sum; a head's is whole on each of them.
    """

    def __init__(
        self,
        losses: Sequence[Tensor],
        shared: Iterable[nn.Parameter],
        private: Sequence[Sequence[nn.Parameter]] = (),
        scope: Sequence[nn.Parameter] | None = None,
        coefficients: Tensor | None = None,
        team: Team | None = None,
    ) -> None:
        self.losses = list(losses)
        self.coefficients = coefficients
        self.team = team or Team()
        self.private = private or [()] * len(self.losses)
        self._given = shared, scope
        self._rows: list[Row] = []
        self._own: list[Row] = []
        self._flat: Tensor | None = None
        self._gramian: Tensor | None = None

    @cached_property
    def shared(self) -> list[nn.Parameter]:
        """All parameters that the weighed gradient goes to."""
        return [one for one in self._given[0] if one.requires_grad]

    @cached_property
    def scope(self) -> list[nn.Parameter]:
        """The parameters that the Gramian is measured on; `shared` itself where that is all."""
        scope = self._given[1]
        return self.shared if scope is None else list(scope)

    @property
    def gramian(self) -> Tensor:
        """The products g_i . g_j of the losses' gradients over the scope, [k, k]."""
        if self._gramian is None:
            self._measure()
            self._flat = _flattened(self._rows)
            if self._flat is None:
                self._gramian = _products(self._rows, self.losses[0].new_zeros(()))
            else:
                self._gramian = self._flat @ self._flat.T
        return self._gramian

    def _measure(self) -> None:
        last = len(self.losses) - 1
        # A scope of its own needs the graph again for the weighed backward pass.
        keep = self.scope is not self.shared
        fronts = self._fronts()
        for i, loss in enumerate(self.losses):
            wanted = [*self.scope, *self.private[i]]
            found: Row = [None] * len(wanted)
            if loss.requires_grad:
                found = list(
                    torch.autograd.grad(
                        loss,
                        wanted,
                        fronts[i],
                        retain_graph=keep or i < last,
                        allow_unused=True,
                    )
                )
            self._rows.append(self.team.sum(found[: len(self.scope)]))
            self._own.append(self.team.mean(found[len(self.scope) :]))

    def _fronts(self, weights: Tensor | None = None) -> Sequence[Tensor | None]:
        """What every loss's backward pass begins with: its coefficient times its weight."""
        if weights is None:
            found = self.coefficients
        else:
            found = weights if self.coefficients is None else weights * self.coefficients
        return [None] * len(self.losses) if found is None else found.unbind()

    @property
    def measured(self) -> bool:
        """Whether a weighter asked for the Gramian."""
        return self._gramian is not None

    def descend(self, weights: Tensor) -> None:
        """Leave the gradient weighed by `weights` [k] in every parameter's `.grad`."""
        if self._flat is not None and self.scope is self.shared:
            _divide(self.shared, weights.to(self._flat.dtype) @ self._flat)
        elif self.measured and self.scope is self.shared:
            _combine(self.shared, self._rows, weights)
        else:
            self._backward(weights)
        if self.measured:
            for parameters, own in zip(self.private, self._own, strict=True):
                for parameter, gradient in zip(parameters, own, strict=True):
                    parameter.grad = gradient

    def _backward(self, weights: Tensor) -> None:
        """One backward pass from all losses at once; their sum is never made."""
        heads = any(self.private) and not self.measured
        if heads:
            # A weight of 0 would lose the heads' gradients, which are divided by it afterwards.
            weights = torch.where(weights.abs() < LEAST, LEAST, weights)
        reached = [
            (loss, front)
            for loss, front in zip(self.losses, self._fronts(weights), strict=True)
            if loss.requires_grad
        ]
        torch.autograd.backward([loss for loss, _ in reached], [front for _, front in reached])
        if heads:
            for parameters, weight in zip(self.private, weights.unbind(), strict=True):
                found = [one.grad for one in parameters if one.grad is not None]
                if found:
                    torch._foreach_div_(found, weight)
        if self.team.size > 1:
            _replace(self.shared, self.team.sum([one.grad for one in self.shared]))
            own = [one for parameters in self.private for one in parameters]
            _replace(own, self.team.mean([one.grad for one in own]))

    @cached_property
    def norms(self) -> Tensor:
        """The gradients' norms over the scope, [k]."""
        return norms_of(self.gramian)

    @cached_property
    def cosines(self) -> Tensor:
        """Their cosines to the main loss's gradient, [k]; 0 where either gradient is 0."""
        return cosines_of(self.gramian, self.norms)


def norms_of(gramian: Tensor) -> Tensor:
    """The norms [..., k] of gradients with this Gramian [..., k, k]."""
    return gramian.diagonal(dim1=-2, dim2=-1).sqrt()


def cosines_of(gramian: Tensor, norms: Tensor) -> Tensor:
    """The cosines [..., k] to the first gradient; 0 where one is 0 or too large to square."""
    # Roots first: the product of two squares leaves float32's range with gradients of 1e-10.
    cosines = gramian[..., 0, :] / (norms * norms[..., :1])
    return torch.nan_to_num(cosines, nan=0.0, posinf=0.0, neginf=0.0)


def _flattened(rows: Sequence[Row]) -> Tensor | None:
    """The rows as a matrix [k, n]; None if they are long or do not all reach every parameter."""
    parts = [part for row in rows for part in row if part is not None]
    whole = len(parts) == len(rows) * len(rows[0]) > 0
    if not whole or sum(part.numel() for part in parts) > SMALL * len(rows):
        return None
    return torch.cat([part.flatten() for part in parts]).view(len(rows), -1)


def _divide(parameters: Sequence[nn.Parameter], flat: Tensor) -> None:
    """`.grad` of the parameters from one vector that holds all of them in order."""
    parts = flat.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def _replace(parameters: Sequence[nn.Parameter], gradients: Row) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def _products(rows: Sequence[Row], zero: Tensor) -> Tensor:
    """The rows' inner products [k, k], parameter by parameter, summed in float64."""
    flat = [[None if part is None else part.flatten() for part in row] for row in rows]
    k, n = len(flat), len(flat[0])
    lower = {
        (i, j): [
            zero if x is None or y is None else torch.dot(x, y)
            for x, y in zip(flat[i], flat[j], strict=True)
        ]
        for i in range(k)
        for j in range(i + 1)
    }
    # Both triangles from the same numbers, and all sums in one operation.
    whole = [part for i in range(k) for j in range(k) for part in lower[max(i, j), min(i, j)]]
    return torch.stack(whole).view(k, k, n).double().sum(2).to(zero.dtype)


def _combine(parameters: Sequence[nn.Parameter], rows: Sequence[Row], weights: Tensor) -> None:
    """`.grad` = sum_i weights_i rows_i; a parameter that no loss reaches keeps None."""
    for parameter in parameters:
        parameter.grad = None
    for row, weight in zip(rows, weights.unbind(), strict=True):
        reached = [(p, g) for p, g in zip(parameters, row, strict=True) if g is not None]
        # Not in place: autograd may hand the same tensor to two parameters.
        scaled = torch._foreach_mul([g for _, g in reached], weight) if reached else ()
        later = [(p, part) for (p, _), part in zip(reached, scaled, strict=True)]
        held = [(p.grad, part) for p, part in later if p.grad is not None]
        for p, part in later:
            if p.grad is None:
                p.grad = part
        if held:
            torch._foreach_add_([grad for grad, _ in held], [part for _, part in held])
