"""A study file to a validated Study: strict, before Ray or an accelerator is touched.

Every error names the file, the key's path, the rule, the value found and the nearest valid one.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from search_spaces import methods, weighters
from search_spaces.ranges import Choice, Range, RangeError, as_range, default, sample
from study.controls import checked
from study.yaml_text import apply, read_yaml
from trainables.core.errors import SettingError, nearest

SCHEMA_VERSION = 2
PRESETS = Path(__file__).parent / "presets"
Tree = dict[str, Any]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Search(_Section):
    """How configurations are drawn; every arm gets `trials_per_arm` of them.

    Without a metric the search goes by the task's first one on the validation part: accuracy,
    the root mean squared error, or the mean average precision. A list of metrics makes a search
    with several objectives; the schedule looks at the first. `warm_start` names folders of earlier
    studies whose trials the sampler is told first.
    """

    sampler: str = "TPE"
    trials_per_arm: int = Field(8, ge=1)
    metric: str | list[str] = ""
    mode: Literal["max", "min", ""] | list[Literal["max", "min"]] = ""
    warm_start: list[str] = []
    # Filled in: every metric with its mode, in order. A study file cannot set it.
    objectives: dict[str, Literal["max", "min"]] = {}

    @property
    def first(self) -> tuple[str, str]:
        """The first objective and its mode: what the schedule looks at."""
        return next(iter(self.objectives.items()))


class Schedule(_Section):
    """When trials are stopped; each arm has rungs of its own, so no arm starves another.

    `form` is ASHA's: the one of Ray Tune that stops trials at rungs, or the paper's, in which they
    pause there until they are among the best of the rung.
    """

    name: Literal["ASHA", "median", "none"] = "ASHA"
    form: Literal["stopping", "promotion"] = "stopping"
    max_epochs: int = Field(0, ge=0)
    grace_epochs: int = Field(1, ge=1)
    reduction_factor: float = Field(3, gt=1, strict=False, allow_inf_nan=False)


class Confirm(_Section):
    """The best `top` configurations of each arm, trained again on `seeds` fresh seeds.

    `controls` train each of them once more on the same seeds with one thing changed: see
    `study.controls`.
    """

    top: int = Field(1, ge=1)
    seeds: int = Field(3, ge=0)
    controls: list[str] = []

    def plain(self) -> Tree:
        """As JSON; without controls it is what it was before there were any."""
        return self.model_dump(exclude=None if self.controls else {"controls"})


class Probe(_Section):
    """Benchmarks on at most `limit` validation examples at every rung.

    `benchmarks` are all of the study's but the thorough ones (AutoAttack, whole suites of
    corruptions), which finalists alone go through, unless they are listed here.
    """

    limit: int = Field(256, ge=1)
    benchmarks: list[str | Tree] | None = None


class Test(_Section):
    """Benchmarks on at most `limit` test examples (0: all), evenly spaced, the same for all."""

    limit: int = Field(0, ge=0)


class Budget(_Section):
    """What the search may spend in all, each arm an equal part of it (0: no limit).

    When an arm has used up its part of `trials`, `epochs` or `device_s` (seconds of training and
    validation times the trial's GPUs, or processors where it has none), or the search has run
    `wall_s`, no trial of it begins any more; those that run go on to their own end. The
    confirmation is not charged. With more than `max_failed` failed trials the study ends (-1: it
    never does).
    """

    trials: int = Field(0, ge=0)
    epochs: int = Field(0, ge=0)
    wall_s: float = Field(0, ge=0, strict=False, allow_inf_nan=False)
    device_s: float = Field(0, ge=0, strict=False, allow_inf_nan=False)
    max_failed: int = Field(-1, ge=-1)


class Resources(_Section):
    """What one trial takes, and how many run at once (0: as many as fit).

    `memory` is in bytes (0: not asked for), `processes` shares the batches of one trial among so
    many processes, which divide its processors and GPUs.
    """

    cpu: float = Field(1, gt=0, strict=False, allow_inf_nan=False)
    gpu: float = Field(0, ge=0, strict=False, allow_inf_nan=False)
    memory: int = Field(0, ge=0)
    processes: int = Field(1, ge=1)
    max_concurrent: int = Field(0, ge=0)
    max_retries: int = Field(3, ge=0)


class StudyFile(_Section):
    """The keys of a study file."""

    study: str
    question: str = ""
    seed: int = Field(0, ge=0)
    data: str | Tree = "Digits"
    architecture: str | Tree = "MLP"
    training: Tree = Field(default_factory=dict)
    arms: dict[str, str | Tree]
    baseline: str = ""
    weighters: list[str | Tree] | dict[str, str | Tree] = ["Fixed"]
    search: Search = Search()
    schedule: Schedule = Schedule()
    confirm: Confirm = Confirm()
    benchmarks: list[str | Tree] = ["Clean"]
    probe: Probe = Probe()
    test: Test = Test()
    budget: Budget = Budget()
    resources: Resources = Resources()


@dataclass(frozen=True)
class Arm:
    """One thing compared: views and losses with a weighter, as a recipe tree with ranges."""

    arm: str
    weighter: str
    tree: Tree
    points: tuple[Tree, ...] = ()  # given by hand, tried after the defaults

    @property
    def name(self) -> str:
        """How people are shown the arm."""
        return f"{self.arm} × {self.weighter}"


@dataclass(frozen=True)
class Study:
    """A validated study; `resolved()` and `from_resolved` are its JSON form."""

    study: str
    study_id: str
    question: str
    seed: int
    baseline: str
    arms: tuple[Arm, ...]
    search: Search
    schedule: Schedule
    confirm: Confirm
    benchmarks: tuple[Tree, ...]
    probe: Probe
    test: Test
    resources: Resources
    budget: Budget

    @property
    def epochs(self) -> int:
        """The full budget of a trial."""
        return self.schedule.max_epochs

    @property
    def reference(self) -> Arm:
        """The arm that the others are compared with: the baseline with its first weighter."""
        return next(one for one in self.arms if one.arm == self.baseline)

    @property
    def metric(self) -> str:
        """The first objective: what the schedule looks at and the best checkpoint is best by."""
        return self.search.first[0]

    @property
    def mode(self) -> str:
        """Whether larger (max) or smaller values of the first objective are better."""
        return self.search.first[1]

    def resolved(self) -> Tree:
        """The study as plain JSON, complete: what resume and the tables start from."""
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "study_id": self.study_id,
            "question": self.question,
            "seed": self.seed,
            "baseline": self.baseline,
            "task": _task(self.arms[0].tree["data"]).name,
            "data": self.arms[0].tree["data"],
            "arms": [
                {"arm": one.arm, "weighter": one.weighter, "recipe": one.tree}
                | ({"points": list(one.points)} if one.points else {})
                for one in self.arms
            ],
            "search": self.search.model_dump(),
            "schedule": self.schedule.model_dump(),
            "confirm": self.confirm.plain(),
            "benchmarks": list(self.benchmarks),
            "probe_limit": self.probe.limit,
            "probe_benchmarks": self.probe.benchmarks,
            "test_limit": self.test.limit,
            "budget": self.budget.model_dump(),
            "resources": self.resources.model_dump(),
        }

    @classmethod
    def from_resolved(cls, plain: Mapping[str, Any]) -> Study:
        """The study that `resolved` wrote; raises `SettingError` for a newer version."""
        version = plain.get("schema_version", 0)
        if version > SCHEMA_VERSION:
            raise SettingError(
                f"resolved.json has schema_version {version}, this program reads up to "
                f"{SCHEMA_VERSION}; update it."
            )
        return cls(
            study=plain["study"],
            study_id=plain["study_id"],
            question=plain["question"],
            seed=plain["seed"],
            baseline=plain["baseline"],
            arms=tuple(
                Arm(one["arm"], one["weighter"], one["recipe"], tuple(one.get("points", ())))
                for one in plain["arms"]
            ),
            search=_search_of(plain["search"]),
            schedule=Schedule(**plain["schedule"]),
            confirm=Confirm(**plain["confirm"]),
            benchmarks=tuple(plain["benchmarks"]),
            probe=Probe(
                limit=plain["probe_limit"],
                # Studies of the first releases probed with all of their benchmarks.
                benchmarks=plain.get("probe_benchmarks", plain["benchmarks"]),
            ),
            test=Test(limit=plain.get("test_limit", 0)),
            resources=Resources(**plain["resources"]),
            budget=Budget(**plain.get("budget", {})),
        )


def _search_of(plain: Mapping[str, Any]) -> Search:
    """Version 1 had one metric and no list of objectives."""
    objectives = plain.get("objectives") or {plain["metric"]: plain["mode"]}
    return Search(**{**plain, "objectives": objectives})


def presets() -> list[str]:
    """The names of the studies that ship with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def find(name: str) -> Path:
    """The study file that `name` means: a path, else a preset."""
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise SettingError(f"There is no study file {name}.")
    if name not in presets():
        raise SettingError(f"{name!r} is neither a file nor a preset.{nearest(name, presets())}")
    return PRESETS / f"{name}.yaml"


def load(path: Path, changes: tuple[str, ...] = ()) -> Study:
    """The study in a file, with changes such as "search.trials_per_arm=4" applied first."""
    try:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise SettingError("a study file must be UTF-8 text.") from None
        found = read_yaml(text)
        for change in changes:
            apply(found, change)
        return parse(found)
    except (SettingError, RangeError, methods.MethodError) as error:
        raise SettingError(f"{path.name}: {error}") from None


def parse(plain: Any) -> Study:
    """The study that the mapping of a study file describes."""
    if not isinstance(plain, Mapping):
        raise SettingError(f"A study file is a mapping from keys to values, found {plain!r}.")
    try:
        file = StudyFile.model_validate(dict(plain))
    except pydantic.ValidationError as error:
        raise SettingError(_readable(error)) from None
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", file.study):
        raise SettingError(
            "study must be a name of letters, digits, '.', '_' and '-' that serves as a folder, "
            f"found {file.study!r}."
        )
    training = dict(file.training)
    budget = file.schedule.max_epochs or training.get("epochs", 10)
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        raise SettingError(
            "training.epochs must be a whole number that is at least 1, the budget of every trial; "
            f"found {budget!r}."
        )
    if training.setdefault("epochs", budget) != budget:
        raise SettingError(
            "schedule.max_epochs must equal training.epochs, over which the learning rate's "
            f"schedule is stretched; found {budget} and {training['epochs']}."
        )
    if file.schedule.grace_epochs > budget:
        raise SettingError(
            f"schedule.grace_epochs must be at most max_epochs = {budget}, "
            f"found {file.schedule.grace_epochs}."
        )
    data: Tree = {"name": file.data} if isinstance(file.data, str) else dict(file.data)
    data.setdefault("seed", file.seed)
    shared = {"data": data, "architecture": file.architecture, "training": training}
    arms = tuple(_arms(file, shared))
    baseline = file.baseline or next(iter(file.arms))
    if baseline not in file.arms:
        raise SettingError(f"baseline names no arm: {baseline!r}.{nearest(baseline, file.arms)}")
    probe = _probe(file, data)
    _known_sampler(file.search.sampler)
    search = _search(file.search, data, probe.benchmarks or [])
    if file.schedule.form == "promotion" and file.schedule.name != "ASHA":
        raise SettingError(
            "schedule.form: promotion is a form of ASHA, found schedule.name: "
            f"{file.schedule.name}."
        )
    for one in arms:
        _sampler(search, one, file.seed)
    return Study(
        study=file.study,
        study_id=uuid.uuid4().hex[:12],
        question=file.question,
        seed=file.seed,
        baseline=baseline,
        arms=tuple(Arm(one.arm, one.weighter, _checked(one), one.points) for one in arms),
        search=search,
        schedule=file.schedule.model_copy(update={"max_epochs": budget}),
        confirm=_confirm(file.confirm),
        benchmarks=tuple(_benchmarks("benchmarks", file.benchmarks, data)),
        probe=probe,
        test=file.test,
        resources=file.resources,
        budget=file.budget,
    )


def extended(old: Study, new: Study) -> Study:
    """`old` with what may grow while its trials stay what they are, as `new` asks for it.

    More trials, seeds and configurations to confirm, controls, arms and epochs; another budget and
    other resources. Raises `SettingError` for everything else, naming it.
    """
    grown = {
        "search.trials_per_arm": (old.search.trials_per_arm, new.search.trials_per_arm),
        "confirm.top": (old.confirm.top, new.confirm.top),
        "confirm.seeds": (old.confirm.seeds, new.confirm.seeds),
        "training.epochs": (old.epochs, new.epochs),
    }
    for key, (before, after) in grown.items():
        if after < before:
            raise SettingError(f"{key} can only grow: it is {before}, found {after}.")
    for control in old.confirm.controls:
        if control not in new.confirm.controls:
            raise SettingError(f"confirm.controls can only grow: {control} cannot be taken away.")
    asked = _fixed(new)
    for key, value in _fixed(old).items():
        if value != asked[key]:
            raise SettingError(
                f"{key} cannot be changed in a study that was begun, found {_shown(asked[key])} "
                f"instead of {_shown(value)}; run another study for it."
            )
    known = {(one.arm, one.weighter): one for one in new.arms}
    for one in old.arms:
        again = known.get((one.arm, one.weighter))
        if again is None:
            raise SettingError(f"arms.{one.arm} with {one.weighter} cannot be taken away.")
        if _timeless(one) != _timeless(again):
            raise SettingError(
                f"arms.{one.arm} with {one.weighter} would not be what the study was begun with; "
                "add another arm, or run another study."
            )
    if new.epochs > old.epochs:
        for one in old.arms:
            text = json.dumps(one.tree.get("training", {}).get("schedule", "Cosine"))
            if "Cosine" in text or "MultiStep" in text:
                raise SettingError(
                    f"training.epochs of arms.{one.arm} cannot grow: the learning rate's schedule "
                    f"({text}) is stretched over the {old.epochs} epochs that its trials began "
                    "with. Only the schedule Constant goes on as if it had been longer."
                )
    mine = {(one.arm, one.weighter) for one in old.arms}
    kept = [known[one.arm, one.weighter] for one in old.arms]
    added = [one for one in new.arms if (one.arm, one.weighter) not in mine]
    search = old.search.model_copy(update={"trials_per_arm": new.search.trials_per_arm})
    return replace(
        old,
        arms=(*kept, *added),
        search=search,
        schedule=old.schedule.model_copy(update={"max_epochs": new.epochs}),
        confirm=new.confirm,
        budget=new.budget,
        resources=new.resources,
    )


def _fixed(study: Study) -> Tree:
    """What an extension must leave alone, by key."""
    plain = study.resolved()
    search = {key: value for key, value in plain["search"].items() if key != "trials_per_arm"}
    schedule = {key: value for key, value in plain["schedule"].items() if key != "max_epochs"}
    keys = (
        "study",
        "question",
        "seed",
        "baseline",
        "data",
        "benchmarks",
        "probe_limit",
        "probe_benchmarks",
        "test_limit",
    )
    return {key: plain[key] for key in keys} | {"search": search, "schedule": schedule}


def _timeless(arm: Arm) -> Tree:
    tree = copy.deepcopy(arm.tree)
    tree.get("training", {}).pop("epochs", None)
    return {"tree": tree, "points": list(arm.points)}


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def group(recipe: Mapping[str, Any]) -> str:
    """The hash of a configuration without its seed: trials of one group differ in the seed only."""
    text = json.dumps({k: v for k, v in recipe.items() if k != "seed"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _arms(file: StudyFile, shared: Tree) -> list[Arm]:
    general = _weighters(file.weighters)
    if not file.arms:
        raise SettingError("arms must name at least one thing to compare, found none.")
    arms = []
    for label, given in file.arms.items():
        own = {"preset": given} if isinstance(given, str) else dict(given)
        try:
            tree = methods.method(str(own.pop("preset"))) if "preset" in own else {}
        except methods.MethodError as error:
            raise SettingError(f"arms.{label}: {error}") from None
        crossed = general
        if "weighters" in own:
            crossed = _weighters(own.pop("weighters"), f"arms.{label}.weighters")
        points = _points(own.pop("points", []), f"arms.{label}.points")
        for key, value in own.items():
            if key not in ("views", "losses", "training"):
                known = ("preset", "views", "losses", "training", "weighters", "points")
                hint = nearest(key, known)
                raise SettingError(f"Unknown setting arms.{label}.{key}.{hint}")
            if not isinstance(value, Mapping):
                raise SettingError(f"arms.{label}.{key} must be a mapping, found {value!r}.")
        try:
            tree = _merged(copy.deepcopy(shared), _merged(tree, own))
        except RangeError as error:
            raise SettingError(f"arms.{label}: {error}") from None
        if tree["training"].get("epochs") != shared["training"]["epochs"]:
            raise SettingError(
                f"arms.{label}.training.epochs must be {shared['training']['epochs']}, the budget "
                f"of every arm; found {tree['training'].get('epochs')!r}."
            )
        auxiliary = [one for one in tree.get("losses", {}) if one != "main"]
        for name, weighter in (crossed if auxiliary else {"Fixed": "Fixed"}).items():
            try:
                fitted = weighters.fitted(tree | {"weighter": weighter})
                arms.append(Arm(label, name, fitted, points))
            except RangeError as error:
                raise SettingError(f"arms.{label}: {error}") from None
    return arms


def _points(given: Any, path: str) -> tuple[Tree, ...]:
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise SettingError(
            f"{path} must be a list of mappings from paths to values "
            f"({{losses/kl/coefficient: 0.3}}), found {given!r}."
        )
    return tuple(dict(one) for one in given)


def _weighters(given: Any, path: str = "weighters") -> dict[str, Any]:
    if not isinstance(given, list | Mapping) or not given:
        raise SettingError(
            f"{path} must be a list or a mapping with at least one weighter, found {given!r}."
        )
    if isinstance(given, Mapping):
        return {label: _searched(one, f"{path}.{label}") for label, one in given.items()}
    found: dict[str, Any] = {}
    for place, one in enumerate(given):
        if not isinstance(one, str | Mapping):
            raise SettingError(f"{path} must hold names or mappings with a name, found {one!r}.")
        label = one if isinstance(one, str) else str(one.get("name", "any" if "any" in one else ""))
        if label in found:
            raise SettingError(
                f"{path}: {label!r} stands there twice; give a mapping from labels to weighters."
            )
        found[label] = _searched(one, f"{path}.{place}")
    return found


def _searched(given: Any, path: str) -> Any:
    """The choice that {any: ...} stands for; everything else as it is."""
    if not isinstance(given, Mapping) or "any" not in given:
        return given
    if len(given) > 1 or not isinstance(given["any"], str | list):
        raise SettingError(
            f"{path}: any must stand alone and be a list of weighters or "
            f"{', '.join(weighters.GROUPS)}; found {dict(given)!r}."
        )
    try:
        return weighters.any_of(given["any"])
    except (weighters.WeighterError, RangeError) as error:
        raise SettingError(f"{path}.any: {error}") from None


def _merged(below: Tree, above: Mapping[str, Any], path: str = "") -> Tree:
    """`above` wins; mappings are merged, except where a range or another component replaces one."""
    for key, value in above.items():
        old = below.get(key)
        replaces = (
            not isinstance(old, dict)
            or not isinstance(value, Mapping)
            or as_range(value, f"{path}{key}") is not None
            or as_range(old, f"{path}{key}") is not None
            or ("name" in value and value["name"] != old.get("name"))
        )
        below[key] = (
            copy.deepcopy(value) if replaces else _merged(below[key], value, f"{path}{key}/")
        )
    return below


def _checked(arm: Arm) -> Tree:
    """The arm's tree after its defaults and every end of every range were found to be valid."""
    from trainables.core.recipe import resolve

    where = f"arms.{arm.arm}" + ("" if arm.weighter == "Fixed" else f" with {arm.weighter}")

    def attempt(forced: Mapping[str, Any]) -> dict[str, Range]:
        """The ranges met when those of `forced` have its values and all others their defaults."""
        met: dict[str, Range] = {}

        def choose(path: str, found: Range) -> Any:
            met[path] = found
            return forced[path] if path in forced else default(path, found)

        try:
            resolve(sample(arm.tree, choose)[0] | {"seed": 0})
        except (SettingError, RangeError) as error:
            raise SettingError(f"{where}: {error}") from None
        return met

    waiting: list[dict[str, Any]] = [{}]
    done: set[str] = set()
    for forced in waiting:
        for path, found in attempt(forced).items():
            # Ranges inside an option of a choice are met, and hold, with that option alone; those
            # that a choice may rule out are met with one that does not.
            other = None if isinstance(found, Choice) or not found.unless else found.unless[0]
            way = {
                key: value
                for key, value in forced.items()
                if path.startswith(f"{key}/") or key == other
            }
            for value in found.labels if isinstance(found, Choice) else (found.low, found.high):
                end = way | {path: value}
                if json.dumps(end) not in done:
                    done.add(json.dumps(end))
                    waiting.append(end)
    return arm.tree


def _benchmarks(where: str, given: list[Any], data: Mapping[str, Any]) -> list[Tree]:
    from trainables.core import evaluation, views

    task, found = _task(data), []
    for place, one in enumerate(given):
        try:
            found.append(evaluation.expand(one))
            view = getattr(evaluation.benchmark(found[-1], evaluation.Context()), "view", None)
            if view is not None:
                views.fits_task(view, task.name)
                if task.boxed:
                    views.fits_boxes(view)
        except SettingError as error:
            raise SettingError(f"{where}.{place}: {error}") from None
    names = [name for one in found for name in evaluation.names(one)]
    for name in names:
        if names.count(name) > 1:
            raise SettingError(
                f"{where}: {name!r} stands there twice; tables could not tell the two apart."
            )
    return found


def _probe(file: StudyFile, data: Mapping[str, Any]) -> Probe:
    """With its benchmarks listed."""
    from trainables.core import evaluation

    if file.probe.benchmarks is None:
        every = _benchmarks("benchmarks", file.benchmarks, data)
        chosen = [one for one in every if not evaluation.thorough(one)]
    else:
        chosen = _benchmarks("probe.benchmarks", file.probe.benchmarks, data)
        for one in chosen:
            if one.get("source") == "official":
                raise SettingError(
                    "probe.benchmarks: official files hold the test part, which a search never "
                    f"sees; leave {one['name']} to the study's benchmarks."
                )
    return file.probe.model_copy(update={"benchmarks": chosen})


def _confirm(asked: Confirm) -> Confirm:
    """With its controls checked and in their order."""
    found = checked(asked.controls)
    if found and not asked.seeds:
        raise SettingError(
            "confirm.controls are trained on the seeds of the confirmation: confirm.seeds must be "
            "at least 1, found 0."
        )
    return asked.model_copy(update={"controls": found})


def _task(data: Mapping[str, Any]) -> Any:
    from trainables.core import catalog
    from trainables.core.recipe import task_of

    try:
        return task_of(catalog.expand("data", data))
    except SettingError as error:
        raise SettingError(f"data: {error}") from None


def _search(search: Search, data: Mapping[str, Any], benchmarks: list[Any]) -> Search:
    """With its objectives filled in: unweighted metrics on the validation part."""
    from trainables.core import evaluation

    best: Mapping[str, str] = _task(data).best
    ways = {f"validation/{one}": way for one, way in best.items()}
    for one in benchmarks:
        ways |= {f"validation/{name}": way for name, way in evaluation.figures(one, best).items()}
    if search.objectives:
        raise SettingError("search.objectives is filled in; name them as search.metric: [a, b].")
    asked = [search.metric] if isinstance(search.metric, str) else search.metric
    metrics = [one or f"validation/{next(iter(best))}" for one in asked]
    if not metrics or len(set(metrics)) < len(metrics):
        raise SettingError(f"search.metric must name metrics that differ, found {search.metric!r}.")
    modes = search.mode if isinstance(search.mode, list) else [search.mode] * len(metrics)
    if len(modes) != len(metrics):
        raise SettingError(
            f"search.mode must have a mode for each of {len(metrics)} metrics, found {search.mode}."
        )
    for metric, mode in zip(metrics, modes, strict=True):
        if metric not in ways:
            raise SettingError(f"search.metric cannot be {metric!r}.{nearest(metric, ways)}")
        if mode not in ("", ways[metric]):
            raise SettingError(f"search.mode must be {ways[metric]} for {metric}, found {mode!r}.")
    objectives = {metric: ways[metric] for metric in metrics}
    first = metrics[0]
    return search.model_copy(
        update={"metric": first, "mode": ways[first], "objectives": objectives}
    )


def _known_sampler(name: str) -> None:
    from study.searcher import searcher

    try:
        searcher(name, {}, seed=0, arm="", modes=("max",))
    except SettingError as error:
        raise SettingError(f"search.sampler: {error}") from None


def _sampler(search: Search, arm: Arm, seed: int) -> None:
    """Raises `SettingError` for a sampler or points by hand that do not fit the arm."""
    from study.searcher import searcher

    try:
        searcher(
            search.sampler,
            arm.tree,
            seed=seed,
            arm=arm.name,
            modes=tuple(search.objectives.values()),
            points=arm.points,
        )
    except (SettingError, RangeError) as error:
        raise SettingError(f"arms.{arm.arm}: {error}") from None


def _readable(error: pydantic.ValidationError) -> str:
    lines = []
    wrong: dict[str, tuple[list[str], Any]] = {}
    for one in error.errors():
        # Where several kinds of values are allowed pydantic's location names each that failed.
        parts = [str(part) for part in one["loc"]]
        path = ".".join(part for part in parts if part != "str" and "[" not in part)
        if one["type"] == "extra_forbidden":
            known = _keys(one["loc"][:-1])
            lines.append(f"Unknown key {path}.{nearest(str(one['loc'][-1]), known)}")
        elif one["type"] == "missing":
            lines.append(f"The key {path} is missing.")
        else:
            rules, _ = wrong.setdefault(path, ([], one["input"]))
            rules.append(
                one["msg"].removeprefix("Input should be ").replace("dictionary", "mapping")
            )
    lines += [
        f"{path} must be {' or '.join(rules)}, found {found!r}."
        for path, (rules, found) in wrong.items()
        if not any(other.startswith(f"{path}.") for other in wrong)
    ]
    return " ".join(dict.fromkeys(lines))


def _keys(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = StudyFile
    for part in loc:
        model = model.model_fields[str(part)].annotation
    return list(model.model_fields)
