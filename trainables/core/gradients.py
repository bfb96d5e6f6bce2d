"""The gradients of several losses: each on its own if a weighter asks, else only their sum.

Reading `gramian` costs one backward pass per loss; the rows are kept and combined into `.grad`, so
no pass is done twice and no row is ever flattened. Without it `descend` is one backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Row = list[Tensor | None]


class Gradients:
    """Gradients of k scalar losses with respect to a model's parameters.

    `scope` are the parameters that the Gramian is measured on. `shared` are all that the weighed
    gradient goes to; `private` are those of the losses themselves (heads), which take their own
    loss's gradient with weight 1 whenever the losses are told apart.
    """

    def __init__(
        self,
        losses: Sequence[Tensor],
        shared: Sequence[nn.Parameter],
        private: Sequence[nn.Parameter] = (),
        scope: Sequence[nn.Parameter] | None = None,
    ) -> None:
        self.losses = list(losses)
        self.shared = list(shared)
        self.private = list(private)
        self.scope = self.shared if scope is None else list(scope)
        self._rows: list[Row] = []
        self._own: list[Row] = []
        self._gramian: Tensor | None = None

    @property
    def gramian(self) -> Tensor:
        """The products g_i . g_j of the losses' gradients over the scope, [k, k]."""
        if self._gramian is None:
            self._measure()
            zero = self.losses[0].new_zeros(())
            products = [
                [_dot(a, b, zero) for b in self._rows[: i + 1]] for i, a in enumerate(self._rows)
            ]
            k = len(self.losses)
            full = [products[max(i, j)][min(i, j)] for i in range(k) for j in range(k)]
            self._gramian = torch.stack(full).view(k, k)
        return self._gramian

    def _measure(self) -> None:
        last = len(self.losses) - 1
        # A scope of its own needs the graph again for the weighed backward pass.
        keep = self.scope is not self.shared
        for i, loss in enumerate(self.losses):
            found: Row = [None] * (len(self.scope) + len(self.private))
            if loss.requires_grad:
                found = list(
                    torch.autograd.grad(
                        loss,
                        self.scope + self.private,
                        retain_graph=keep or i < last,
                        allow_unused=True,
                    )
                )
            self._rows.append(found[: len(self.scope)])
            self._own.append(found[len(self.scope) :])

    @property
    def measured(self) -> bool:
        """Whether a weighter asked for the Gramian."""
        return self._gramian is not None

    def descend(self, weights: Tensor) -> None:
        """Leave the gradient weighed by `weights` [k] in every parameter's `.grad`."""
        if self.measured and self.scope is self.shared:
            _combine(self.shared, self._rows, weights)
        else:
            torch.dot(weights, torch.stack(self.losses)).backward()
        if self.measured:
            for parameter, *own in zip(self.private, *self._own, strict=True):
                rows = [row for row in own if row is not None]
                parameter.grad = torch.stack(rows).sum(0) if rows else None

    @torch.no_grad()
    def report(self) -> tuple[Tensor, Tensor]:
        """Gradient norms [k] and cosines to the main loss's gradient [k]; needs the Gramian."""
        norms = self.gramian.diagonal().clamp_min(0).sqrt()
        lengths = norms * norms[0]
        return norms, torch.where(lengths > 0, self.gramian[0] / lengths, 0.0)


def _dot(a: Row, b: Row, zero: Tensor) -> Tensor:
    """The inner product of two rows, parameter by parameter, summed in float64."""
    parts = [
        torch.dot(x.flatten(), y.flatten())
        for x, y in zip(a, b, strict=True)
        if x is not None and y is not None
    ]
    return torch.stack(parts).double().sum().to(zero.dtype) if parts else zero


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
