"""Several augmentations, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .. import catalog
from ..errors import SettingError
from ..quantities import several
from ..randomness import Draws
from ..views import Augmented, describe


class Compose(nn.Module):
    """A chain of augmentations: each one gets what the one before it made.

    `chain` lists their configs in order, names or mappings with a name; without it the chain is the
    usual one for CIFAR, a shift by up to 4 pixels and a mirror (arXiv 1512.03385, section 4.2).
    `outputs` is the number of classes, for those in the chain that mix targets. All draw from the
    same stream, one after another. Tables call it by the names of its parts: "crop_4+flip_0.5".
    Raises `SettingError` for an empty chain and, naming its place, for a part that is no
    augmentation or has a wrong setting.
    """

    family = "augmentation"
    short: tuple[str, ...] = ("compose",)
    mixes = False
    moves = False
    relabels = False

    def __init__(
        self,
        *,
        outputs: int,
        chain: Sequence[Mapping[str, Any] | str] = ("RandomCrop", "RandomFlip"),
    ) -> None:
        super().__init__()
        parts: list[Any] = []
        for place, one in enumerate(several("chain", chain)):
            try:
                parts.append(
                    catalog.build(
                        "augmentations",
                        catalog.expand("augmentations", one),
                        outputs=outputs,
                        seed=0,
                    )
                )
            except SettingError as error:
                raise SettingError(f"chain/{place}: {error}") from None
            if hasattr(parts[-1], "observe") or getattr(parts[-1], "copies", 1) > 1:
                raise SettingError(
                    f"chain/{place}: {type(parts[-1]).__name__} makes several copies and learns "
                    "from the losses on them; make it a view and what follows a view of it"
                )
        if not parts:
            raise SettingError("chain must list at least one augmentation, found []")
        self.parts = nn.ModuleList(parts)
        self.short = ("+".join(describe(Augmented(part))["name"] for part in parts),)
        self.mixes = any(getattr(part, "mixes", False) for part in parts)
        self.moves = any(getattr(part, "moves", False) for part in parts)
        self.relabels = any(getattr(part, "relabels", False) for part in parts)

    def forward(self, x: Tensor, y: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """x and y after the whole chain."""
        for part in self.parts:
            x, y = part(x, y, draws)
        return x, y
