"""Examples and targets mixed with those of a partner."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import number, one_of, whole
from ..randomness import Draws
from ._mixing import LEAST_ALPHA, PER, mixed_targets, partners, shares


class Mixup(nn.Module):
    """Mixes every example and its target with another one of the batch (arXiv 1710.09412).

    x' = lam x + (1 - lam) x[pi] and y' = lam y + (1 - lam) y[pi], where pi is a random permutation
    of the batch and lam ~ Beta(alpha, alpha). x [b, ...] may have any shape. Class numbers y [b]
    become probabilities [b, outputs]; probabilities and the values of a regression are mixed as
    they are.

    `alpha` is at least 0.001, where hardly anything is mixed; the paper has 1 for CIFAR and 0.2 to
    0.4 for ImageNet. `per` is "batch" (one lam for all examples, as in the authors' code) or
    "sample" (one for each, as the paper's equation may be read). `outputs` is the number of
    classes. Raises `SettingError` for settings out of range and for targets that are boxes.

    What becomes of an example depends on the rest of its batch, so this is a view to train on:
    evaluated on it, a model's figures would depend on the batch size and on the order.
    """

    family = "augmentation"
    moves = True
    short = ("mixup", "alpha")
    mixes = True

    def __init__(self, *, outputs: int, alpha: float | str = 1.0, per: str = "batch") -> None:
        super().__init__()
        self.outputs = whole("outputs", outputs, low=1)
        self.register_buffer(
            "alpha", torch.tensor(number("alpha", alpha, low=LEAST_ALPHA)), persistent=False
        )
        self.alpha: Tensor
        self.per = one_of("per", per, PER)

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, ...] mixed; y [b] or [b, outputs] mixed, as floats."""
        partner = partners(x, draws)
        share = shares(self.alpha, x, draws, self.per)
        weight = share.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
        y = mixed_targets("Mixup", y, partner, share, self.outputs)
        return torch.lerp(x[partner], x, weight), y
