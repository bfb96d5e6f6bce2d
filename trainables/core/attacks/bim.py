"""The basic iterative method (arXiv 1607.02533)."""

from __future__ import annotations

from ..threat import Box
from ._iterated import Iterated


class BIM(Iterated):
    """The fast gradient sign method in small steps (basic iterative method, arXiv 1607.02533).

    x <- P(x + step_size u) from x itself on, where u is the gradient's sign (norm linf), its
    direction (l2) or its largest value alone (l1), and P projects onto the eps ball and then the
    box: PGD without a random start. eps and step_size are in the units of the input ("8/255" is
    accepted). step_size "auto" is eps / steps, so that the last step can just reach the border of
    the ball; the paper's own choice, for eps = k/255, is a step of 1/255 and the smaller of k + 4
    and 1.25 k steps. counts "last": the last iterate counts; "any": the first one that fools the
    model, x itself included, which waits for the device in every step (for evaluation).

    Raises `SettingError` for eps below 0 and steps below 1.
    """

    short = ("bim", "norm", "eps", "steps")

    def __init__(
        self,
        *,
        norm: str = "linf",
        eps: float | str = "8/255",
        steps: int = 10,
        step_size: float | str = "auto",
        counts: str = "last",
        box: Box = (0.0, 1.0),
    ) -> None:
        super().__init__(
            norm=norm, eps=eps, steps=steps, step_size=step_size, radii=1.0, counts=counts, box=box
        )
