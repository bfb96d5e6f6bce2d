"""How well a model does on common corruptions, type by type and in the mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from ..augmentations.corruption import labels
from ..batch import Batch
from ..corruptions._pixels import BETWEEN, SEVERITIES, severity_of
from ..data import _official
from ..data._source import data_root
from ..errors import SettingError
from ..evaluation import Found, Row, Sample
from ..facts import Facts
from ..quantities import one_of, several
from ..randomness import ExampleStreams
from ..store import Store, fingerprint
from ..tasks import Task
from ..views import View, describe, fits_boxes, make
from ._types import labels_of, named_after, of_source

# AlexNet's errors on ImageNet-C by severity, in the order of the published tables; they define the
# 15 standard types. Their means are those of the authors (arXiv 1903.12261) and of AugMix's code.
ALEXNET = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.9487, 0.9872, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.5843, 0.70048, 0.82108, 0.8975, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.9187, 0.94952),
    "frost": (0.6139, 0.79734, 0.8879, 0.89942, 0.9343),
    "fog": (0.67474, 0.7605, 0.84378, 0.8726, 0.945),
    "brightness": (0.4514, 0.48502, 0.54048, 0.62166, 0.7244),
    "contrast": (0.64548, 0.7615, 0.88874, 0.9776, 0.9927),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.5462, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
# Of torchvision's AlexNet, the model of the table; its accuracy is 56.522 %.
ALEXNET_CLEAN = 0.43478
IMAGENET_CLASSES = 1000
# A corrupted set of bytes that is larger than this is made anew for every model: 15 x 5 of them.
KEPT_BYTES = 2**26
# Raised where a corruption gives other pixels for the same seed, so that no kept set is used again.
CORRUPTIONS_VERSION = 1


class CommonCorruptions(nn.Module):
    """Every metric of the task on common corruptions of 5 severities (arXiv 1903.12261).

    `types` is "standard" (the 15 of noise, blur, weather and digital), "all" (with speckle noise,
    Gaussian blur, spatter and saturate, which are for validation), "series" (our own ones of time
    series) or a list of labels; `severities` some of 1 to 5. There is a row for each type and
    severity ("fog_3"), one for the mean of each type over severities ("fog") and one for the mean
    over types and severities ("corruptions"), where all types count alike; names of official ones
    end in "_official". For classification the
    means have an error, too: that of all types is CIFAR-10-C's mean corruption error and 1 minus
    RobustBench's corruptions_acc.

    ImageNet's mCE divides the sum of each type's errors over severities by AlexNet's sum and takes
    the mean over the 15 types; relative mCE subtracts the clean error from all errors first. Both
    are stored as fractions (0.767 is 76.7 %), and only for 1,000 classes, large images (85 pixels
    and more), and all standard types and severities; further types do not count in them.

    With `source` "generated" images are corrupted by our own code, the same for all models, each
    with a random stream of its own; with "official" the published files of the test part are read:
    `<root>/CIFAR-10-C/<type>.npy`, `<root>/ImageNet-C/<type>/<severity>/…`. Figures of the two are
    not comparable, and every row says which they are of. Raises `SettingError` for settings out of
    range, for types that the data or (boxes in an image that moves) the task cannot have, for files
    that do not fit; `MissingDataError` for absent ones.
    """

    short = ("corruptions", "types")
    thorough = True

    def __init__(
        self,
        *,
        types: str | Sequence[str] = "standard",
        severities: Sequence[int] = SEVERITIES,
        source: str = "generated",
        shape: tuple[int, ...],
        outputs: int,
        data: Mapping[str, Any],
        root: str,
        store: Store,
    ) -> None:
        super().__init__()
        self.types = _types(types, shape)
        self.severities = sorted({severity_of(one) for one in several("severities", severities)})
        if not self.severities:
            raise SettingError("severities must name at least one, found []")
        self.source = one_of("source", source, ("generated", "official"))
        # Published files hold the test part alone, in its order.
        self.published = self.source == "official"
        self.views = nn.ModuleList(
            make({"name": "Corruption", "corruption": label, "severity": severity}, Facts())
            for label in self.types
            for severity in self.severities
        )
        self.data = dict(data)
        self.root = root
        self.store = store.within("corrupted")
        self.large = len(shape) == 3 and min(shape[1:]) >= BETWEEN
        self.outputs = outputs
        self.row: Row = describe(make("Clean", Facts())) | {
            "family": "corruption",
            "name": of_source(
                named_after("corruptions", types, "standard") + self._of_severities(), self.source
            ),
            "source": self.source,
        }

    def figures(self, best: Mapping[str, str]) -> dict[str, str]:
        """What there are rows of, <row>/<metric>, and which direction is better."""
        found = {f"{name}/{metric}": way for name in self.names for metric, way in best.items()}
        mean = str(self.row["name"])
        found |= {f"{mean}/{metric}": way for metric, way in best.items()}
        return found | ({f"{mean}/error": "min"} if "accuracy" in best else {})

    @property
    def names(self) -> list[str]:
        """The names of the rows of every type and severity, and of the types' means."""
        each = [of_source(describe(one)["name"], self.source) for one in self.views]  # type: ignore[arg-type]
        return each + [
            of_source(f"{one}{self._of_severities()}", self.source) for one in self.types
        ]

    def forward(self, model: nn.Module, sample: Sample, task: Task) -> Found:
        """Rows of every type and severity, and of the means."""
        rows: list[Row] = []
        judged: dict[str, dict[str, Tensor]] = {}
        figures: dict[str, list[dict[str, float]]] = {label: [] for label in self.types}
        if task.boxed:
            for view in self.views:
                assert isinstance(view, View)
                fits_boxes(view)
        about = {"n_examples": len(sample), "seed": sample.seed, "unreliable": None}
        made = self._made_of(sample)
        for view in self.views:
            assert isinstance(view, View)
            row = describe(view) | about | {"source": self.source}
            row["name"] = of_source(row["name"], self.source)
            part = sample.parts.get(row["name"])
            if part is None:
                began = perf_counter()
                part = _judged(model, self._seen(view, model, sample, task, made), task)
                part["seconds"] = torch.tensor([perf_counter() - began])
                sample.parts.put(row["name"], part)
            row["duration_s"] = part.pop("seconds").item()
            found = task.summary(part)
            rows += [
                row | {"metric": metric, "value": value, "n_correct": right}
                for metric, (value, right) in found.items()
            ]
            figures[view.component.corrupt.label].append(
                {key: one for key, (one, _) in found.items()}
            )
            judged[row["name"]] = _of_examples(part, sample)
        # Their time is that of the rows they are means of.
        mean = self.row | about | {"n_correct": None, "duration_s": 0.0}
        if len(self.severities) > 1:
            for label, parts in figures.items():
                name = of_source(f"{label}{self._of_severities()}", self.source)
                rows += [mean | {"name": name} | one for one in _means(parts)]
        rows += [mean | one for one in _means([one for parts in figures.values() for one in parts])]
        rows += [mean | one for one in self._over_alexnet(figures, model, sample, task)]
        return Found(rows, judged)

    def _of_severities(self) -> str:
        """What tells a mean over some severities from that over all: "", "_1+3"."""
        if len(self.severities) == len(SEVERITIES):
            return ""
        return "_" + "+".join(str(one) for one in self.severities)

    def _over_alexnet(
        self,
        figures: Mapping[str, Sequence[Mapping[str, float]]],
        model: nn.Module,
        sample: Sample,
        task: Task,
    ) -> Iterator[Row]:
        """mCE and relative mCE where they are defined."""
        errors = {
            label: [1 - one["accuracy"] for one in parts if "accuracy" in one]
            for label, parts in figures.items()
        }
        whole = all(len(errors.get(label, ())) == len(SEVERITIES) for label in ALEXNET)
        if not whole or not self.large or self.outputs != IMAGENET_CLASSES:
            return
        yield {"metric": "mce", "value": mce(errors)}
        part = _judged(model, (batch for _, batch in sample.batches()), task)
        clean = 1 - task.summary(part)["accuracy"][0]
        yield {"metric": "relative_mce", "value": relative_mce(errors, clean)}

    def _made_of(self, sample: Sample) -> str:
        """A name for all that made sets are made of, "" where none is kept."""
        x = sample.examples.x
        if self.store.folder is None or not isinstance(x, Tensor) or x.dim() != 4:
            return ""
        if self.published or x.numel() > KEPT_BYTES:
            return ""
        return fingerprint(f"{CORRUPTIONS_VERSION} {sample.seed}", x, sample.numbers)

    def _seen(
        self, view: View, model: nn.Module, sample: Sample, task: Task, made: str
    ) -> Iterator[Batch]:
        """The corrupted batches."""

        def generated() -> Iterator[Batch]:
            for numbers, batch in sample.batches():
                yield view(model, batch, task, ExampleStreams(sample.seed, numbers))

        if self.published:
            yield from self._read(view, sample)
        elif not made:
            yield from generated()
        else:
            # Whole numbers of 0 to 255, as all corrupted images are.
            kept = self.store.once(
                f"{describe(view)['name']}-{made}",
                lambda: torch.cat([(one.x * 255).round().byte().cpu() for one in generated()]),
            )
            y = sample.examples.y
            for x, targets in zip(
                kept.split(sample.batch_size), y.split(sample.batch_size), strict=True
            ):
                yield Batch(x.to(y.device).float() / 255, targets)

    def _read(self, view: View, sample: Sample) -> Iterator[Batch]:
        """The batches as published."""
        label, severity = view.component.corrupt.label, view.component.severity
        name = str(self.data.get("name", ""))
        title = _official.title_of(name, "C")
        root, y = data_root(self.root), sample.examples.y
        if _official.in_pictures(name):
            found = _official.pictures(
                root,
                label,
                severity,
                size=self.data.get("size", 224),
                workers=self.data.get("workers", 0),
                total=sample.total,
            )
            _same(found.y, sample, title)
            part = found.take(sample.numbers)
            order = torch.arange(len(part)).split(sample.batch_size)
            yield from part.batches(order, device=y.device)
            return
        images, classes = _official.corrupted(root, title, label, severity, sample.total)
        _same(classes, sample, title)
        size = sample.batch_size
        for rows, targets in zip(sample.numbers.split(size), y.split(size), strict=True):
            yield Batch(_official.taken(images, rows).to(y.device), targets)


def mce(errors: Mapping[str, Sequence[float]]) -> float:
    """Mean over the standard types of the sum of errors over severities, divided by AlexNet's."""
    return fmean(sum(errors[label]) / sum(known) for label, known in ALEXNET.items())


def relative_mce(errors: Mapping[str, Sequence[float]], clean: float) -> float:
    """The same with the clean error subtracted from each error, of the model and of AlexNet."""
    return fmean(
        (sum(errors[label]) - len(known) * clean) / (sum(known) - len(known) * ALEXNET_CLEAN)
        for label, known in ALEXNET.items()
    )


def _types(types: str | Sequence[str], shape: tuple[int, ...]) -> list[str]:
    """The labels that `types` names; they must suit inputs of this shape, () if it is unknown."""
    groups = {label: one.group for label, one in labels().items()}
    extra, series = (
        sorted(label for label, one in groups.items() if one == group)
        for group in ("extra", "series")
    )
    named = {"standard": list(ALEXNET), "all": [*ALEXNET, *extra], "series": series}
    found = labels_of(types, named, groups)
    for label in found:
        if shape and (label in series) != (len(shape) == 2):
            kind = "series (c, t)" if label in series else "images (c, h, w)"
            raise SettingError(f"{label} needs {kind}, found inputs of shape {shape}")
    return found


def _judged(model: nn.Module, batches: Iterator[Batch], task: Task) -> dict[str, Tensor]:
    """What is kept of every example, on the CPU."""
    parts: list[dict[str, Tensor]] = []
    with torch.no_grad():
        for batch in batches:
            prediction = task.predict(model, batch)
            found = dict(task.judge(prediction, batch.y))
            if "accuracy" in found:
                found |= {"prediction": prediction.argmax(1), "target": batch.y}
            parts.append({name: values.cpu() for name, values in found.items()})
    return {name: torch.cat([one[name] for one in parts]) for name in parts[0]}


def _of_examples(part: Mapping[str, Tensor], sample: Sample) -> dict[str, Tensor]:
    """As every benchmark gives it: `correct` for the verdict, and which example it is."""
    found = dict(part) | {"number": sample.numbers}
    if "accuracy" in found:
        found["correct"] = found.pop("accuracy")
    return found


def _means(parts: Sequence[Mapping[str, float]]) -> Iterator[Row]:
    """The mean of each metric that all parts have, and for accuracies that of the errors."""
    for metric in parts[0]:
        if all(metric in one for one in parts):
            value = fmean(one[metric] for one in parts)
            yield {"metric": metric, "value": value}
            if metric == "accuracy":
                yield {"metric": "error", "value": 1 - value}


def _same(classes: Tensor, sample: Sample, title: str) -> None:
    """Refuses published labels that are not those of the examples."""
    if not torch.equal(classes[sample.numbers], sample.examples.y.cpu()):
        raise SettingError(
            f"source 'official' needs the whole test part in its order: the labels of {title} are "
            "not those of the examples"
        )
