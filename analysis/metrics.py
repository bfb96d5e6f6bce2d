"""How metrics are called and written: unit, scale, and which direction is better; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

DIGITS = 4


@dataclass(frozen=True)
class Metric:
    """One metric of a task.

    `title` is how it stands in captions and axes, `scale` what its value is multiplied by where
    people read it, `unit` and `step` what then stands behind it and behind a difference. `low` and
    `high` are the least and the greatest value that it can have, unscaled. Ledger, Parquet, CSV
    and JSON always hold the unscaled value.
    """

    name: str
    title: str
    better: str = "max"
    scale: float = 1.0
    unit: str = ""
    step: str = ""
    low: float = -math.inf
    high: float = math.inf
    about: str = ""

    @property
    def lower(self) -> bool:
        """Whether less is better."""
        return self.better == "min"

    @property
    def heading(self) -> str:
        """The title with its unit, for an axis."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def decimals(self, values: Iterable[float]) -> int:
        """Digits after the point for a column: 2 on a fixed scale, else for 4 digits in all.

        The median decides, so that one diverged row does not round the others away; -1 stands
        for values that are too small or too large to be written out.
        """
        if self.scale != 1:
            return 2
        found = [abs(one) for one in values if math.isfinite(one) and one != 0]
        if not found:
            return 2
        middle = median(found)
        if not 1e-4 <= middle < 1e6:
            return -1
        return max(0, DIGITS - 1 - math.floor(math.log10(middle)))

    def text(self, value: float, decimals: int, *, sign: bool = False) -> str:
        """The scaled value with so many decimals, as `decimals` gave them."""
        plus = "+" if sign else ""
        if decimals < 0 or not math.isfinite(value):
            return f"{self.scale * value:{plus}.{DIGITS}g}"
        # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
        return f"{round(self.scale * value, decimals) + 0.0:{plus}.{decimals}f}"

    def shown(self, value: float) -> str:
        """A single value with its unit: `85.71 %`, `37.40`, `11.47`."""
        number = self.text(value, self.decimals([value]))
        return f"{number} {self.unit}" if self.unit else number


_AP = "average precision as in COCO, from 0 to 100"
_KNOWN = {
    one.name: one
    for one in (
        Metric("accuracy", "accuracy", scale=100, unit="%", step="pp", low=0, high=1),
        Metric("error", "error", better="min", scale=100, unit="%", step="pp", low=0, high=1),
        Metric(
            "mce", "mCE", better="min", scale=100, unit="%", step="pp", low=0,
            about="mean corruption error over AlexNet's, as on ImageNet-C",
        ),
        Metric(
            "relative_mce", "relative mCE", better="min", scale=100, unit="%", step="pp",
            about="what corruptions add to the clean error, over AlexNet's, as on ImageNet-C",
        ),
        Metric(
            "flip_probability", "flip probability", better="min", scale=100, unit="%", step="pp",
            low=0, high=1, about="share of frames with another prediction, over no reference",
        ),
        Metric("top5_distance", "top-5 distance", better="min", low=0, about="over no reference"),
        Metric(
            "ece", "ECE", better="min", scale=100, unit="%", step="pp", low=0, high=1,
            about="expected calibration error",
        ),
        Metric(
            "rms", "RMS calibration error", better="min", scale=100, unit="%", step="pp",
            low=0, high=1,
        ),
        Metric("brier", "Brier score", better="min", low=0, high=2),
        Metric("nll", "NLL", better="min", low=0, about="negative log-likelihood in nats"),
        Metric("loss", "loss", better="min"),
        Metric("rmse", "RMSE", better="min", low=0, about="in units of the target"),
        Metric("mae", "MAE", better="min", low=0, about="in units of the target"),
        Metric("r2", "R²", high=1),
        Metric("map", "AP", scale=100, low=0, high=1, about=f"{_AP}, mean over overlaps .5 to .95"),
        Metric("map_50", "AP50", scale=100, low=0, high=1, about=f"{_AP}, overlap .5"),
        Metric("map_75", "AP75", scale=100, low=0, high=1, about=f"{_AP}, overlap .75"),
        Metric(
            "mar_100", "AR100", scale=100, low=0, high=1,
            about="average recall as in COCO, from 0 to 100, at most 100 detections an image",
        ),
    )
}  # fmt: skip


def metric(name: str, goal: str = "") -> Metric:
    """The metric of that name: `rmse`, also `validation/rmse` or `validation/clean/rmse`.

    One that is not known is shown as it is; `goal` (max or min) then says what is better.
    """
    last = name.rpartition("/")[2]
    return _KNOWN.get(last) or Metric(last, last, better=goal or "max")


def readable(name: str) -> str:
    """`validation/rmse` as `validation RMSE`, with a benchmark's name between them if it has one.

    Names of benchmarks may hold slashes themselves: validation/pgd_linf_8/255_20/accuracy.
    """
    split, slash, rest = name.partition("/")
    benchmark, _, last = rest.rpartition("/")
    if not slash:
        return metric(name).title
    return " ".join(one for one in (split, benchmark, metric(last).title) if one)
