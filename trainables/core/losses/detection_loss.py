"""The inner losses of a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..batch import Outputs
from ..errors import SettingError
from ..quantities import one_of


class DetectionLoss(nn.Module):
    """One inner loss of a detector, or the sum of all, on a view.

    `term` is "all" or one of those that the architecture computes: "classification", "box" and, of
    a detector with region proposals, "objectness" and "rpn_box". With one loss for each term a
    weighter weighs the several losses of one objective, the case that CoV weighting (arXiv
    2009.01717) was made for. Raises `SettingError` for a term that the architecture does not have.
    """

    tasks = ("detection",)

    def __init__(self, *, terms: Sequence[str], view: str = "clean", term: str = "all") -> None:
        super().__init__()
        self.reads = (view,)
        if not terms:
            raise SettingError("needs an architecture that detects; this one has no inner losses")
        self.term = one_of("term", term, ("all", *terms))

    def forward(self, outputs: Mapping[str, Outputs]) -> Tensor:
        """The scalar loss."""
        terms = outputs[self.reads[0]].terms
        if self.term != "all":
            return terms[self.term]
        found, *others = terms.values()
        for one in others:
            found = found + one
        return found
