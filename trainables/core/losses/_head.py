"""The private heads of losses that predict something of their own from the features."""

from __future__ import annotations

from torch import nn

from ..quantities import whole


def head(width: int, outputs: int, hidden: int | str) -> nn.Module:
    """From features [b, width] to [b, outputs], with weights from torch's global generator.

    `hidden` is the number of units of one hidden layer with ReLU: 0 for a linear head, "width" for
    as many as there are features. Raises `SettingError` for anything else.
    """
    units = width if hidden == "width" else whole("hidden", hidden)
    if not units:
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, units), nn.ReLU(), nn.Linear(units, outputs))
