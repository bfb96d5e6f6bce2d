"""Half a cosine from 1 down (arXiv 1608.03983)."""

from __future__ import annotations

from math import cos, pi

from ..quantities import number


class Cosine:
    """final + (1 - final) (1 + cos(pi progress)) / 2, without restarts (arXiv 1608.03983)."""

    def __init__(self, *, final: float = 0.0) -> None:
        self.final = number("final", final, low=0, high=1)

    def __call__(self, progress: float) -> float:
        """The factor at `progress` in [0, 1]."""
        return self.final + (1 - self.final) * (1 + cos(pi * progress)) / 2
