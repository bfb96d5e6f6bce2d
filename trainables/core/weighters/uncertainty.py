"""Weights by the losses' learned uncertainty (arXiv 1705.07115)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import number, one_of
from ._log_weights import LogWeights

# The factor of exp(-s) L and what every unit of s costs; "positive" has a cost of its own.
FORMS = {"full": (1.0, 1.0), "half": (0.5, 0.5), "classification": (1.0, 0.5), "positive": (0.5, 0)}


class Uncertainty(nn.Module):
    """Weights each loss by its uncertainty, learned with the model (arXiv 1705.07115).

    What is minimised over the model and the log variances s_i, by `form`; w_i is what stands before
    L_i:

    - "full": sum_i exp(-s_i) L_i + s_i (the form of the CoV paper's code)
    - "half": sum_i exp(-s_i) L_i / 2 + s_i / 2 (the paper's regression; half of "full")
    - "classification": sum_i exp(-s_i) L_i + s_i / 2 (the paper's classification)
    - "positive": sum_i exp(-s_i) L_i / 2 + log(1 + exp(s_i)) (arXiv 1805.06334), which never goes
      below 0

    The s_i begin at `start` and are trained by the model's optimizer; it holds -s_i, the logarithm
    of exp(-s_i). They stay within `most` >= exp(-s_i) >= 1/most (`most` > 1), which the paper does
    not ask for: a loss that goes to 0 would raise its weight without limit. The gradient of s_i is
    clamped to [-most, most]. At rest exp(-s_i) is 1/L_i times a constant ("full": 1/L_i), so a
    constant coefficient of a loss cancels. A loss that is 0 or negative drives exp(-s_i) to `most`.
    """

    absorbs = True

    def __init__(
        self, *, k: int, form: str = "full", start: float = 0.0, most: float = 1e4
    ) -> None:
        super().__init__()
        self.form = one_of("form", form, FORMS)
        self.factor, self.cost = FORMS[self.form]
        self.inverse_variance = LogWeights(k, start=-number("start", start), most=most)

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] for this step's losses [k]; leaves the gradient of s."""
        inverse: Tensor = self.inverse_variance().to(losses.dtype)
        weights = self.factor * inverse
        # d log(1 + exp(s)) / ds = 1 / (1 + exp(-s))
        cost = 1 / (1 + inverse) if self.form == "positive" else self.cost
        self.inverse_variance.learn(weights * losses - cost)
        return weights
