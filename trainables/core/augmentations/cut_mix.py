"""Images with a rectangle of a partner's pasted in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..quantities import number, one_of, whole
from ..randomness import Draws
from ._images import place, rectangle, sides
from ._mixing import LEAST_ALPHA, PER, count, mixed_targets, numbers, partners, shares


class CutMix(nn.Module):
    """Pastes a rectangle of another image into every image; targets by area (arXiv 1905.04899).

    lam ~ Beta(alpha, alpha); the rectangle has floor(h sqrt(1 - lam)) by floor(w sqrt(1 - lam))
    pixels, its centre is any pixel, all equally likely, and it is cut off at the border. The target
    is a y + (1 - a) y[pi] with the true share a of own pixels after that, and pi a random
    permutation of the batch. Class numbers y [b] become probabilities [b, outputs]; probabilities
    and the values of a regression are mixed as they are. The authors' code loses a pixel of an odd
    side; here the side is as the formula says.

    `alpha` is at least 0.001 (1 in the paper). With probability `p` a batch, or an example, is
    mixed at all: 1 in the paper's text, 0.5 in the authors' command for CIFAR. `per` is "batch"
    (one rectangle at one place for all images, as in the authors' code) or "sample". `outputs` is
    the number of classes. Raises `SettingError` for settings out of range, inputs that are no
    images, and targets that are boxes.

    What becomes of an example depends on the rest of its batch, so this is a view to train on:
    evaluated on it, a model's figures would depend on the batch size and on the order.
    """

    family = "augmentation"
    moves = True
    short = ("cutmix", "alpha")
    mixes = True

    def __init__(
        self, *, outputs: int, alpha: float | str = 1.0, p: float | str = 1.0, per: str = "batch"
    ) -> None:
        super().__init__()
        self.outputs = whole("outputs", outputs, low=1)
        self.register_buffer(
            "alpha", torch.tensor(number("alpha", alpha, low=LEAST_ALPHA)), persistent=False
        )
        self.register_buffer("p", torch.tensor(number("p", p, low=0, high=1)), persistent=False)
        self.alpha: Tensor
        self.p: Tensor
        self.per = one_of("per", per, PER)

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x [b, c, h, w] with rectangles of others; y [b] or [b, outputs] mixed, as floats."""
        h, w = sides("CutMix", x)
        partner = partners(x, draws)
        share = shares(self.alpha, x, draws, self.per)
        drawn = draws.uniform(numbers(x, count(self.per, x), 3))[: len(share)]
        middle = torch.stack([place(drawn[:, 0], h), place(drawn[:, 1], w)], 1)
        side = torch.where(drawn[:, 2] < self.p, (1 - share).sqrt(), 0.0)
        pasted = rectangle(x, middle, (h * side).long(), (w * side).long())
        own = 1 - pasted.float().mean((1, 2, 3))
        y = mixed_targets("CutMix", y, partner, own, self.outputs)
        return torch.where(pasted, x[partner], x), y
