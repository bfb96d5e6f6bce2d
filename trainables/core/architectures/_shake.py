"""Random coefficients that differ between the forward and the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ShakeMix(nn.Module):
    """a y + (1 - a) z of two branches, with b in the place of a in the backward pass.

    `mode` is "forward-backward-level" or "even-even": a is drawn from U(0, 1) if forward is "shake"
    and 0.5 if "even"; b likewise, or a itself if backward is "keep". Level "image" draws for each
    image, "batch" once. In evaluation a = b = 0.5.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.ahead, self.back, *level = mode.split("-")
        self.per_image = level == ["image"]
        # What draws for each image; where the batch is spread over processes, for all of it.
        self.drawn = uniform

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Branches y and z [b, c, h, w] -> [b, c, h, w]."""
        if not self.training:
            return 0.5 * (y + z)
        like, drawn = (y, self.drawn) if self.per_image else (y[:1], uniform)
        a = drawn(like) if self.ahead == "shake" else torch.full_like(like[:, :1, :1, :1], 0.5)
        if self.back == "keep":
            b = a
        else:
            b = drawn(like) if self.back == "shake" else torch.full_like(a, 0.5)
        return scaled(y, a, b) + scaled(z, 1 - a, 1 - b)


class ShakeDrop(nn.Module):
    """A residual branch that is disturbed at random (arXiv 1802.02375).

    In training one gate for the batch is 1 with probability 1 - p, and the branch stays as it is.
    Else it is times a ~ U(-1, 1) in the forward and times b ~ U(0, 1) in the backward pass, both
    drawn for each image. In evaluation it is times 1 - p, the expected factor of the forward pass.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p), persistent=False)
        self.p: Tensor
        self.drawn = uniform

    def forward(self, x: Tensor) -> Tensor:
        """x [b, c, h, w] -> [b, c, h, w]."""
        if not self.training:
            return (1 - self.p) * x
        kept = torch.rand_like(self.p) >= self.p
        a, b = 2 * self.drawn(x) - 1, self.drawn(x)
        return scaled(x, torch.where(kept, 1, a), torch.where(kept, 1, b))


def uniform(like: Tensor) -> Tensor:
    """U[0, 1) for each row of [b, c, h, w], as [b, 1, 1, 1].

    From torch's global generator, as for dropout: the training seeds it for every epoch.
    """
    return torch.rand(len(like), 1, 1, 1, dtype=like.dtype, device=like.device)


def scaled(x: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """`forward` x, with the gradient of `backward` x.

    Both coefficients are fixed in the forward pass, so all backward passes through one graph (one
    per loss) see the same; a function that draws in its backward pass would measure each loss on
    another network.
    """
    return backward * x + ((forward - backward) * x).detach()
