"""A common corruption as a view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .. import catalog
from ..corruptions._pixels import severity_of
from ..errors import SettingError, nearest
from ..randomness import Draws


class Corruption(nn.Module):
    """One type of common corruption at one severity (arXiv 1903.12261).

    `corruption` is its label, such as gaussian_noise or fog (`study list corruptions`), `severity`
    1 to 5, `settings` what its class can be told beside (`study show corruptions Frost`). The short
    form is label and severity: "fog_3". Images are corrupted by our own code and
    not read from the official files; the same seed and example give the same result. Raises
    `SettingError` for an unknown label, and for inputs that the corruption cannot take.
    """

    family = "corruption"
    short: tuple[str, ...] = ("corruption", "corruption", "severity")

    def __init__(
        self,
        *,
        corruption: str = "gaussian_noise",
        severity: int = 3,
        settings: Mapping[str, Any] = {},
    ) -> None:
        super().__init__()
        found = labels().get(str(corruption))
        if found is None:
            hint = nearest(str(corruption), labels())
            raise SettingError(f"corruption cannot be {corruption!r}.{hint}")
        self.corrupt: Any = catalog.build("corruptions", {"name": found.__name__, **settings})
        self.severity = severity_of(severity)
        self.moves = bool(getattr(found, "moves", False))
        self.short = (f"{corruption}_{self.severity}",)

    @classmethod
    def spelled(cls, text: str) -> dict[str, Any] | None:
        """The settings that a short form names, None where it is none of ours."""
        if text in labels():
            raise SettingError(f"{text} needs a severity: {text}_1 to {text}_5")
        label, _, severity = text.rpartition("_")
        if label not in labels() or not severity.isdigit():
            return None
        return {"corruption": label, "severity": int(severity)}

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x, corrupted; y as it is."""
        return self.corrupt(x, self.severity, draws), y


def labels() -> dict[str, type[Any]]:
    """Every corruption's class by its label."""
    found = [catalog.find("corruptions", name) for name in catalog.names("corruptions")]
    return {one.label: one for one in found}
