"""The one training step: views -> outputs -> losses -> weights -> gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batch import Batch
from .errors import SettingError, nearest
from .gradients import Gradients, cosines_of, norms_of
from .network import Network
from .randomness import Draws
from .tasks import Classification
from .weighing import Weighing


class Step(NamedTuple):
    """What a step saw, or several at once, on the device: [k] each, or [steps, k].

    `losses` are without coefficients; `gramian` is that of the losses times their coefficients, if
    the weighter asked for it. All else follows from these, when somebody reads it.
    """

    losses: Tensor
    weights: Tensor
    coefficients: Tensor
    gramian: Tensor | None

    @property
    def weighted(self) -> Tensor:
        """Weight times coefficient times loss."""
        return self.weights * self.coefficients * self.losses

    @property
    def norms(self) -> Tensor | None:
        """The gradients' norms, if they were told apart."""
        return None if self.gramian is None else norms_of(self.gramian)

    @property
    def cosines(self) -> Tensor | None:
        """The gradients' cosines to the main loss's, if they were told apart."""
        return None if self.gramian is None else cosines_of(self.gramian, norms_of(self.gramian))


class Objective(nn.Module):
    """Views, losses and a weighter: everything that says what a model is trained for.

    `losses` are keyed by label, the main loss first; `coefficients` stand in front of them. Only
    the views that some loss reads are made. Raises `SettingError` for a loss that names an unknown
    view and for a view that no loss reads.
    """

    def __init__(
        self,
        task: Classification,
        views: Mapping[str, nn.Module],
        losses: Mapping[str, Any],
        coefficients: Mapping[str, float],
        weighing: Weighing,
        forward: str = "joint",
    ) -> None:
        super().__init__()
        self.task = task
        self.labels = tuple(losses)
        self.forward_mode = forward
        for label, loss in losses.items():
            for view in loss.reads:
                if not isinstance(view, str) or view not in views:
                    hint = nearest(str(view), views)
                    raise SettingError(f"losses/{label} reads an unknown view {view!r}.{hint}")
        read = {label for loss in losses.values() for label in loss.reads}
        unread = [label for label in views if label not in read and label != "clean"]
        if unread:
            raise SettingError(
                f"views/{unread[0]} is read by no loss; name it in a loss or leave it out."
            )
        self.seen = tuple(label for label in views if label in read)
        self.views = nn.ModuleList(views[label] for label in self.seen)
        self.losses = nn.ModuleList(losses.values())
        self.private = list(self.losses.parameters())
        self.weighing = weighing
        self.register_buffer(
            "coefficients",
            torch.tensor([coefficients[label] for label in self.labels]),
            persistent=False,
        )
        self.coefficients: Tensor

    def backward(self, model: Network, batch: Batch, draws: Draws) -> Step:
        """Leave the gradient of the weighed losses in `.grad`; no step is taken."""
        seen = {
            label: view(model, batch, self.task, draws)
            for label, view in zip(self.seen, self.views, strict=True)
        }
        outputs = self.task.outputs(model, seen, self.forward_mode)
        raw = [loss(outputs) for loss in self.losses]
        gradients = Gradients(
            raw,
            model.parameters(),
            self.private,
            self.weighing.parameters_of(model),
            self.coefficients,
        )
        values = torch.stack([loss.detach() for loss in raw])
        weights = self.weighing(self.coefficients * values, gradients)
        gradients.descend(weights)
        measured = gradients.gramian if gradients.measured else None
        return Step(values, weights, self.coefficients, measured)
