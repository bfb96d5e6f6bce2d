"""What `list` and `show` tell: components, methods and presets, their settings and sources."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from study import spec
from study.yaml_text import read_yaml
from trainables.core import catalog, views, weighing
from trainables.core.errors import SettingError, nearest
from trainables.core.recipe import SPLITTING


class Common(NamedTuple):
    """Options that every component of a kind takes beside its own: defaults and what they do."""

    defaults: Mapping[str, Any]
    meaning: Mapping[str, str]


_VIEWS = Common(
    views.COMMON,
    {"of": "the view that it is made of; in views only, not in benchmarks and training/augment"},
)
COMMON: dict[str, Common] = {
    "data": Common(
        SPLITTING,
        {
            "validation": "share of the training examples that is held out for validation",
            "folds": "number of folds instead of a share; 0: none",
            "fold": "which of the folds is held out, from 0",
            "seed": "of the split; the study's by default",
            "limit": "at most so many training examples, before the split; 0: all",
            "classes": "only these classes, as numbers or names, renumbered in this order",
            "fraction": "share of the training part that is kept",
            "labels": "so many training examples keep their targets; 0: all (view Unlabelled)",
        },
    ),
    "losses": Common({"coefficient": 1.0}, {"coefficient": "what stands in front, at least 0"}),
    "schedules": Common(
        {"warmup_epochs": 0}, {"warmup_epochs": "first rise linearly over so many epochs"}
    ),
    "weighters": Common(
        weighing.COMMON,
        {
            "normalise": "what weights sum to: none (the method's own), one, or k (losses)",
            "scope": "where gradients are measured: all, trunk, last-stage or last-layer",
            "warmup": "so many first steps have weights of 1, while the weighter learns",
            "refresh": "ask the weighter in every n-th step and hold its weights in between",
            "protect_main": "the main loss has weight 1, and normalise is about the others",
            "max_loss": "a larger loss counts as this, its gradient shrunk to match; 0: no limit",
        },
    ),
} | dict.fromkeys(("views", *catalog.FAMILIES["views"]), _VIEWS)


def listing(kind: str) -> dict[str, list[str]]:
    """Names of all components by kind, or of one kind with a line on each."""
    if not kind:
        return {one: _names(one) for one in _kinds()}
    if kind not in _kinds():
        raise SettingError(f"Unknown kind {kind!r}.{nearest(kind, _kinds())}")
    return {kind: [f"{one}: {_line(kind, one)}" for one in _names(kind)]}


def entry(kind: str, name: str) -> dict[str, Any]:
    """All about one: docstring, facts, settings with defaults, options of the whole kind.

    Of a method or preset what it holds. Raises `SettingError` naming the nearest known one.
    """
    if kind == "methods":
        from search_spaces import methods

        about = f"A named arm with its ranges: `arms: {{my-label: {name}}}` in a study file."
        return _entry(name, kind, about, settings=methods.method(name))
    if kind == "presets":
        text = spec.find(name).read_text(encoding="utf-8")
        return _entry(name, kind, text)
    found = catalog.find(kind, name)
    own = catalog.settings(kind, name)
    defaults = COMMON[kind].defaults if kind in COMMON else {}
    # A component's own setting of the same name takes the place of the common one.
    common = {key: value for key, value in defaults.items() if key not in own}
    facts = _facts(found)
    if labels := [key for key in own if kind == "losses" and key in ("target", "view", "views")]:
        facts["Reads"] = f"the views that {' and '.join(labels)} name"
    about = inspect.getdoc(found) or ""
    return _entry(found.__name__, kind, about, facts, own, common)


def text(found: Mapping[str, Any]) -> str:
    """An entry as text for the terminal."""
    kind = found["kind"]
    parts = [f"{found['name']} ({kind})", found["about"].rstrip()]
    if found["facts"]:
        parts.append("\n".join(f"{key}: {value}" for key, value in found["facts"].items()))
    if kind == "methods":
        parts.append(yaml.safe_dump(found["settings"], sort_keys=False).rstrip())
    elif kind != "presets":
        parts.append("Settings and their defaults\n" + (_table(found["settings"]) or "  none"))
    if found["common"]:
        meaning = COMMON[kind].meaning
        parts.append(f"Options of all {_all(kind)}\n" + _table(found["common"], meaning))
    return "\n\n".join(parts)


def footer(kind: str) -> str:
    """The line below a list that names the options of all components of the kind, if any."""
    if kind not in COMMON:
        return ""
    options = ", ".join(COMMON[kind].defaults)
    return f"\nAll {_all(kind)} also take: {options} (see `show {kind} NAME`)."


def _all(kind: str) -> str:
    return "data sets" if kind == "data" else kind


def _entry(
    name: str,
    kind: str,
    about: str,
    facts: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    common: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "about": about,
        "facts": dict(facts or {}),
        "settings": dict(settings or {}),
        "common": dict(common or {}),
    }


def _facts(found: type[Any]) -> dict[str, str]:
    """What its class attributes say: tasks, short form, what it costs and needs."""
    facts = {}
    if hasattr(found, "tasks"):
        facts["For"] = ", ".join(found.tasks)
    elif isinstance(getattr(found, "task", None), str):
        facts["Task"] = found.task
    if hasattr(found, "short"):
        word, *values = found.short
        facts["Short form"] = "_".join([word, *(f"<{one}>" for one in values)])
    if "weighters" in found.__module__.split("."):
        reads = "the losses' values"
        if getattr(found, "per_loss", False):
            reads = "the losses' gradients, at one backward pass for each loss"
        elif hasattr(found, "observe"):
            reads += ", and once more after the step, at one forward pass"
        facts["Reads"] = reads
        if getattr(found, "least", 1) > 1:
            facts["Losses"] = f"at least {found.least}"
        if getattr(found, "absorbs", False):
            facts["Coefficients"] = "a constant one of an auxiliary loss cancels"
        if getattr(found, "signed", False):
            facts["Weights"] = "may be negative"
    return facts


def _table(values: Mapping[str, Any], meaning: Mapping[str, str] | None = None) -> str:
    """Keys, values and meanings in columns; values as they stand in a study file."""
    plain = {key: _plain(value) for key, value in values.items()}
    wide, high = (max(map(len, words), default=0) for words in (plain, plain.values()))
    lines = [
        f"  {key:{wide}}  {value:{high}}  {(meaning or {}).get(key, '')}".rstrip()
        for key, value in plain.items()
    ]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value or '""'
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _line(kind: str, name: str) -> str:
    if kind == "presets":
        return str(read_yaml(spec.find(name).read_text(encoding="utf-8")).get("question", ""))
    if kind == "methods":
        from search_spaces import methods

        return _contents(methods.method(name))
    found = catalog.find(kind, name)
    first = (inspect.getdoc(found) or "").partition("\n")[0]
    return first + _mark(found)


def _mark(found: type[Any]) -> str:
    """In brackets what decides whether one can be used at all."""
    tasks = getattr(found, "tasks", ())
    if tasks and "classification" not in tasks:
        return f" [{', '.join(tasks)}]"
    if getattr(found, "task", "classification") != "classification":
        return f" [{found.task}]"
    return " [gradients]" if getattr(found, "per_loss", False) else ""


def _contents(method: Mapping[str, Any]) -> str:
    """What a method adds, in a line: its losses, then its views."""
    parts = []
    for key in ("losses", "views"):
        held = method.get(key, {})
        names = [one if isinstance(one, str) else one.get("name", key) for one in held.values()]
        if names:
            parts.append(f"{key} {', '.join(map(str, names))}")
    rest = [key for key in method if key not in ("losses", "views")]
    return "; ".join([*parts, *rest]) or "the task's main loss alone"


def _kinds() -> list[str]:
    return [*catalog.KINDS, *catalog.FAMILIES, "methods", "presets"]


def _names(kind: str) -> list[str]:
    from search_spaces import methods

    if kind == "methods":
        return methods.names()
    return spec.presets() if kind == "presets" else catalog.names(kind)
