"""How steady a model's predictions are when an image changes little by little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from .. import catalog
from .._flips import TOP, flips, ranking, top5_distance
from ..batch import Batch
from ..data import _official
from ..data._source import data_root
from ..errors import SettingError
from ..evaluation import Found, Row, Sample
from ..facts import Facts
from ..quantities import one_of
from ..randomness import ExampleStreams
from ..tasks import Task
from ..views import describe, make
from ._types import labels_of, named_after, of_source

# The ten that are scored, in the order of the published tables; CIFAR-10-P has spatter where
# ImageNet-P has snow.
IMAGENET = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
CIFAR = tuple("spatter" if label == "snow" else label for label in IMAGENET)
# As many numbers are generated at a time: sequences of large images are long.
AT_ONCE = 2**25


class Perturbations(nn.Module):
    """Flip probability and top-5 distance along sequences of perturbed images (arXiv 1903.12261).

    `types` is "cifar" (the ten that are scored on CIFAR-10-P), "imagenet" (snow instead of
    spatter), "all" (both, and speckle noise, Gaussian blur and shear, which are for validation) or
    a list of labels. For each there is a row "perturbation_<label>" with

    - flip_probability: the share of frames whose prediction is not that of the frame before, in
      sequences of noise not that of the first frame, mean over sequences;
    - top5_distance, for 6 classes and more: with rho_i the rank from 0 of the class that the same
      reference ranks i-th, the sum over i = 0 ... 4 of |i - min(rho_i, 5)|, mean over frames and
      sequences;

    and "perturbations" is the mean over types. These are the unnormalised figures that are reported
    for CIFAR-10-P. ImageNet-P's flip rate and mFR divide by AlexNet's figures, of which we have no
    source that can be checked, so they are not given.

    With `source` "generated" sequences are made by our own code, the same for all models; with
    "official" they are read from `<root>/CIFAR-10-P/<type>.npy`, for the test part alone. Every row
    says which. Raises `SettingError` for another task than classification, settings out of range,
    inputs that are no images and files that do not fit; `MissingDataError` for absent ones.
    """

    short = ("perturbations", "types")
    tasks = ("classification",)
    thorough = True

    def __init__(
        self,
        *,
        types: str | Sequence[str] = "cifar",
        source: str = "generated",
        shape: tuple[int, ...],
        data: Mapping[str, Any],
        root: str,
    ) -> None:
        super().__init__()
        self.perturbations = _chosen(types)
        self.source = one_of("source", source, ("generated", "official"))
        # Published files hold the test part alone, in its order.
        self.published = self.source == "official"
        if shape and len(shape) != 3:
            raise SettingError(f"needs images (c, h, w), found inputs of shape {shape}")
        self.data = dict(data)
        self.root = root
        self.row: Row = describe(make("Clean", Facts())) | {
            "family": "perturbation",
            "name": of_source(named_after("perturbations", types, "cifar"), self.source),
            "source": self.source,
        }

    def figures(self, best: Mapping[str, str]) -> dict[str, str]:
        """What there are rows of, <row>/<metric>, and which direction is better."""
        names = [of_source(f"perturbation_{one.label}", self.source) for one in self.perturbations]
        return {f"{name}/flip_probability": "min" for name in [*names, str(self.row["name"])]}

    def forward(self, model: nn.Module, sample: Sample, task: Task) -> Found:
        """Rows of every type, and of the means."""
        if task.name not in self.tasks:
            raise SettingError(
                f"Perturbations is for {' and '.join(self.tasks)}, the data's task is {task.name}"
            )
        rows: list[Row] = []
        judged: dict[str, dict[str, Tensor]] = {}
        about = self.row | {
            "n_examples": len(sample),
            "n_correct": None,
            "seed": sample.seed,
            "unreliable": None,
        }
        for one in self.perturbations:
            name = of_source(f"perturbation_{one.label}", self.source)
            part = sample.parts.get(name)
            if part is None:
                began = perf_counter()
                part = self._judged(one, model, sample, task)
                part["seconds"] = torch.tensor([perf_counter() - began])
                sample.parts.put(name, part)
            seconds = part.pop("seconds").item()
            rows += [
                about
                | {
                    "name": name,
                    "metric": metric,
                    "value": values.mean().item(),
                    "duration_s": seconds,
                }
                for metric, values in part.items()
            ]
            judged[name] = part | {"number": sample.numbers}
        for metric in dict.fromkeys(row["metric"] for row in rows):
            mean = fmean(row["value"] for row in rows if row["metric"] == metric)
            rows.append(about | {"metric": metric, "value": mean, "duration_s": 0.0})
        return Found(rows, judged)

    def _judged(self, one: Any, model: nn.Module, sample: Sample, task: Task) -> dict[str, Tensor]:
        """Both figures of every sequence, on the CPU."""
        found: dict[str, list[Tensor]] = {}
        for frames in self._sequences(one, sample):
            with torch.no_grad():
                logits = torch.cat(
                    [
                        task.predict(model, Batch(x, x.new_zeros(len(x), dtype=torch.int64)))
                        for x in frames.flatten(0, 1).split(sample.batch_size)
                    ]
                ).unflatten(0, frames.shape[:2])
                order = ranking(logits)
            figures = {"flip_probability": flips(order[..., 0], one.against)}
            if logits.shape[-1] > TOP:
                figures["top5_distance"] = top5_distance(order, one.against)
            for metric, values in figures.items():
                found.setdefault(metric, []).append(values.cpu())
        return {metric: torch.cat(parts) for metric, parts in found.items()}

    def _sequences(self, one: Any, sample: Sample) -> Iterator[Tensor]:
        """Frames [b, f, c, h, w], so many sequences at a time."""
        if not self.published:
            for numbers, batch in sample.batches():
                # 64 frames are more than any sequence has.
                count = max(1, AT_ONCE // (64 * batch.x[0].numel()))
                for index, x in zip(numbers.split(count), batch.x.split(count), strict=True):
                    with torch.no_grad():
                        yield one(x, ExampleStreams(sample.seed, index))
            return
        title = _official.title_of(str(self.data.get("name", "")), "P")
        frames = _official.perturbed(data_root(self.root), title, one.label, sample.total)
        for numbers, batch in sample.batches():
            found = _official.taken(frames, numbers).to(batch.x)
            _same(found, batch.x, title)
            yield found


def _chosen(types: str | Sequence[str]) -> nn.ModuleList:
    """The perturbations that `types` names."""
    made = [catalog.find("perturbations", name) for name in catalog.names("perturbations")]
    known = {one.label: one for one in made}
    rest = sorted(set(known) - set(IMAGENET))
    named = {"cifar": list(CIFAR), "imagenet": list(IMAGENET), "all": [*IMAGENET, *rest]}
    found = labels_of(types, named, known)
    return nn.ModuleList(known[label]() for label in found)


def _same(frames: Tensor, x: Tensor, title: str) -> None:
    """Refuses sequences of other images than x, which their nearest frames tell.

    Frames of a sequence keep within a tenth of the range of their image on average; other images
    are about a quarter of it away.
    """
    apart = (frames - x.unsqueeze(1)).abs().mean((2, 3, 4)).amin(1).mean()
    if apart > 0.15:
        raise SettingError(
            f"source 'official' needs the whole test part in its order: the sequences of {title} "
            "do not show the examples"
        )
