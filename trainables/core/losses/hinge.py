"""Hinge losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..batch import Outputs
from ..errors import SettingError
from ..quantities import number, one_of, whole
from ._targets import class_numbers, membership


class Hinge(nn.Module):
    """Mean hinge loss: the margin by which the target's logit fails to exceed the others'.

    With h_j = max(0, m - z_y + z_j)^p for every class j != y of logits z [b, c], margin m and
    power p, 1 or 2:

    * "crammer-singer" (2001): the largest h_j;
    * "weston-watkins" (1999): their sum;
    * "multi-margin": their sum divided by the number of classes C (not C - 1);
    * "binary": max(0, m - t f)^p for two outputs, with f = z_1 - z_0 and t = -1 for class 0 and 1
      for class 1; it equals the first two on two outputs.

    Where several classes share the largest h_j, the gradient is split among them evenly. Raises
    `SettingError` for a margin that is not above 0, a power other than 1 and 2, the form "binary"
    for other than two outputs, and mixed labels.
    """

    tasks = ("classification",)
    targets = ("task",)

    def __init__(
        self,
        *,
        view: str = "clean",
        form: str = "crammer-singer",
        margin: float = 1.0,
        power: int = 1,
    ) -> None:
        super().__init__()
        self.reads = (view,)
        forms = ("binary", "crammer-singer", "weston-watkins", "multi-margin")
        self.form = one_of("form", form, forms)
        self.register_buffer(
            "margin", torch.tensor(number("margin", margin, low=0, above=True)), persistent=False
        )
        self.margin: Tensor
        self.power = whole("power", power, low=1)
        if self.power > 2:
            raise SettingError(f"power must be 1 or 2, found {power!r}")

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss, at least 0."""
        seen = outputs[self.reads[0]]
        y, z = class_numbers(self, seen.y), seen.logits
        classes = z.shape[1]
        if self.form == "binary":
            if classes != 2:
                raise SettingError(
                    f"form 'binary' of Hinge needs two outputs, found {classes}; "
                    f"'crammer-singer' takes any number"
                )
            side = 2 * y - 1
            return self._beyond(self.margin - side * (z[:, 1] - z[:, 0])).mean()
        own = membership(y, classes)
        h = self._beyond(self.margin + z - z.gather(1, y.unsqueeze(1))).masked_fill(own, 0)
        if self.form == "crammer-singer":
            return h.amax(1).mean()
        return h.sum(1).mean() if self.form == "weston-watkins" else h.mean()

    def _beyond(self, missing: Tensor) -> Tensor:
        """max(0, missing) to the power."""
        cut = missing.relu()
        return cut if self.power == 1 else cut.square()
