"""The gradients of several losses: each on its own if a weighter asks, else only their sum.

Reading `gramian` costs one backward pass per loss; the rows are kept and combined into `.grad`, so
no pass is done twice and no row is ever flattened. Without it `descend` is one backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

Row = list[Tensor | None]


class Gradients:
    """Gradients of k scalar losses with respect to a model's parameters.

    `scope` are the parameters that the Gramian is measured on. `shared` are all that the weighed
    gradient goes to; `private` are those of the losses themselves (heads), which take their own
    loss's gradient with weight 1 whenever the losses are told apart. Both may be iterators: they
    are walked only if the losses are told apart. `coefficients` [k] stand in front of the losses
    (none: 1 each) and are part of every gradient.
    """

    def __init__(
        self,
        losses: Sequence[Tensor],
        shared: Iterable[nn.Parameter],
        private: Iterable[nn.Parameter] = (),
        scope: Sequence[nn.Parameter] | None = None,
        coefficients: Tensor | None = None,
    ) -> None:
        self.losses = list(losses)
        self.coefficients = coefficients
        self._given = shared, private, scope
        self._rows: list[Row] = []
        self._own: list[Row] = []
        self._gramian: Tensor | None = None

    @cached_property
    def shared(self) -> list[nn.Parameter]:
        """All parameters that the weighed gradient goes to."""
        return list(self._given[0])

    @cached_property
    def private(self) -> list[nn.Parameter]:
        """The parameters of the losses themselves."""
        return list(self._given[1])

    @cached_property
    def scope(self) -> list[nn.Parameter]:
        """The parameters that the Gramian is measured on; `shared` itself where that is all."""
        scope = self._given[2]
        return self.shared if scope is None else list(scope)

    @property
    def gramian(self) -> Tensor:
        """The products g_i . g_j of the losses' gradients over the scope, [k, k]."""
        if self._gramian is None:
            self._measure()
            self._gramian = _products(self._rows, self.losses[0].new_zeros(()))
        return self._gramian

    def _measure(self) -> None:
        last = len(self.losses) - 1
        # A scope of its own needs the graph again for the weighed backward pass.
        keep = self.scope is not self.shared
        fronts = self._fronts()
        for i, loss in enumerate(self.losses):
            found: Row = [None] * (len(self.scope) + len(self.private))
            if loss.requires_grad:
                found = list(
                    torch.autograd.grad(
                        loss,
                        self.scope + self.private,
                        fronts[i],
                        retain_graph=keep or i < last,
                        allow_unused=True,
                    )
                )
            self._rows.append(found[: len(self.scope)])
            self._own.append(found[len(self.scope) :])

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
        if self.measured and self.scope is self.shared:
            _combine(self.shared, self._rows, weights)
        else:
            fronts = self._fronts(weights)
            reached = [
                (loss, front)
                for loss, front in zip(self.losses, fronts, strict=True)
                if loss.requires_grad
            ]
            # One pass from all losses at once; their sum is never made.
            torch.autograd.backward([loss for loss, _ in reached], [front for _, front in reached])
        if self.measured:
            for parameter, *own in zip(self.private, *self._own, strict=True):
                rows = [row for row in own if row is not None]
                parameter.grad = torch.stack(rows).sum(0) if rows else None

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
    """The cosines [..., k] to the first gradient, 0 where either is 0."""
    # Roots first: the product of two squares leaves float32's range with gradients of 1e-10.
    lengths = norms * norms[..., :1]
    return torch.where(lengths > 0, gramian[..., 0, :] / lengths, 0.0)


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
