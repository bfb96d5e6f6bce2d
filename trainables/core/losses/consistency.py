"""Consistency of the predictions on two views."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batch import Outputs
from ..errors import SettingError
from ..quantities import flag, number, one_of
from ._divergence import divergence


class Consistency(nn.Module):
    """Mean distance between the predictions on two views, as in UDA (arXiv 1904.12848).

    Form "kl": "forward" is KL(p_target || p_view), "reverse" is KL(p_view || p_target),
    "symmetric" their mean; sums are over classes. Form "mse": the squared difference of the
    probabilities, mean over classes (arXiv 1610.02242), or of the outputs themselves where there is
    only one (regression); it has no direction. All are means over the whole batch, and both views
    must hold the same examples in the same order.

    With `stop_gradient` no gradient flows through the target's side of the distance. The target's
    logits are divided by `temperature` (above 0; below 1 sharpens). With `confidence` beta in
    [0, 1), examples whose largest target probability, without the temperature, is not above beta
    count as 0 in the mean. `entropy` (at least 0) times the mean entropy of the target's
    prediction, without the temperature, is added; its gradient always flows, as in UDA's code.
    There the coefficient of the distance does not multiply the entropy; here the loss's coefficient
    multiplies both. An output without alternatives has probability 1, so temperature, confidence
    and entropy do nothing in regression.

    UDA is the default: KL forward, gradient stopped, the rest off (its CIFAR-10 recipe: confidence
    0.8, temperature 0.4). The Gaussian KL of the auxiliary-loss experiments lets the gradient flow
    through both sides (`stop_gradient: false`). Raises `SettingError` for a setting out of range,
    and for form "kl" where the model has one output.
    """

    tasks: tuple[str, ...] = ("classification", "regression")
    pairs = True

    def __init__(
        self,
        *,
        target: str = "clean",
        view: str = "noisy",
        form: str = "kl",
        direction: str = "forward",
        stop_gradient: bool = True,
        temperature: float = 1.0,
        confidence: float = 0.0,
        entropy: float = 0.0,
    ) -> None:
        super().__init__()
        self.reads = (target, view)
        self.form = one_of("form", form, ("kl", "mse"))
        if self.form == "kl":
            self.tasks = ("classification",)
        self.direction = one_of("direction", direction, ("forward", "reverse", "symmetric"))
        self.stop_gradient = flag("stop_gradient", stop_gradient)
        self.register_buffer(
            "temperature",
            torch.tensor(number("temperature", temperature, low=0, above=True)),
            persistent=False,
        )
        self.temperature: Tensor
        beta = number("confidence", confidence, low=0, high=0.999999)
        self.register_buffer("confidence", torch.tensor(beta), persistent=False)
        self.confidence: Tensor
        weight = number("entropy", entropy, low=0)
        self.register_buffer("entropy", torch.tensor(weight), persistent=False)
        self.entropy: Tensor
        # Settings decide what is computed, not their values on the device.
        self._masked, self._with_entropy = beta > 0, weight > 0

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar distance, at least 0; without entropy 0 for equal predictions."""
        seen, view = (outputs[label].logits for label in self.reads)
        target = seen.detach() if self.stop_gradient else seen
        distance = self._distance(target, view)
        if self._masked:
            confident = seen.detach().softmax(1).amax(1) > self.confidence
            distance = torch.where(confident, distance, 0.0)
        value = distance.mean()
        if self._with_entropy:
            log_p = F.log_softmax(seen, 1)
            value = value - self.entropy * (log_p.exp() * log_p).sum(1).mean()
        return value

    def _distance(self, target: Tensor, view: Tensor) -> Tensor:
        """The distance per example, [b]."""
        if self.form == "mse":
            if view.shape[1] > 1:
                target, view = (target / self.temperature).softmax(1), view.softmax(1)
            return (target - view).square().mean(1)
        if view.shape[1] == 1:
            raise SettingError(
                "form of Consistency must be 'mse' where the model has one output, found 'kl'"
            )
        p = F.log_softmax(target / self.temperature, 1)
        q = F.log_softmax(view, 1)
        if self.direction == "forward":
            return divergence(p, q)
        if self.direction == "reverse":
            return divergence(q, p)
        return (divergence(p, q) + divergence(q, p)) / 2
