"""Steps down at given parts of training."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SettingError
from ..quantities import number, several


class MultiStep:
    """Multiplies by gamma at each milestone, a part of training in (0, 1), in rising order.

    `milestones` and `gamma` are by default those of wide residual networks (arXiv 1605.07146): 0.2
    after 30, 60 and 80 % of training.
    """

    def __init__(
        self, *, milestones: Sequence[float] = (0.3, 0.6, 0.8), gamma: float = 0.2
    ) -> None:
        self.milestones = [
            number("milestones", one, low=0, high=1, above=True)
            for one in several("milestones", milestones)
        ]
        if self.milestones != sorted(set(self.milestones)):
            raise SettingError(f"milestones must rise, found {list(milestones)}")
        self.gamma = number("gamma", gamma, low=0, high=1)

    def __call__(self, progress: float) -> float:
        """The factor at `progress` in [0, 1]."""
        # A hair below a milestone counts as reached: progress is a quotient of whole numbers.
        return float(self.gamma ** sum(progress >= one - 1e-12 for one in self.milestones))
