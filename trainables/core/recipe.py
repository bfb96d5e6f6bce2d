"""A recipe: the plain config of one trial, completed and validated without data or accelerator.

`resolve(config)` fills in every default, spells out short forms and makes each component once, so
that a wrong setting is an error that names its path before anything is trained.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import catalog, views, weighing
from .errors import SettingError, nearest
from .facts import Facts
from .objective import CLEAN, Objective
from .quantities import number, one_of, several, whole
from .tasks import TASKS, Classification, Detection, Regression, Task

Config = dict[str, Any]

TRAINING: Config = {
    "epochs": 10,
    "batch_size": 64,
    "forward": "joint",
    "clip_norm": 0.0,
    "augment": [],
    "optimizer": "SGD",
    "schedule": "Cosine",
}
SPLITTING: Config = {
    "validation": 0.2,
    "folds": 0,
    "fold": 0,
    "seed": 0,
    "limit": 0,
    "classes": [],
    "fraction": 1.0,
    "labels": 0,
}
SECTIONS: Config = {
    "seed": 0,
    "data": "Digits",
    "architecture": "MLP",
    "training": {},
    "views": {},
    "losses": {},
    "weighter": "Fixed",
}
# Settings that a recipe supplies itself; they appear in a config only where a user sets them.
SUPPLIED = ("box", "seed")
LABEL = re.compile(r"[a-z][a-z0-9_-]*")


def resolve(config: Mapping[str, Any]) -> Config:
    """The complete config; raises `SettingError` naming the path, the rule and the value."""
    _known("", config, SECTIONS)
    full = SECTIONS | dict(config)
    whole("seed", full["seed"])
    data = complete_data(full["data"])
    architecture = _component("architecture", "architectures", full["architecture"], {})
    task = task_of(data)
    network = catalog.find("architectures", architecture["name"])
    _fits(f"architecture: {architecture['name']}", "architectures", network, task.name)
    losses = _labelled("losses", full["losses"])
    main = losses.pop("main", {})
    if "name" not in main:
        main = {"name": task.main_loss} | main
    done = {
        "seed": full["seed"],
        "data": data,
        "architecture": architecture,
        "training": _training(full["training"]),
        "views": {
            label: _component(f"views/{label}", "views", one, views.COMMON)
            for label, one in _labelled("views", full["views"]).items()
        },
        "losses": {
            label: _component(f"losses/{label}", "losses", one, {"coefficient": 1.0})
            for label, one in ({"main": main} | losses).items()
        },
        "weighter": _component("weighter", "weighters", full["weighter"], weighing.COMMON),
    }
    if CLEAN in done["views"]:
        raise SettingError('views/clean: "clean" is the batch as it is and cannot be redefined.')
    objective(done, task(), Facts(outputs=task().width(2), load=_only_checked))
    return done


def complete_data(config: Any) -> Config:
    """The complete config of a data set, with the settings of its split."""
    return _component("data", "data", config, SPLITTING)


def objective(recipe: Config, task: Task, facts: Facts) -> Objective:
    """The objective of a complete recipe; `facts` are those of its data and its model."""
    made: dict[str, Any] = {CLEAN: views.make("Clean", facts)}
    sources = {}
    for label, one in recipe["views"].items():
        with _at(f"views/{label}"):
            own = {key: value for key, value in one.items() if key not in views.COMMON}
            made[label] = views.make(own, facts)
        sources[label] = str(one["of"])
    with _at("training/augment"):
        augment = [views.make(one, facts) for one in recipe["training"]["augment"]]
    for path, view in (
        *((f"views/{label}", view) for label, view in made.items()),
        *(("training/augment", view) for view in augment),
    ):
        with _at(path):
            views.fits_task(view, task.name)
            if task.boxed:
                views.fits_boxes(view)
    _attackable(made, sources)
    with _at("training/augment"):
        for one in augment:
            if getattr(one.component, "relabels", False):
                raise SettingError(
                    f"{type(one.component).__name__} replaces the targets of the main loss; make "
                    f"it a view instead"
                )
            if hasattr(one.component, "observe"):
                raise SettingError(
                    f"{type(one.component).__name__} learns from the losses on what it made; make "
                    f"it a view and let the main loss read it"
                )
    losses, coefficients = {}, {}
    architecture = catalog.find("architectures", recipe["architecture"]["name"])
    supplied = facts.supplied() | {
        "classes_of": _classes_of(made, sources),
        "terms": getattr(architecture, "terms", ()),
    }
    for label, one in recipe["losses"].items():
        where = f"losses/{label}: {one['name']}"
        _fits(where, "losses", catalog.find("losses", one["name"]), task.name)
        with _at(f"losses/{label}"):
            own = {key: value for key, value in one.items() if key != "coefficient"}
            losses[label] = catalog.build("losses", own, **supplied)
        # Its settings may make a loss fit fewer tasks than its class does.
        _fits(f"{where} with these settings", "losses", losses[label], task.name)
        _readable(where, losses[label], made, sources)
        coefficients[label] = number(f"losses/{label}/coefficient", one["coefficient"], low=0)
    with _at("weighter"):
        weigher = weighing.make(recipe["weighter"], len(losses), facts.seed)
    forward = recipe["training"]["forward"]
    return Objective(task, made, losses, coefficients, weigher, forward, sources, augment)


def task_of(data: Config) -> type[Classification | Regression | Detection]:
    """The task of a complete data config."""
    return TASKS[catalog.find("data", data["name"]).task]


def _only_checked(config: Any) -> None:
    """Stands for loading a data set while a recipe is validated without data."""
    complete_data(config)


def _fits(where: str, kind: str, component: Any, task: str) -> None:
    """Raises `SettingError` for a component, or a class of one, that the task cannot use."""
    if task not in component.tasks:
        fitting = [one for one in catalog.names(kind) if task in catalog.find(kind, one).tasks]
        raise SettingError(
            f"{where} is for {' and '.join(component.tasks)}, the data's task is {task}. "
            f"For {task} there are: {', '.join(fitting)}."
        )


def _chain(label: str, made: Mapping[str, Any], sources: Mapping[str, str]) -> list[Any]:
    """What makes a view, from itself back to the batch or the companion that it began with."""
    chain: list[Any] = []
    # A circle or an unknown source is an error that the objective names.
    while label in made and label != CLEAN and len(chain) <= len(made):
        chain.append(made[label])
        if isinstance(made[label], views.Accompanied):
            break
        label = sources[label]
    return chain


def _root(label: str, made: Mapping[str, Any], sources: Mapping[str, str]) -> Any:
    """The companion whose examples a view shows, None for those of the batch."""
    for view in _chain(label, made, sources):
        if isinstance(view, views.Accompanied):
            return view.component
    return None


def _whose(label: str, made: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Whose a view's targets are: the "task"'s, a companion's, or a "view"'s that replaced them."""
    for view in _chain(label, made, sources):
        if getattr(view.component, "relabels", False):
            return "view"
        if isinstance(view, views.Accompanied):
            return str(view.component.targets)
    return "task"


TARGETS = {
    "task": "the main task's",
    "other": "another data set's",
    "hidden": "hidden",
    "view": "replaced by the view",
}


def _readable(where: str, loss: Any, made: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Raises `SettingError` for a loss that needs other targets, or the same examples in views."""
    # An unknown one is an error that the objective names.
    reads = [view for view in loss.reads if isinstance(view, str) and view in made]
    wanted = getattr(loss, "targets", TARGETS)
    for view in reads:
        whose = _whose(view, made, sources)
        if whose not in wanted:
            needs = " or ".join(TARGETS[one] for one in wanted)
            raise SettingError(
                f"{where} needs targets that are {needs}; those of view {view!r} are "
                f"{TARGETS[whose]}"
            )
    roots = {id(_root(view, made, sources)) for view in reads}
    if getattr(loss, "pairs", False) and len(roots) > 1:
        raise SettingError(
            f"{where} compares views of the same examples, found {' and '.join(map(repr, reads))}, "
            f"which do not show the same; `of` makes one view of the other"
        )
    copies = {label: _copies(label, made, sources) for label in reads}
    if getattr(loss, "pairs", False) and len(set(copies.values())) > 1:
        counts = ", ".join(f"{label!r} has {count}" for label, count in copies.items())
        raise SettingError(
            f"{where} compares views example by example, but the number of copies of each differs: "
            f"{counts}"
        )


def _copies(label: str, made: Mapping[str, Any], sources: Mapping[str, str]) -> int:
    """How many rows of a view there are for every example."""
    return math.prod(getattr(one.component, "copies", 1) for one in _chain(label, made, sources))


def _classes_of(made: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, int]:
    """The number of classes of the views whose targets are not the data's."""
    roots = {label: _root(label, made, sources) for label in made}
    return {label: one.classes for label, one in roots.items() if one is not None and one.classes}


def _attackable(made: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Raises `SettingError` for an attack that has nothing to climb."""
    for label in made:
        if not isinstance(made[label], views.Attacked):
            continue
        whose = _whose(label, made, sources)
        if whose != "task" and getattr(made[label].component, "climbs", "task") == "task":
            raise SettingError(
                f"views/{label}: the attack climbs the main task's loss, but the targets of what "
                f"it attacks are {TARGETS[whose]}; set climbs: kl or attack another view"
            )


def schedule(config: Config) -> Callable[[float], float]:
    """The learning-rate factor of a complete schedule config, as a function of progress."""
    own = {key: value for key, value in config.items() if key != "warmup_epochs"}
    found: Callable[[float], float] = catalog.build("schedules", own)
    return found


def _training(config: Mapping[str, Any]) -> Config:
    _known("training/", config, TRAINING)
    full = TRAINING | dict(config)
    full["optimizer"] = _component("training/optimizer", "optimizers", full["optimizer"], {})
    full["schedule"] = _component(
        "training/schedule", "schedules", full["schedule"], {"warmup_epochs": 0}
    )
    whole("training/epochs", full["epochs"], low=1)
    whole("training/batch_size", full["batch_size"], low=1)
    number("training/clip_norm", full["clip_norm"], low=0)
    number("training/schedule/warmup_epochs", full["schedule"]["warmup_epochs"], low=0)
    one_of("training/forward", full["forward"], ("joint", "separate"))
    full["augment"] = [
        _component(f"training/augment/{place}", "augmentations", one, {})
        for place, one in enumerate(several("training/augment", full["augment"]))
    ]
    with _at("training/optimizer"):
        catalog.build("optimizers", full["optimizer"])
    with _at("training/schedule"):
        schedule(full["schedule"])
    return full


def _component(path: str, kind: str, config: Any, common: Mapping[str, Any]) -> Config:
    """A complete component config: class name, every setting, and the kind's common options."""
    if not isinstance(config, str | Mapping):
        raise SettingError(f"{path} must be a name or a mapping with a name, found {config!r}")
    with _at(path):
        expanded = catalog.expand(kind, config)
    own = catalog.settings(kind, expanded["name"])
    _known(f"{path}/", expanded, {"name": None} | own | dict(common))
    defaults = {key: value for key, value in own.items() if key not in SUPPLIED}
    filled = {"name": expanded["name"]} | dict(common) | defaults | expanded
    return {key: list(v) if isinstance(v, tuple) else v for key, v in filled.items()}


def _labelled(path: str, config: Any) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise SettingError(f"{path} must be a mapping from labels to components, found {config!r}")
    for label in config:
        if not LABEL.fullmatch(str(label)):
            raise SettingError(
                f"{path}: a label has small letters, digits, '-' and '_', found {label!r}"
            )
        if not isinstance(config[label], str | Mapping):
            raise SettingError(
                f"{path}/{label} must be a name or a mapping, found {config[label]!r}"
            )
    return {
        label: {"name": one} if isinstance(one, str) else dict(one) for label, one in config.items()
    }


def _known(path: str, config: Any, known: Mapping[str, Any]) -> None:
    if not isinstance(config, Mapping):
        raise SettingError(f"{path.rstrip('/') or 'recipe'} must be a mapping, found {config!r}")
    for key in config:
        if key not in known:
            raise SettingError(f"Unknown setting '{path}{key}'.{nearest(str(key), known)}")


@contextmanager
def _at(path: str) -> Iterator[None]:
    """Errors of a component with the path of its config in front."""
    try:
        yield
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None
