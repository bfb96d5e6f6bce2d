"""Benchmarks to rows: what a trained model is worth, on a split that the caller names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import catalog, views
from .batch import Batch
from .data._source import Examples, data_root
from .facts import Facts
from .recipe import SUPPLIED
from .store import Store, fingerprint
from .tasks import Task
from .threat import Box
from .views import guard

# Raised where the figures of a benchmark change although its settings do not.
EVALUATION_VERSION = 1
# The share of examples that an attack without gradients may find beyond the others: what
# AutoAttack's code warns of (arXiv 2003.01690).
LITTLE = 0.002
Row = dict[str, Any]
# By the name of a row: what is known of every example, [n] each.
Judged = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Context:
    """What a benchmark is told beside its settings.

    The data's box, the shape of an input, the number of outputs, the complete configs of
    architecture and data, the data's root and title in tables, and where results may be kept. With
    `checks` an attack's figures are tested for signs that the attack, and not the model, is weak.
    """

    box: Box = None
    shape: tuple[int, ...] = ()
    outputs: int = 2
    architecture: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    root: str = ""
    title: str = ""
    store: Store = field(default_factory=Store)
    checks: bool = False

    def supplied(self) -> dict[str, Any]:
        """As keywords for the catalogue."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Sample:
    """The examples that a model is judged on: those of these `numbers` among `total` of a split.

    `parts` is where a benchmark may keep what it has so far, for the case that it is interrupted.
    """

    examples: Examples
    numbers: Tensor
    total: int
    seed: int
    batch_size: int = 256
    parts: Store = field(default_factory=Store)

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self) -> Iterator[tuple[Tensor, Batch]]:
        """For each batch the numbers of its examples, and the batch."""
        order = torch.arange(len(self)).split(self.batch_size)
        made = self.examples.batches(order, device=self.examples.y.device)
        for index, batch in zip(order, made, strict=True):
            yield self.numbers[index], batch


class Found(NamedTuple):
    """What a benchmark found: rows of the table of evaluations, and what of every example."""

    rows: list[Row]
    judged: Judged


def expand(config: Mapping[str, Any] | str) -> dict[str, Any]:
    """The complete config of a benchmark: one of its own kind, or any view; validated by making it.

    Every setting is spelled out but those that the caller supplies (box, seed).

    Raises `SettingError` that names the nearest view or setting.
    """
    given = {"name": config} if isinstance(config, str) else dict(config)
    own = _of_benchmarks(given)
    if own is not None:
        catalog.build("benchmarks", own, **Context().supplied())
        settings = catalog.settings("benchmarks", own["name"])
        return {"name": own["name"]} | _plain(settings) | own
    found = catalog.expand("views", given)
    view = views.make(found, Facts())
    views.fits_judgement(view)
    settings = catalog.settings("views", found["name"])
    return {"name": found["name"]} | _plain(settings) | found


def _of_benchmarks(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config of a benchmark of its own kind, spelled out; None for anything else."""
    word = str(given.get("name")).partition("_")[0].lower()
    for name in catalog.names("benchmarks"):
        short = getattr(catalog.find("benchmarks", name), "short", (name,))
        if word in (name.lower(), short[0].lower()):
            return catalog.expand("benchmarks", given)
    return None


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in settings.items()
        if key not in SUPPLIED
    }


def benchmark(config: Mapping[str, Any] | str, context: Context) -> nn.Module:
    """The benchmark that `config` names."""
    own = expand(config)
    if own["name"] not in catalog.names("benchmarks"):
        own = {"name": "OnView", "view": own}
    found: nn.Module = catalog.build("benchmarks", own, **context.supplied())
    return found


def names(config: Mapping[str, Any] | str) -> list[str]:
    """Every name of a benchmark's rows: its own, and those of its parts."""
    found: Any = benchmark(config, Context())
    return list(dict.fromkeys([str(found.row["name"]), *getattr(found, "names", ())]))


def figures(config: Mapping[str, Any] | str, best: Mapping[str, str]) -> dict[str, str]:
    """What a benchmark has rows of, as <row>/<metric>, and which direction is better.

    `best` are the task's metrics. Those of the clean view have no row's name.
    """
    made: Any = benchmark(config, Context())
    if hasattr(made, "figures"):
        own: dict[str, str] = made.figures(best)
        return own
    row = str(made.row["name"])
    return {metric if row == "clean" else f"{row}/{metric}": way for metric, way in best.items()}


def name(config: Mapping[str, Any] | str) -> str:
    """How tables call a benchmark: "clean", "gaussian_0.1", "pgd_linf_8/255_20"."""
    row: Any = benchmark(config, Context()).row
    return str(row["name"])


def thorough(config: Mapping[str, Any] | str) -> bool:
    """Whether a benchmark is meant for finalists, and too much for a probe at every rung."""
    made: Any = benchmark(config, Context())
    return any(getattr(one, "thorough", False) for one in made.modules())


def some(total: int, limit: int) -> Tensor:
    """The numbers of at most `limit` of `total` examples (0: all), evenly spaced.

    So data that are sorted by class keep all their classes.
    """
    if not 0 < limit < total:
        return torch.arange(total)
    return torch.arange(limit) * total // limit


def evaluate(
    model: nn.Module,
    benchmarks: Sequence[Mapping[str, Any] | str],
    examples: Examples,
    task: Task,
    context: Context,
    *,
    split: str,
    seed: int,
    limit: int = 0,
    batch_size: int = 256,
) -> Found:
    """What all benchmarks find on at most `limit` of the examples; the model stays as it was found.

    Random numbers come from `seed` and each example's number alone, so all models of a study see
    the same noise and the same starting points. `split` is written into every row. Attacks of one
    threat model get a row for their worst case, example by example. What a store of the context
    already knows of the same model, data and benchmark is read from there.
    """
    total = len(examples)
    numbers = some(total, limit)
    if len(numbers) < total:
        examples = examples.take(numbers.to(examples.y.device))
    key = "" if context.store.folder is None else _key(model, examples, context)
    sample = Sample(examples, numbers, total, seed, batch_size)
    made = [(expand(one), benchmark(one, context).to(examples.y.device)) for one in benchmarks]
    rows: list[Row] = []
    judged: Judged = {}
    with guard(model):
        for place, (config, one) in enumerate(made):
            found = _kept(key, config, one, model, sample, task, context)
            rows += [{"split": split, "benchmark": place} | row for row in found.rows]
            judged |= found.judged
    _mistrust(rows, judged)
    for row, mask in _worst(rows, judged):
        rows.append(row)
        judged[row["name"]] = {"correct": mask, "number": numbers, "target": examples.y.cpu()}
    return Found(rows, judged)


def rehearse(
    model: nn.Module,
    config: Mapping[str, Any] | str,
    examples: Examples,
    task: Task,
    context: Context,
) -> None:
    """Run a benchmark on two examples with as few steps as there can be, for its errors alone."""
    made = benchmark(config, context).to(examples.y.device)
    for part in made.modules():
        for setting in ("steps", "queries"):
            if isinstance(vars(part).get(setting), int):
                setattr(part, setting, 1)
    numbers = some(len(examples), 2)
    few = examples.take(numbers.to(examples.y.device))
    with guard(model):
        made(model, Sample(few, numbers, len(examples), seed=0), task)


def _key(model: nn.Module, examples: Examples, context: Context) -> str:
    x = examples.x if isinstance(examples.x, Tensor) else "pictures"
    # All that a model's outputs depend on: its modules' settings have no place in its state.
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    about = [dict(context.data), dict(context.architecture), EVALUATION_VERSION]
    root = str(data_root(context.root))
    return fingerprint(json.dumps(about, sort_keys=True), repr(model), root, state, x, examples.y)


def _kept(
    key: str,
    config: Mapping[str, Any],
    one: nn.Module,
    model: nn.Module,
    sample: Sample,
    task: Task,
    context: Context,
) -> Found:
    """The benchmark's outcome, from the store if it is there."""
    if getattr(one, "published", False):
        # What files hold may change without their name.
        context = replace(context, store=Store())
    about = [dict(config), context.box, context.checks, sample.seed]
    place = fingerprint(key, sample.numbers, json.dumps(about, sort_keys=True))
    known = context.store.get(place)
    if known is not None:
        return Found(json.loads(known["rows"]), known["judged"])
    began = perf_counter()
    parts = context.store.within(f"parts-{place}")
    found: Found = one(model, replace(sample, parts=parts), task)
    for row in found.rows:
        row.setdefault("duration_s", perf_counter() - began)
    context.store.put(place, {"rows": json.dumps(found.rows), "judged": found.judged})
    parts.clear()
    return found


def _attacks(rows: Sequence[Row], judged: Judged) -> dict[tuple[str, float], list[Row]]:
    """The rows of attacks whose every example is known, by norm and eps."""
    found: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        if row["family"] == "adversarial" and row["metric"] == "accuracy" and row["name"] in judged:
            found.setdefault((row["norm"], row["eps"]), []).append(row)
    return found


def _mistrust(rows: Sequence[Row], judged: Judged) -> None:
    """Flag attacks with gradients that one without them beats, by 2 examples at least."""
    for attacks in _attacks(rows, judged).values():
        seeing = [row for row in attacks if not row["black_box"]]
        if not seeing:
            continue
        left = torch.stack([judged[row["name"]]["correct"] for row in seeing]).all(0)
        for blind in (row for row in attacks if row["black_box"]):
            alone = left & ~judged[blind["name"]]["correct"]
            share = alone.double().mean().item()
            if share > LITTLE and int(alone.sum()) > 1:
                why = f"{blind['name']}, without gradients, fools another {100 * share:.1f} %"
                for row in rows:
                    if row["name"] in {one["name"] for one in seeing}:
                        known = row.get("unreliable_why")
                        row["unreliable"] = True
                        row["unreliable_why"] = f"{known}; {why}" if known else why


def _worst(rows: Sequence[Row], judged: Judged) -> list[tuple[Row, Tensor]]:
    """For every threat model with several attacks a row for the examples that stand all of them."""
    found = []
    for (norm, _), attacks in _attacks(rows, judged).items():
        if len(attacks) < 2:
            continue
        mask = torch.stack([judged[row["name"]]["correct"] for row in attacks]).all(0)
        row = attacks[0] | {
            "name": f"worst_{norm}_{attacks[0]['eps_text']}",
            "benchmark": None,
            "steps": None,
            "restarts": None,
            "value": mask.double().mean().item(),
            "n_correct": int(mask.sum()),
            "duration_s": 0.0,
            "black_box": False,
            "protocol": "worst case of " + ", ".join(row["name"] for row in attacks),
            "unreliable": None,
            "unreliable_why": None,
        }
        found.append((row, mask))
    return found
