"""How unsteady predictions are along a sequence of frames: flips and distances of rankings."""

from __future__ import annotations

import torch
from torch import Tensor

# The first five ranks count; with fewer than six classes the rank behind them does not exist.
TOP = 5


def ranking(logits: Tensor) -> Tensor:
    """The classes from the highest logit to the lowest, int64 [..., k]; of equal ones the first."""
    return logits.sort(dim=-1, descending=True, stable=True).indices


def flips(prediction: Tensor, against: str) -> Tensor:
    """Share of frames whose prediction is not that of the frame before, [b]; `prediction` [b, f].

    With `against` "first" it is the first frame's that each is compared with (arXiv 1903.12261).
    """
    return (prediction[:, 1:] != _reference(prediction, against)).double().mean(1)


def top5_distance(order: Tensor, against: str) -> Tensor:
    """How far the five best classes of the frame before have moved, mean over frames, [b].

    `order` [b, f, k] are rankings. With rho_i the rank (from 0) of the reference's i-th class,
    d = sum over i = 0 ... 4 of |i - min(rho_i, 5)|: 0 for the same five in the same order.
    """
    ranks = order.argsort(-1)[:, 1:]
    best = _reference(order, against)[..., :TOP].expand(*ranks.shape[:2], -1)
    found = ranks.gather(2, best).clamp(max=TOP)
    return (found - torch.arange(TOP, device=order.device)).abs().sum(2).double().mean(1)


def _reference(frames: Tensor, against: str) -> Tensor:
    """What the second frame and all after it are compared with."""
    return frames[:, :1] if against == "first" else frames[:, :-1]
