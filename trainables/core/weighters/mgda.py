"""The shortest convex combination of the gradients (arXiv 1810.04650)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..gradients import Gradients
from ..quantities import one_of
from ._gramian import scaled, settled
from ._quadratic import cosines_and_norms, few, smallest


class MGDA(nn.Module):
    """The shortest convex combination of the gradients: it opposes none of them (arXiv 1810.04650).

    w = argmin |sum_i w_i g_i / c_i|^2 over w >= 0, sum w = 1, where `divide` says what each
    gradient is divided by before the combination is looked for:

    - "none": c_i = 1, as in the paper
    - "l2": c_i = |g_i|
    - "loss": c_i = |L_i|
    - "loss+": c_i = |L_i| |g_i|

    As in the authors' code the weights, which sum to 1, then stand in front of the losses as they
    are, so only "none" promises an update that opposes no loss. (LibMTL applies them to the divided
    gradients.) We solve exactly, where the authors iterate and bound the weights of two losses to
    [0.001, 0.999]; at most 16 losses, else `SettingError`. A gradient of 0 takes all the weight,
    and the update vanishes; a loss of 0 takes none with "loss" and "loss+". Weights are 1/k where
    the Gramian is 0 or not finite.
    """

    per_loss = True

    def __init__(self, *, k: int, divide: str = "none") -> None:
        super().__init__()
        few("MGDA", k)
        self.divide = one_of("divide", divide, ("none", "l2", "loss", "loss+"))

    @torch.no_grad()
    def forward(self, losses: Tensor, gradients: Gradients) -> Tensor:
        """Weights [k] from the Gramian [k, k], and from the losses [k] if they divide."""
        g, _, ok = scaled(gradients.gramian)
        cosines, norms = cosines_and_norms(g, gradients.gramian)
        if self.divide in ("l2", "loss+"):
            norms = (norms > 0).to(norms.dtype)
        if self.divide in ("loss", "loss+"):
            # Relative to the largest, so that no loss, however small, makes an infinite gradient.
            size = losses.double().abs()
            size = torch.where(size.amax() > 0, size / size.amax(), 1.0)
            norms = norms / size.clamp_min(1e-100)
            norms = norms / norms.amax()
        return settled(smallest(cosines, norms), ok, 1 / len(losses), losses)
