"""A contact sheet: what views make of real examples, as a picture to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.core import catalog, views
from trainables.core.augmentations.corruption import labels
from trainables.core.batch import Batch
from trainables.core.data._source import Source
from trainables.core.errors import SettingError
from trainables.core.facts import Facts
from trainables.core.randomness import ExampleStreams
from trainables.core.recipe import complete_data, task_of
from trainables.core.training import load_source

SEVERITIES = (1, 2, 3, 4, 5)


def sheet(
    names: Sequence[Mapping[str, Any] | str],
    data: Mapping[str, Any] | str,
    path: Path,
    *,
    examples: int = 5,
    first: int = 0,
    seed: int = 0,
    data_root: str = "",
) -> Path:
    """Draw one row for every view and write the picture to `path` (.png, .pdf, .svg).

    A row shows the view of `examples` test examples from number `first` on. The name of a
    corruption without a severity shows the first example at all five severities instead, and
    "corruptions" stands for every corruption that the data can have. Raises `SettingError` for an
    unknown view, for one that needs a trained model, and for inputs that it cannot take.
    """
    import torch

    config = complete_data(data)
    source = load_source(config, data_root)
    if source.task == "detection":
        raise SettingError("look shows images and series, not the boxes of detection")
    numbers = torch.arange(first, min(first + examples, len(source.test)))
    if not len(numbers):
        raise SettingError(f"first must be below {len(source.test)}, found {first}")
    (batch,) = source.test.batches([numbers], device="cpu")
    task = task_of(config).of(source.train.y)
    batch = Batch(batch.x, task.encode(batch.y))
    rows = [
        ("clean", [(str(int(number)), one) for number, one in zip(numbers, batch.x, strict=True)])
    ]
    for name in _expanded(names, batch):
        if isinstance(name, str) and name in labels():
            one = Batch(batch.x[:1], batch.y[:1])
            made = [
                _view(f"{name}_{level}", source, one, numbers[:1], task, seed)
                for level in SEVERITIES
            ]
            rows.append(
                (
                    name,
                    [
                        (f"severity {level}", x[0])
                        for level, x in zip(SEVERITIES, made, strict=True)
                    ],
                )
            )
        else:
            x = _view(name, source, batch, numbers, task, seed)
            rows.append(
                (
                    _title(name),
                    [(str(int(number)), one) for number, one in zip(numbers, x, strict=False)],
                )
            )
    return _draw(rows, path, source)


def _expanded(names: Sequence[Any], batch: Batch) -> list[Any]:
    found: list[Any] = []
    for name in names:
        if name != "corruptions":
            found.append(name)
            continue
        groups = {True: ("series",), False: ("noise", "blur", "weather", "digital", "extra")}
        fitting = groups[batch.x.dim() == 3]
        known = sorted(labels().items(), key=lambda one: one[1].group)
        found += [label for label, one in known if one.group in fitting]
    return found


def _view(name: Any, source: Source, batch: Batch, numbers: Any, task: Any, seed: int) -> Any:
    config = catalog.expand("views", name)
    facts = Facts(
        box=source.box,
        shape=tuple(batch.x.shape[1:]),
        outputs=task.width(len(source.classes)),
        seed=seed,
    )
    view = views.make(config, facts)
    if view.needs_model or isinstance(view, views.Accompanied):
        raise SettingError(f"{config['name']} needs more than an example; look shows augmentations")
    return view(None, batch, task, ExampleStreams(seed, numbers)).x


def _title(name: Any) -> str:
    return name if isinstance(name, str) else str(name["name"])


def _draw(rows: list[tuple[str, list[tuple[str, Any]]]], path: Path, source: Source) -> Path:
    from matplotlib.figure import Figure

    columns = max(len(cells) for _, cells in rows)
    figure = Figure(figsize=(1.3 * columns + 1.6, 1.35 * len(rows) + 0.4), dpi=130)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    # Series share one scale, or a larger amplitude would look like a smaller one.
    clean = [x for _, x in rows[0][1]]
    low, high = min(x.min().item() for x in clean), max(x.max().item() for x in clean)
    limits = low - 0.4 * (high - low), high + 0.4 * (high - low)
    for place, (title, cells) in enumerate(rows):
        for axes in grid[place]:
            axes.set_axis_off()
        for axes, (label, x) in zip(grid[place], cells, strict=False):
            if x.dim() == 3:
                dark, bright = source.box or (0.0, 1.0)
                pixels = ((x - dark) / (bright - dark)).clamp(0, 1).permute(1, 2, 0).numpy()
                grey = pixels.shape[2] == 1
                axes.imshow(pixels[:, :, 0] if grey else pixels, cmap="gray", vmin=0, vmax=1)
            else:
                axes.plot(x.T.numpy(), linewidth=0.8)
                axes.set_ylim(*limits)
            axes.set_title(label, fontsize=6, pad=2)
        box = grid[place][0].get_position()
        figure.text(0.005, (box.y0 + box.y1) / 2, title, fontsize=7, va="center")
    figure.subplots_adjust(left=1.4 / (1.3 * columns + 1.6), right=0.995, wspace=0.06)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")
    return path
