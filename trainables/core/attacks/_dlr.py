"""The difference of logits ratio (arXiv 2003.01690), and the margin where it is not defined.

All grow as the model errs and are above 0 where it does. A common factor of all logits changes no
comparison of two values and no direction of a gradient, however large the factor is. With fewer
classes than a ratio needs, whatever a common factor leaves alone may be flat on either side of the
border (with two classes it always is), so the margin stands for it undivided.
"""

from __future__ import annotations

from torch import Tensor

from ._logits import margin

_TINY = 1e-12


def ratio(logits: Tensor, y: Tensor) -> Tensor:
    """(max_{i != y} z_i - z_y) / (z_1st - z_3rd) per example [b]; its numerator for 2 classes."""
    above = -margin(logits, y)
    if logits.shape[1] < 3:
        return above
    high = logits.topk(3, 1).values
    return above / (high[:, 0] - high[:, 2] + _TINY)


def ratio_to(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """(z_target - z_y) / (z_1st - (z_3rd + z_4th) / 2) [b]; its numerator below 4 classes."""
    pair = logits.gather(1, target.unsqueeze(1)) - logits.gather(1, y.unsqueeze(1))
    above = pair.squeeze(1)
    if logits.shape[1] < 4:
        return above
    high = logits.topk(4, 1).values
    return above / (high[:, 0] - (high[:, 2] + high[:, 3]) / 2 + _TINY)
