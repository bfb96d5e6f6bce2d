"""Components by class name: a folder is a kind, a file in it is a component, no other list exists.

`build("weighters", {"name": "CoV"})` makes one, `names("weighters")` lists them. The class's
constructor is its config: its keyword settings with their defaults are all that a config may set.
Keywords without a default are facts that the caller supplies (input shape, number of classes).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from .errors import SettingError, nearest

KINDS = (
    "architectures",
    "attacks",
    "augmentations",
    "benchmarks",
    "companions",
    "corruptions",
    "data",
    "losses",
    "optimizers",
    "perturbations",
    "schedules",
    "weighters",
)
FAMILIES = {
    # A view is another look at a batch, whatever makes it.
    "views": ("augmentations", "attacks", "companions"),
}


def _folders(kind: str) -> tuple[str, ...]:
    if kind in FAMILIES:
        return FAMILIES[kind]
    if kind in KINDS:
        return (kind,)
    raise SettingError(f"Unknown kind {kind!r}.{nearest(kind, [*KINDS, *FAMILIES])}")


@lru_cache
def _modules(kind: str) -> dict[str, str]:
    """Plain spelling (lower case, no underscores) -> module path, without importing any."""
    found = {}
    for folder in _folders(kind):
        package = importlib.import_module(f"{__package__}.{folder}")
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                found[_plain(module.name)] = f"{package.__name__}.{module.name}"
    return found


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


@lru_cache
def _load(path: str) -> type[Any]:
    module = importlib.import_module(path)
    wanted = _plain(path.rpartition(".")[2])
    for name, member in vars(module).items():
        if inspect.isclass(member) and member.__module__ == path and _plain(name) == wanted:
            return member
    raise SettingError(f"{path} holds no class that has the file's name")


def names(kind: str) -> list[str]:
    """The class names of all components of a kind, sorted."""
    return sorted((_load(path).__name__ for path in _modules(kind).values()), key=str.lower)


def find(kind: str, name: str) -> type[Any]:
    """The component's class; `name` may differ from the class name in case and underscores."""
    path = _modules(kind).get(_plain(str(name)))
    if path is None:
        singular = {"data": "data set", "losses": "loss"}.get(kind, kind.removesuffix("s"))
        raise SettingError(f"Unknown {singular} {name!r}.{nearest(str(name), names(kind))}")
    return _load(path)


@cache
def _keywords(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """The constructor's keywords; a module without a constructor of its own has none."""
    parameters = inspect.signature(find(kind, name)).parameters
    return {key: one for key, one in parameters.items() if one.kind is one.KEYWORD_ONLY}


def settings(kind: str, name: str) -> dict[str, Any]:
    """The settings of a component and their defaults."""
    return {
        key: parameter.default
        for key, parameter in _keywords(kind, name).items()
        if parameter.default is not inspect.Parameter.empty
    }


def facts(kind: str, name: str) -> list[str]:
    """The keywords without a default: what the caller must supply, not the config."""
    parameters = _keywords(kind, name).values()
    return [one.name for one in parameters if one.default is inspect.Parameter.empty]


def expand(kind: str, config: Mapping[str, Any] | str) -> dict[str, Any]:
    """`config` as a mapping whose name is a class name; a short form is spelled out.

    A short form is a component's `short` word and then values of the settings listed there, in
    order, joined by "_"; trailing ones may be left out: "gaussian_0.1", "pgd_linf_8/255_20",
    "UCR_ECG200". A component whose names are of another form reads them itself with `spelled`,
    which gives settings, or None for a name that is not its own. Settings beside a short form win.
    """
    if isinstance(config, str):
        config = {"name": config}
    if "name" not in config:
        raise SettingError(f"A config of {kind} needs a 'name'.{nearest('', names(kind))}")
    name, rest = str(config["name"]), {k: v for k, v in config.items() if k != "name"}
    if _plain(name) in _modules(kind):
        return {"name": find(kind, name).__name__} | rest
    word, *values = name.split("_")
    components = [find(kind, one) for one in names(kind)]
    for found in components:
        spelled: dict[str, Any] | None = found.spelled(name) if hasattr(found, "spelled") else None
        if spelled is not None:
            return {"name": found.__name__, **spelled, **rest}
    shorts = {found.short[0].lower(): found for found in components if hasattr(found, "short")}
    if word.lower() not in shorts:
        find(kind, name)  # raises, naming the nearest
    found = shorts[word.lower()]
    if len(values) >= len(found.short):
        form = "_".join([found.short[0], *(f"<{part}>" for part in found.short[1:])])
        raise SettingError(f"{name!r} has too many parts; the form is {form}.")
    return {"name": found.__name__} | dict(zip(found.short[1:], values, strict=False)) | rest


def check(kind: str, config: Mapping[str, Any]) -> type[Any]:
    """The class that `config` names, after every setting's name was found to be known."""
    if "name" not in config:
        raise SettingError(f"A config of {kind} needs a 'name'.{nearest('', names(kind))}")
    found = find(kind, config["name"])
    known = settings(kind, config["name"])
    for key in config:
        if key != "name" and key not in known:
            raise SettingError(f"{found.__name__} has no setting {key!r}.{nearest(key, known)}")
    return found


def build(kind: str, config: Mapping[str, Any], **supplied: Any) -> Any:
    """Make the component that `config` names.

    `supplied` are facts and defaults from the caller; those that the constructor does not take are
    left out, and a setting in `config` wins over a supplied default. Raises `SettingError` for an
    unknown name or setting, and what the constructor raises for a value out of range.
    """
    found = check(kind, config)
    parameters = _keywords(kind, config["name"])
    keywords = {key: value for key, value in supplied.items() if key in parameters}
    keywords |= {key: value for key, value in config.items() if key != "name"}
    try:
        return found(**keywords)
    except SettingError as error:
        if str(error).startswith(found.__name__):
            raise
        raise SettingError(f"{found.__name__}: {error}") from None
