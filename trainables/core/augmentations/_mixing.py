"""What augmentations that mix examples share: partners, shares from a Beta law, mixed targets."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import SettingError
from ..randomness import Draws

PER = ("batch", "sample")
LEAST_ALPHA = 1e-3
# One proposal is accepted with a probability above 0.95, so none of eight with one below 4e-11.
_PROPOSALS = 8


def count(per: str, x: Tensor) -> int:
    """How many draws a batch takes: one for all examples, or one for each."""
    return 1 if per == "batch" else len(x)


def numbers(x: Tensor, *shape: int) -> Tensor:
    """What random numbers are shaped like; float32 whatever x is, since bfloat16 is too coarse."""
    return torch.empty(shape, device=x.device)


def partners(x: Tensor, draws: Draws) -> Tensor:
    """A random permutation of the batch, [b]."""
    return draws.uniform(numbers(x, len(x))).argsort()


def shares(alpha: Tensor, x: Tensor, draws: Draws, per: str) -> Tensor:
    """Numbers from Beta(alpha, alpha), [b], or [1] where one serves the whole batch.

    Beta(a, a) = G / (G + G') with two independent Gamma(a) variates, and Gamma(a) = Gamma(a + 1)
    u^(1/a). Gamma(a + 1) is drawn by the method of Marsaglia and Tsang (2000) from a fixed number
    of proposals, of which the first accepted one is taken: no loop, no branch, exact but for a
    probability of 1e-10. Logarithms are taken because u^(1/a) underflows for small a.
    """
    like = numbers(x, count(per, x), 2, _PROPOSALS)
    proposed, chance = draws.normal(like), draws.uniform(like)
    boost = draws.uniform(numbers(x, count(per, x), 2))
    # A generator of its own for every example hands out a row for each; the first serves all.
    proposed, chance, boost = (one[: len(like)] for one in (proposed, chance, boost))
    # d = (a + 1) - 1/3, and v = (1 + z / sqrt(9 d))^3, accepted where it is positive and
    # log u < z^2 / 2 + d - d v + d log v.
    d = alpha + 2 / 3
    root = 1 + proposed / (9 * d).sqrt()
    log_v = 3 * root.clamp(min=1e-6).log()
    bound = proposed.square() / 2 + d - d * log_v.exp() + d * log_v
    accepted = (root > 0) & ((-chance).log1p() < bound)
    order = torch.arange(_PROPOSALS, 0, -1, device=x.device)
    first = (accepted * order).argmax(-1, keepdim=True)
    log_gamma = log_v.gather(-1, first).squeeze(-1) + (-boost).log1p() / alpha
    return (log_gamma[:, 0] - log_gamma[:, 1]).sigmoid()


def mixed_targets(name: str, y: Tensor, partner: Tensor, share: Tensor, outputs: int) -> Tensor:
    """share y + (1 - share) y[partner]; class numbers [b] become probabilities [b, outputs].

    Probabilities [b, outputs] and values of a regression are mixed as they are. Raises
    `SettingError` for targets that cannot be mixed, such as boxes.
    """
    if y.dim() > 2:
        raise SettingError(
            f"{name} needs class numbers, probabilities or values as targets, found targets of "
            f"shape {tuple(y.shape[1:])}"
        )
    if not y.is_floating_point():
        # Not `one_hot`: on the CPU it looks at the values.
        y = (y.unsqueeze(1) == torch.arange(outputs, device=y.device)).to(share.dtype)
    share = share.to(y.dtype)
    return torch.lerp(y[partner], y, share.unsqueeze(1) if y.dim() == 2 else share)
