"""Linear classifiers, whose worst perturbation within a ball is known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..contracts.toys import seeded


class LinearSoftmax(nn.Module):
    """Logits W x + b with normal weights; `scale` multiplies all of them."""

    def __init__(self, shape: tuple[int, ...], classes: int, *, seed: int = 0) -> None:
        super().__init__()
        values = int(torch.tensor(shape).prod())
        generator = seeded(seed)
        self.weight = nn.Parameter(
            torch.randn(classes, values, generator=generator, dtype=torch.float64)
        )
        self.bias = nn.Parameter(torch.randn(classes, generator=generator, dtype=torch.float64))
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x.flatten(1) @ self.weight.T + self.bias)


def slack(
    model: LinearSoftmax,
    x: Tensor,
    y: Tensor,
    norm: str,
    eps: float,
    box: tuple[float, float] | None,
) -> Tensor:
    """What is left of z_y - z_j at the worst point of ball and box, for the worst j; [b].

    For norm l2 there must be no box.
    """
    with torch.no_grad():
        logits = model(x)
    margin = logits.gather(1, y.unsqueeze(1)) - logits
    # [b, classes, n]: where z_j - z_y rises.
    rise = model.weight.detach().unsqueeze(0) - model.weight.detach()[y].unsqueeze(1)
    flat = x.flatten(1).unsqueeze(1)
    if norm == "l2":
        assert box is None
        gain = eps * rise.norm(dim=2)
    else:
        up, down = torch.full_like(flat, torch.inf), torch.full_like(flat, torch.inf)
        if box is not None:
            up, down = box[1] - flat, flat - box[0]
        room = torch.where(rise > 0, up, down)
        if norm == "linf":
            gain = (rise.abs() * room.clamp(max=eps)).sum(2)
        else:
            # Spend the budget where it helps most; every value takes what it has room for.
            best, order = rise.abs().sort(dim=2, descending=True)
            room = room.clamp(max=eps).gather(2, order)
            spent = (eps - (room.cumsum(2) - room)).clamp_min(0)
            gain = (best * torch.minimum(room, spent)).sum(2)
    left = margin - model.scale * gain
    left.scatter_(1, y.unsqueeze(1), torch.inf)
    return left.amin(1)


def case(
    classes: int,
    norm: str,
    box: tuple[float, float] | None,
    *,
    shape: tuple[int, ...] = (1, 4, 5),
    n: int = 60,
) -> tuple[LinearSoftmax, Tensor, Tensor, float, Tensor]:
    """Model, inputs, targets, an eps at which some of them fall, and which of them stand.

    No example lies so near to the border that rounding or the last step decides.
    """
    model = LinearSoftmax(shape, classes, seed=classes)
    x = torch.rand(4 * n, *shape, generator=seeded(3), dtype=torch.float64)
    with torch.no_grad():
        logits = model(x)
    y = logits.argmax(1)
    y[::10] = logits[::10].argmin(1)
    # The more classes, the nearer is the nearest.
    eps = {"linf": 0.1, "l2": 0.35, "l1": 0.9}[norm] * {2: 1.5, 3: 1.0, 5: 0.8, 10: 0.4}[classes]
    left = slack(model, x, y, norm, eps, box)
    clear = (left.abs() > 0.02).nonzero().squeeze(1)[:n]
    assert len(clear) == n
    stands = left[clear] > 0
    assert 0.1 < float(stands.double().mean()) < 0.9
    return model, x[clear], y[clear], eps, stands
