"""DeepFool, the nearest border of a linearised classifier again and again (arXiv 1511.04599)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..quantities import number, whole
from ..randomness import Draws
from ..tasks import Classification, Goal
from ..threat import Box, box_of, norm_name, per_example, size, steepest
from ._logits import label, logits_of, runners_up
from ._minimal import within

# The norm in which a gradient's length turns a difference of logits into a distance.
DUAL = {"l2": "l2", "linf": "l1"}


class DeepFool(nn.Module):
    """Small perturbations by steps to the nearest linearised class border (arXiv 1511.04599).

    With logits z, target y and, for every other class k, f = z_k - z_y and w its gradient, all at
    x_i: the class with the least |f| / ||w||_q is taken (q = 2 for norm l2, 1 for linf), and

        x_{i+1} = x_i + |f| / ||w||_2^2 w  (l2)  or  x_i + |f| / ||w||_1 sign(w)  (linf),

    from x_0 = x, clipped to the box, until x + (1 + overshoot) (x_i - x), clipped, which is the
    point returned, has another class, at most `steps` times. The paper asks for the class of x_i,
    which may come ever nearer to the border and not cross it; its authors' code linearises at the
    point with the overshoot (0.02), which has the same fault, and adds 0.0001 to every distance
    against it. `candidates` are the classes looked at: that many of the highest logits on x, the
    target's among them (10 in that code), or all for 0.

    A minimal-norm attack: what it finds does not depend on eps. Where that lies outside the eps
    ball, or nothing was found, x itself is returned, as it is for an x that is misclassified. eps
    is in the units of the input ("128/255" is accepted). Fooled examples leave the batch, which
    waits for the device in every step.

    Raises `SettingError` for eps or overshoot below 0, steps below 1, candidates of 1, and a model
    whose prediction is not logits [b, c] with c >= 2.
    """

    family = "adversarial"
    norms = ("linf", "l2")
    tasks = ("classification",)
    short = ("deepfool", "norm", "eps", "steps")
    minimal = True
    stops = True
    restarts = 1

    def __init__(
        self,
        *,
        norm: str = "l2",
        eps: float | str = "128/255",
        steps: int = 50,
        overshoot: float = 0.02,
        candidates: int = 10,
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.norm = norm_name(norm, self.norms)
        self.box = box_of(box)
        self.steps = whole("steps", steps, low=1)
        self.candidates = whole("candidates", candidates, low=2 if candidates else 0)
        self.register_buffer("eps", torch.tensor(number("eps", eps, low=0)), persistent=False)
        past = number("overshoot", overshoot, low=0)
        self.register_buffer("overshoot", torch.tensor(past), persistent=False)
        self.eps: Tensor
        self.overshoot: Tensor

    def forward(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        *,
        goal: Goal | None = None,
        draws: Draws | None = None,
    ) -> Tensor:
        """Adversarial examples of x [b, ...], or x; deterministic, so `draws` is not used."""
        goal = goal or Classification()
        whole_x = x = x.detach()
        found, rows = x.clone(), torch.arange(len(x), device=x.device)
        at = x_adv = x
        with torch.no_grad():
            z = logits_of(model, x)
            rivals = runners_up(z, label(y), (self.candidates or z.shape[1]) - 1)
        for step in range(self.steps + 1):
            with torch.no_grad():
                fooled = goal.fooled(model(x_adv), y)
            found[rows[fooled]] = x_adv[fooled]
            left = (~fooled).nonzero().squeeze(1)
            if len(left) == 0 or step == self.steps:
                break
            rows, x, y, rivals, at = rows[left], x[left], y[left], rivals[left], at[left]
            at = self._in_box(at + self._to_the_border(model, at, label(y), rivals))
            x_adv = self._in_box(x + (1 + self.overshoot) * (at - x))
        return within(whole_x, found, self.norm, self.eps)

    def _in_box(self, x: Tensor) -> Tensor:
        return x if self.box is None else x.clamp(*self.box)

    def _to_the_border(
        self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, rivals: Tensor
    ) -> Tensor:
        """The smallest step that makes the linearised logit of a rival equal to the target's."""
        step = torch.zeros_like(x)
        nearest = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            z = model(x)
            gaps = z.gather(1, rivals) - z.gather(1, y.unsqueeze(1))
            for gap in gaps.unbind(1):
                (w,) = torch.autograd.grad(gap, x, torch.ones_like(gap), retain_graph=True)
                length = size(w, DUAL[self.norm])
                # A flat logit has no border: it is infinitely far, and no step is made.
                distance = torch.where(length > 0, gap.detach().abs() / length, torch.inf)
                closer = distance < nearest
                way = steepest(w, self.norm) * per_example(distance, x)
                step = torch.where(per_example(closer, x), way, step)
                nearest = torch.where(closer, distance, nearest)
        return step.detach()
